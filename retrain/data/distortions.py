"""Distorted copies of pictures: what is drawn at random for each copy, and the pixels that result.

A copy depends on the picture's content, its own number, the seed and the options alone: not on the order of pictures,
the number of copies, or the process that makes them.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from retrain.data.decoding import decode_image
from retrain.data.picture_form import PictureForm
from retrain.options import DEFAULT_MAX_PIXELS, AugmentationOptions

__all__ = ["DISTORTIONS_VERSION", "Distorter", "Distortion", "distort", "draw_distortion", "largest_enlargement"]

# Part of the extractor's fingerprint: raise it when the same copy looks different.
DISTORTIONS_VERSION = 1

_MOST_ENLARGED = 4  # times the window: pictures are decoded no larger than this, and scaled up from there

_NUMBERS = 10  # random numbers per copy; each has a fixed use, so that no option changes what another draws


@dataclass(frozen=True)
class Distortion:
    """What is drawn for one copy. x and y are in the window that the backbone sees."""

    is_mirrored: bool = False
    degrees: float = 0.0  # counter-clockwise
    shift: tuple[float, float] = (0.0, 0.0)  # x, y: right and down, as shares of the window
    enlargement: tuple[float, float] = (1.0, 1.0)  # x, y: the picture's size in windows, >= 1
    place: tuple[float, float] = (0.0, 0.0)  # x, y: of the window in the enlarged picture, from 0 to below 1
    brightness: float = 1.0  # factor
    contrast: float = 1.0  # factor


def draw_distortion(key: bytes, copy: int, options: AugmentationOptions) -> Distortion:
    """How a copy of a picture is distorted.

    Args:
        key: 32 bytes, SHA-256 of the picture file.
        copy: its number, from 1 on.
    """
    (flip, turn, shift_x, shift_y, zoom, stretch, place_x, place_y, brightness, contrast) = _numbers(
        key, copy, options.augment_seed
    )
    scale = (1 + options.crop / 100) * (1 + zoom * options.zoom / 100)
    longer = _around(stretch, 1.0)
    stretched = [(1 + options.stretch / 100) ** max(0.0, way) for way in (longer, -longer)]
    return Distortion(
        is_mirrored=options.flip and flip < 0.5,
        degrees=_around(turn, options.rotate),
        shift=(_around(shift_x, options.shift / 100), _around(shift_y, options.shift / 100)),
        enlargement=(scale * stretched[0], scale * stretched[1]),
        place=(place_x, place_y),
        brightness=1 + _around(brightness, options.brightness / 100),
        contrast=1 + _around(contrast, options.contrast / 100),
    )


def largest_enlargement(options: AugmentationOptions) -> float:
    """The size at which pictures are decoded, in windows: the largest that the options allow, up to a limit."""
    return float(min(_MOST_ENLARGED, math.prod(1 + p / 100 for p in (options.crop, options.zoom, options.stretch))))


@dataclass(frozen=True)
class Distorter:
    """Makes distorted copies of picture files, all of one form."""

    options: AugmentationOptions
    form: PictureForm  # of the copies
    max_pixels: int = DEFAULT_MAX_PIXELS  # of the pictures

    def copies(self, data: bytes, key: bytes, numbers: Sequence[int]) -> NDArray[np.uint8]:
        """Decode a picture file once, and make copies of it.

        Args:
            data: the file.
            key: its SHA-256, 32 bytes.
            numbers: (m,) of the copies, from 1 on.
        Returns: (m, height, width, 3) uint8, RGB.
        Raises UnreadableImageError with the reason.
        """
        enlargement = largest_enlargement(self.options)
        canvas = Image.fromarray(decode_image(data, self.form.enlarged(enlargement), self.max_pixels))
        return np.stack([distort(canvas, draw_distortion(key, n, self.options), self.form.size) for n in numbers])


def distort(canvas: Image.Image, drawn: Distortion, size: tuple[int, int]) -> NDArray[np.uint8]:
    """One distorted copy of a picture.

    The picture is scaled to its enlargement (bilinear, antialiased). The window is cut at its place, moved by the
    shift; beyond its borders the picture is reflected. Without rotation, no pixel is interpolated after that. Rotation
    is bilinear, around the window's centre.

    Args:
        canvas: the whole picture, RGB, of any size.
        size: height and width of the copy.
    Returns: (height, width, 3) uint8.
    """
    height, width = size
    angle = math.radians(drawn.degrees)
    # how far a turned window reaches beyond itself, and interpolation beyond that
    margins = (0, 0)
    if drawn.degrees:
        sine, cosine = abs(math.sin(angle)), abs(math.cos(angle))
        reach = (width * sine + height * cosine - height, width * cosine + height * sine - width)
        margins = (max(0, math.ceil(reach[0] / 2)) + 2, max(0, math.ceil(reach[1] / 2)) + 2)
    scaled = (round(height * drawn.enlargement[1]), round(width * drawn.enlargement[0]))
    rows = _window(scaled[0], height, drawn.place[1], drawn.shift[1], margins[0])
    columns = _window(scaled[1], width, drawn.place[0], drawn.shift[0], margins[1])
    image = Image.fromarray(_cut(canvas, scaled, rows, columns))
    if drawn.degrees:
        image = _turned(image, angle, size)
    if drawn.is_mirrored:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if drawn.brightness != 1:
        image = ImageEnhance.Brightness(image).enhance(drawn.brightness)
    if drawn.contrast != 1:
        image = ImageEnhance.Contrast(image).enhance(drawn.contrast)
    return np.asarray(image)


def _numbers(key: bytes, copy: int, seed: int) -> list[float]:
    """The random numbers of a copy, in [0, 1); the same on every machine and with every version of NumPy."""
    stream = hashlib.shake_256(key + copy.to_bytes(4, "little") + seed.to_bytes(8, "little")).digest(8 * _NUMBERS)
    # the upper 53 of 64 bits: as many as a float holds, so that none is rounded up to 1
    return [(int(number) >> 11) / 2**53 for number in np.frombuffer(stream, "<u8")]


def _around(number: float, limit: float) -> float:
    """A number in [0, 1), mapped to [-limit, limit)."""
    return (2 * number - 1) * limit


def _window(length: int, side: int, place: float, shift: float, margin: int) -> NDArray[np.int64]:
    """The numbers, of `length` rows or columns, that a window of `side` and its margin show; reflected beyond the ends.

    A shift moves the picture, so it moves the window the other way.
    """
    start = int(place * (length - side + 1)) - round(shift * side)
    numbers = np.arange(start - margin, start + side + margin) % (2 * length)
    return np.minimum(numbers, 2 * length - 1 - numbers)


def _cut(
    canvas: Image.Image, scaled: tuple[int, int], rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """Rows and columns of the canvas, scaled to a height and width. Only the part that is needed is scaled."""
    top, left, bottom, right = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
    x, y = canvas.width / scaled[1], canvas.height / scaled[0]
    box = (left * x, top * y, min(right * x, canvas.width), min(bottom * y, canvas.height))
    part = canvas.resize((int(right - left), int(bottom - top)), Image.Resampling.BILINEAR, box)
    pixels: NDArray[np.uint8] = np.asarray(part).take(rows - top, axis=0).take(columns - left, axis=1)
    return pixels


def _turned(image: Image.Image, angle: float, size: tuple[int, int]) -> Image.Image:
    """The middle of an image, turned around its centre by radians, counter-clockwise. size: height and width."""
    height, width = size
    sine, cosine = math.sin(angle), math.cos(angle)
    # maps a pixel of the result to where it comes from
    from_x = image.width / 2 - cosine * width / 2 + sine * height / 2
    from_y = image.height / 2 - sine * width / 2 - cosine * height / 2
    matrix = (cosine, -sine, from_x, sine, cosine, from_y)
    return image.transform((width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
