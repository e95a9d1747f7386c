"""How much each training picture counts: by the weights of its class, and by its own."""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from retrain.cache import LabelledBottlenecks
from retrain.options import TrainingOptions

__all__ = ["balanced_label_weights", "class_weights", "draw_weights", "drawn", "picture_weights"]


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


def balanced_label_weights(label_sets: NDArray[np.bool_], labels: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return (2, classes): n / (2 * pictures without the label), and n / (2 * pictures with it).

    That is scikit-learn's class_weight="balanced" for each label. One that all pictures have, or none, gets 1.
    """
    count, sets = len(labels), len(label_sets)
    having = np.bincount(labels, minlength=sets) @ label_sets
    pictures = np.stack([count - having, having])
    return np.divide(count, 2 * pictures, out=np.ones(pictures.shape), where=pictures.all(axis=0))


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
