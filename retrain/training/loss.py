"""What a head learns to lower: softmax cross-entropy for one label a picture, binary cross-entropies for any number.

Logits are (classes, n): with the long axis last, sums and maxima over the classes are fastest.
"""

import math
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from retrain.cache import LabelledBottlenecks
from retrain.options import TrainingOptions
from retrain.training.picture_weights import balanced_label_weights, class_weights, picture_weights

__all__ = ["Loss", "SigmoidLoss", "SoftmaxLoss", "cross_entropies", "loss_of", "to_gradients"]

Array = NDArray[Any]  # float32; float64 where it is asked for
Labels = NDArray[np.int32]  # (n,), as LabelledBottlenecks has them


class Loss(Protocol):
    """The loss of pictures by their logits (classes, n), each of which may be changed in place by `to_gradients`."""

    @property
    def guessing(self) -> float:
        """The mean cross-entropy of a head that says the same of every picture, before any training."""
        ...

    def cross_entropies(self, logits: Array, labels: Labels) -> Array:
        """Return (n,) in nats: what is shown of training. Without smoothing and weights."""
        ...

    def objectives(self, logits: Array, labels: Labels, plain: Array) -> Array:
        """Return (n,): what training lowers the weighted mean of; `plain` are the cross-entropies."""
        ...

    def to_gradients(self, logits: Array, labels: Labels, shares: Array | float) -> bool:
        """Replace logits by the gradients of the sum of all objectives times their shares; is the loss finite?"""
        ...

    def are_right(self, logits: Array, labels: Labels) -> NDArray[np.bool_]:
        """Return (n,) whether a picture gets its label; of several, all of them and no other, at a score of 0.5."""
        ...

    def row_weights(self, labels: Labels, size: int, /) -> Array | float:
        """Return what a picture of a batch of so many counts, (n,) or the same for all."""
        ...

    def picture_weights(self, labels: Labels, weights: NDArray[np.float32] | None, /) -> NDArray[np.float32]:
        """Return (n,) the share of each training picture in the loss over all of them. The sum is 1."""
        ...


class SoftmaxLoss:
    """Cross-entropy of the softmax, of pictures with one label each.

    Args:
        classes: number of labels.
        options: resolved.
        weights: (classes,) what a picture of each class counts, with --class-weight balanced.
    """

    def __init__(self, classes: int, options: TrainingOptions, weights: NDArray[np.floating] | None = None) -> None:
        self.guessing = math.log(classes)
        self._classes, self._options, self._class_weights = classes, options, weights

    def cross_entropies(self, logits: Array, labels: Labels) -> Array:
        """Return (n,) in nats."""
        return cross_entropies(logits, labels)

    def objectives(self, logits: Array, labels: Labels, plain: Array) -> Array:
        """Return (n,): cross-entropies with smoothing."""
        smoothing = self._options.label_smoothing
        return cross_entropies(logits, labels, smoothing) if smoothing else plain

    def to_gradients(self, logits: Array, labels: Labels, shares: Array | float) -> bool:
        """Replace logits by gradients; is the loss finite?"""
        return to_gradients(logits, labels, shares, self._options.label_smoothing)

    def are_right(self, logits: Array, labels: Labels) -> NDArray[np.bool_]:
        """Return (n,) whether the highest logit is that of the label."""
        return np.asarray(logits.argmax(axis=0) == labels)

    def row_weights(self, labels: Labels, size: int) -> Array | float:
        """Return the weights of the pictures' classes."""
        return 1 / size if self._class_weights is None else (self._class_weights / size)[labels]

    def picture_weights(self, labels: Labels, weights: NDArray[np.float32] | None) -> NDArray[np.float32]:
        """Return (n,) shares: those of the expected loss of a random batch."""
        return picture_weights(labels, self._classes, self._options, weights)


def cross_entropies(logits: Array, labels: Labels, smoothing: float = 0.0) -> Array:
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


def to_gradients(logits: Array, labels: Labels, shares: Array | float, smoothing: float = 0.0) -> bool:
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


