"""The search for optimizer, learning rate and L2 penalty, by cross-validation within a time."""

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retrain.config import TrainingOptions
from retrain.crossval import train_folds
from retrain.errors import TrainingError
from retrain.evaluation import Metrics
from retrain.folds import assign_folds, most_folds
from retrain.hooks import nothing
from retrain.image_folder import Sample

if TYPE_CHECKING:
    from retrain.training import HeadTrainer

__all__ = ["Try", "Tuning", "candidates", "choose_folds", "tune"]

# The most promising first, and every way of training among the first ones. L2 defines the optimum that lbfgs goes to;
# training in batches ends before it, where the learning rate matters more. (optimizer, learning rate, L2)
_CANDIDATES: tuple[tuple[str, float | None, float], ...] = (
    ("lbfgs", None, 1e-2),
    ("adam", 1e-4, 0.0),
    ("gradient-descent", 0.01, 1e-2),
    ("lbfgs", None, 3e-2),
    ("lbfgs", None, 3e-3),
    ("adam", 1e-3, 1e-2),
    ("gradient-descent", 0.1, 1e-2),
    ("lbfgs", None, 1e-3),
    ("lbfgs", None, 1e-1),
    ("gradient-descent", 0.001, 0.0),
    ("adam", 1e-3, 0.0),
    ("lbfgs", None, 1e-4),
    ("gradient-descent", 0.1, 0.0),
)

_FOLDS = 5  # where every class has pictures enough
_HOPELESS = 1.1  # times the best try's cross-entropy, in each of the first folds
_HOPELESS_FOLDS = 2


@dataclass(frozen=True)
class Try:
    """What cross-validation says of some options."""

    options: TrainingOptions
    resolved: TrainingOptions  # the same, with every default filled in
    folds: tuple[Metrics, ...]
    is_whole: bool  # all folds were tested; else it was given up, or failed
    seconds: float
    error: str | None = None  # why it failed

    @property
    def accuracy(self) -> float | None:
        """Mean over the folds that were tested, in [0, 1]."""
        return statistics.fmean(fold.accuracy or 0.0 for fold in self.folds) if self.folds else None

    @property
    def cross_entropy(self) -> float | None:
        """Mean over the folds that were tested, nats."""
        return statistics.fmean(_losses(self.folds)) if self.folds else None


@dataclass(frozen=True)
class Tuning:
    """What a search found."""

    tries: tuple[Try, ...]  # in their order
    best: int  # the try with all folds that has the lowest cross-entropy; from 0 on
    folds: int
    left_out: int  # tries that there was no time for
    seconds: float

    @property
    def options(self) -> TrainingOptions:
        """Those of the best try."""
        return self.tries[self.best].options

    def as_dict(self) -> dict[str, Any]:
        """For JSON; the tries themselves are in tuning.csv."""
        best = self.tries[self.best]
        return {
            "tries": len(self.tries),
            "left_out": self.left_out,
            "folds": self.folds,
            "best": self.best + 1,
            "accuracy": best.accuracy,
            "cross_entropy": best.cross_entropy,
            "seconds": round(self.seconds, 3),
        }


def choose_folds(
    samples: Sequence[Sample], keys: NDArray[np.uint8], sets: Sequence[str], options: TrainingOptions
) -> NDArray[np.int32]:
    """The folds for a search: of training and validation pictures; those for the test get -1, so that none is seen.

    Args:
        samples: (n,) of one image folder.
        keys: (n, 32) uint8.
        sets: (n,) train, validation or test.
    Raises TrainingError where a class has too few pictures.
    """
    used = np.flatnonzero(np.array(sets) != "test")
    own = [samples[number] for number in used.tolist()]
    count, fewest = min(_FOLDS, most_folds(own, keys[used])), 3 if options.patience else 2
    if count < fewest:
        raise TrainingError(
            f"--tune wants {fewest} different training or validation pictures of every class, "
            f"and there is one with {count}: add pictures, or leave it out"
        )
    folds = np.full(len(samples), -1, np.int32)
    folds[used] = assign_folds(own, keys[used], count, options.seed)
    return folds


def candidates(options: TrainingOptions) -> list[TrainingOptions]:
    """What is tried, the most promising first: the options as they are, then with what is searched for replaced."""
    found = [options]
    for optimizer, rate, l2 in _CANDIDATES:
        changes: dict[str, Any] = {"optimizer": optimizer, "learning_rate": rate, "l2": l2}
        if optimizer == "lbfgs":
            if options.dropout:
                continue  # it does not go with it
            changes["batch_size"] = None
        found.append(dataclasses.replace(options, **changes))
    return found


def tune(
    trainer: "HeadTrainer",
    folds: NDArray[np.int32],
    options: TrainingOptions,
    labels: Sequence[str],
    budget: float,
    on_try: Callable[[int, int, Try], None] = nothing,
) -> Tuning:
    """Try options by cross-validation; the best have the lowest mean cross-entropy.

    The order of tries is fixed, so that all that time decides is where they end. One that is a tenth worse than the
    best one in each of its first two folds is given up.

    Args:
        folds: (n,) the fold of each of the trainer's pictures; -1 for those that must not be seen, as the test set.
        options: what is not searched for stays as it is here.
        budget: seconds, after which no fold is begun; the first try is done whole in any case.
        on_try: called with the number of the try, from 1 on, how many there are, and the try.
    Raises TrainingError where not one try succeeds.
    """
    started = time.monotonic()
    wanted = candidates(options)
    tries: list[Try] = []
    best: Try | None = None
    for candidate in wanted:
        deadline = started + budget if best else math.inf
        if time.monotonic() >= deadline:
            break
        tried = _try(trainer, folds, candidate, labels, best, deadline)
        tries.append(tried)
        on_try(len(tries), len(wanted), tried)
        if tried.is_whole and (best is None or sum(_losses(tried.folds)) < sum(_losses(best.folds))):
            best = tried
    if best is None:
        raise TrainingError(f"none of {len(tries)} tries of --tune succeeded; the first: {tries[0].error}")
    seconds = time.monotonic() - started
    return Tuning(tuple(tries), tries.index(best), int(folds.max()) + 1, len(wanted) - len(tries), seconds)


def _try(
    trainer: "HeadTrainer",
    folds: NDArray[np.int32],
    options: TrainingOptions,
    labels: Sequence[str],
    best: Try | None,
    deadline: float,
) -> Try:
    started = time.monotonic()
    done: list[Metrics] = []
    error = None
    try:
        for result in train_folds(trainer, folds, options, tuple(labels)):
            done.append(result.metrics)
            if time.monotonic() >= deadline or (best and _is_hopeless(done, best)):
                break
    except TrainingError as problem:
        error = str(problem)
    whole = error is None and len(done) == int(folds.max()) + 1
    resolved = options.resolved(int((folds >= 0).sum() - (folds == 0).sum()))
    return Try(options, resolved, tuple(done), whole, time.monotonic() - started, error)


def _is_hopeless(done: Sequence[Metrics], best: Try) -> bool:
    if len(done) != _HOPELESS_FOLDS:
        return False
    pairs = zip(_losses(done), _losses(best.folds), strict=False)
    return all(mine > _HOPELESS * theirs for mine, theirs in pairs)


def _losses(folds: Sequence[Metrics]) -> list[float]:
    return [math.inf if fold.cross_entropy is None else fold.cross_entropy for fold in folds]
