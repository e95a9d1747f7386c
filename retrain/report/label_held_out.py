"""Heads of several labels that are tested on pictures which they were not trained on."""

import dataclasses
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrain.cache import LabelledBottlenecks, SomeVectors
from retrain.data import SEPARATOR, Sample, assign_folds, most_folds
from retrain.evaluation import (
    LabelOutcomes,
    MultiLabelMetrics,
    WrongLabel,
    find_wrong_labels,
    logistic,
    summarize,
    summarize_label_folds,
)
from retrain.model import judge
from retrain.options import TrainingOptions
from retrain.report.contents import Figure
from retrain.report.judged_labels import JudgedLabels

__all__ = ["HeldOutLabels", "judge_held_out"]

_FOLDS = 5
_NEVER = 2**31 - 1  # an interval: nobody looks at evaluations in between


@dataclass(frozen=True)
class HeldOutLabels:
    """What heads say of pictures that they never saw."""

    wrong: tuple[WrongLabel, ...]  # labels that are probably wrong or missing, the most improbable first
    mean_average_precision: Figure | None  # mean over the folds; None if a fold has no labels


def judge_held_out(
    pictures: JudgedLabels, options: TrainingOptions, groups: NDArray[np.uint8], told: Callable[[int, int], None]
) -> HeldOutLabels | None:
    """Train heads on folds of all pictures, as the model's own was trained, and ask them of the other pictures.

    Args:
        options: of the model's head.
        groups: (n, 32) equal for pictures that must be in one fold, as are copies.
        told: called with heads that are trained, and all that will be.
    Returns: None if no label has two different pictures.
    """
    folds = _folds(pictures, groups, options.seed)
    count = int(folds.max(initial=-1)) + 1
    if count < 2:
        return None
    from retrain.training import HeadTrainer

    data = LabelledBottlenecks(pictures.vectors, pictures.labels, label_sets=pictures.label_sets)
    trainer = HeadTrainer(data.weighted(options.weights_of(pictures.names)), len(pictures.names))
    options = dataclasses.replace(options, patience=None, eval_step_interval=_NEVER)
    scores = np.empty((len(pictures), len(pictures.names)))
    metrics: list[MultiLabelMetrics] = []
    for fold in range(count):
        tested = np.flatnonzero(folds == fold)
        head = trainer.train(np.flatnonzero(folds != fold), tested[:0], options).head
        found = judge(head, SomeVectors(pictures.vectors, tested), pictures.labels[tested], pictures.label_sets)
        if isinstance(found, LabelOutcomes):
            scores[tested] = logistic(found.logits)
            metrics.append(summarize(found, pictures.labels[tested], pictures.names, pictures.keys[tested]))
        told(fold + 1, count)
    first = pictures.all_different
    wrong = find_wrong_labels(scores[first], pictures.has[first])
    numbered = tuple(dataclasses.replace(one, number=int(first[one.number])) for one in wrong)
    return HeldOutLabels(numbered, _figure(metrics))


def _figure(metrics: list[MultiLabelMetrics]) -> Figure | None:
    if any(found.mean_average_precision is None or found.macro_f1 is None for found in metrics):
        return None
    sizes = [found.n for found in metrics]
    statistics = summarize_label_folds(metrics, [sum(sizes) - size for size in sizes])
    return Figure(statistics.mean_average_precision.mean, statistics.mean_average_precision.interval, statistics.n)


def _folds(pictures: JudgedLabels, groups: NDArray[np.uint8], seed: int) -> NDArray[np.int32]:
    """(n,) folds. Labels that have fewer than two pictures that differ do not count; all -1 if there are no others."""
    own = [tuple(np.flatnonzero(row).tolist()) for row in pictures.label_sets]
    pairs = zip(pictures.labels.tolist(), groups, strict=True)
    sizes = Counter(
        label for _, label in {(group.tobytes(), label) for number, group in pairs for label in own[number]}
    )
    known = [tuple(label for label in labels if sizes[label] > 1) for labels in own]
    names = [SEPARATOR.join(pictures.names[label] for label in labels) for labels in known]
    given = pictures.groups or [None] * len(pictures)
    samples = [
        Sample(path, 0, names[number], group=group, labels=known[number])
        for path, number, group in zip(pictures.paths, pictures.labels.tolist(), given, strict=True)
    ]
    if not any(known):
        return np.full(len(pictures), -1, np.int32)
    count = min(_FOLDS, most_folds(samples, groups))
    return assign_folds(samples, groups, count, seed) if count > 1 else np.full(len(pictures), -1, np.int32)
