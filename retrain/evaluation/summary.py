"""From outcomes to metrics, whether pictures have one label or several."""

from collections.abc import Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

from retrain.evaluation import metrics
from retrain.evaluation.metrics import Metrics, Outcomes
from retrain.evaluation.multi_label import LabelOutcomes, MultiLabelMetrics, summarize_labels

__all__ = ["AnyMetrics", "AnyOutcomes", "joined", "main_figure", "mean_figures", "summarize"]

AnyOutcomes = Outcomes | LabelOutcomes
AnyMetrics = Metrics | MultiLabelMetrics


@overload
def summarize(
    outcomes: Outcomes, labels: NDArray[np.int32], names: Sequence[str], keys: NDArray[np.uint8] | None = None
) -> Metrics: ...


@overload
def summarize(
    outcomes: LabelOutcomes, labels: NDArray[np.int32], names: Sequence[str], keys: NDArray[np.uint8] | None = None
) -> MultiLabelMetrics: ...


@overload
def summarize(
    outcomes: AnyOutcomes, labels: NDArray[np.int32], names: Sequence[str], keys: NDArray[np.uint8] | None = None
) -> AnyMetrics: ...


def summarize(
    outcomes: AnyOutcomes, labels: NDArray[np.int32], names: Sequence[str], keys: NDArray[np.uint8] | None = None
) -> AnyMetrics:
    """Compute the metrics of pictures from their outcomes.

    Copies do not count: they say nothing new, and would make intervals too narrow.

    Args:
        labels: (n,) int32, in [0, classes), or if pictures have several labels, equal for those that have the same.
        names: (classes,) of the labels.
        keys: (n, 32) uint8, SHA-256 of each picture's bytes. Without keys, all pictures count as different.
    """
    if isinstance(outcomes, LabelOutcomes):
        return summarize_labels(outcomes, labels, names, keys)
    return metrics.summarize(outcomes, labels, names, keys)


def mean_figures(outcomes: AnyOutcomes, labels: NDArray[np.int32]) -> tuple[float, float]:
    """Return accuracy in [0, 1] and mean cross-entropy in nats of (n,) outcomes, n >= 1.

    Accuracy is the share of the pictures with the right label; of several labels, with exactly the right ones.
    """
    if isinstance(outcomes, LabelOutcomes):
        right = (outcomes.given == outcomes.has).all(axis=1)
        return float(right.mean()), float(outcomes.losses.mean())
    return metrics.mean_figures(outcomes, labels)


def main_figure(found: AnyMetrics) -> tuple[str, float | None]:
    """Return what says most of how good a model is, with its name: accuracy, or with several labels, mAP."""
    if isinstance(found, MultiLabelMetrics):
        return "mAP", found.mean_average_precision
    return "accuracy", found.accuracy


def joined(parts: Sequence[AnyOutcomes]) -> AnyOutcomes:
    """Return the outcomes of several sets of pictures, one after the other: all of one label, or all of several."""
    of_labels = [part for part in parts if isinstance(part, LabelOutcomes)]
    if of_labels:
        return LabelOutcomes.joined(of_labels)
    return Outcomes.joined([part for part in parts if isinstance(part, Outcomes)])
