"""Metrics of pictures that may have several labels: pure functions of logits and of the labels that pictures have.

A label is given to a picture if its score, the logistic function of its logit, is at least the label's threshold.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrain.evaluation.metrics import Z_95, different, wilson_interval

__all__ = [
    "LabelMetrics",
    "LabelOutcomes",
    "MultiLabelMetrics",
    "PrecisionRecall",
    "average_precisions",
    "best_thresholds",
    "logistic",
    "precision_recall",
    "summarize_labels",
]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class LabelMetrics:
    """The metrics of one label. A ratio without a denominator is None."""

    label: str
    n: int  # pictures that have the label
    precision: float | None  # share of the pictures given this label that have it
    recall: float | None  # share of the pictures that have the label that were given it
    f1: float | None  # harmonic mean of the two
    average_precision: float | None  # mean precision over the pictures that have it, see average_precisions()
    threshold: float  # the label is given from this score on


@dataclass(frozen=True)
class MultiLabelMetrics:
    """The metrics of a set of pictures. A picture counts once, however many copies there are."""

    n: int  # different pictures
    mean_average_precision: float | None  # mean over the labels that pictures have; None for no pictures
    # 95%, as another set of as many pictures would vary it: a normal one, of the infinitesimal jackknife's standard
    # error (L. Jaeckel, 1972; B. Efron, The Jackknife, the Bootstrap and Other Resampling Plans, 1982, chapter 6)
    mean_average_precision_interval: tuple[float, float] | None
    micro_f1: float | None  # of all decisions on all labels together
    macro_f1: float | None  # mean F1 of the labels that a picture has or was given
    exact_match: float | None  # share of the pictures that were given exactly the labels that they have
    exact_match_interval: tuple[float, float] | None  # 95%, Wilson
    cross_entropy: float | None  # mean over the pictures of the sum over the labels, nats
    per_label: tuple[LabelMetrics, ...]
    co_occurrence: tuple[tuple[int, ...], ...]  # [label that a picture has][label that it was given] -> pictures
    together: tuple[tuple[int, ...], ...]  # [label that a picture has][another that it has] -> pictures
    copies: int = 0  # files with the content and the labels of another; they do not count

    @property
    def accuracy(self) -> float | None:
        """The share of the pictures with exactly the right labels, which is accuracy where each has one."""
        return self.exact_match

    @property
    def accuracy_interval(self) -> tuple[float, float] | None:
        """95%."""
        return self.exact_match_interval

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def worst_labels(self, most: int = 3) -> list[LabelMetrics]:
        """Return the labels with the lowest average precision, worst first. Those with one of 1 are left out."""
        known = [found for found in self.per_label if found.average_precision is not None]
        weak = [found for found in known if (found.average_precision or 0) < 1]
        return sorted(weak, key=lambda found: (found.average_precision, -found.n, found.label))[:most]


@dataclass(frozen=True)
class LabelOutcomes:
    """What a head says of pictures, and what is true of them."""

    logits: NDArray[np.float32]  # (n, classes)
    has: Flags  # (n, classes) which labels each picture has
    thresholds: NDArray[np.float32]  # (classes,) or (n, classes)

    @property
    def given(self) -> Flags:
        """(n, classes) which labels each picture is given."""
        return np.asarray(logistic(self.logits) >= self.thresholds)

    @property
    def losses(self) -> Floats:
        """(n,) cross-entropy: the sum over the labels of -log of the score of what is true, in nats."""
        logits = self.logits.astype(np.float64)
        return np.asarray((np.logaddexp(0, logits) - self.has * logits).sum(axis=1), np.float64)

    @property
    def certainties(self) -> Floats:
        """(n,) the score of all that was decided on a picture: of its labels together, as if they were independent.

        It is the product of the scores of the labels that it is given, and of one less those of the others.
        """
        signed = np.where(self.given, -self.logits, self.logits).astype(np.float64)
        return np.asarray(np.exp(-np.logaddexp(0, signed).sum(axis=1)), np.float64)

    def select(self, chosen: NDArray[np.int64]) -> "LabelOutcomes":
        """Return the outcomes of some pictures, by number."""
        own = self.thresholds if self.thresholds.ndim == 1 else self.thresholds[chosen]
        return LabelOutcomes(self.logits[chosen], self.has[chosen], own)

    def with_thresholds(self, thresholds: NDArray[np.float32]) -> "LabelOutcomes":
        """Return the same with other thresholds, (classes,) or (n, classes)."""
        return replace(self, thresholds=thresholds)

    @staticmethod
    def joined(parts: Sequence["LabelOutcomes"]) -> "LabelOutcomes":
        """Return the outcomes of several sets of pictures with the same thresholds, one after the other."""
        logits, has = (np.concatenate([getattr(part, name) for part in parts]) for name in ("logits", "has"))
        return LabelOutcomes(logits, has, parts[0].thresholds)


def logistic(logits: NDArray[np.floating[Any]]) -> Floats:
    """Map logits to scores in [0, 1]."""
    scores: Floats = np.exp(-np.logaddexp(0, -logits.astype(np.float64)))
    return scores


def summarize_labels(
    outcomes: LabelOutcomes,
    numbers: NDArray[np.int32],
    names: Sequence[str],
    keys: NDArray[np.uint8] | None = None,
) -> MultiLabelMetrics:
    """Compute the metrics of pictures from their outcomes.

    Args:
        numbers: (n,) int32, equal for pictures with the same labels; n may be 0.
        names: (classes,) of the labels.
        keys: (n, 32) uint8, SHA-256 of each picture's bytes. Without keys, all pictures count as different.
    """
    copies = 0
    if keys is not None:
        chosen = different(keys, numbers)
        copies = len(numbers) - len(chosen)
        outcomes = outcomes.select(chosen)
    has, given, n = outcomes.has, outcomes.given, len(outcomes.has)
    right, wanted, answered = (flags.sum(axis=0) for flags in (has & given, has, given))
    found = average_precisions(outcomes.logits, has)
    thresholds = np.broadcast_to(outcomes.thresholds, (max(1, n), len(names))).mean(axis=0, dtype=np.float64)
    per_label = tuple(
        LabelMetrics(
            name,
            int(wanted[label]),
            _ratio(right[label], answered[label]),
            _ratio(right[label], wanted[label]),
            _ratio(2 * right[label], wanted[label] + answered[label]),
            None if math.isnan(found.values[label]) else float(found.values[label]),
            round(float(thresholds[label]), 6),
        )
        for label, name in enumerate(names)
    )
    if not n:
        return MultiLabelMetrics(
            0, None, None, None, None, None, None, None, per_label, _counts(has, given), _counts(has, has), copies
        )
    exact = int((has == given).all(axis=1).sum())
    mean, interval = found.mean_with_interval()
    scores = [one.f1 for one in per_label if one.f1 is not None]
    return MultiLabelMetrics(
        n,
        mean,
        interval,
        _ratio(2 * right.sum(), wanted.sum() + answered.sum()),
        sum(scores) / len(scores) if scores else None,
        exact / n,
        wilson_interval(exact, n),
        float(outcomes.losses.mean()),
        per_label,
        _counts(has, given),
        _counts(has, has),
        copies,
    )


def _ratio(part: Any, whole: Any) -> float | None:
    return float(part / whole) if whole else None


def _counts(one: Flags, other: Flags) -> tuple[tuple[int, ...], ...]:
    """How many pictures have each pair of flags."""
    # float32 counts exactly up to 2**24, and the product is BLAS's
    kind = np.float32 if len(one) < 2**24 else np.float64
    counts = one.T.astype(kind) @ other.astype(kind)
    return tuple(map(tuple, counts.astype(np.int64).tolist()))


@dataclass(frozen=True)
class AveragePrecisions:
    """The average precision of each label, and how far each picture moves it."""

    values: Floats  # (classes,) nan for a label that no picture has
    influences: Floats  # (n,) of the mean over the labels: its derivative by the weight of each picture

    def mean_with_interval(self) -> tuple[float | None, tuple[float, float] | None]:
        """The mean over the labels that pictures have, and its 95% interval; None if no picture has any."""
        known = self.values[~np.isnan(self.values)]
        if not len(known):
            return None, None
        mean = float(known.mean())
        margin = Z_95 * math.sqrt(float(self.influences @ self.influences))
        return mean, (max(0.0, mean - margin), min(1.0, mean + margin))


def average_precisions(logits: NDArray[np.floating[Any]], has: Flags) -> AveragePrecisions:
    """Compute average precision, as scikit-learn's average_precision_score does: without interpolation.

    It is the mean, over the pictures that have the label, of the precision if the label were given to all pictures
    whose logit is at least that of the picture. Pictures with equal logits are given it together.

    Args:
        logits: (n, classes). Scores would do the same, but for those that are too near to 1 to differ.
        has: (n, classes) which labels each picture has.
    """
    count, classes = has.shape
    values, influences = np.full(classes, np.nan), np.zeros(count)
    for label in range(classes):
        positives = int(has[:, label].sum())
        if not positives:
            continue
        order = np.argsort(-logits[:, label], kind="stable")
        ranked, own = logits[order, label], has[order, label].astype(np.float64)
        is_last = np.append(ranked[1:] != ranked[:-1], True)  # of pictures with equal logits
        ends = np.flatnonzero(is_last)
        group = np.cumsum(is_last) - is_last  # (n,) the group of each picture
        reached, right = (ends + 1)[group], np.cumsum(own)[ends][group]
        value = float((own * right / reached).sum() / positives)
        values[label] = value
        # What a picture's weight changes: its own term, if it has the label; the sums above and below the line of all
        # terms from its group on; and the number of positives.
        starts = np.append(0, ends[:-1] + 1)[group]
        gain = np.cumsum((own / reached)[::-1])[::-1][starts]
        loss = np.cumsum((own * right / reached**2)[::-1])[::-1][starts]
        influences[order] += (own * (right / reached + gain - value) - loss) / positives
    known = int(np.count_nonzero(~np.isnan(values)))
    return AveragePrecisions(values, influences / max(1, known))


@dataclass(frozen=True)
class PrecisionRecall:
    """What each threshold of one label would bring, from the highest to the lowest."""

    thresholds: Floats  # (t,) scores that pictures have, falling; the label is given from each of them on
    right: NDArray[np.int64]  # (t,) pictures that have the label and are given it
    given: NDArray[np.int64]  # (t,) pictures that are given it
    positives: int  # pictures that have it


def precision_recall(scores: Floats, has: Flags) -> PrecisionRecall:
    """Compute what each threshold of a label would bring.

    Args:
        scores: (n,) of the label.
        has: (n,) which pictures have it.
    """
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) if len(order) else np.zeros(0, np.int64)
    return PrecisionRecall(ranked[ends], np.cumsum(has[order], dtype=np.int64)[ends], ends + 1, int(has.sum()))


def best_thresholds(scores: Floats, has: Flags) -> NDArray[np.float32]:
    """Choose the threshold of each label for a high F1.

    It is the threshold nearest to 0.5 whose F1 is at most one standard error below the highest: the one-standard-error
    rule (L. Breiman and others, Classification and Regression Trees, 1984, section 3.4.3). With few pictures, the
    threshold with the highest F1 is often the highest by chance, and worse than 0.5 on others; with many, the error is
    small, and hardly a better threshold is passed over. benchmarks/multi_label.py measures both. The standard error is
    the infinitesimal jackknife's.

    Any threshold between two neighbouring scores does the same: it is 0.5 if that is between them, else the middle. A
    label that no picture has keeps 0.5.

    Args:
        scores: (n, classes) of pictures that the head was not trained on; n may be 0.
        has: (n, classes) which labels each has.
    Returns: (classes,) in (0, 1).
    """
    chosen = np.full(scores.shape[1], 0.5, np.float32)
    for label in range(scores.shape[1]):
        curve = precision_recall(scores[:, label], has[:, label])
        if not curve.positives:
            continue
        f1, errors = _f1_with_errors(curve)
        best = f1.argmax()
        good = np.flatnonzero(f1 >= f1[best] - errors[best])
        below = np.append(curve.thresholds[1:], 0.0)[good]  # the next score, which is not given the label
        high = curve.thresholds[good]
        middle = np.where((below < 0.5) & (high >= 0.5), 0.5, (below + high) / 2)
        chosen[label] = middle[np.abs(middle - 0.5).argmin()]
    return chosen


def _f1_with_errors(curve: PrecisionRecall) -> tuple[Floats, Floats]:
    """F1 at each threshold, and its standard error.

    F1 is 2 * right / total, where total = given + positives. A picture that is right adds 2 to both, and one that is
    given the label wrongly, or not given it wrongly, adds 1 to the total: that moves F1 by (2 - 2 * F1) / total and by
    -F1 / total.
    """
    total = curve.given + curve.positives
    f1 = 2 * curve.right / total
    wrong = total - 2 * curve.right
    return f1, np.sqrt(curve.right * (2 - 2 * f1) ** 2 + wrong * f1**2) / total
