"""Resizing as `retrain predict` does it, to the last bit, in operations that every runtime has.

Formats hold it so that clients need no resizing of their own. That of most libraries is off by a level here and there,
which moves scores by a hundredth.

A line of places times a matrix is a line of new places: two products resize a picture. Pillow (Resample.c) computes
with whole numbers: shares of 22 bits, and levels rounded after each product. So does this: products in float32 are
exact while they stay below 2**24, so each is taken in two halves. (Where a side shrinks to less than a sixteenth, the
lower half may be rounded, by far less than a level.) Sides may have 4,096 times the square root of the new side, 61,000
places at 224, before whole numbers of 32 bits are too small.
"""

from typing import Any

import numpy as np

__all__ = ["are_columns_first", "resize_last", "resize_third", "resized"]

_BITS = 11  # of half a share; Pillow's PRECISION_BITS are 22
_STEPS = (6, 5)  # bits in which half a share is divided out, so that no number outgrows 31 bits


def are_columns_first(height: Any, width: Any, new_height: int, new_width: int, ops: Any) -> Any:
    """Whether columns are resized before rows, which decides on a level here and there; `data.decoding` has the rule.

    Args:
        height, width: of the pictures; numbers, or tensors of one.
        ops: functions of a library, by the names that they have in keras.ops.
    """
    return height - new_height > ops.maximum((width - new_width) * 2, 0)


def resized(pictures: Any, height: int, width: int, ops: Any) -> Any:
    """(n, any, any, 3), numbers from 0 to 255, to (n, height, width, 3) float32, whole levels.

    For libraries without branches: both orders are computed, and one is taken.

    Args:
        pictures: a tensor.
        ops: functions of its library, by the names that they have in keras.ops.
    """
    planes = ops.transpose(ops.cast(pictures, "float32"), (0, 3, 1, 2))
    rows, columns = (np.ones(size, np.int32) for size in (height, width))
    old_height, old_width = (ops.sum(_ones(planes, axis, ops)) for axis in (2, 3))
    one = resize_last(resize_third(planes, rows, ops), columns, ops)
    other = resize_third(resize_last(planes, columns, ops), rows, ops)
    columns_first = are_columns_first(old_height, old_width, height, width, ops)
    return ops.transpose(ops.where(columns_first, one, other), (0, 2, 3, 1))


def resize_last(planes: Any, new: Any, ops: Any) -> Any:
    """(n, 3, any, any) float32 levels to (n, 3, any, size) whole ones. Takes a line of `size` ones, int32."""
    return _product("ncab,ob->ncao", planes, _shares(_ones(planes, 3, ops), new, ops), ops)


def resize_third(planes: Any, new: Any, ops: Any) -> Any:
    """(n, 3, any, any) float32 levels to (n, 3, size, any) whole ones. Takes a line of `size` ones, int32."""
    return _product("ncab,oa->ncob", planes, _shares(_ones(planes, 2, ops), new, ops), ops)


def _ones(planes: Any, axis: int, ops: Any) -> Any:
    """(size,) int32: a one for each place along an axis. Sums of them are sizes, which some libraries don't know."""
    line = ops.max(planes, axis=tuple({0, 1, 2, 3} - {axis}))
    return ops.ones_like(ops.cast(line, "int32"))


def _shares(old: Any, new: Any, ops: Any) -> tuple[Any, Any]:
    """How much of each old place is in each new one, a triangle around its centre, in 1/2**22: in two halves.

    Args:
        old, new: lines of ones.
    Returns: (new size, old size) int32, the upper and the lower 11 bits.
    """
    size, new_size = ops.sum(old), ops.sum(new)
    # all in units of half a place, times the new size, so that they are whole
    places = (ops.cumsum(old) * 2 - 1) * new_size
    centres = (ops.cumsum(new) * 2 - 1) * size
    reach = ops.maximum(size, new_size) * 2
    apart = ops.abs(ops.expand_dims(places, 0) - ops.expand_dims(centres, 1))
    rest = ops.maximum(reach - apart, 0)
    whole = ops.sum(rest, axis=1, keepdims=True)
    halves = []
    for _ in range(2):
        half = None
        for bits in _STEPS:
            rest = rest * 2**bits
            digit = ops.floor_divide(rest, whole)
            rest = rest - digit * whole
            half = digit if half is None else half * 2**bits + digit
        halves.append(half)
    upper, lower = halves
    return upper, lower + ops.cast(rest * 2 >= whole, "int32")  # to the nearest


def _product(equation: str, planes: Any, shares: tuple[Any, Any], ops: Any) -> Any:
    """Levels times shares, rounded to whole levels."""
    upper, lower = (ops.einsum(equation, planes, ops.cast(half, "float32")) for half in shares)
    half = 2.0 ** (_BITS - 1)
    return ops.floor((upper + ops.floor(lower * 2.0**-_BITS) + half) * 2.0**-_BITS)
