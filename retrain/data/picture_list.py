"""Pictures that are given one by one, as paths, as the bytes of files or as pixels: an image folder of one class."""

import os
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrain.data.labelled_pictures import LabelledPictures, Sample

__all__ = ["list_pictures"]

_CLASS = "pictures"


def list_pictures(pictures: Iterable[Any]) -> LabelledPictures:
    """Put pictures together, each of which is one of these:

    - a path, str or os.PathLike;
    - bytes: the content of a picture file;
    - an array of pixels, (height, width, 3) or (height, width) uint8: the same as the binary PPM or PGM file of it.

    Their samples have their order. Raises TypeError or ValueError for anything else, with its place in the list.
    """
    samples = tuple(_sample(number, picture) for number, picture in enumerate(pictures))
    return LabelledPictures(Path("/"), (_CLASS,), samples, is_part=True)


def _sample(number: int, picture: Any) -> Sample:
    if isinstance(picture, bytes):
        return _in_memory(number, partial(bytes, picture))
    if isinstance(picture, str | os.PathLike):
        path = os.fspath(picture)
        if isinstance(path, str):
            return Sample(os.path.join(os.getcwd(), path).lstrip("/"), 0, _CLASS)
    if not isinstance(picture, np.ndarray):
        raise TypeError(
            f"picture {number} is of type {type(picture).__name__}: give a path (str or os.PathLike), the bytes of a "
            "picture file, or pixels, an array of uint8"
        )
    if picture.dtype != np.uint8:
        raise TypeError(f"picture {number} is an array of {picture.dtype}: give pixels as uint8, from 0 to 255")
    if picture.ndim not in (2, 3) or picture.shape[2:] not in ((), (3,)) or 0 in picture.shape:
        raise ValueError(
            f"picture {number} is an array of shape {picture.shape}: give (height, width, 3) for RGB, or (height, "
            "width) for grey"
        )
    return _in_memory(number, partial(_netpbm, picture))


def _in_memory(number: int, content: Callable[[], bytes]) -> Sample:
    return Sample(f"picture {number}", 0, _CLASS, content=content)


def _netpbm(pixels: NDArray[np.uint8]) -> bytes:
    """(height, width, 3) or (height, width) uint8 to a binary PPM or PGM file, whose SHA-256 is the picture's key."""
    height, width = pixels.shape[:2]
    return b"P%d\n%d %d\n255\n" % (6 if pixels.ndim == 3 else 5, width, height) + pixels.tobytes()
