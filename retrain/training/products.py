"""Matrix products: on one thread where they are small, on several of our own where they are not."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import threadpoolctl
from numpy.typing import NDArray

from retrain.machine import cores

__all__ = ["Products", "rows_at_once"]

Array = NDArray[Any]

# Multiplications of a product. Up to the first number, OpenBLAS copies nothing before it multiplies, on processors with
# AVX-512; from the second on, several threads gain more than they cost.
_SMALL, _LARGE = 1_000_000, 30_000_000
_MOST_PARTS = 4  # with more small parts, processors without AVX-512 would lose more than others gain
_FEW_ROWS, _MANY_ROWS = 256, 4096


class Products:
    """Multiplies matrices, inside its context.

    BLAS libraries take one thread there. Their own threads are hardly faster than these, and wait for each other
    without rest: if others use the processor, a product that takes 1 ms can take 70.
    """

    def __enter__(self) -> "Products":
        self._limits = threadpoolctl.threadpool_limits(1, "blas")
        self._count = cores()
        # starts no thread before there is a large product
        self._pool = ThreadPoolExecutor(self._count, initializer=partial(np.seterr, all="ignore"))
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()
        self._limits.restore_original_limits()

    def multiply(self, left: Array, right: Array, out: Array) -> None:
        """Multiply (m, k) by (k, n) into (m, n)."""
        size = left.size * right.shape[1]
        if size >= _LARGE and self._count > 1:
            first, *others = _columns(right.shape[1], self._count)
            coming = [self._pool.submit(_multiply, left, right, out, some) for some in others]
            _multiply(left, right, out, first)
            for product in coming:
                product.result()
            return
        parts = -(-size // _SMALL)
        if 1 < parts <= _MOST_PARTS:
            for some in _columns(right.shape[1], parts):
                _multiply(left, right, out, some)
        else:
            np.matmul(left, right, out=out)


def _multiply(left: Array, right: Array, out: Array, some: slice) -> None:
    np.matmul(left, right[:, some], out=out[:, some])


def _columns(count: int, parts: int) -> list[slice]:
    """Return slices of so many columns, in at most so many parts of about the same size."""
    each = -(-count // parts)
    return [slice(start, start + each) for start in range(0, count, each)]


def rows_at_once(widths: tuple[int, ...], rows: int) -> int:
    """Return how many of so many rows to take at once: some hundreds if products are small then, or else thousands.

    Args:
        widths: lengths of the vectors between a head's layers.
    """
    few = _MOST_PARTS * _SMALL // max(inputs * outputs for inputs, outputs in pairwise(widths))
    return max(1, min(rows, _MANY_ROWS, few if few >= _FEW_ROWS else _MANY_ROWS))
