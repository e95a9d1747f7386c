"""Fine-tuning as Keras does it."""

import math

import numpy as np

from retrain._tensorflow import tf
from retrain.training.batches import Draws, members_of
from retrain.training.random_streams import Stream


def keras_epochs(function, trained, head, pixels, labels, options, train):
    """What Keras's whole network, frozen below, comes to with the same batches."""
    draws = Draws(members_of(train, labels), options.batch_size, options.seed, Stream.TRAINING)
    weights = tf.Variable(head.layers[0].weights)
    biases = tf.Variable(head.layers[0].biases)
    variables = [weights, biases, *(v.value for v in trained)]
    optimizer = None
    if options.optimizer == "adam":
        import keras

        optimizer = keras.optimizers.Adam(options.learning_rate)
    for batch in draws.pictures(range(options.steps)):
        with tf.GradientTape() as tape:
            values = function(tf.constant(pixels[batch], tf.float32) / 255.0)
            logits = tf.matmul(values, weights) + biases
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels[batch], logits)
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(loss, variables)
        if optimizer is None:
            for variable, gradient in zip(variables, gradients, strict=True):
                variable.assign_sub(options.learning_rate * gradient)
        else:
            optimizer.apply_gradients(zip(gradients, variables, strict=True))
    return [variable.numpy() for variable in variables]


def far(found, wanted, before):
    """How far weights are from where they should be, as a share of the way that they should have gone."""
    away = math.sqrt(sum(float(np.sum(np.square(a - b))) for a, b in zip(found, wanted, strict=True)))
    way = math.sqrt(sum(float(np.sum(np.square(b - c))) for b, c in zip(wanted, before, strict=True)))
    assert way > 0
    return away / way
