"""Resizing as `retrain predict` does it, to the last bit, in operations that every runtime has.

Formats hold it so that clients need no resizing of their own. That of most libraries is off by a level here and there,
which moves scores by a hundredth.

A line of places times a matrix is a line of new places: two products resize a picture. Pillow (Resample.c) computes
with whole numbers: shares of 22 bits, and levels rounded after each product. So does this: products in float32 are
exact while they stay below 2**24, so each is taken in two halves. (Where a side shrinks to less than a sixteenth, the
lower half may be rounded, by far less than a level.) Sides may have 4,096 times the square root of the new side, 61,000
places at 224, before whole numbers of 32 bits are too small.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from retrain.data import BACKGROUND, PictureForm

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


def resized(pictures: Any, form: PictureForm, ops: Any) -> Any:
    """(n, any, any, 3), numbers from 0 to 255, to (n, height, width, 3) float32, whole levels, in a form.

    For libraries without branches: both orders are computed, and one is taken. For those that can't cut what they don't
    know the size of: what is outside counts nothing.

    Args:
        pictures: a tensor.
        ops: functions of its library, by the names that they have in keras.ops.
    """
    planes = ops.transpose(ops.cast(pictures, "float32"), (0, 3, 1, 2))
    rows, columns = (np.ones(size, np.int32) for size in form.size)
    height, width = (ops.sum(_ones(planes, axis, ops)) for axis in (2, 3))
    cut, border = form.cut(height, width, ops.maximum), form.border(height, width, ops.maximum)
    beside, above = None, None
    if form.fit != "squash":
        beside, above = _Outside(cut.columns, border.columns), _Outside(cut.rows, border.rows)
    one = resize_last(resize_third(planes, rows, ops, above), columns, ops, beside)
    other = resize_third(resize_last(planes, columns, ops, beside), rows, ops, above)
    columns_first = are_columns_first(
        height - cut.rows * 2,
        width - cut.columns * 2,
        form.height - border.rows * 2,
        form.width - border.columns * 2,
        ops,
    )
    return ops.transpose(ops.where(columns_first, one, other), (0, 2, 3, 1))


@dataclass(frozen=True)
class _Outside:
    """What does not count of a line: so many places at each end of the old one, and of the new one."""

    old: Any
    new: Any


def resize_last(planes: Any, new: Any, ops: Any, outside: _Outside | None = None) -> Any:
    """(n, 3, any, any) float32 levels to (n, 3, any, size) whole ones. Takes a line of `size` ones, int32."""
    line = _line_of(_ones(planes, 3, ops), new, outside, ops)
    found = _product("ncab,ob->ncao", planes, _shares(line, ops), ops)
    return found if line.background is None else ops.maximum(found, line.background)


def resize_third(planes: Any, new: Any, ops: Any, outside: _Outside | None = None) -> Any:
    """(n, 3, any, any) float32 levels to (n, 3, size, any) whole ones. Takes a line of `size` ones, int32."""
    line = _line_of(_ones(planes, 2, ops), new, outside, ops)
    found = _product("ncab,oa->ncob", planes, _shares(line, ops), ops)
    return found if line.background is None else ops.maximum(found, ops.expand_dims(line.background, 1))


def _ones(planes: Any, axis: int, ops: Any) -> Any:
    """(size,) int32: a one for each place along an axis. Sums of them are sizes, which some libraries don't know."""
    line = ops.max(planes, axis=tuple({0, 1, 2, 3} - {axis}))
    return ops.ones_like(ops.cast(line, "int32"))


@dataclass(frozen=True)
class _Line:
    """A line of places before and after resizing, in units of half a place, times the new size: so all are whole."""

    places: Any  # (old size,) int32
    centres: Any  # (new size,) int32, of what new places are made of
    reach: Any  # how far from a centre places count
    is_inside: Any | None = None  # (new size, old size) int32, 1 or 0: which places count; None: all
    background: Any | None = None  # (new size,) float32, for places that are made of nothing; 0 for others. It is not
    # added: Keras 3.15 takes a column that is added to a square for a row


def _line_of(old: Any, new: Any, outside: _Outside | None, ops: Any) -> _Line:
    """Where the places of a line go, given as two lines of ones."""
    size, new_size, places, centres = ops.sum(old), ops.sum(new), ops.cumsum(old), ops.cumsum(new)
    if outside is None:
        return _Line((places * 2 - 1) * new_size, (centres * 2 - 1) * size, ops.maximum(size, new_size) * 2)
    size, new_size = size - outside.old * 2, new_size - outside.new * 2
    places, centres = ((places - outside.old) * 2 - 1) * new_size, ((centres - outside.new) * 2 - 1) * size
    counts, gets = (
        ops.cast(line > 0, "int32") * ops.cast(line < size * new_size * 2, "int32") for line in (places, centres)
    )
    is_inside = ops.expand_dims(counts, 0) * ops.expand_dims(gets, 1)
    background = ops.cast((1 - gets) * BACKGROUND, "float32")
    return _Line(places, centres, ops.maximum(size, new_size) * 2, is_inside, background)


def _shares(line: _Line, ops: Any) -> tuple[Any, Any]:
    """How much of each old place is in each new one, a triangle around its centre, in 1/2**22: in two halves.

    Returns: (new size, old size) int32, the upper and the lower 11 bits.
    """
    apart = ops.abs(ops.expand_dims(line.places, 0) - ops.expand_dims(line.centres, 1))
    rest = ops.maximum(line.reach - apart, 0)
    if line.is_inside is not None:
        rest = rest * line.is_inside
    whole = ops.sum(rest, axis=1, keepdims=True)
    if line.background is not None:
        whole = ops.maximum(whole, 1)
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