class SigmoidLoss:
    """The sum over all labels of binary cross-entropies, of pictures with any number of labels.

    Without weights, it is -log of the probability that a head gives to exactly the labels that a picture has, if labels
    are independent. Each label has its own part of the head's last layer. So of a head without a hidden layer, the
    optimum with an L2 penalty is that of logistic regressions, one for each label against the rest, as
    scikit-learn's OneVsRestClassifier(LogisticRegression(C=1 / (n * l2))) has it.

    Args:
        label_sets: (sets, classes) which labels each number in `labels` stands for.
        smoothing: share of each target to move to 1/2, as in Keras; in [0, 1).
        weights: (2, classes) what each label's part of a picture counts: where the picture does not have the label, and
            where it has it.
    """

    def __init__(
        self, label_sets: NDArray[np.bool_], smoothing: float = 0.0, weights: NDArray[np.floating] | None = None
    ) -> None:
        self.guessing = label_sets.shape[1] * math.log(2)
        self._smoothing = smoothing
        # (classes, sets): with the long axis last, as logits have it
        self._has = np.ascontiguousarray(label_sets.T)
        self._labels = self._has.astype(np.float32)
        self._targets = self._labels * np.float32(1 - smoothing) + np.float32(smoothing / 2)
        self._weights: NDArray[np.float32] | None = None
        if weights is not None:
            absent, present = weights[:, :, None]
            self._weights = np.where(self._has, present, absent).astype(np.float32)

    def cross_entropies(self, logits: Array, labels: Labels) -> Array:
        """Return (n,) in nats: sums over the labels."""
        terms = _binary_cross_entropies(logits, self._labels.take(labels, axis=1))
        return np.asarray(terms.sum(axis=0))

    def objectives(self, logits: Array, labels: Labels, plain: Array) -> Array:
        """Return (n,): weighted sums over the labels, with smoothing."""
        if self._weights is None and not self._smoothing:
            return plain
        terms = _binary_cross_entropies(logits, self._targets.take(labels, axis=1))
        if self._weights is not None:
            terms *= self._weights.take(labels, axis=1)
        return np.asarray(terms.sum(axis=0))

    def to_gradients(self, logits: Array, labels: Labels, shares: Array | float) -> bool:
        """Replace logits by gradients, (score - target) * weight * share; is the loss finite?"""
        is_finite = math.isfinite(np.minimum.reduce(logits, axis=None)) and math.isfinite(
            np.maximum.reduce(logits, axis=None)
        )
        # the logistic function; where e^-z is beyond a float, its inverse is 0, as it should be
        np.negative(logits, out=logits)
        np.exp(logits, out=logits)
        logits += 1
        np.reciprocal(logits, out=logits)
        logits -= self._targets.take(labels, axis=1)
        if self._weights is not None:
            logits *= self._weights.take(labels, axis=1)
        logits *= shares
        return is_finite

    def are_right(self, logits: Array, labels: Labels) -> NDArray[np.bool_]:
        """Return (n,) whether exactly the right labels have a score of 0.5 or more."""
        return np.asarray(((logits >= 0) == self._has.take(labels, axis=1)).all(axis=0))

    def row_weights(self, _: Labels, size: int, /) -> Array | float:
        """Return the same for all."""
        return 1 / size

    def picture_weights(self, labels: Labels, _: NDArray[np.float32] | None, /) -> NDArray[np.float32]:
        """Return (n,) shares: equal ones."""
        return np.full(len(labels), 1 / len(labels), np.float32)


def _binary_cross_entropies(logits: Array, targets: Array) -> Array:
    """Return (classes, n): log(1 + e^z) - target * z, in a form that never overflows."""
    terms: Array = np.logaddexp(logits.dtype.type(0), logits)
    terms -= targets * logits
    return terms


def loss_of(data: LabelledBottlenecks, train: NDArray[np.int64], classes: int, options: TrainingOptions) -> Loss:
    """Return the loss for training on some rows.

    Args:
        train: (m,) numbers of the rows.
        classes: number of labels.
        options: resolved.
    """
    labels, is_balanced = data.labels[train], options.class_weight == "balanced"
    if data.label_sets is None:
        weights = class_weights(labels, classes, data.weights_of(train)) if is_balanced else None
        return SoftmaxLoss(classes, options, weights)
    of_labels = None
    if is_balanced:
        of_labels = balanced_label_weights(data.label_sets, labels)
    elif data.positive_weights is not None:
        of_labels = np.stack([np.ones(classes), data.positive_weights])
    return SigmoidLoss(data.label_sets, options.label_smoothing, of_labels)
