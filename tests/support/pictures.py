"""Small pictures, and the sizes of the tiny backbone."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[2]
TINY_SIZE = 16  # pixels, side of the tiny backbone's pictures
TINY_LENGTH = 24  # length of its bottlenecks

MakeFolder = Callable[..., Path]


def draw_picture(number: int, label: int, size: int = 20) -> Image.Image:
    """A noisy picture whose class shows in where it is bright; no two are the same."""
    rng = np.random.default_rng([number, label])
    pixels = rng.integers(0, 120, (size, size, 3))
    rows = slice(label % 4 * size // 4, (label % 4 + 1) * size // 4)
    pixels[rows, :, label % 3] += 130
    return Image.fromarray(pixels.astype(np.uint8))
