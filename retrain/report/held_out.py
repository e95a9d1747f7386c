"""Heads that are tested on pictures which they were not trained on: for suspects, and to see what data is worth."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from retrain.cache import LabelledBottlenecks, SomeVectors, VectorSource, chunks
from retrain.data import Sample, assign_folds, most_folds
from retrain.evaluation import FoldStatistics, Metrics, different, summarize, summarize_folds
from retrain.model import Head, judge
from retrain.options import TrainingOptions
from retrain.report.contents import LearningCurve, LearningPoint
from retrain.report.judged import JudgedPictures
from retrain.text import counted

if TYPE_CHECKING:
    from retrain.training import HeadTrainer

__all__ = ["FoldHeads", "HeldOutHeads", "train_held_out"]

_FOLDS = 5
_SHARES = (0.2, 0.4, 0.6, 0.8)  # of the training pictures, beside all of them
_MANY, _FEWER_FOLDS = 5000, 3  # with so many pictures, fewer folds tell what a share is worth
_NEVER = 2**31 - 1  # an interval: nobody looks at evaluations in between
_LITTLE = 0.005  # accuracy

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class FoldHeads:
    """A head for each fold, trained on the other folds."""

    vectors: VectorSource  # (n, d)
    folds: NDArray[np.int32]  # (n,) -1: of a class with too few pictures, in no fold
    heads: tuple[Head, ...]

    def scores(self) -> Iterator[tuple[Numbers, NDArray[np.float64]]]:
        """Numbers of pictures, and the scores that the head of their fold gives them, some thousands at a time."""
        for fold, head in enumerate(self.heads):
            members = np.flatnonzero(self.folds == fold)
            for part in chunks(len(members)):
                yield members[part], head.scores(self.vectors[members[part]])


@dataclass(frozen=True)
class HeldOutHeads(FoldHeads):
    """The same, with what they tell of the data."""

    statistics: FoldStatistics
    learning: LearningCurve


def train_held_out(
    pictures: JudgedPictures, options: TrainingOptions, groups: NDArray[np.uint8], told: Callable[[int, int], None]
) -> HeldOutHeads | None:
    """Train heads on folds of all pictures, as the model's own was trained, and on parts of the folds.

    Args:
        options: of the model's head.
        groups: (n, 32) equal for pictures that must be in one fold, as are copies.
        told: called with heads that are trained, and all that will be.
    Returns: None if there are not two classes with two different pictures each.
    """
    folds = _folds(pictures, groups, options.seed)
    count = int(folds.max(initial=-1)) + 1
    if count < 2:
        return None
    from retrain.training import HeadTrainer

    bottlenecks = LabelledBottlenecks(pictures.vectors, pictures.labels).weighted(options.weights_of(pictures.names))
    trials = _Trials(pictures, folds, HeadTrainer(bottlenecks, len(pictures.names)), options)
    points, done = [], 0
    fewer = count if len(pictures) < _MANY else min(count, _FEWER_FOLDS)
    for share in (*_SHARES, 1.0):
        trained = []
        for fold in range(count if share == 1.0 else fewer):
            trained.append(trials.run(fold, share))
            done += 1
            told(done, fewer * len(_SHARES) + count)
        heads, metrics, sizes = zip(*trained, strict=True)
        statistics = summarize_folds(metrics, sizes)
        accuracy = statistics.accuracy
        points.append(LearningPoint(share, round(sum(sizes) / len(sizes)), accuracy.mean, accuracy.interval))
    curve = LearningCurve(tuple(points), statistics.n, _sentence(points))
    return HeldOutHeads(pictures.vectors, folds, heads, statistics, curve)  # those of all pictures came last


def _folds(pictures: JudgedPictures, groups: NDArray[np.uint8], seed: int) -> NDArray[np.int32]:
    """(n,) folds; -1 for classes that have fewer than two pictures that differ."""
    folds = np.full(len(pictures), -1, np.int32)
    units = {(label, group.tobytes()) for label, group in zip(pictures.labels.tolist(), groups, strict=True)}
    sizes = Counter(label for label, _ in units)
    used = np.flatnonzero([sizes[label] > 1 for label in pictures.labels.tolist()])
    if len({*pictures.labels[used].tolist()}) < 2:
        return folds
    labels, given = pictures.labels.tolist(), pictures.groups or [None] * len(pictures)
    samples = [
        Sample(pictures.paths[number], labels[number], pictures.names[labels[number]], group=given[number])
        for number in used.tolist()
    ]
    count = min(_FOLDS, most_folds(samples, groups[used]))
    if count > 1:
        folds[used] = assign_folds(samples, groups[used], count, seed)
    return folds


@dataclass(frozen=True)
class _Trials:
    """Trains and tests heads."""

    pictures: JudgedPictures
    folds: NDArray[np.int32]
    trainer: "HeadTrainer"
    options: TrainingOptions

    def run(self, fold: int, share: float) -> tuple[Head, Metrics, int]:
        """Train on a share of the other folds and test on the fold: the head, its figures, its training pictures."""
        pictures, labels = self.pictures, self.pictures.labels
        training = self._some(np.flatnonzero((self.folds >= 0) & (self.folds != fold)), share, fold)
        tested = np.flatnonzero(self.folds == fold)
        options = dataclasses.replace(self.options, patience=None, eval_step_interval=_NEVER)
        head = self.trainer.train(training, np.zeros(0, np.int64), options).head
        outcomes = judge(head, SomeVectors(pictures.vectors, tested), labels[tested])
        metrics = summarize(outcomes, labels[tested], pictures.names, pictures.keys[tested])
        return head, metrics, len(different(pictures.keys[training], labels[training]))

    def _some(self, training: Numbers, share: float, fold: int) -> Numbers:
        """A share of each class, at least one picture; larger shares have all that smaller ones have."""
        rng = np.random.default_rng([self.options.seed, fold])
        order = training[rng.permutation(len(training))]
        labels = self.pictures.labels[order]
        by_label = np.argsort(labels, kind="stable")
        ranks = np.empty(len(order), np.int64)
        ranks[by_label] = np.arange(len(order)) - np.searchsorted(labels[by_label], labels[by_label])
        sizes = np.bincount(labels)[labels]
        return np.sort(order[ranks < np.maximum(1, np.rint(share * sizes))])


def _sentence(points: list[LearningPoint]) -> str:
    """What the curve says about more pictures: the gain per doubling, from the last three points."""
    last = points[-3:]
    doublings = np.log2([max(1, point.pictures) for point in last])
    if float(np.ptp(doublings)) == 0:
        return "There are too few pictures to tell what more of them would bring."
    gain = float(np.polyfit(doublings, [point.accuracy for point in last], 1)[0])
    known = f"With {counted(points[-1].pictures, 'training picture')} the accuracy is {points[-1].accuracy:.1%}"
    if gain < _LITTLE:
        return f"{known}. The curve is flat: more pictures of the same kind would help little."
    gain = min(gain, 1 - points[-1].accuracy)
    return f"{known}. Twice as many pictures may add about {100 * gain:.1f} percentage points."
