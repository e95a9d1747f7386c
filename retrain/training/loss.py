"""The loss that training minimises: cross-entropy of a head's scores, and penalties on its weights."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from retrain._tensorflow import tf
from retrain.model.head import Head, Layer
from retrain.options import TrainingOptions

__all__ = [
    "Parameters",
    "accuracy_and_cross_entropy",
    "class_weights",
    "cross_entropies",
    "head_of",
    "initial_head",
    "logits_of",
    "parameters_of",
    "penalty",
    "picture_weights",
]

Parameters = tuple[tf.Tensor, ...]  # weights (outputs, inputs) and biases (outputs,) of each layer, bottom up


def initial_head(bottleneck_size: int, classes: int, seed: int, hidden_units: int = 0) -> Head:
    """Return the head before the first step.

    The softmax layer's weights come from a truncated normal of standard deviation 0.001, as in the original program; a
    hidden layer's from Glorot's uniform distribution (Glorot and Bengio, AISTATS 2010); biases are 0.
    """
    layers: list[Layer] = []
    inputs = bottleneck_size
    if hidden_units:
        limit = (6 / (inputs + hidden_units)) ** 0.5
        weights = tf.random.stateless_uniform([inputs, hidden_units], [seed, 1], -limit, limit)
        layers.append(Layer(weights.numpy(), np.zeros(hidden_units, np.float32)))
        inputs = hidden_units
    weights = tf.random.stateless_truncated_normal([inputs, classes], [seed, 0], stddev=0.001)
    return Head((*layers, Layer(weights.numpy(), np.zeros(classes, np.float32))))


def parameters_of(head: Head) -> Parameters:
    """Return a head as tensors. With the long axis of the weights last, gradients take a sixth of the time."""
    return tuple(tf.constant(part) for layer in head.layers for part in (layer.weights.T, layer.biases))


def head_of(parameters: Sequence[tf.Tensor | NDArray[np.float64]]) -> Head:
    """Return parameters as a head, in float32."""
    parts = [np.asarray(part, np.float32) for part in parameters]
    return Head(
        tuple(
            Layer(np.ascontiguousarray(weights.T), biases)
            for weights, biases in zip(parts[::2], parts[1::2], strict=True)
        )
    )


def logits_of(
    parameters: Parameters, vectors: tf.Tensor, dropout: float = 0.0, seeds: Sequence[tf.Tensor] = ()
) -> tf.Tensor:
    """Compute logits (n, classes) of bottlenecks (n, d).

    Args:
        dropout: share of each layer's input values to leave out, in [0, 1).
        seeds: (2,) int32 for each layer; needed with dropout.
    """
    values = vectors
    for number, (weights, biases) in enumerate(zip(parameters[::2], parameters[1::2], strict=True)):
        if number:
            values = tf.nn.relu(values)
        if dropout:
            values = _drop(values, dropout, seeds[number])
        values = tf.matmul(values, weights, transpose_b=True) + biases
    return values


def _drop(values: tf.Tensor, share: float, seed: tf.Tensor) -> tf.Tensor:
    """Apply dropout (Srivastava et al., JMLR 15, 2014), scaled so that expected values do not change.

    Each row has a random number. That plus the number of the column goes through the finaliser of MurmurHash3
    (A. Appleby), which takes a tenth of the time of a random number from TensorFlow for each value.
    """
    rows, columns = tf.shape(values)[0], tf.shape(values)[1]
    starts = tf.random.stateless_uniform([rows, 1], seed, maxval=None, minval=None, dtype=tf.uint32)
    bits = starts + tf.cast(tf.range(columns), tf.uint32) * tf.constant(0x9E3779B9, tf.uint32)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        bits = tf.bitwise.bitwise_xor(bits, tf.bitwise.right_shift(bits, tf.constant(shift, tf.uint32)))
        bits *= tf.constant(factor, tf.uint32)
    kept = bits >= tf.constant(round(share * 2**32), tf.uint32)
    return tf.where(kept, values / (1.0 - share), tf.zeros_like(values))


def cross_entropies(logits: tf.Tensor, labels: tf.Tensor, smoothing: float = 0.0) -> tf.Tensor:
    """Compute the cross-entropy of each picture's scores, (n,) in nats.

    Args:
        logits: (n, classes).
        labels: (n,) int32.
        smoothing: share of each label to spread evenly over all classes (Szegedy et al., CVPR 2016), in [0, 1).
    """
    losses, _ = tf.raw_ops.SparseSoftmaxCrossEntropyWithLogits(features=logits, labels=labels)
    if smoothing:
        # the mean of the cross-entropies with each class as the label
        spread = tf.reduce_logsumexp(logits, axis=1) - tf.reduce_mean(logits, axis=1)
        losses = (1.0 - smoothing) * losses + smoothing * spread
    return losses


def penalty(parameters: Parameters, l1: float | tf.Tensor, l2: float | tf.Tensor) -> tf.Tensor:
    """Compute l1 times the sum of the weights' magnitudes plus l2 / 2 times the sum of their squares; no biases."""
    weights = parameters[::2]
    magnitudes = tf.add_n([tf.reduce_sum(tf.abs(part)) for part in weights])
    squares = tf.add_n([tf.reduce_sum(tf.square(part)) for part in weights])
    return l1 * magnitudes + l2 / 2.0 * squares


def accuracy_and_cross_entropy(logits: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Compute a batch's accuracy in [0, 1] and mean cross-entropy in nats, without smoothing or penalties."""
    right = tf.equal(tf.argmax(logits, axis=1, output_type=tf.int32), labels)
    return tf.reduce_mean(tf.cast(right, tf.float32)), tf.reduce_mean(cross_entropies(logits, labels))


def class_weights(labels: NDArray[np.int32], classes: int) -> NDArray[np.float32]:
    """Return (classes,) the weight of a picture of each class: pictures / (classes * pictures of the class).

    This is --class-weight balanced.

    Args:
        labels: (n,) of the training pictures. Over these, the weights have a mean of 1.
    """
    counts = np.bincount(labels, minlength=classes)
    present = np.count_nonzero(counts)
    weights = np.divide(len(labels), present * counts, out=np.zeros(classes), where=counts > 0)
    return np.asarray(weights, np.float32)


def picture_weights(labels: NDArray[np.int32], classes: int, options: TrainingOptions) -> NDArray[np.float32]:
    """Return (n,) the share of each training picture in the expected loss of a random batch. The sum is 1.

    Drawing classes uniformly has the same effect as weighting pictures by class.

    Args:
        labels: (n,) of the training pictures.
        options: resolved.
    """
    if options.sampling == "uniform" and options.class_weight == "none":
        return np.full(len(labels), 1 / len(labels), np.float32)
    return np.asarray(class_weights(labels, classes)[labels] / len(labels), np.float32)
