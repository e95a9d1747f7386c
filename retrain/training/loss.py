"""The loss that training minimises: cross-entropy of a head's scores, and penalties on its weights.

Logits are (classes, n): with the long axis last, sums and maxima over the classes are fastest.
"""

import dataclasses
import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrain.cache import LabelledBottlenecks
from retrain.options import TrainingOptions
from retrain.training.parameters import Parameters, pieces

__all__ = ["Penalties", "class_weights", "cross_entropies", "draw_weights", "drawn", "picture_weights", "to_gradients"]

Array = NDArray[Any]  # float32; float64 where it is asked for


def cross_entropies(logits: Array, labels: NDArray[np.int32], smoothing: float = 0.0) -> Array:
    """Return the cross-entropy of each picture's scores, (n,) in nats.

    Args:
        logits: (classes, n).
        labels: (n,) int32, in [0, classes).
        smoothing: share of each label to spread evenly over all classes (Szegedy et al., CVPR 2016), in [0, 1).
    """
    shifted = logits - logits.max(axis=0)
    true = shifted[labels, np.arange(len(labels))]
    wanted = (1 - smoothing) * true + smoothing * shifted.mean(axis=0) if smoothing else true
    losses: Array = np.log(np.exp(shifted).sum(axis=0)) - wanted
    return losses


def to_gradients(logits: Array, labels: NDArray[np.int32], shares: Array | float, smoothing: float = 0.0) -> bool:
    """Replace logits by the gradients of the loss, which is the sum of all cross-entropies times their shares.

    Args:
        logits: (classes, n), changed in place.
        labels, smoothing: as for `cross_entropies`.
        shares: of each picture in the loss, (n,) or the same for all.
    Returns: whether the loss is finite. It is if the differences of logits are.
    """
    # reduce() itself, because these methods take as long again to get there
    logits -= np.maximum.reduce(logits)
    is_finite = math.isfinite(np.minimum.reduce(logits, axis=None))
    np.exp(logits, out=logits)
    logits *= shares / np.add.reduce(logits)
    if smoothing:
        logits -= smoothing / len(logits) * np.asarray(shares, logits.dtype)
    logits[labels, np.arange(len(labels))] -= (1 - smoothing) * shares
    return is_finite


class Penalties(NamedTuple):
    """How much large weights cost. Biases cost nothing."""

    l1: float  # times the sum of the weights' magnitudes
    l2: float  # half of it times the sum of their squares

    def add_gradients(self, parameters: Parameters, gradients: Parameters) -> None:
        """Add the penalties' gradients to those of the rest of the loss. The magnitude's at 0 is taken to be 0."""
        if not (self.l1 or self.l2):
            return
        for layer, own in zip(parameters.layers, gradients.layers, strict=True):
            weights, sums = layer.weights.reshape(-1), own.weights.reshape(-1)
            for piece in pieces(len(weights)):
                if self.l2:
                    sums[piece] += self.l2 * weights[piece]
                if self.l1:
                    sums[piece] += self.l1 * np.sign(weights[piece])


def class_weights(
    labels: NDArray[np.int32], classes: int, weights: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Return (classes,) the weight of a picture of each class: pictures / (classes * pictures of the class).

    This is --class-weight balanced.

    Args:
        labels: (n,) of the training pictures. Over these, the weights have a mean of 1.
        weights: (n,) how many pictures each of these counts as.
    """
    counts = np.bincount(labels, weights, classes)
    present = np.count_nonzero(counts)
    balanced = np.divide(counts.sum(), present * counts, out=np.zeros(classes), where=counts > 0)
    return np.asarray(balanced, np.float32)


def picture_weights(
    labels: NDArray[np.int32], classes: int, options: TrainingOptions, weights: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Return (n,) the share of each training picture in the expected loss of a random batch. The sum is 1.

    Drawing classes uniformly has the same effect as weighting pictures by class.

    Args:
        labels: (n,) of the training pictures.
        options: resolved.
        weights: (n,) how many pictures each of these counts as.
    """
    shares = np.full(len(labels), 1 / len(labels)) if weights is None else weights / weights.sum(dtype=np.float64)
    if options.sampling != "uniform" or options.class_weight == "balanced":
        shares = shares * class_weights(labels, classes, weights)[labels]
    return np.asarray(shares, np.float32)


def draw_weights(
    labels: NDArray[np.int32], weights: NDArray[np.float32], options: TrainingOptions
) -> NDArray[np.float32]:
    """Return (n,) how much each training picture counts when it is drawn, so that a weight of 2 is worth two pictures.

    Pictures are drawn with the same probability whatever their weight: all of them, or all of a class. So weights are
    compared with their mean among these.

    Args:
        labels: (n,) of the training pictures.
        weights: (n,) > 0, how many pictures each of these counts as.
        options: resolved.
    """
    groups = labels if options.sampling == "class-balanced" else np.zeros_like(labels)
    means = np.bincount(groups, weights) / np.maximum(1, np.bincount(groups))
    return np.asarray(weights / means[groups], np.float32)


def drawn(data: LabelledBottlenecks, train: NDArray[np.int64], options: TrainingOptions) -> LabelledBottlenecks:
    """Return the data with what each row counts when it is drawn (see draw_weights) in the place of its weight.

    Args:
        train: (m,) numbers of the rows that are drawn from.
        options: resolved.
    """
    weights = data.weights_of(train)
    if weights is None:
        return data
    counted = np.zeros(len(data), np.float32)
    counted[train] = draw_weights(data.labels[train], weights, options)
    return dataclasses.replace(data, weights=counted)
