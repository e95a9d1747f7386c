"""Metrics: pure functions of scores and labels."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ClassMetrics",
    "Metrics",
    "Outcomes",
    "PictureResult",
    "different",
    "evaluate_logits",
    "expected_calibration_error",
    "is_imbalanced",
    "mean_figures",
    "outcomes_of",
    "summarize",
    "wilson_interval",
]

Z_95 = 1.959963984540054  # two-sided 95% quantile of the normal distribution

TOP_K = (2, 3, 5)
MOST_UNEVEN = 3  # times the smallest class: with more, accuracy says most of the large classes
CALIBRATION_BINS = 15  # as many as in Guo et al.'s tables

_CHUNK_VALUES = 2**18  # logits to work on at once: 1 MB of float32, which stays in the processor's cache


@dataclass(frozen=True)
class ClassMetrics:
    """The metrics of one class. A ratio without a denominator is None."""

    label: str
    n: int  # pictures of the class
    precision: float | None  # share of the pictures given this label that have it
    recall: float | None  # share of the pictures of the class that got its label
    f1: float | None  # harmonic mean of the two


@dataclass(frozen=True)
class Metrics:
    """The metrics of a set of pictures. A picture counts once, however many copies there are."""

    n: int  # different pictures
    accuracy: float | None  # in [0, 1]; None for no pictures
    accuracy_interval: tuple[float, float] | None  # 95%, Wilson
    cross_entropy: float | None  # mean, nats
    per_class: tuple[ClassMetrics, ...]
    confusion_matrix: tuple[tuple[int, ...], ...]  # [true label][given label]
    # k -> share of the pictures whose label is among the k most likely, for each of TOP_K below the number of classes.
    # Empty for no pictures. Keys are strings, as in JSON
    top_k_accuracy: dict[str, float]
    expected_calibration_error: float | None  # in [0, 1], see expected_calibration_error()
    copies: int = 0  # files with the content and the label of another; they do not count
    balanced_accuracy: float | None = None  # mean recall of the classes that have pictures
    macro_f1: float | None = None  # mean F1 of the classes that have pictures or were given to one

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @property
    def is_imbalanced(self) -> bool:
        """Whether the largest class has over three times the pictures of the smallest."""
        return is_imbalanced(found.n for found in self.per_class)

    def most_confused(self, most: int = 1) -> list[tuple[str, str, int]]:
        """Return (true label, given label, pictures) of the `most` most frequent mistakes."""
        matrix = np.array(self.confusion_matrix, np.int64).reshape(len(self.per_class), -1)
        np.fill_diagonal(matrix, 0)
        places = np.argsort(-matrix, axis=None, kind="stable")[:most]
        pairs = [divmod(int(place), len(self.per_class)) for place in places if matrix.flat[place]]
        return [(self.per_class[t].label, self.per_class[g].label, int(matrix[t, g])) for t, g in pairs]

    def worst_classes(self, most: int = 3) -> list[ClassMetrics]:
        """Return the classes with the lowest recall, worst first. Those with a recall of 1 are left out."""
        known = [c for c in self.per_class if c.recall is not None and c.recall < 1]
        return sorted(known, key=lambda c: (c.recall, -c.n, c.label))[:most]


@dataclass(frozen=True)
class PictureResult:
    """The label that the trained model gives a picture."""

    path: str  # relative to the image folder
    set: str  # train, validation or test; in an evaluation also new: not there when the model was trained
    label: str  # of several labels all, as in rose|leaf
    predicted: str
    score: float  # of the predicted label; of several, of all decisions together, see LabelOutcomes.certainties
    key: str  # SHA-256 of the file, hexadecimal


def is_imbalanced(counts: Iterable[int]) -> bool:
    """Whether the largest class has over three times the pictures of the smallest. Classes without any don't count."""
    sizes = [count for count in counts if count]
    return bool(sizes) and max(sizes) > MOST_UNEVEN * min(sizes)


def wilson_interval(right: int, n: int, z: float = Z_95) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion (E. B. Wilson, JASA 22, 1927), for n >= 1 trials."""
    share = right / n
    centre = share + z * z / (2 * n)
    margin = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return max(0.0, min(share, (centre - margin) / scale)), min(1.0, max(share, (centre + margin) / scale))


def expected_calibration_error(top_scores: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Return how far scores are from probabilities: 0 if of the pictures with a score of 0.8, say, 80% are right.

    ECE = sum over bins of (pictures in the bin / n) * |share that is right - mean top score|. The CALIBRATION_BINS bins
    of the top score have equal width: (0, 1/15], ..., (14/15, 1]. From Guo, Pleiss, Sun and
    Weinberger, On Calibration of Modern Neural Networks, ICML 2017, equations 2 and 3.

    Args:
        top_scores: (n,) float64, in (0, 1]: each picture's highest score; n >= 1.
        right: (n,) bool: whether the label with that score is the picture's.
    """
    bins = np.ceil(top_scores * CALIBRATION_BINS).astype(np.int64) - 1
    gaps = np.bincount(bins, weights=right - top_scores, minlength=CALIBRATION_BINS)
    return float(np.abs(gaps).sum() / len(top_scores))


def evaluate_logits(logits: NDArray[np.float32], labels: NDArray[np.int32], class_names: Sequence[str]) -> Metrics:
    """Compute the metrics of a set.

    Among equal logits, the first counts as the highest, in accuracy and in top-k accuracy.

    Args:
        logits: (n, classes) float32; n may be 0.
        labels: (n,) int32, in [0, classes).
        class_names: (classes,).
    """
    return summarize(outcomes_of(logits, labels), labels, class_names)


