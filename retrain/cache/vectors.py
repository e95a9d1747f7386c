"""Bottlenecks for training: in memory if they fit, else read from the cache when they are needed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from retrain.cache.segments import Vectors, new_vectors
from retrain.cache.store import BottleneckCache
from retrain.machine import memory

__all__ = [
    "CachedVectors",
    "JoinedVectors",
    "LabelledBottlenecks",
    "SomeVectors",
    "VectorSource",
    "chunks",
    "fits_in_memory",
    "load_vectors",
]

_CHUNK_ROWS = 4096


class VectorSource(Protocol):
    """Where vectors come from: an array, or rows of the cache."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, d)."""
        ...

    def __getitem__(self, numbers: Any, /) -> Vectors:
        """(m,) numbers in [0, n), or a slice, to (m, d) vectors."""
        ...


@dataclass(frozen=True)
class CachedVectors:
    """Vectors that stay in the cache's files until they are needed."""

    cache: BottleneckCache
    rows: NDArray[np.int64]  # (n,) as the cache found them

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, d)."""
        return len(self.rows), self.cache.bottleneck_size or 0

    def __getitem__(self, numbers: Any, /) -> Vectors:
        """(m,) numbers in [0, n), or a slice, to (m, d) vectors."""
        return self.cache.read(self.rows[numbers])


@dataclass(frozen=True)
class JoinedVectors:
    """Vectors of several parts of the cache, one after the other; they stay in its files."""

    parts: tuple[CachedVectors, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, d)."""
        return sum(len(part.rows) for part in self.parts), self.parts[0].shape[1]

    def __getitem__(self, numbers: Any, /) -> Vectors:
        """(m,) numbers in [0, n), or a slice, to (m, d) vectors."""
        wanted = numbers if isinstance(numbers, np.ndarray) else np.arange(self.shape[0])[numbers]
        vectors = new_vectors(len(wanted), self.shape[1], self.parts[0].cache.dtype)
        start = 0
        for part in self.parts:
            own = np.flatnonzero((wanted >= start) & (wanted < start + len(part.rows)))
            vectors[own] = part[wanted[own] - start]
            start += len(part.rows)
        return vectors


@dataclass(frozen=True)
class SomeVectors:
    """Some of the vectors of a source; not copied."""

    source: VectorSource
    numbers: NDArray[np.int64]  # (n,)

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, d)."""
        return len(self.numbers), *self.source.shape[1:]

    def __getitem__(self, numbers: Any, /) -> Vectors:
        """(m,) numbers in [0, n), or a slice, to (m, d) vectors."""
        return self.source[self.numbers[numbers]]


@dataclass(frozen=True)
class LabelledBottlenecks:
    """The pictures that a head is trained and tested on, and distorted copies of them."""

    vectors: VectorSource  # (n, d) float32; activations float16
    labels: NDArray[np.int32]  # (n,), in [0, classes)
    # (n,) the number of the picture that each row shows. Pictures, which have their own number, come before copies.
    # None: every row is a picture
    origins: NDArray[np.int32] | None = None
    # (n,) >= 0, how many pictures each row counts as in training. None: every row is one
    weights: NDArray[np.float32] | None = None
    # (sets, classes) if pictures have several labels: `labels` are in [0, sets) then, and name the sets. None: a number
    # in `labels` is the label itself
    label_sets: NDArray[np.bool_] | None = None
    # (classes,) > 0, with label_sets: how many times more a label counts in the loss where a picture has it. None: 1
    positive_weights: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def weights_of(self, rows: NDArray[np.int64]) -> NDArray[np.float32] | None:
        """The weights of (m,) rows; None if every row is one picture."""
        return None if self.weights is None else self.weights[rows]

    def weighted(self, class_weights: Sequence[float] | None) -> "LabelledBottlenecks":
        """The same, with the weight of its class for each row, or those of the labels if there are several to a row;
        unchanged for None.

        Args:
            class_weights: (classes,) > 0.
        """
        if class_weights is None:
            return self
        if self.label_sets is not None:
            return replace(self, positive_weights=np.asarray(class_weights, np.float32))
        return replace(self, weights=np.asarray(class_weights, np.float32)[self.labels])

    def with_copies(self, pictures: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows of (m,) pictures: first the pictures, in their order, then all copies of them."""
        if self.origins is None:
            return pictures
        chosen = np.zeros(len(self), bool)
        chosen[pictures] = True
        is_copy = self.origins != np.arange(len(self))
        return np.concatenate([pictures, np.flatnonzero(is_copy & chosen[self.origins])])


def load_vectors(parts: Sequence[CachedVectors], max_memory: int | None = None) -> VectorSource:
    """The vectors of parts of the cache, one after the other: in an array, or if that takes too much memory, from a
    source that reads them when they are needed.

    Args:
        parts: at least one; all have vectors of the same length.
        max_memory: the most that the array may take, in MiB; by default half of the machine's memory.
    """
    source = parts[0] if len(parts) == 1 else JoinedVectors(tuple(parts))
    rows, size = source.shape
    dtype = parts[0].cache.dtype
    if not fits_in_memory(rows * size * dtype.itemsize, max_memory):
        return source
    vectors, start = new_vectors(rows, size, dtype), 0
    for part in parts:
        part.cache.read(part.rows, vectors[start : start + len(part.rows)])
        start += len(part.rows)
    return vectors


def fits_in_memory(size: int, max_memory: int | None = None) -> bool:
    """Whether vectors of a size in bytes may be in memory: within `max_memory` MiB, or half of the machine's."""
    return size <= (memory() // 2 if max_memory is None else max_memory * 2**20)


def chunks(n: int) -> Iterator[slice]:
    """Slices that cover n rows, some thousands at a time."""
    for start in range(0, n, _CHUNK_ROWS):
        yield slice(start, min(start + _CHUNK_ROWS, n))
