"""Pictures of how training went: the curves, and a sheet of pictures with the labels that they got.

matplotlib is imported where something is drawn, and draws into memory, without the state that pyplot keeps.
"""

import io
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retrain.data.decoding import decode_image, read_header
from retrain.data.picture_file import read_picture
from retrain.errors import UnreadableImageError
from retrain.evaluation.metrics import PictureResult
from retrain.options import ImageOptions
from retrain.training.learning_curve import CurvePoint

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["choose_pictures", "draw_curves", "draw_predictions"]

_COLOURS = {"train": "#4c72b0", "validation": "#dd8452", "test": "#55a868"}
_WRONG, _RIGHT = "#c1272d", "#2b7a3d"
_COLUMNS, _MOST_TILES = 6, 24
_TILE, _AROUND = 180, 240  # pixels, the longer side of a picture on the sheet; the grey beside it
_LONGEST_LABEL = 22  # letters that fit beside each other above a tile


def draw_curves(curve: Sequence[CurvePoint]) -> bytes:
    """Accuracy and cross-entropy of all pictures over the steps, as a PNG of two panels; curve: one point or more."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    figure = Figure(figsize=(11, 4.4), dpi=120, layout="constrained")
    accuracy, loss = figure.subplots(1, 2)
    for number, axes in enumerate((accuracy, loss)):
        for name, colour in _COLOURS.items():
            points = [point for point in curve if name in point.figures]
            steps, values = [p.step for p in points], [p.figures[name][number] for p in points]
            if values:
                shown = f"{values[-1]:.1%}" if axes is accuracy else f"{values[-1]:.3f}"
                axes.plot(steps, values, color=colour, marker="o", markersize=3, label=f"{name} {shown}")
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
        axes.legend()
    _add_epochs(accuracy, curve)
    _add_epochs(loss, curve)
    accuracy.set_title("accuracy")
    accuracy.yaxis.set_major_formatter(PercentFormatter(1.0))
    loss.set_title("cross-entropy")
    loss.set_ylim(bottom=0)
    return _png(figure)


def _add_epochs(axes: "Axes", curve: Sequence[CurvePoint]) -> None:
    """A second scale above; fine-tuning may take other steps to an epoch than the head."""
    if not curve[-1].step:  # lbfgs that finds nothing to gain
        return
    steps, epochs = [0, *(point.step for point in curve)], [0.0, *(point.epoch for point in curve)]

    def epochs_of(values: Any) -> Any:
        return _on_line(values, steps, epochs)

    def steps_of(values: Any) -> Any:
        return _on_line(values, epochs, steps)

    axes.secondary_xaxis("top", (epochs_of, steps_of)).set_xlabel("epoch")


def _on_line(values: Any, places: Sequence[float], heights: Sequence[float]) -> Any:
    """Heights over values, on the line through points; beyond them, on the line from the first to the last."""
    slope = (heights[-1] - heights[0]) / (places[-1] - places[0])
    within = np.clip(values, places[0], places[-1])
    return np.interp(within, places, heights) + (values - within) * slope


def choose_pictures(pictures: Sequence[PictureResult], most: int = _MOST_TILES) -> list[PictureResult]:
    """Pictures for the sheet: wrong ones, the surest mistakes first, then right ones of all scores, the surest first.

    Right ones get half of the places, more where there are few wrong ones; of copies one is shown.
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
) -> bytes | None:
    """A sheet of pictures with their labels and those that they got, as a PNG; wrong ones are framed in red.

    Pictures that can't be read any more are left out.

    Returns: None where none can be read.
    """
    from matplotlib.figure import Figure

    tiles = list(_tiles(choose_pictures(pictures), Path(image_dir), images))
    if not tiles:
        return None
    rows = -(-len(tiles) // _COLUMNS)
    figure = Figure(figsize=(2.1 * _COLUMNS, 2.75 * rows + 0.5), dpi=110, layout="constrained")
    figure.suptitle(title, fontsize=12)
    grid = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
    for axes in grid[len(tiles) :]:
        axes.set_axis_off()
    for axes, (picture, pixels) in zip(grid, tiles, strict=False):
        is_right = picture.predicted == picture.label
        colour = _RIGHT if is_right else _WRONG
        axes.imshow(pixels)
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set(color=colour, linewidth=1.5 if is_right else 4)
        given = f"{'' if is_right else '✗ '}{_shortened(picture.predicted)} {picture.score:.0%}"
        true = f"is {_shortened(picture.label)}"
        # not as a formula, should there be a $ in a label
        axes.set_title(f"{given}\n{true}", fontsize=9, color=colour, parse_math=False)
    return _png(figure)


def _tiles(
    chosen: Sequence[PictureResult], folder: Path, images: ImageOptions
) -> Iterator[tuple[PictureResult, NDArray[np.uint8]]]:
    """Those that can be read, in their proportions, on squares of one size."""
    for picture in chosen:
        try:
            data = read_picture(folder / picture.path, images.max_file_size)
            header = read_header(data, images.max_pixels)
            scale = _TILE / max(header.width, header.height)
            height, width = (max(1, round(side * scale)) for side in (header.height, header.width))
            pixels = decode_image(data, height, width, images.max_pixels)
        except UnreadableImageError:
            continue
        top, left = (_TILE - height) // 2, (_TILE - width) // 2
        tile = np.full((_TILE, _TILE, 3), _AROUND, np.uint8)
        tile[top : top + height, left : left + width] = pixels
        yield picture, tile


def _shortened(label: str) -> str:
    return label if len(label) <= _LONGEST_LABEL else label[: _LONGEST_LABEL - 1] + "…"


def _png(figure: "Figure") -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # a box for it is what can be had
        figure.savefig(buffer, format="png")
    return buffer.getvalue()
