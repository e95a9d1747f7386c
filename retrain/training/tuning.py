"""Search for optimizer, learning rate and L2 penalty by cross-validation, within a given time."""

import dataclasses
import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrain.data import Sample, assign_folds, most_folds
from retrain.errors import TrainingError
from retrain.evaluation import main_figure
from retrain.events import Emit, Event, TryTested, ignore
from retrain.options import TrainingOptions
from retrain.training.fold_trainer import FoldTrainer

__all__ = ["Try", "Tuning", "candidates", "choose_folds", "tune"]

# (optimizer, learning rate, L2). The most promising come first, with every optimizer among them. L2 decides which
# optimum lbfgs finds. Training in batches stops before the optimum, so the learning rate matters more there.
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

_FOLDS = 5  # if every class has enough pictures
_FEWEST = 3  # how many tries get all folds


@dataclass
class Try:
    """Options, and how they do in cross-validation."""

    options: TrainingOptions
    resolved: TrainingOptions  # the same, with every default filled in
    accuracies: list[float] = field(default_factory=list)  # of each fold that was tested, in [0, 1]
    cross_entropies: list[float] = field(default_factory=list)  # nats
    seconds: float = 0.0
    error: str | None = None  # why training failed
    measure: str = "accuracy"  # what accuracies are: of pictures with several labels, mAP

    @property
    def accuracy(self) -> float | None:
        """Mean over the folds that were tested."""
        return statistics.fmean(self.accuracies) if self.accuracies else None

    @property
    def cross_entropy(self) -> float | None:
        """Mean over the folds that were tested."""
        return statistics.fmean(self.cross_entropies) if self.cross_entropies else None

    def event(self, done: int, planned: int) -> TryTested:
        """Return the event that tells of it, after `done` tests of `planned`."""
        how = (self.resolved.optimizer, self.resolved.learning_rate, self.resolved.l2 or 0.0)
        told = TryTested(done, planned, *how, len(self.accuracies), self.accuracy, self.cross_entropy, self.error)
        return dataclasses.replace(told, measure=self.measure)


@dataclass(frozen=True)
class Tuning:
    """The result of a search."""

    tries: tuple[Try, ...]
    best: int  # number of the best try, from 0 on
    folds: int  # by which the best was chosen
    is_complete: bool  # whether there was time for all planned tests
    seconds: float

    @property
    def measure(self) -> str:
        """What accuracies are, as a name for files: accuracy, or mean_average_precision of pictures with labels."""
        return "accuracy" if self.tries[self.best].measure == "accuracy" else "mean_average_precision"

    @property
    def options(self) -> TrainingOptions:
        """The options of the best try."""
        return self.tries[self.best].options

    def as_dict(self) -> dict[str, Any]:
        """For JSON. The tries themselves are in tuning.csv."""
        best = self.tries[self.best]
        return {
            "tries": sum(bool(tried.accuracies) for tried in self.tries),
            "folds": self.folds,
            "is_complete": self.is_complete,
            "best": self.best + 1,
            self.measure: best.accuracy,
            "cross_entropy": best.cross_entropy,
            "seconds": round(self.seconds, 3),
        }


def choose_folds(
    samples: Sequence[Sample], keys: NDArray[np.uint8], sets: Sequence[str], options: TrainingOptions
) -> NDArray[np.int32]:
    """Assign training and validation pictures to folds. Test pictures get -1, so that the search sees none of them.

    Args:
        samples: (n,) of one image folder.
        keys: (n, 32) uint8.
        sets: (n,) train, validation or test.
    Raises TrainingError if a class has too few pictures.
    """
    used = np.flatnonzero(np.array(sets) != "test")
    own = [samples[number] for number in used.tolist()]
    count, fewest = min(_FOLDS, most_folds(own, keys[used])), 3 if options.patience else 2
    if count < fewest:
        raise TrainingError(
            f"--tune needs {fewest} different training or validation pictures of every class, "
            f"and one class has {count}: add pictures, or leave out --tune"
        )
    folds = np.full(len(samples), -1, np.int32)
    folds[used] = assign_folds(own, keys[used], count, options.seed)
    return folds


