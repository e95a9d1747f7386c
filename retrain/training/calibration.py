"""Temperature scaling: turn scores into probabilities that can be trusted."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrain.cache import VectorSource
from retrain.model import Head

__all__ = ["Calibration", "calibrate", "fit_temperature"]

LOWEST, HIGHEST = 0.01, 100.0  # range of temperatures to search

_CHUNK_VALUES = 2**18  # logits to work on at once: 1 MB of float32, which stays in the processor's cache


@dataclass(frozen=True)
class Calibration:
    """The result of calibrating a head."""

    temperature: float
    cross_entropy_before: float  # of the validation pictures, nats
    cross_entropy_after: float


def calibrate(
    head: Head, bottlenecks: VectorSource, labels: NDArray[np.int32], label_sets: NDArray[np.bool_] | None = None
) -> tuple[Head, Calibration]:
    """Fit the temperature of a head to pictures that it was not trained on, and apply it.

    If pictures have several labels, each label of each is a decision between two: it, with its logit, or not, with 0.

    Args:
        bottlenecks: (n, d) float32, n >= 1, of the validation pictures.
        labels: (n,) int32, in [0, classes); with label_sets, in [0, sets).
        label_sets: (sets, classes) which labels each number stands for, if pictures may have several.
    """
    logits, decisions = head.logits(bottlenecks), 1
    if label_sets is not None:
        decisions = logits.shape[1]
        labels = (~label_sets[labels]).astype(np.int32).reshape(-1)
        logits = np.stack([logits.reshape(-1), np.zeros(logits.size, np.float32)], axis=1)
    temperature = fit_temperature(logits, labels)
    before, after = (decisions * _mean_cross_entropy(logits, labels, value) for value in (1.0, temperature))
    return head.tempered(temperature), Calibration(temperature, before, after)


def fit_temperature(logits: NDArray[np.float32], labels: NDArray[np.int32]) -> float:
    """Find the T > 0 for which softmax(logits / T) has the lowest cross-entropy.

    Temperature scaling: Guo, Pleiss, Sun and Weinberger, On Calibration of Modern Neural Networks, ICML 2017, section
    4.2. Above 1, scores were too high; below 1, too low. The order of the labels and the accuracy stay the same.

    T is in [0.01, 100]. If every label has the highest logit, cross-entropy falls all the way to T = 0, which turns all
    scores into 1. So T stops where the mean top score is (n + 1) / (n + 2), which is what n right answers in a row
    warrant by Laplace's rule of succession. A head that is surer than that from the start keeps its temperature of 1.
    The cross-entropy of these pictures never rises.

    Args:
        logits: (n, classes) float32, n >= 1, of pictures that the head was not trained on.
        labels: (n,) int32, in [0, classes).
    """
    from scipy.optimize import brentq, minimize_scalar

    def loss(log_temperature: float) -> float:
        return _mean_cross_entropy(logits, labels, math.exp(log_temperature))

    def surplus(log_temperature: float) -> float:
        return _mean_top_score(logits, math.exp(log_temperature)) - warranted

    # cross-entropy is convex in 1 / T, so it has a single valley in log T
    bounds = (math.log(LOWEST), math.log(HIGHEST))
    lowest = float(minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-4}).x)
    warranted = (len(labels) + 1) / (len(labels) + 2)
    if lowest < 0 and surplus(lowest) > 0:
        lowest = 0.0 if surplus(0.0) >= 0 else float(brentq(surplus, lowest, 0.0, xtol=1e-4))
    return math.exp(lowest)


def _mean_cross_entropy(logits: NDArray[np.float32], labels: NDArray[np.int32], temperature: float) -> float:
    true = logits[np.arange(len(labels)), labels].astype(np.float64)
    gaps = logits.max(axis=1) - true
    return float((_log_sums(logits, temperature) + gaps / temperature).mean())


def _mean_top_score(logits: NDArray[np.float32], temperature: float) -> float:
    return float(np.exp(-_log_sums(logits, temperature)).mean())


def _log_sums(logits: NDArray[np.float32], temperature: float) -> NDArray[np.float64]:
    """Return (n,) float64: -log of each picture's top score, the log of the sum of exp((logit - highest logit) / T).

    Powers have the type of the logits, which takes a tenth of the time of float64. They are summed in float64.
    """
    sums = np.empty(len(logits))
    rows = max(1, _CHUNK_VALUES // logits.shape[1])
    for start in range(0, len(logits), rows):
        chunk = logits[start : start + rows]
        powers = np.exp((chunk - chunk.max(axis=1, keepdims=True)) / temperature)
        sums[start : start + rows] = powers.sum(axis=1, dtype=np.float64)
    return np.log(sums)
