"""Plots of a training run.

matplotlib is imported only when something is drawn, and draws into memory, without the global state of pyplot.
"""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from retrain.training import CurvePoint

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_curves"]

_COLOURS = {"train": "#4c72b0", "validation": "#dd8452", "test": "#55a868"}


def draw_curves(curve: Sequence[CurvePoint], measure: str = "accuracy") -> bytes:
    """Draw accuracy and cross-entropy over the steps, as a PNG of two panels.

    Args:
        curve: one point or more.
        measure: what accuracies are.
    """
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
    accuracy.set_title(measure)
    accuracy.yaxis.set_major_formatter(PercentFormatter(1.0))
    loss.set_title("cross-entropy")
    loss.set_ylim(bottom=0)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _add_epochs(axes: "Axes", curve: Sequence[CurvePoint]) -> None:
    """Add a scale of epochs at the top. Fine-tuning may take another number of steps per epoch than the head."""
    if not curve[-1].step:  # lbfgs found nothing to gain
        return
    steps, epochs = [0, *(point.step for point in curve)], [0.0, *(point.epoch for point in curve)]

    def epochs_of(values: Any) -> Any:
        return _on_line(values, steps, epochs)

    def steps_of(values: Any) -> Any:
        return _on_line(values, epochs, steps)

    axes.secondary_xaxis("top", (epochs_of, steps_of)).set_xlabel("epoch")


def _on_line(values: Any, places: Sequence[float], heights: Sequence[float]) -> Any:
    """Interpolate between points. Beyond them, follow the line from the first to the last."""
    slope = (heights[-1] - heights[0]) / (places[-1] - places[0])
    within = np.clip(values, places[0], places[-1])
    return np.interp(within, places, heights) + (values - within) * slope
