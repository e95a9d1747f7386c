"""The sheet of pictures with the labels that the model gave them."""

import io
import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from retrain.data import PictureForm, decode_image, read_header, read_picture
from retrain.errors import UnreadableImageError
from retrain.evaluation import PictureResult
from retrain.options import ImageOptions
from retrain.report.sheet import Layout, Tile, draw_sheet

__all__ = ["choose_pictures", "draw_predictions"]

_WRONG, _RIGHT = "#c1272d", "#2b7a3d"
_MOST_TILES = 24
_AROUND = 240  # the grey beside a picture that is not square
_LAYOUT = Layout(columns=6, side=200, lines=2, font_size=14)


def choose_pictures(pictures: Sequence[PictureResult], most: int = _MOST_TILES) -> list[PictureResult]:
    """Choose pictures for the sheet: wrong ones first, then right ones of all scores, each from the highest score down.

    Right ones get half of the places, or more if there are few wrong ones. Of several copies, one is shown.
    """
    different = list({picture.key: picture for picture in pictures}.values())
    ranked = sorted(different, key=lambda picture: (-picture.score, picture.path))
    wrong = [picture for picture in ranked if picture.predicted != picture.label]
    right = [picture for picture in ranked if picture.predicted == picture.label]
    shown = wrong[: max(most // 2, most - len(right))]
    places = min(most - len(shown), len(right))
    return shown + [right[number] for number in np.linspace(0, len(right) - 1, places).astype(int)]


def draw_predictions(
    pictures: Sequence[PictureResult],
    image_dir: str | os.PathLike[str],
    images: ImageOptions = ImageOptions(),
    title: str = "",
    depth: str = PictureForm.depth,
) -> bytes | None:
    """Draw a sheet of pictures with the labels that they got and their own, as a PNG. Wrong ones have a red frame.

    Pictures that can't be read any more are left out.

    Args:
        depth: how pixels of more than 8 bits become 8.
    Returns: None if none can be read.
    """
    tiles = _tiles(choose_pictures(pictures), Path(image_dir), images, depth)
    rows = list(iter(lambda: [*itertools.islice(tiles, _LAYOUT.columns)], []))
    if not rows:
        return None
    buffer = io.BytesIO()
    draw_sheet(rows, _LAYOUT, title).save(buffer, "PNG")
    return buffer.getvalue()


def _tiles(chosen: Sequence[PictureResult], folder: Path, images: ImageOptions, depth: str) -> Iterator[Tile]:
    """The pictures that can be read, in their proportions, on squares of one size."""
    side = _LAYOUT.side
    for picture in chosen:
        try:
            data = read_picture(folder / picture.path, images.max_file_size)
            header = read_header(data, images.max_pixels)
            scale = side / max(header.width, header.height)
            height, width = (max(1, round(length * scale)) for length in (header.height, header.width))
            pixels = decode_image(data, PictureForm(height, width, depth=depth), images.max_pixels)
        except UnreadableImageError:
            continue
        top, left = (side - height) // 2, (side - width) // 2
        square = np.full((side, side, 3), _AROUND, np.uint8)
        square[top : top + height, left : left + width] = pixels
        is_right = picture.predicted == picture.label
        caption = (f"{'' if is_right else '✗ '}{picture.score:.0%} {picture.predicted}", f"is {picture.label}")
        yield Tile(square, caption, _RIGHT if is_right else _WRONG, 2 if is_right else 6)
