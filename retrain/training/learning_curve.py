"""How accuracy and cross-entropy of all pictures go as a head is trained: the points of a curve."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrain.cache.vectors import VectorSource
from retrain.evaluation.metrics import mean_figures
from retrain.model.head import Head, judge
from retrain.options import DEFAULT_STEPS, TrainingOptions

__all__ = ["CurvePoint", "CurveRecorder", "curve_steps", "figures_of"]

_EVEN_POINTS, _MOST_EPOCHS = 20, 100


@dataclass(frozen=True)
class CurvePoint:
    """How a head did on all pictures after some steps."""

    step: int  # that were done
    epoch: float  # passes over the training pictures that these steps are
    figures: dict[str, tuple[float, float]]  # set with pictures -> accuracy in [0, 1], mean cross-entropy in nats


def curve_steps(options: TrainingOptions, pictures: int) -> Sequence[int]:
    """The numbers of steps after which to measure, the last one among them.

    The end of every epoch where epochs were asked for, or 100 of these, evenly spread; else 20 evenly spread ones. With
    lbfgs all: when it comes to its end is not known.

    Args:
        options: with their steps filled in.
        pictures: for training.
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
    head: Head, vectors: VectorSource, labels: NDArray[np.int32], members: dict[str, NDArray[np.int64]]
) -> dict[str, tuple[float, float]]:
    """Accuracy and mean cross-entropy of each set that has pictures.

    Args:
        vectors, labels: (n, d) and (n,).
        members: set -> (m,) numbers of its pictures.
    """
    outcomes = judge(head, vectors, labels)
    return {
        name: mean_figures(outcomes.select(chosen), labels[chosen]) for name, chosen in members.items() if len(chosen)
    }


class CurveRecorder:
    """Measures heads in training on all pictures.

    Where the end of training is not known, every other point is dropped whenever there are too many, and as many are
    left out from then on.

    Args:
        vectors: (n, d).
        labels: (n,) int32.
        members: set -> (m,) numbers of its pictures.
        options: of the training, with their steps filled in.
    """

    def __init__(
        self,
        vectors: VectorSource,
        labels: NDArray[np.int32],
        members: dict[str, NDArray[np.int64]],
        options: TrainingOptions,
    ) -> None:
        self.points: list[CurvePoint] = []
        self.steps = curve_steps(options, len(members["train"]))
        self._vectors, self._labels, self._members, self._options = vectors, labels, members, options
        self._every, self._most = 1, _MOST_EPOCHS if options.epochs is not None else 2 * _EVEN_POINTS

    def measure(self, step: int, head: Head) -> None:
        """Add a point, where one is due after so many steps."""
        if step not in self.steps or step % self._every:
            return
        self._add(step, head)
        if self._options.optimizer == "lbfgs" and len(self.points) > self._most:
            self._every *= 2
            self.points = [point for point in self.points if point.step % self._every == 0]

    def finish(self, steps: int, head: Head) -> list[CurvePoint]:
        """All points; the last one is the head as it was kept, after all steps."""
        self.points = [point for point in self.points if point.step < steps]
        self._add(steps, head)
        return self.points

    def _add(self, step: int, head: Head) -> None:
        figures = figures_of(head, self._vectors, self._labels, self._members)
        self.points.append(CurvePoint(step, self._options.passes(step, len(self._members["train"])), figures))
