"""The curves of training: raw figures, and the same smoothed."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from retrain.events import EpochEnded, Evaluated
from retrain.report.contents import Absent, Curves, Series, Stretch

__all__ = ["curves_of"]

_MOST_POINTS = 400  # of a series: more would be beyond a screen's pixels
_WEIGHT = 0.9  # of what came before, in the smooth line
_FEW = 20  # points; so few are shown as they are


def curves_of(
    history: Sequence[Evaluated],
    fine_tuning: Sequence[EpochEnded],
    best_step: int | None,
    best_epoch: int | None,
    measure: str = "accuracy",
) -> Curves | Absent:
    """Curves of a run.

    Args:
        best_step, best_epoch: whose weights were kept, if those are not the last ones.
        measure: what accuracies are.
    """
    stretches = []
    if history:
        stretches.append(_stretch("Training the head", "step", [row.step for row in history], history, best_step))
    if fine_tuning:
        epochs = [row.epoch for row in fine_tuning]
        stretches.append(_stretch("Fine-tuning", "epoch", epochs, fine_tuning, best_epoch))
    if not stretches:
        return Absent("The run has no record of its training.")
    note = "The thin lines are of the batches that the steps are trained on, and the thick ones are smoothed."
    if any(len(stretch.series) > 1 for stretch in stretches):
        note = (
            "Training figures are of the batch of each step, validation figures of a batch of pictures that are not "
            "trained on. Thick lines are smoothed."
        )
    return Curves(tuple(stretches), note, measure)


def _stretch(title: str, unit: str, places: Sequence[int], rows: Sequence[Any], kept: int | None) -> Stretch:
    series = [
        _series(name, places, rows)
        for name in ("train", "validation")
        if getattr(rows[0], f"{name}_accuracy") is not None
    ]
    return Stretch(title, unit, tuple(series), None if kept is None else float(kept))


def _series(name: str, places: Sequence[int], rows: Sequence[Any]) -> Series:
    columns = [places, *([getattr(row, f"{name}_{what}") for row in rows] for what in ("accuracy", "cross_entropy"))]
    where, accuracy, loss = (_thinned(column) for column in columns)
    smooth = (tuple(_smoothed(values)) for values in (accuracy, loss))
    return Series(name, tuple(where), tuple(accuracy), tuple(loss), *smooth)


def _thinned(values: Sequence[float]) -> list[float]:
    """The means of neighbours, so many that few enough are left; the last value stays as it is."""
    every = -(-len(values) // _MOST_POINTS)
    if every == 1:
        return [float(value) for value in values]
    starts = np.arange(0, len(values) - 1, every)
    sums = np.add.reduceat(np.array(values[:-1], float), starts)
    counts = np.diff([*starts, len(values) - 1])
    return [*(sums / counts).tolist(), float(values[-1])]


def _smoothed(values: Sequence[float]) -> list[float]:
    """An exponential moving average, corrected for its start as in Adam (Kingma and Ba, 2015)."""
    if len(values) < _FEW:
        return [*values]
    mean, found = 0.0, []
    for number, value in enumerate(values, 1):
        mean = _WEIGHT * mean + (1 - _WEIGHT) * value
        found.append(mean / (1 - _WEIGHT**number))
    return found
