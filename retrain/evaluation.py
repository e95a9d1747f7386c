"""Metrics: pure functions of scores and labels."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ClassMetrics", "Metrics", "evaluate_logits", "softmax", "wilson_interval"]

Z_95 = 1.959963984540054  # two-sided 95% quantile of the normal distribution


@dataclass(frozen=True)
class ClassMetrics:
    """How one class did. A ratio without a denominator is None."""

    label: str
    n: int  # pictures of the class
    precision: float | None  # of the pictures given this label, the share that has it
    recall: float | None  # of the pictures of the class, the share that got its label
    f1: float | None  # harmonic mean of the two


@dataclass(frozen=True)
class Metrics:
    """How a set of pictures did."""

    n: int
    accuracy: float | None  # in [0, 1]; None for no pictures
    accuracy_interval: tuple[float, float] | None  # 95%, Wilson
    cross_entropy: float | None  # mean, nats
    per_class: tuple[ClassMetrics, ...]
    confusion_matrix: tuple[tuple[int, ...], ...]  # [true label][given label]

    def as_dict(self) -> dict[str, Any]:
        """For JSON; the interval as a list."""
        return asdict(self)

    def most_confused(self) -> tuple[str, str, int] | None:
        """(true label, given label, pictures) of the most frequent mistake; None without mistakes."""
        matrix = np.array(self.confusion_matrix)
        np.fill_diagonal(matrix, 0)
        if not matrix.size or not matrix.any():
            return None
        true, given = np.unravel_index(matrix.argmax(), matrix.shape)
        return self.per_class[true].label, self.per_class[given].label, int(matrix[true, given])

    def worst_classes(self, most: int = 3) -> list[ClassMetrics]:
        """Classes of the lowest recall below 1, worst first."""
        known = [c for c in self.per_class if c.recall is not None and c.recall < 1]
        return sorted(known, key=lambda c: (c.recall, -c.n, c.label))[:most]


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, classes) logits to (n, classes) scores in [0, 1], each row adding up to 1."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)


def wilson_interval(right: int, n: int, z: float = Z_95) -> tuple[float, float]:
    """The Wilson score interval of a proportion (E. B. Wilson, JASA 22, 1927), for n >= 1 trials."""
    share = right / n
    centre = share + z * z / (2 * n)
    margin = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return max(0.0, min(share, (centre - margin) / scale)), min(1.0, max(share, (centre + margin) / scale))


def evaluate_logits(logits: NDArray[np.float32], labels: NDArray[np.int32], class_names: Sequence[str]) -> Metrics:
    """Metrics of one set.

    Args:
        logits: (n, classes) float32; n may be 0.
        labels: (n,) int32, in [0, classes).
        class_names: (classes,).
    """
    classes, n = len(class_names), len(labels)
    matrix = np.zeros((classes, classes), np.int64)
    given = logits.argmax(axis=1) if n else np.zeros(0, np.int64)
    np.add.at(matrix, (labels, given), 1)
    per_class = tuple(
        _class_metrics(name, int(matrix[i, i]), int(matrix[i].sum()), int(matrix[:, i].sum()))
        for i, name in enumerate(class_names)
    )
    confusion = tuple(tuple(row) for row in matrix.tolist())
    if not n:
        return Metrics(0, None, None, None, per_class, confusion)
    right = int(np.trace(matrix))
    return Metrics(n, right / n, wilson_interval(right, n), _cross_entropy(logits, labels), per_class, confusion)


def _cross_entropy(logits: NDArray[np.float32], labels: NDArray[np.int32]) -> float:
    """Mean of -log softmax at the true label, in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    log_scores = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return float(-log_scores[np.arange(len(labels)), labels].mean())


def _class_metrics(label: str, right: int, n: int, given: int) -> ClassMetrics:
    precision = right / given if given else None
    recall = right / n if n else None
    f1 = 2 * right / (n + given) if n + given else None
    return ClassMetrics(label, n, precision, recall, f1)
