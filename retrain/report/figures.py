"""How good the model is, in figures: the confusion matrix, classes, thresholds and calibration."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from retrain.data import SETS
from retrain.evaluation import answers_above, expected_calibration_error, score_bins
from retrain.model import softmax
from retrain.report.contents import (
    Absent,
    Calibration,
    Cell,
    ClassCounts,
    ClassRow,
    Confusion,
    ReliabilityBin,
    Thresholds,
)
from retrain.report.judged import JudgedPictures
from retrain.text import counted

__all__ = ["NO_PICTURES", "bins_of", "calibration_of", "class_rows", "confusion_of", "note_of", "thresholds_of"]

Show = Callable[[Sequence[int]], tuple[int, ...]]  # puts pictures on the page; their numbers in the report

_MOST_CLASSES = 50  # in a matrix that can still be read
_MOST_PAIRS = 50  # most confused pairs
_MOST_IN_CELL, _MOST_ON_DIAGONAL = 12, 4  # pictures of a cell
_FEW_TRAINING = 20  # pictures of a class; fewer get a note, as `retrain train` warns
_STEPS = 100  # thresholds from 0 to 1
_WANTED = 0.95  # share of right answers that the suggested threshold is for

NO_PICTURES = "There are no test or validation pictures, so nothing can be said of pictures the model has not seen."


def confusion_of(pictures: JudgedPictures, show: Show) -> Confusion | Absent:
    """The confusion matrix of the shown set, with pictures for its cells."""
    if not len(pictures.shown):
        return Absent(NO_PICTURES)
    matrix = np.array(pictures.metrics.confusion_matrix, np.int64)
    order = chained(matrix) if len(matrix) <= _MOST_CLASSES else np.arange(len(matrix))
    place = np.argsort(order)
    totals = matrix.sum(axis=1)
    members: dict[tuple[int, int], list[int]] = {}
    shown = pictures.shown[np.argsort(-pictures.scores[pictures.shown, 0], kind="stable")]
    for number, true, given in zip(
        shown.tolist(), pictures.labels[shown].tolist(), pictures.given[shown, 0].tolist(), strict=True
    ):
        members.setdefault((true, given), []).append(number)
    wrong = sorted((pair for pair in members if pair[0] != pair[1]), key=lambda pair: (-len(members[pair]), pair))
    right = sorted(pair for pair in members if pair[0] == pair[1])
    cells = {}
    for pair in wrong + right:  # mistakes first, while there is room on the page
        true, given = pair
        most = _MOST_ON_DIAGONAL if true == given else _MOST_IN_CELL
        count = len(members[pair])
        numbers = show(members[pair][:most])
        cells[pair] = Cell(int(place[true]), int(place[given]), count, count / int(totals[true]), numbers)
    return Confusion(
        set=pictures.shown_set,
        n=len(shown),
        labels=tuple(pictures.names[number] for number in order),
        totals=tuple(totals[order].tolist()),
        cells=tuple(sorted(cells.values(), key=lambda cell: (cell.true, cell.given))),
        shows_matrix=len(matrix) <= _MOST_CLASSES,
        pairs=tuple(cells[pair] for pair in wrong[:_MOST_PAIRS]),
    )


def chained(matrix: NDArray[np.int64]) -> NDArray[np.int64]:
    """An order of the labels in which those that are confused stand together.

    It begins with the two that are confused most, and goes on at either end with the label that is confused most with
    the label there; labels that are confused with none of the ends come in their own order.
    """
    rates = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    rates = rates + rates.T
    np.fill_diagonal(rates, -1)
    if len(rates) < 3 or rates.max() <= 0:
        return np.arange(len(rates))
    first, last = divmod(int(rates.argmax()), len(rates))
    chain, left = [first, last], set(range(len(rates))) - {first, last}
    while left:
        rest = sorted(left)
        ends = [
            (float(rates[end, number]), -number, end == chain[-1]) for end in (chain[0], chain[-1]) for number in rest
        ]
        rate, number, at_end = max(ends)
        if rate <= 0:  # begin another chain behind this one
            own = rates[np.ix_(rest, rest)]
            number, at_end = -rest[int(own.argmax()) // len(rest)], True
        left.remove(-number)
        chain = [*chain, -number] if at_end else [-number, *chain]
    return np.array(chain)


def class_rows(pictures: JudgedPictures) -> tuple[ClassRow, ...]:
    """A row for each class: its pictures in each set, and how the model does on it."""
    counts = {
        name: np.bincount(pictures.labels[pictures.members(name)], minlength=len(pictures.names)).tolist()
        for name in SETS
    }
    return tuple(
        ClassRow(
            label=found.label,
            train=counts["train"][number],
            validation=counts["validation"][number],
            test=counts["test"][number],
            precision=found.precision,
            recall=found.recall,
            f1=found.f1,
            note=note_of(counts["train"][number], found.n, pictures.shown_set),
        )
        for number, found in enumerate(pictures.metrics.per_class)
    )


def note_of(train: int, shown: int, name: str) -> str:
    """What to say of a class with so many training pictures, and so many that are shown of a set."""
    if train < _FEW_TRAINING:
        return f"Only {counted(train, 'training picture')}" if train else "No training pictures"
    return f"No {name} pictures" if not shown else ""


def thresholds_of(pictures: JudgedPictures) -> Thresholds | Absent:
    """What happens if answers below a score count as "not sure"."""
    shown = pictures.shown
    if not len(shown):
        return Absent(NO_PICTURES)
    thresholds = np.arange(_STEPS + 1) / _STEPS
    top, right, labels = pictures.scores[shown, 0], pictures.is_right[shown], pictures.labels[shown]
    table = answers_above(thresholds, top, right, labels)
    answered, correct = table.answered.sum(axis=0), table.right.sum(axis=0)
    sizes = np.bincount(labels, minlength=len(pictures.names)).tolist()
    per_class = tuple(
        ClassCounts(pictures.names[number], sizes[number], tuple(of.tolist()), tuple(good.tolist()))
        for number, (of, good) in enumerate(zip(table.answered, table.right, strict=True))
        if sizes[number]
    )
    suggested, sentence = _suggestion(thresholds, answered, correct, pictures.shown_set)
    return Thresholds(
        pictures.shown_set,
        len(shown),
        tuple(thresholds.tolist()),
        tuple(answered.tolist()),
        tuple(correct.tolist()),
        per_class,
        suggested,
        sentence,
    )


def _suggestion(
    thresholds: NDArray[np.float64], answered: NDArray[np.int64], right: NDArray[np.int64], name: str
) -> tuple[float | None, str]:
    """The lowest threshold from which on at least 95% of the answers are right, in words too."""
    n = int(answered[0])
    wanted = f"at least {_WANTED:.0%}"
    enough = right >= _WANTED * np.maximum(answered, 1)
    if enough[0]:
        return None, f"{wanted.capitalize()} of all answers are right, so none needs to be left out."
    good = np.flatnonzero(enough & (answered > 0))
    if not len(good):
        return None, f"There is no score from which on {wanted} of the answers are right."
    place = int(good[0])
    share, known = int(answered[place]), int(right[place])
    return float(thresholds[place]), (
        f"With answers below {thresholds[place]:.2f} left out as not sure, "
        f"{share:,} of {counted(n, f'{name} picture')} "
        f"{'gets' if share == 1 else 'get'} an answer, and {known:,} of these {share:,} "
        f"{'is' if known == 1 else 'are'} right."
    )


def calibration_of(pictures: JudgedPictures, temperature: float | None) -> Calibration | Absent:
    """Whether scores are probabilities.

    Args:
        temperature: that --calibrate divided the logits by; None without it.
    """
    shown = pictures.shown
    if not len(shown):
        return Absent(NO_PICTURES)
    right, top = pictures.is_right[shown], pictures.scores[shown, 0]
    error = expected_calibration_error(top, right)
    before = None
    if temperature is not None:
        logits = pictures.head.logits(pictures.vectors[shown]) * np.float32(temperature)
        before = softmax(logits).max(axis=1)
    return Calibration(
        set=pictures.shown_set,
        n=len(shown),
        bins=bins_of(top, right),
        error=error,
        before=None if before is None else bins_of(before, right),
        error_before=None if before is None else expected_calibration_error(before, right),
        temperature=temperature,
        sentence=_calibration_sentence(float(top.mean()), float(right.mean()), temperature is not None),
    )


def bins_of(top: NDArray[np.float64], right: NDArray[np.bool_]) -> tuple[ReliabilityBin, ...]:
    """The bins of scores in (0, 1], (n,), and of whether what they are of is right, (n,)."""
    return tuple(ReliabilityBin(b.low, b.high, b.count, b.score, b.right) for b in score_bins(top, right))


def _calibration_sentence(score: float, right: float, is_calibrated: bool) -> str:
    told = f"The scores promise {score:.0%} right answers on average, and {right:.0%} are right"
    if abs(score - right) < 0.03:
        return f"{told}: you can read a score as a probability."
    way = "too sure" if score > right else "not sure enough"
    remedy = "" if is_calibrated else " Training with --calibrate corrects that."
    return f"{told}: the model is {way} of itself.{remedy}"
