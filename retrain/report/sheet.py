"""A sheet: pictures in a grid, with captions below them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

__all__ = ["Layout", "Tile", "draw_sheet"]

Font = ImageFont.ImageFont | ImageFont.FreeTypeFont

_GAP = 8  # pixels around each tile
_LINE_GAP = 2  # pixels between lines
_OWN_LETTERS = frozenset(map(chr, range(32, 127))) | {"\N{DEGREE SIGN}", "…"}  # in Pillow's own font


@dataclass(frozen=True)
class Layout:
    """The sizes of a sheet."""

    columns: int
    side: int  # of a tile, in pixels
    lines: int  # room for so many in every caption
    font_size: int  # pixels


@dataclass(frozen=True)
class Tile:
    """A picture with its caption."""

    pixels: NDArray[np.uint8]  # (side, side, 3) RGB
    caption: tuple[str, ...]  # lines; each is cut where it is wider than the tile
    colour: str = "black"  # of the caption and the frame
    frame: int = 0  # width in pixels, inside the tile


def draw_sheet(rows: Sequence[Sequence[Tile]], layout: Layout, title: str = "") -> Image.Image:
    """Draw rows of tiles on white, below a title if there is one."""
    top = layout.font_size + 2 * _GAP if title else _GAP
    caption = layout.lines * (layout.font_size + _LINE_GAP) + 3
    across, down = layout.side + _GAP, layout.side + caption + _GAP
    sheet = Image.new("RGB", (layout.columns * across + _GAP, len(rows) * down + top), "white")
    draw = ImageDraw.Draw(sheet)
    if title:
        draw.text((sheet.width / 2, _GAP), title, "black", _font(title, layout), anchor="ma")
    for y, row in enumerate(rows):
        for x, tile in enumerate(row):
            left, upper = _GAP + x * across, top + y * down
            sheet.paste(Image.fromarray(tile.pixels), (left, upper))
            if tile.frame:
                corners = (left, upper, left + layout.side - 1, upper + layout.side - 1)
                draw.rectangle(corners, outline=tile.colour, width=tile.frame)
            for number, line in enumerate(tile.caption):
                font = _font(line, layout)
                below = upper + layout.side + 1 + number * (layout.font_size + _LINE_GAP)
                draw.text((left, below), _fitting(line, layout.side, font), tile.colour, font)
    return sheet


def _font(text: str, layout: Layout) -> Font:
    """Pillow's own font; for letters that it lacks, the wider one that comes with matplotlib."""
    if _OWN_LETTERS.issuperset(text):
        return ImageFont.load_default(layout.font_size)
    import matplotlib

    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), layout.font_size)


def _fitting(line: str, width: int, font: Font) -> str:
    """The line, or its beginning if it is too wide."""
    short = line
    while short and font.getlength(short if short == line else f"{short}...") > width:
        short = short[:-1]
    return short if short == line else f"{short}..."
