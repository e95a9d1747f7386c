"""Learning curves: accuracy and cross-entropy of all pictures while a head is trained."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrain.cache import LabelledBottlenecks
from retrain.evaluation import mean_figures
from retrain.model import Head, judge
from retrain.options import DEFAULT_STEPS, TrainingOptions

__all__ = ["CurvePoint", "CurveRecorder", "curve_steps", "figures_of"]

_EVEN_POINTS, _MOST_EPOCHS = 20, 100


@dataclass(frozen=True)
class CurvePoint:
    """The figures of all pictures after some steps."""

    step: int  # number of steps done
    epoch: float  # the same in passes over the training pictures
    figures: dict[str, tuple[float, float]]  # set -> accuracy in [0, 1], mean cross-entropy in nats; no empty sets


def curve_steps(options: TrainingOptions, pictures: int) -> Sequence[int]:
    """Return the numbers of steps after which to measure, including the last.

    If epochs were asked for, these are the ends of all epochs, or of 100 evenly spread ones. Otherwise they are 20
    evenly spread steps. With lbfgs they are all steps, because nobody knows which will be the last.

    Args:
        options: with steps filled in.
        pictures: number of training pictures.
    """
    last = options.steps or DEFAULT_STEPS
    if options.optimizer == "lbfgs":
        return range(1, last + 1)
    if options.epochs is None:
        return sorted({max(1, last * part // _EVEN_POINTS) for part in range(1, _EVEN_POINTS + 1)})
    count = int(options.epochs)
    ends = np.linspace(1, count, min(count, _MOST_EPOCHS)).astype(int).tolist()
    return sorted({*(min(last, options.steps_of(end, pictures)) for end in ends), last})


def figures_of(
    head: Head, data: LabelledBottlenecks, members: dict[str, NDArray[np.int64]]
) -> dict[str, tuple[float, float]]:
    """Compute accuracy and mean cross-entropy of each set that has pictures.

    Args:
        data: (n,) pictures, without copies.
        members: set -> (m,) numbers of its pictures.
    """
    outcomes = judge(head, data.vectors, data.labels, data.label_sets)
    return {
        name: mean_figures(outcomes.select(chosen), data.labels[chosen])
        for name, chosen in members.items()
        if len(chosen)
    }


class CurveRecorder:
    """Measures heads on all pictures while they are trained.

    With lbfgs, nobody knows how many points there will be. Whenever there are too many, every other one is dropped, and
    from then on only every other one is measured.

    Args:
        data: (n,) pictures, without copies.
        members: set -> (m,) numbers of its pictures.
        options: of the training, with steps filled in.
    """

    def __init__(
        self, data: LabelledBottlenecks, members: dict[str, NDArray[np.int64]], options: TrainingOptions
    ) -> None:
        self.points: list[CurvePoint] = []
        self.steps = curve_steps(options, len(members["train"]))
        self._data, self._members, self._options = data, members, options
        self._every, self._most = 1, _MOST_EPOCHS if options.epochs is not None else 2 * _EVEN_POINTS

    def measure(self, step: int, head: Head) -> None:
        """Add a point if one is due after so many steps."""
        if step not in self.steps or step % self._every:
            return
        self._add(step, head)
        if self._options.optimizer == "lbfgs" and len(self.points) > self._most:
            self._every *= 2
            self.points = [point for point in self.points if point.step % self._every == 0]

    def finish(self, steps: int, head: Head) -> list[CurvePoint]:
        """Return all points. The last one is of the head that was kept, after all steps."""
        self.points = [point for point in self.points if point.step < steps]
        self._add(steps, head)
        return self.points

    def _add(self, step: int, head: Head) -> None:
        figures = figures_of(head, self._data, self._members)
        self.points.append(CurvePoint(step, self._options.passes(step, len(self._members["train"])), figures))
