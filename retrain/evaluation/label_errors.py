"""Confident learning: labels that a model which never saw the picture finds improbable.

C. Northcutt, L. Jiang and I. Chuang, Confident Learning: Estimating Uncertainty in Dataset Labels, Journal of
Artificial Intelligence Research 70, 2021. A class's threshold is the mean score that its own pictures get for it. A
picture is counted as of the class with the highest score among those whose threshold its score reaches; a picture that
is so counted as of another class than its label says is a suspect (an entry beside the diagonal of the paper's
confident joint, section 3.1). Suspects are ranked by their margin: the score of the
label less the best score of another one (section 3.2, the method that does not need to estimate rates of noise).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["LabelErrors", "WrongLabel", "find_label_errors", "find_wrong_labels"]

# Numbers of some pictures, and the scores (m, classes) that heads which were trained without them give them.
HeldOutScores = Callable[[], Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]]


@dataclass(frozen=True)
class LabelErrors:
    """The suspects, the most improbable label first."""

    numbers: NDArray[np.int64]  # (s,) of the pictures
    suggested: NDArray[np.int32]  # (s,) the label that each seems to have
    own_scores: NDArray[np.float64]  # (s,) the score of the label that it has
    scores: NDArray[np.float64]  # (s,) the score of the suggested label

    def rows(self) -> Iterator[tuple[int, int, float, float]]:
        """Yield them one by one."""
        columns = (self.numbers, self.suggested, self.own_scores, self.scores)
        yield from zip(*(column.tolist() for column in columns), strict=True)


@dataclass(frozen=True)
class WrongLabel:
    """A label that a picture probably should not have, or should."""

    number: int  # of the picture
    label: int
    has: bool  # whether the picture has it
    score: float


def find_label_errors(scores: HeldOutScores, labels: NDArray[np.int32]) -> LabelErrors:
    """Find the labels that are probably wrong.

    Args:
        scores: called twice; gives the scores of pictures in parts, so that all of them need not be in memory. A
            picture that no part has is never a suspect.
        labels: (n,) int32.
    """
    thresholds = _thresholds(scores, labels)
    found = [_suspects(numbers, part, labels, thresholds) for numbers, part in scores()]
    columns = [np.concatenate(column) for column in zip(*found, strict=True)] if found else [np.zeros(0)] * 5
    numbers, suggested, own, best, margins = columns
    order = np.lexsort([numbers, margins])
    return LabelErrors(numbers[order].astype(np.int64), suggested[order].astype(np.int32), own[order], best[order])


def find_wrong_labels(scores: NDArray[np.float64], has: NDArray[np.bool_]) -> tuple[WrongLabel, ...]:
    """Find the same among pictures that may have several labels: each label is a question with two answers.

    Args:
        scores: (n, classes) that heads give which were trained without the picture.
        has: (n, classes) which labels each picture has.
    Returns: the most improbable first.
    """
    found = []
    for label in range(scores.shape[1]):
        both = np.stack([1 - scores[:, label], scores[:, label]], axis=1)
        errors = find_label_errors(_once(both), has[:, label].astype(np.int32))
        for number, suggested, own, other in errors.rows():
            found.append(
                (own - other, number, label, WrongLabel(number, label, suggested == 0, float(scores[number, label])))
            )
    return tuple(wrong for *_, wrong in sorted(found, key=lambda row: row[:3]))


def _once(scores: NDArray[np.float64]) -> HeldOutScores:
    """All scores, in one part."""
    return lambda: iter([(np.arange(len(scores)), scores)])


def _thresholds(scores: HeldOutScores, labels: NDArray[np.int32]) -> NDArray[np.float64]:
    """(classes,) the mean score that pictures of each class get for it; infinite for a class without pictures."""
    sums = counts = np.zeros(0)
    for numbers, part in scores():
        own, classes = labels[numbers], part.shape[1]
        if not len(sums):
            sums, counts = np.zeros(classes), np.zeros(classes)
        sums += np.bincount(own, weights=part[np.arange(len(own)), own], minlength=classes)
        counts += np.bincount(own, minlength=classes)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)


def _suspects(
    numbers: NDArray[np.int64], scores: NDArray[np.float64], labels: NDArray[np.int32], thresholds: NDArray[np.float64]
) -> tuple[NDArray[Any], ...]:
    """Number, suggested label, score of the own label, score of the suggested one, and margin of each suspect."""
    rows, own = np.arange(len(numbers)), labels[numbers]
    confident = np.where(scores >= thresholds, scores, -1.0)
    suggested = confident.argmax(axis=1)
    chosen = np.flatnonzero((confident[rows, suggested] >= 0) & (suggested != own))
    others = scores[chosen].copy()
    others[np.arange(len(chosen)), own[chosen]] = -1.0
    own_scores = scores[chosen, own[chosen]]
    margins = own_scores - others.max(axis=1, initial=-1.0)
    return numbers[chosen], suggested[chosen], own_scores, scores[chosen, suggested[chosen]], margins
