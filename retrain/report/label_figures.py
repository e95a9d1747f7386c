"""How good a model of several labels is, in figures: co-occurrence, labels, curves and calibration."""

import numpy as np
from numpy.typing import NDArray

from retrain.data import SETS
from retrain.evaluation import LabelMetrics, expected_calibration_error, logistic, precision_recall
from retrain.report.contents import (
    Absent,
    Calibration,
    CoOccurrence,
    LabelCurve,
    LabelPair,
    LabelRow,
)
from retrain.report.figures import NO_PICTURES, bins_of, note_of
from retrain.report.judged_labels import JudgedLabels

__all__ = ["co_occurrence_of", "label_calibration_of", "label_curves_of", "label_rows"]

_MOST_LABELS = 50  # in a matrix that can still be read
_MOST_PAIRS = 20
_MOST_CURVES = 60  # on a page
_MOST_POINTS = 200  # of a curve
_LEAST = 1e-12  # in place of a score of 0, which is in no bin


def co_occurrence_of(pictures: JudgedLabels) -> CoOccurrence | Absent:
    """Which labels come together among the shown pictures."""
    if not len(pictures.shown):
        return Absent(NO_PICTURES)
    has, given = pictures.outcomes.has, pictures.outcomes.given
    wrong = has.T.astype(np.int64) @ (given & ~has)
    having, answered = (
        np.array(matrix, np.int64) for matrix in (pictures.metrics.together, pictures.metrics.co_occurrence)
    )
    totals = has.sum(axis=0)
    rows = []
    if len(pictures.names) <= _MOST_LABELS:
        for label, total in enumerate(totals.tolist()):
            pairs = zip(answered[label].tolist(), having[label].tolist(), wrong[label].tolist(), strict=True)
            scale = max(1, total)
            rows.append(tuple(LabelPair(a, h, a / scale, w / scale) for a, h, w in pairs))
    places = np.argsort(-wrong, axis=None, kind="stable")[:_MOST_PAIRS].tolist()
    pairs_of = [divmod(place, len(pictures.names)) for place in places if wrong.flat[place]]
    return CoOccurrence(
        pictures.shown_set,
        len(pictures.shown),
        pictures.names,
        tuple(totals.tolist()),
        tuple(rows),
        tuple((pictures.names[own], pictures.names[other], int(wrong[own, other])) for own, other in pairs_of),
    )


def label_rows(pictures: JudgedLabels) -> tuple[LabelRow, ...]:
    """A row for each label: its pictures in each set, and how the model does on it."""
    train, validation, test = (pictures.has[pictures.members(name)].sum(axis=0).tolist() for name in SETS)
    return tuple(
        LabelRow(
            found.label,
            train[number],
            validation[number],
            test[number],
            found.threshold,
            found.precision,
            found.recall,
            found.f1,
            found.average_precision,
            note_of(train[number], found.n, pictures.shown_set),
        )
        for number, found in enumerate(pictures.metrics.per_label)
    )


def label_curves_of(pictures: JudgedLabels) -> tuple[LabelCurve, ...]:
    """The curve of precision over recall of each label that shown pictures have, the worst first."""
    numbered = list(enumerate(pictures.metrics.per_label))
    known = [
        (found.average_precision, number, found) for number, found in numbered if found.average_precision is not None
    ]
    return tuple(_curve(pictures, number, found, average) for average, number, found in sorted(known)[:_MOST_CURVES])


def _curve(pictures: JudgedLabels, number: int, found: LabelMetrics, average: float) -> LabelCurve:
    curve = precision_recall(pictures.scores[:, number], pictures.outcomes.has[:, number])
    recall, precision = curve.right / curve.positives, curve.right / curve.given
    chosen = np.unique(np.linspace(0, len(recall) - 1, min(len(recall), _MOST_POINTS)).round().astype(np.int64))
    points = tuple(zip(recall[chosen].tolist(), precision[chosen].tolist(), strict=True))
    own = None if found.recall is None or found.precision is None else (found.recall, found.precision)
    return LabelCurve(found.label, found.n, average, points, own, found.threshold)


def label_calibration_of(pictures: JudgedLabels, temperature: float | None) -> Calibration | Absent:
    """Whether scores are probabilities, of all labels of the shown pictures together.

    Args:
        temperature: that --calibrate divided the logits by; None without it.
    """
    if not len(pictures.shown):
        return Absent(NO_PICTURES)
    has = pictures.outcomes.has.reshape(-1)
    scores = np.maximum(pictures.scores.reshape(-1), _LEAST)
    before: NDArray[np.float64] | None = None
    if temperature is not None:
        before = np.maximum(logistic(pictures.outcomes.logits * np.float32(temperature)).reshape(-1), _LEAST)
    return Calibration(
        pictures.shown_set,
        len(pictures.shown),
        bins_of(scores, has),
        expected_calibration_error(scores, has),
        None if before is None else bins_of(before, has),
        None if before is None else expected_calibration_error(before, has),
        temperature,
        _sentence(float(scores.mean()) * len(pictures.names), float(has.mean()) * len(pictures.names), temperature),
    )


def _sentence(promised: float, had: float, temperature: float | None) -> str:
    told = f"By their scores, pictures would have {promised:.2f} labels on average, and they have {had:.2f}"
    if abs(promised - had) < 0.05 * max(had, 0.1):
        return f"{told}."
    remedy = "" if temperature is not None else " Training with --calibrate may correct that."
    return f"{told}: the scores are too {'high' if promised > had else 'low'}.{remedy}"
