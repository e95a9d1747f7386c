"""The activations before the pooling, from a converted network alone."""

import numpy as np
import pytest
from support.small_network import SIZE, random_pixels, small_network

from retrain._tensorflow import tf
from retrain.backbones.before_pooling import LastActivations
from retrain.backbones.litert import LiteRTError, LiteRTNetwork
from retrain.backbones.network import Network


@pytest.fixture(scope="module")
def converted():
    return small_network().frozen_graph.converted()


def network_of(function):
    module = tf.Module()
    module.kernel = tf.Variable(np.random.default_rng(2).normal(size=(3, 3, 3, 6)).astype(np.float32))

    def whole(pixels):
        return function(tf.nn.relu(tf.nn.conv2d(pixels, module.kernel, 2, "SAME")))

    return Network(whole, SIZE, SIZE, module).frozen_graph.converted()


def test_their_mean_is_the_vector(converted):
    activations, pixels = LastActivations(converted), random_pixels(5)
    values = activations.of(pixels)
    assert activations.is_mean
    assert values.shape == (5, *activations.shape)
    assert activations.shape[0] * activations.shape[1] > 1
    assert np.allclose(values.mean(axis=(1, 2)), LiteRTNetwork(converted).run(pixels), atol=1e-6)


def test_the_file_itself_stays(converted):
    before = bytes(converted)
    LastActivations(converted)
    assert bytes(converted) == before


def test_of_a_maximum():
    model = network_of(lambda values: tf.reduce_max(values, axis=[1, 2]))
    activations, pixels = LastActivations(model), random_pixels(3)
    assert not activations.is_mean
    assert np.allclose(activations.of(pixels).max(axis=(1, 2)), LiteRTNetwork(model).run(pixels), atol=1e-6)


@pytest.mark.parametrize(
    "function",
    [
        lambda values: tf.reshape(values, [-1, 8 * 8 * 6]),
        lambda values: tf.nn.relu(tf.reduce_mean(values, axis=[1, 2]) - 0.1) * 2,
        lambda values: tf.reshape(tf.nn.avg_pool2d(values, 2, 2, "VALID"), [-1, 4 * 4 * 6]),
    ],
    ids=["flattened", "layers above", "local pooling"],
)
def test_other_networks_have_none(function):
    with pytest.raises(LiteRTError, match="does not end with a mean or a maximum over the places of a picture"):
        LastActivations(network_of(function))


def test_a_tensor_that_is_not_there(converted):
    with pytest.raises(LiteRTError, match="has no tensor elsewhere"):
        LastActivations(converted, "elsewhere")
