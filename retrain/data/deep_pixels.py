"""How pixels of more than 8 bits become 8, other than by their upper bits.

* full: the whole range of the type. v of 16 bits becomes v * 255 / 65535, of 12 bits v * 255 / 4095; floats are from 0
  to 1, v becomes v * 255. Whole numbers of 32 bits count as 16-bit ones.
* percentiles: each picture's own range. Of n values, the n // 100 lowest and the n // 100 highest are left out; what
  is left is stretched from its lowest, which becomes 0, to its highest, which becomes 255. Where both are the same, no
  value is left out. All channels together have one range, so that colours stay what they are.

Everything is rounded to the nearest level, halves up, and what lies beyond becomes 0 or 255.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrain.errors import UnreadableImageError

__all__ = ["full_range", "levels_of_numbers", "stretched"]

_LEFT_OUT = 100  # one of so many values, at each end
_VALUES = 2**16
_ROWS_OF_PIXELS = 2**20  # how much is worked on at a time

Levels = NDArray[np.uint8]


def full_range(bits: int) -> Levels:
    """(65536,) the level of each whole number, if the highest has so many bits."""
    top = 2**bits - 1
    levels: Levels = np.minimum((np.arange(_VALUES) * 255 + top // 2) // top, 255).astype(np.uint8)
    return levels


def stretched(counts: NDArray[np.int64]) -> Levels:
    """(65536,) the level of each whole number, for a picture that has each so many times: counts (65536,)."""
    left_out = int(counts.sum()) // _LEFT_OUT
    low, high = _end(counts, left_out), _VALUES - 1 - _end(counts[::-1], left_out)
    if high <= low:
        low, high = _end(counts, 0), _VALUES - 1 - _end(counts[::-1], 0)
    width = max(1, high - low)
    return np.clip(((np.arange(_VALUES) - low) * 255 + width // 2) // width, 0, 255).astype(np.uint8)


def _end(counts: NDArray[np.int64], left_out: int) -> int:
    """The first number that is not left out."""
    return int(np.searchsorted(counts.cumsum(), left_out, "right"))


def levels_of_numbers(values: NDArray[Any], rule: str) -> Levels:
    """(height, width) float32 or int32 to levels. Raises UnreadableImageError if the rule can't be applied."""
    wrong = 0 if values.dtype.kind == "i" else int(values.size - np.isfinite(values).sum())
    if wrong:
        raise UnreadableImageError(
            f"{wrong:,} of its {values.size:,} pixels are not numbers (NaN or infinite): give them values first"
        )
    lowest, highest = values.min().item(), values.max().item()
    if rule == "full":
        low, high = (0.0, 1.0) if values.dtype.kind == "f" else (0, _VALUES - 1)
        if lowest < low or highest > high:
            kind = "floats" if values.dtype.kind == "f" else "whole numbers of 32 bits"
            raise UnreadableImageError(
                f"{kind} from {lowest:g} to {highest:g}, where --depth full takes those from {low:g} to {high:g}: use "
                "--depth percentiles, or scale them first"
            )
    else:
        low, high = _middle_of(values)
        if high <= low:
            low, high = lowest, highest
    levels = np.empty(values.shape, np.uint8)
    rows = max(1, _ROWS_OF_PIXELS // values.shape[1])
    for top in range(0, len(values), rows):
        part = (values[top : top + rows].astype(np.float64) - low) * (255 / ((high - low) or 1))
        levels[top : top + rows] = np.floor(np.clip(part, 0, 255) + 0.5)
    return levels


def _middle_of(values: NDArray[Any]) -> tuple[float, float]:
    """The lowest and the highest value that are not left out."""
    left_out = values.size // _LEFT_OUT
    places = left_out, values.size - 1 - left_out
    ordered = values.reshape(-1).copy()
    ordered.partition(places)
    low, high = (ordered[place].item() for place in places)
    return low, high