def candidates(options: TrainingOptions, pictures: int) -> list[Try]:
    """List the tries: the options as they are, then with optimizer, learning rate and L2 replaced; none twice.

    Args:
        pictures: how many a head is trained on.
    """
    found = {options.resolved(pictures): options}
    for optimizer, rate, l2 in _CANDIDATES:
        changes: dict[str, Any] = {"optimizer": optimizer, "learning_rate": rate, "l2": l2}
        if optimizer == "lbfgs":
            if options.dropout:
                continue  # lbfgs has no dropout
            changes["batch_size"] = None
        other = dataclasses.replace(options, **changes)
        found.setdefault(other.resolved(pictures), other)
    return [Try(other, resolved) for resolved, other in found.items()]


def tune(folds: FoldTrainer, options: TrainingOptions, budget: float, emit: Emit = ignore) -> Tuning:
    """Try options by cross-validation. The best have the lowest mean cross-entropy.

    This is successive halving (Jamieson and Talwalkar, AISTATS 2016) over folds: all tries are tested on the first
    fold, the better half of them on the second, and so on, but at least three on each. So every try gets its chance
    before time runs out, and only tries that finished a round are compared. The order is fixed; time decides the end.

    Args:
        folds: of training and validation pictures, without those of the test set.
        options: all but optimizer, learning rate and L2 stays as it is here.
        budget: seconds, after which training stops. The first fold of the first try is always finished.
        emit: called with a TryTested after each test.
    Raises TrainingError if no try succeeds.
    """
    started = time.monotonic()
    tries = candidates(options, int((folds.folds > 0).sum()))
    rounds = [len(tries)]
    while len(rounds) < folds.count:
        rounds.append(max(min(_FEWEST, len(tries)), math.ceil(rounds[-1] / 2)))
    going, compared, done, is_complete = tries, 0, 0, True
    for fold, size in enumerate(rounds):
        going = sorted(going, key=_loss)[:size] if fold else going
        for tried in going:
            deadline = started + budget if done else math.inf
            if not _test(tried, folds, fold, deadline):
                is_complete = False
                break
            done += 1
            emit(tried.event(done, sum(rounds)))
        going = [tried for tried in going if not tried.error]
        if not is_complete or not going:
            break
        compared = fold + 1
    # if time ran out within a round, tries are compared by the rounds before it
    finalists = [tried for tried in going if len(tried.cross_entropies) >= max(1, compared)]
    if not finalists:
        raise TrainingError(f"none of {len(tries)} tries of --tune succeeded; the first failed: {tries[0].error}")
    compared = max(1, compared)
    best = min(finalists, key=lambda tried: statistics.fmean(tried.cross_entropies[:compared]))
    return Tuning(tuple(tries), tries.index(best), compared, is_complete, time.monotonic() - started)


class _OutOfTime(Exception):
    """The time for the search has run out."""


def _test(tried: Try, folds: FoldTrainer, fold: int, deadline: float) -> bool:
    """Train and test one fold. Returns False if there was no time for it."""
    started = time.monotonic()

    def check_time(_: Event) -> None:
        if time.monotonic() >= deadline:
            raise _OutOfTime

    try:
        check_time(Event())
        metrics = folds.train(fold, tried.options, check_time).metrics
        tried.measure, value = main_figure(metrics)
        tried.accuracies.append(value or 0.0)
        tried.cross_entropies.append(math.inf if metrics.cross_entropy is None else metrics.cross_entropy)
    except _OutOfTime:
        return False
    except TrainingError as error:
        tried.error = str(error)
    tried.seconds += time.monotonic() - started
    return True


def _loss(tried: Try) -> float:
    return statistics.fmean(tried.cross_entropies)
