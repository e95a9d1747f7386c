"""A sheet of distorted copies to look at before training on them: a row per class, the picture itself first."""

import hashlib
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from retrain.data.decoding import decode_image
from retrain.data.distortions import Distortion, decode_copies, draw_distortion
from retrain.data.picture_file import read_picture
from retrain.errors import ImageFolderError, OutputError, UnreadableImageError
from retrain.files import write_whole
from retrain.options import AugmentationOptions, ImageOptions
from retrain.paths import display_path

__all__ = ["Example", "check_place", "write_sheet"]

_MOST_ROWS, _MOST_COPIES = 8, 7
_TILE, _GAP, _CAPTION = 160, 8, 42  # pixels
_FONT_SIZE = 11
_SOFTWARE = "retrain inspect"  # says in the file that it is such a sheet


@dataclass(frozen=True)
class Example:
    """A picture that stands for its class."""

    path: Path
    label: str


def check_place(path: str | os.PathLike[str]) -> None:
    """Refuse, before any work is done, to write over what is no such sheet. Raises OutputError."""
    if not os.path.lexists(path):
        return
    try:
        with Image.open(path, formats=("PNG",)) as image:
            is_ours = image.info.get("Software") == _SOFTWARE
    except OSError:
        is_ours = False
    if not is_ours:
        raise OutputError(
            f"{display_path(path)} is there, and no sheet of distorted copies: give another place, as in "
            "--sheet FILE.png"
        )


def write_sheet(
    path: str | os.PathLike[str], examples: Sequence[Example], options: AugmentationOptions, images: ImageOptions
) -> None:
    """Write a PNG: for each of the first eight pictures a row of itself and its first seven copies, with captions.

    Raises OutputError where the file can't be written, ImageFolderError where there is no picture to show.
    """
    rows = [row for row in (_row(example, options, images) for example in examples[:_MOST_ROWS]) if row]
    if not rows:
        raise ImageFolderError("no training picture to distort: add pictures, or leave out --augment")
    step = (_TILE + _GAP, _TILE + _CAPTION + _GAP)
    width = max(map(len, rows)) * step[0] + _GAP
    sheet = Image.new("RGB", (width, len(rows) * step[1] + _GAP), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(_FONT_SIZE)
    for y, row in enumerate(rows):
        for x, (tile, lines) in enumerate(row):
            corner = (_GAP + x * step[0], _GAP + y * step[1])
            sheet.paste(tile, corner)
            for number, line in enumerate(lines):
                place = (corner[0], corner[1] + _TILE + 1 + number * (_FONT_SIZE + 2))
                draw.text(place, _fitting(line, draw, font), "black", font)
    buffer = io.BytesIO()
    note = PngInfo()
    note.add_text("Software", _SOFTWARE)
    sheet.save(buffer, "PNG", pnginfo=note)
    try:
        write_whole(path, buffer.getvalue())
    except OSError as error:
        raise OutputError(f"can't write the sheet {display_path(path)}: {error.strerror}") from error


def _row(
    example: Example, options: AugmentationOptions, images: ImageOptions
) -> list[tuple[Image.Image, tuple[str, ...]]]:
    """Tiles and their captions; none where the picture can't be read any more."""
    numbers = range(1, min(options.augment, _MOST_COPIES) + 1)
    try:
        data = read_picture(example.path, images.max_file_size)
        plain = decode_image(data, _TILE, _TILE, images.max_pixels)
        key = hashlib.sha256(data).digest()
        copies = decode_copies(data, key, numbers, (_TILE, _TILE), options, images.max_pixels)
    except UnreadableImageError:
        return []
    captions = [_caption(draw_distortion(key, number, options)) for number in numbers]
    first = (Image.fromarray(plain), (display_path(example.label), display_path(example.path.name)))
    return [first, *((Image.fromarray(copy), text) for copy, text in zip(copies, captions, strict=True))]


def _caption(drawn: Distortion) -> tuple[str, ...]:
    """What was drawn for a copy, in as many lines as there is something to say."""
    (x, y), way = drawn.enlargement, -1 if drawn.is_mirrored else 1  # as it is seen, not as it was before mirroring
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


def _fitting(line: str, draw: ImageDraw.ImageDraw, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> str:
    """The line, or as much of it as a tile is wide."""
    short = line
    while short and draw.textlength(short if short == line else f"{short}...", font) > _TILE:
        short = short[:-1]
    return short if short == line else f"{short}..."