def summarize(
    outcomes: "Outcomes",
    labels: NDArray[np.int32],
    class_names: Sequence[str],
    keys: NDArray[np.uint8] | None = None,
) -> Metrics:
    """Compute the metrics of pictures from their outcomes.

    Copies do not count: they say nothing new, and would make the interval too narrow.

    Args:
        labels: (n,) int32, in [0, classes); n may be 0.
        class_names: (classes,).
        keys: (n, 32) uint8, SHA-256 of each picture's bytes. Without keys, all pictures count as different.
    """
    copies = 0
    if keys is not None:
        chosen = different(keys, labels)
        copies = len(labels) - len(chosen)
        outcomes, labels = outcomes.select(chosen), labels[chosen]
    classes, n = len(class_names), len(labels)
    pairs = labels.astype(np.int64) * classes + outcomes.given
    matrix = np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)
    counts = zip(class_names, np.diag(matrix).tolist(), matrix.sum(1).tolist(), matrix.sum(0).tolist(), strict=True)
    per_class = tuple(_class_metrics(*row) for row in counts)
    confusion = tuple(tuple(row) for row in matrix.tolist())
    if not n:
        return Metrics(0, None, None, None, per_class, confusion, {}, None)
    right = int(np.trace(matrix))
    return Metrics(
        n,
        right / n,
        wilson_interval(right, n),
        float(outcomes.losses.mean()),
        per_class,
        confusion,
        {str(k): float((outcomes.ranks < k).mean()) for k in TOP_K if k < classes},
        expected_calibration_error(outcomes.top_scores, outcomes.given == labels),
        copies,
        _mean(found.recall for found in per_class),
        _mean(found.f1 for found in per_class),
    )


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def different(keys: NDArray[np.uint8], labels: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return the numbers of pictures without copies: the first of each content and label, in rising order.

    Args:
        keys: (n, 32) uint8, SHA-256 of each picture's bytes.
        labels: (n,) int32.
    """
    columns = [labels, *np.ascontiguousarray(keys).view(np.uint64).T]
    order = np.lexsort(columns)  # stable, so that the first of equal pictures stays first
    changes = np.zeros(len(labels), bool)
    changes[:1] = True
    for column in columns:
        changes[1:] |= column[order][1:] != column[order][:-1]
    return np.sort(order[changes]).astype(np.int64)


@dataclass(frozen=True)
class Outcomes:
    """The outcomes of pictures: all that is kept of their logits, which may be a thousand numbers each."""

    given: NDArray[np.int64]  # (n,) label with the highest logit
    ranks: NDArray[np.int64]  # (n,) number of labels ahead of the true one
    top_scores: NDArray[np.float64]  # (n,) the highest score
    losses: NDArray[np.float64]  # (n,) cross-entropy: -log of the true label's score

    def select(self, chosen: NDArray[np.int64]) -> "Outcomes":
        """Return the outcomes of some pictures, by number."""
        return Outcomes(*(getattr(self, field.name)[chosen] for field in fields(self)))

    @staticmethod
    def joined(parts: Sequence["Outcomes"]) -> "Outcomes":
        """Return the outcomes of several sets of pictures, one after the other."""
        nothing = Outcomes(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), np.zeros(0))
        columns = ([getattr(part, field.name) for part in (nothing, *parts)] for field in fields(Outcomes))
        return Outcomes(*map(np.concatenate, columns))


def outcomes_of(logits: NDArray[np.float32], labels: NDArray[np.int32]) -> Outcomes:
    """Compute the outcomes of pictures from their (n, classes) logits."""
    chunk = max(1, _CHUNK_VALUES // logits.shape[1])
    return Outcomes.joined(
        [_evaluate_chunk(logits[i : i + chunk], labels[i : i + chunk]) for i in range(0, len(labels), chunk)]
    )


def mean_figures(outcomes: Outcomes, labels: NDArray[np.int32]) -> tuple[float, float]:
    """Return accuracy in [0, 1] and mean cross-entropy in nats of (n,) outcomes, n >= 1."""
    return float(np.mean(outcomes.given == labels)), float(np.mean(outcomes.losses))


def _evaluate_chunk(logits: NDArray[np.float32], labels: NDArray[np.int32]) -> Outcomes:
    """Compute outcomes without sorting: the rank of a label is the number of logits ahead of its own.

    Powers have the type of the logits and are summed in float64. So the loss of a picture that is almost certainly
    right, log(1 + little), keeps its digits.
    """
    rows = np.arange(len(labels))
    given = logits.argmax(axis=1)
    true, top = logits[rows, labels], logits[rows, given]
    ranks = np.count_nonzero(logits > true[:, None], axis=1)
    equal = np.count_nonzero(logits == true[:, None], axis=1)
    for row in np.flatnonzero(equal > 1):  # rare
        ranks[row] += np.count_nonzero(logits[row, : labels[row]] == true[row])
    sums = np.exp(logits - top[:, None]).sum(axis=1, dtype=np.float64)
    losses = np.log(sums) + (top.astype(np.float64) - true)
    return Outcomes(given, ranks, 1 / sums, losses)


def _class_metrics(label: str, right: int, n: int, given: int) -> ClassMetrics:
    precision = right / given if given else None
    recall = right / n if n else None
    f1 = 2 * right / (n + given) if n + given else None
    return ClassMetrics(label, n, precision, recall, f1)
