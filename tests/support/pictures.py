"""Small pictures, and the sizes of the tiny backbone."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[2]
TINY_SIZE = 16  # pixels, side of the tiny backbone's pictures
TINY_LENGTH = 24  # length of its bottlenecks

# EXIF orientation -> how an upright picture is stored so that it is turned back; 1 is upright.
STORED_AS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}

MakeFolder = Callable[..., Path]


def draw_picture(number: int, label: int, size: int = 20) -> Image.Image:
    """A noisy picture whose class shows in where it is bright; no two are the same."""
    rng = np.random.default_rng([number, label])
    pixels = rng.integers(0, 120, (size, size, 3))
    rows = slice(label % 4 * size // 4, (label % 4 + 1) * size // 4)
    pixels[rows, :, label % 3] += 130
    return Image.fromarray(pixels.astype(np.uint8))


def encoded(pixels: np.ndarray, form: str) -> bytes:
    """(height, width, 3) uint8 as a picture file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()


def resized_by_predict(pixels: np.ndarray, height: int, width: int, fit: str = "squash") -> np.ndarray:
    """Pixels as `retrain predict` fits and resizes them. Pillow itself does it otherwise in other versions."""
    from retrain.data import PictureForm, decode_image

    return decode_image(encoded(pixels, "BMP"), PictureForm(height, width, fit))
