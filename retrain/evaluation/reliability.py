"""What scores are worth: the bins of a reliability diagram, and what answering only when sure would bring."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrain.evaluation.metrics import CALIBRATION_BINS

__all__ = ["AnswerCounts", "ScoreBin", "answers_above", "score_bins"]


@dataclass(frozen=True)
class ScoreBin:
    """The pictures whose best score lies in (low, high]."""

    low: float
    high: float
    count: int  # >= 1
    score: float  # mean
    right: float  # share of them with the right label


def score_bins(top_scores: NDArray[np.float64], right: NDArray[np.bool_]) -> tuple[ScoreBin, ...]:
    """The bins that `expected_calibration_error` sums over, without empty ones.

    Args:
        top_scores: (n,) float64, in (0, 1].
        right: (n,) bool.
    """
    numbers = np.ceil(top_scores * CALIBRATION_BINS).astype(np.int64) - 1
    counts, scores, rights = (
        np.bincount(numbers, weights=values, minlength=CALIBRATION_BINS)
        for values in (np.ones(len(right)), top_scores, right)
    )
    return tuple(
        ScoreBin(
            number / CALIBRATION_BINS,
            (number + 1) / CALIBRATION_BINS,
            int(counts[number]),
            float(scores[number] / counts[number]),
            float(rights[number] / counts[number]),
        )
        for number in np.flatnonzero(counts).tolist()
    )


@dataclass(frozen=True)
class AnswerCounts:
    """What is answered, and how much of that is right, at rising thresholds of the best score."""

    answered: NDArray[np.int64]  # (groups, thresholds) pictures with a score of at least the threshold
    right: NDArray[np.int64]  # (groups, thresholds) of these, those with the right label


def answers_above(
    thresholds: NDArray[np.float64],
    top_scores: NDArray[np.float64],
    right: NDArray[np.bool_],
    groups: NDArray[np.int32],
) -> AnswerCounts:
    """Count answers at each threshold.

    Args:
        thresholds: (t,) rising.
        top_scores, right: (n,).
        groups: (n,) the group of each picture, as its class; groups are as many as the highest number says.
    """
    # a picture is answered at all thresholds up to the last one that is not above its score
    places = np.searchsorted(thresholds, top_scores, side="right")
    count, steps = int(groups.max(initial=-1)) + 1, len(thresholds) + 1

    def at_least(chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
        held = np.bincount(groups[chosen].astype(np.int64) * steps + places[chosen], minlength=count * steps)
        table: NDArray[np.int64] = held.reshape(count, steps)[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]
        return table

    return AnswerCounts(at_least(np.ones(len(right), bool)), at_least(right))
