"""Wrote format-1/, the golden cache: python tests/golden/write_format_1.py, run with retrain 0.1.0.

Kept, with what it wrote, so that later versions prove that they still read format 1. Never run it again: the golden
files must stay as they are.
"""

import sys
from pathlib import Path

import numpy as np

from retrain.cache.segments import Rows
from retrain.cache.store import BottleneckCache

FINGERPRINT = "5eed" * 16


def golden_rows() -> Rows:
    """Ten rows, of two copies each of five pictures."""
    keys = np.repeat(np.arange(5, dtype=np.uint8), 2)[:, np.newaxis] * np.ones(32, np.uint8) + np.arange(
        32, dtype=np.uint8
    )
    copies = np.tile(np.arange(2, dtype=np.uint32), 5)
    vectors = (np.arange(30, dtype=np.float32) / 7).reshape(10, 3)
    return Rows(keys, copies, vectors)


if __name__ == "__main__":
    place = Path(__file__).parent / "format-1"
    if place.exists():
        sys.exit(f"{place} is there already")
    BottleneckCache(place, "golden", FINGERPRINT, {"weights": "none"}).add(golden_rows())
