"""Train and test heads fold by fold, as cross-validation and the search for options do."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retrain.cache import SomeVectors
from retrain.errors import TrainingError
from retrain.evaluation import AnyMetrics, AnyOutcomes, summarize
from retrain.events import Emit, ignore
from retrain.model import judge
from retrain.options import TrainingOptions
from retrain.text import listing

if TYPE_CHECKING:
    from retrain.training.head_trainer import HeadTrainer

__all__ = ["FoldResult", "FoldTrainer"]

_NEVER = 2**31 - 1  # an interval: only the first and the last step are evaluated


@dataclass(frozen=True)
class FoldResult:
    """One fold, tested by a head that was trained on the others."""

    tested: NDArray[np.int64]  # (m,) numbers of its pictures
    outcomes: AnyOutcomes
    metrics: AnyMetrics
    training_pictures: int
    options: TrainingOptions  # with every default filled in
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class FoldTrainer:
    """Trains heads on all folds but one, and tests them on that one."""

    trainer: "HeadTrainer"
    folds: NDArray[np.int32]  # (n,) the fold of each of the trainer's pictures, in [0, count); -1: it is left out
    labels: Sequence[str]

    @property
    def count(self) -> int:
        """Number of folds."""
        return int(self.folds.max()) + 1

    def train_all(self, options: TrainingOptions) -> Iterator[FoldResult]:
        """Train and test fold by fold. Raises TrainingError as `train` does."""
        for fold in range(self.count):
            yield self.train(fold, options)

    def train(self, fold: int, options: TrainingOptions, emit: Emit = ignore) -> FoldResult:
        """Train on all folds but one and test that one. With patience, the next fold is used for validation instead.

        Raises TrainingError if the training folds lack a class, and as training does.
        """
        # without patience nobody looks at the evaluations
        used = options if options.patience else dataclasses.replace(options, eval_step_interval=_NEVER)
        folds, data = self.folds, self.trainer.data
        held_out = folds == (fold + 1) % self.count if options.patience else np.zeros(len(folds), bool)
        tested, training = np.flatnonzero(folds == fold), np.flatnonzero((folds >= 0) & (folds != fold) & ~held_out)
        own = data.labels[: len(folds)]  # of the pictures, without copies
        missing = np.setdiff1d(self._labels_in(folds >= 0), self._labels_in(training))
        if len(missing):
            raise TrainingError(
                f"all pictures of class {listing(self.labels[number] for number in missing)} are in one fold, because "
                "they belong together: lower --folds, or keep one copy of each picture that is in several class folders"
            )
        used = used.with_steps(len(training))
        trained = self.trainer.train(training, np.flatnonzero(held_out), used, emit)
        outcomes = judge(trained.head, SomeVectors(data.vectors, tested), own[tested], data.label_sets)
        metrics = summarize(outcomes, own[tested], self.labels)
        resolved = options.resolved(len(training))
        return FoldResult(tested, outcomes, metrics, len(training), resolved, tuple(trained.warnings(resolved)))

    def _labels_in(self, chosen: NDArray[Any]) -> NDArray[Any]:
        """The numbers of the labels that chosen pictures have."""
        data = self.trainer.data
        own = data.labels[: len(self.folds)][chosen]
        return own if data.label_sets is None else np.flatnonzero(data.label_sets[own].any(axis=0))
