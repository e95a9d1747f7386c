"""Resizing as `retrain predict` does it, to the last bit, in operations that every runtime has.

Formats hold it so that clients need no resizing of their own. That of most libraries is off by a level here and there,
which moves scores by a hundredth.

A line of places times a matrix is a line of wanted places: two products resize a picture. Pillow (Resample.c) computes
with whole numbers: shares of 22 bits, and levels rounded after each product. So does this: products in float32 are
exact while they stay below 2**24, so each is taken in two halves.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["resized"]

_BITS = 22  # of a share, Pillow's PRECISION_BITS
_HALF = _BITS // 2
_STEPS = (8, 7, 7)  # bits in which a share is divided out, so that no number outgrows 31 bits


def resized(
    pictures: Any, height: int, width: int, ops: Any, if_needed: Callable[[Any, Any], Any] = lambda values, _: values
) -> Any:
    """(n, any, any, 3), numbers from 0 to 255, to (n, height, width, 3) float32, whole levels.

    Which axis comes first decides on a level here and there. `data.decoding` has the rule; without branches, both
    orders are computed, and one is taken.

    Args:
        pictures: a tensor of any library.
        ops: that library's functions, by the names that they have in keras.ops.
        if_needed: called with the pictures and a tensor that says whether they are needed, before each order; may
            return fewer and smaller ones if they are not.
    """
    values = ops.cast(pictures, "float32")
    rows, columns = (_ones(values, axis, ops) for axis in (1, 2))
    columns_first = ops.sum(rows) - height > ops.maximum((ops.sum(columns) - width) * 2, 0)
    one = if_needed(values, columns_first)
    one = _along_rows(_along_columns(one, height, ops), width, ops)
    other = if_needed(values, ops.logical_not(columns_first))
    other = _along_columns(_along_rows(other, width, ops), height, ops)
    return ops.where(columns_first, one, other)


def _along_rows(values: Any, width: int, ops: Any) -> Any:
    return _product("nhwc,ow->nhoc", values, _shares(_ones(values, 2, ops), width, ops), ops)


def _along_columns(values: Any, height: int, ops: Any) -> Any:
    return _product("nhwc,oh->nowc", values, _shares(_ones(values, 1, ops), height, ops), ops)


def _ones(values: Any, axis: int, ops: Any) -> Any:
    """(size,) int32: a one for each place along an axis; libraries can sum them up where sizes are not known."""
    line = ops.max(values, axis=tuple({0, 1, 2, 3} - {axis}))
    return ops.ones_like(ops.cast(line, "int32"))


def _shares(ones: Any, wanted: int, ops: Any) -> Any:
    """(wanted, size) int32: how much of each place is in each wanted one, a triangle around its centre, in 1/2**22."""
    size = ops.sum(ones)
    # all in units of half a place, times `wanted`, so that they are whole
    places = (ops.cumsum(ones) * 2 - 1) * wanted
    centres = ops.multiply(np.arange(1, 2 * wanted, 2, dtype=np.int32)[:, np.newaxis], size)
    reach = ops.maximum(size, wanted) * 2
    parts = ops.maximum(reach - ops.abs(ops.expand_dims(places, 0) - centres), 0)
    whole = ops.sum(parts, axis=1, keepdims=True)
    shares, rest = parts * 0, parts
    for bits in _STEPS:
        rest = rest * 2**bits
        digit = ops.floor_divide(rest, whole)
        shares, rest = shares * 2**bits + digit, rest - digit * whole
    return shares + ops.floor_divide(rest * 2, whole)  # to the nearest


def _product(equation: str, values: Any, shares: Any, ops: Any) -> Any:
    """Levels times shares, rounded to whole levels."""
    upper = ops.floor_divide(shares, 2**_HALF)
    parts = upper, shares - upper * 2**_HALF
    upper, lower = (ops.einsum(equation, values, ops.cast(part, "float32")) for part in parts)
    lower = ops.floor((lower + 2.0 ** (_BITS - 1)) * 2.0**-_HALF)
    return ops.floor((upper + lower) * 2.0**-_HALF)
