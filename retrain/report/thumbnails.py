"""Small pictures: thumbnails for the page, and grey ones that tell whether two files show the same picture."""

import io
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrain.data import PictureForm, decode_image, picture_bytes, read_header
from retrain.errors import UnreadableImageError
from retrain.machine import cores
from retrain.options import ImageOptions

__all__ = ["SIDE", "PictureFiles", "correlation"]

SIDE = 160  # pixels of a thumbnail's longer side, at most
_QUALITY = 70  # of its JPEG
_GREY_SIDE = 32  # pixels

Made = TypeVar("Made")


class PictureFiles:
    """The files of an image folder.

    Args:
        root: the folder.
        images: how large a file and a picture may be.
        depth: how pixels of more than 8 bits become 8.
    """

    def __init__(self, root: str | os.PathLike[str], images: ImageOptions, depth: str = PictureForm.depth) -> None:
        self._root, self._images, self._depth = Path(root), images, depth

    def thumbnails(self, paths: Sequence[str], seconds: float | None = None) -> list[bytes | None]:
        """JPEGs of pictures in their proportions; None for those that can't be read, and when time is up."""
        return self._each(paths, self.thumbnail, seconds)

    def thumbnail(self, path: str, side: int = SIDE) -> bytes:
        """A JPEG of one picture in its proportions, its longer side at most so many pixels.

        Raises UnreadableImageError.
        """
        with picture_bytes(self._root / path, self._images.max_file_size) as data:
            pixels = decode_image(
                data, PictureForm(*self._fitted(data, side), depth=self._depth), self._images.max_pixels
            )
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=_QUALITY)
        return buffer.getvalue()

    def grey(self, paths: Sequence[str]) -> list[NDArray[np.float32] | None]:
        """(32, 32) float32 brightness of pictures, whatever their proportions; None for those that can't be read."""
        return self._each(paths, self._grey)

    def pixels(self, path: str, form: PictureForm) -> NDArray[np.uint8] | None:
        """(height, width, 3) uint8, as the network sees the picture. None if it can't be read."""
        try:
            with picture_bytes(self._root / path, self._images.max_file_size) as data:
                return decode_image(data, form, self._images.max_pixels)
        except UnreadableImageError:
            return None

    def size(self, path: str, side: int | None = None) -> tuple[int, int] | None:
        """(height, width) of a picture in pixels; smaller, in its proportions, if the longer one is above `side`.

        None if the picture can't be read.
        """
        try:
            with picture_bytes(self._root / path, self._images.max_file_size) as data:
                return self._fitted(data, side)
        except UnreadableImageError:
            return None

    def _fitted(self, data: bytes, side: int | None) -> tuple[int, int]:
        header = read_header(data, self._images.max_pixels)
        scale = 1.0 if side is None else min(1.0, side / max(header.width, header.height))
        return max(1, round(header.height * scale)), max(1, round(header.width * scale))

    def _each(
        self, paths: Sequence[str], make: Callable[[str], Made | None], seconds: float | None = None
    ) -> list[Made | None]:
        ends = None if seconds is None else time.monotonic() + seconds

        def made(path: str) -> Made | None:
            try:
                return None if ends is not None and time.monotonic() > ends else make(path)
            except UnreadableImageError:
                return None

        with ThreadPoolExecutor(cores()) as threads:
            return list(threads.map(made, paths))

    def _grey(self, path: str) -> NDArray[np.float32] | None:
        pixels = self.pixels(path, PictureForm(_GREY_SIDE, _GREY_SIDE, depth=self._depth))
        return None if pixels is None else np.asarray(pixels.mean(axis=2), np.float32)


def correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Pearson's correlation of two grey pictures, in [-1, 1]; of pictures of one colour, 1 if they are equal."""
    first, second = (grey - grey.mean() for grey in (one, other))
    scale = float(np.sqrt((first * first).sum() * (second * second).sum()))
    if scale < 1e-6:
        return 1.0 if float(np.abs(one - other).max()) < 1 else 0.0
    return float((first * second).sum()) / scale
