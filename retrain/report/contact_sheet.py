"""The sheet of distorted copies, to look at before training on them: a row per class, the picture itself first."""

import hashlib
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from retrain.data import Distorter, Distortion, PictureForm, decode_image, draw_distortion, read_picture
from retrain.errors import ImageFolderError, OutputError, UnreadableImageError
from retrain.files import write_whole
from retrain.options import AugmentationOptions, ImageOptions
from retrain.paths import display_path
from retrain.report.sheet import Layout, Tile, draw_sheet

__all__ = ["Example", "check_place", "write_sheet"]

_MOST_ROWS, _MOST_COPIES = 8, 7
_SIDE = 160  # of a tile, in pixels
_TILE = PictureForm(_SIDE, _SIDE)
_SOFTWARE = "retrain inspect"  # marks the file as such a sheet


@dataclass(frozen=True)
class Example:
    """A picture that stands for its class."""

    path: Path
    label: str


def check_place(path: str | os.PathLike[str]) -> None:
    """Refuse to overwrite a file that is no such sheet, before any work is done. Raises OutputError."""
    if not os.path.lexists(path):
        return
    try:
        with Image.open(path, formats=("PNG",)) as image:
            is_ours = image.info.get("Software") == _SOFTWARE
    except OSError:
        is_ours = False
    if not is_ours:
        raise OutputError(
            f"{display_path(path)} exists and is not a sheet of distorted copies: choose another place with "
            "--sheet FILE.png"
        )


def write_sheet(
    path: str | os.PathLike[str], examples: Sequence[Example], options: AugmentationOptions, images: ImageOptions
) -> None:
    """Write a PNG. Each of the first eight pictures has a row: the picture and its first seven copies, with captions.

    Raises OutputError if the file can't be written, ImageFolderError if there is no picture to show.
    """
    rows = [row for row in (_row(example, options, images) for example in examples[:_MOST_ROWS]) if row]
    if not rows:
        raise ImageFolderError("no training picture to distort: add pictures, or leave out --augment")
    buffer, note = io.BytesIO(), PngInfo()
    note.add_text("Software", _SOFTWARE)
    draw_sheet(rows, Layout(max(map(len, rows)), _SIDE, 3, 11)).save(buffer, "PNG", pnginfo=note)
    try:
        write_whole(path, buffer.getvalue())
    except OSError as error:
        raise OutputError(f"can't write the sheet {display_path(path)}: {error.strerror}") from error


def _row(example: Example, options: AugmentationOptions, images: ImageOptions) -> list[Tile]:
    """The tiles of one picture. Empty if it can't be read any more."""
    numbers = range(1, min(options.augment, _MOST_COPIES) + 1)
    try:
        data = read_picture(example.path, images.max_file_size)
        plain = decode_image(data, _TILE, images.max_pixels)
        key = hashlib.sha256(data).digest()
        copies = Distorter(options, _TILE, images.max_pixels).copies(data, key, numbers)
    except UnreadableImageError:
        return []
    captions = [_caption(draw_distortion(key, number, options)) for number in numbers]
    first = Tile(plain, (display_path(example.label), display_path(example.path.name)))
    return [first, *(Tile(copy, text) for copy, text in zip(copies, captions, strict=True))]


def _caption(drawn: Distortion) -> tuple[str, ...]:
    """What was done to a copy, in up to three lines."""
    (x, y), way = drawn.enlargement, -1 if drawn.is_mirrored else 1  # as seen: after mirroring
    lines: list[list[tuple[object, str]]] = [
        [(drawn.is_mirrored, "flip"), (drawn.degrees, f"{way * drawn.degrees:+.0f}\N{DEGREE SIGN}")],
        [
            ((x, y) != (1, 1), f"x{x:.2f}" if abs(x - y) < 0.005 else f"x{x:.2f} y{y:.2f}"),
            (any(drawn.shift), f"moved {way * drawn.shift[0]:+.0%} {drawn.shift[1]:+.0%}"),
        ],
        [
            (drawn.brightness != 1, f"brightness {drawn.brightness:.2f}"),
            (drawn.contrast != 1, f"contrast {drawn.contrast:.2f}"),
        ],
    ]
    told = [" ".join(text for is_there, text in line if is_there) for line in lines]
    return tuple(filter(None, told)) or ("as it is",)
