"""Graphs of TensorFlow as models of Keras: the same numbers, from layers of the right kinds."""

import numpy as np
import pytest
from support.small_network import SIZE, small_keras_model

from retrain._tensorflow import freeze, import_keras, tf
from retrain.errors import ExportError
from retrain.export.graph_reader import GraphReader
from retrain.export.keras_layers import KerasTranslation

pytestmark = pytest.mark.network

RNG = np.random.default_rng(5)
VALUES = RNG.normal(size=(3, 8, 8, 4)).astype(np.float32)
KERNEL = RNG.normal(size=(3, 3, 4, 6)).astype(np.float32)
CHANNELS = RNG.uniform(0.5, 2, 4).astype(np.float32)
MATRIX = RNG.normal(size=(4, 5)).astype(np.float32)


def norm_of(x, **without):
    parts = {"offset": CHANNELS - 1, "scale": CHANNELS, "mean": CHANNELS * 2, "variance": CHANNELS + 1} | without
    constants = {name: value if value is None else tf.constant(value) for name, value in parts.items()}
    return tf.nn.batch_normalization(x, variance_epsilon=1e-3, **constants)


# what a graph does -> kinds of the layers that it should become
GRAPHS = {
    "convolution": (lambda x: tf.nn.conv2d(x, KERNEL, [1, 2, 2, 1], "SAME"), ["Conv2D"]),
    "valid": (lambda x: tf.nn.conv2d(x, KERNEL, 1, "VALID"), ["Conv2D"]),
    "holes": (lambda x: tf.nn.conv2d(x, KERNEL, 1, "SAME", dilations=2), None),
    "biases": (lambda x: tf.nn.bias_add(tf.nn.conv2d(x, KERNEL, 1, "SAME"), np.arange(6.0)), ["Conv2D"]),
    "biases of more axes": (
        lambda x: tf.nn.conv2d(x, KERNEL, 1, "SAME") + np.arange(6.0)[None, None, None],
        ["Conv2D"],
    ),
    "groups": (lambda x: tf.nn.conv2d(x, KERNEL[:, :, :2], 1, "SAME"), ["Conv2D"]),
    "depthwise": (lambda x: tf.nn.depthwise_conv2d(x, KERNEL[..., :2], [1, 1, 1, 1], "SAME"), ["DepthwiseConv2D"]),
    "values used twice": (lambda x: (y := tf.nn.conv2d(x, KERNEL, 1, "SAME")) + 1.0 + tf.nn.relu(y), None),
    "matrix": (lambda x: tf.matmul(tf.reduce_mean(x, [1, 2]), MATRIX) + MATRIX[0], ["GlobalAveragePooling2D", "Dense"]),
    "matrix turned": (lambda x: tf.matmul(tf.reduce_mean(x, [1, 2]), MATRIX.T, transpose_b=True), None),
    "norm": (norm_of, ["BatchNormalization"]),
    "norm without scale": (lambda x: norm_of(x, scale=None), ["BatchNormalization"]),
    "norm without offset": (lambda x: norm_of(x, offset=None), None),
    "fused norm": (
        lambda x: tf.compat.v1.nn.fused_batch_norm(
            x, CHANNELS, CHANNELS, CHANNELS * 2, CHANNELS + 1, 1e-3, is_training=False
        )[0],
        ["BatchNormalization"],
    ),
    "a sum that is no norm": (lambda x: x * CHANNELS + (CHANNELS - 3), ["Multiply", "Add"]),
    "maximum": (lambda x: tf.nn.max_pool2d(x, 3, 2, "SAME"), ["MaxPooling2D"]),
    "average": (lambda x: tf.nn.avg_pool2d(x, 3, 2, "SAME"), ["AveragePooling2D"]),
    "zeros around": (lambda x: tf.pad(x, [[0, 0], [1, 2], [0, 1], [0, 0]]), ["ZeroPadding2D"]),
    "edges cut off": (lambda x: x[:, 1:, :-2], ["Cropping2D"]),
    "channels turned": (lambda x: tf.stack([x[..., 2], x[..., 1]], -1), ["Take", "Take", "Stack"]),
    "activations": (
        lambda x: tf.nn.elu(tf.nn.relu6(x * 9.0)) + tf.nn.leaky_relu(x, 0.1) + tf.sigmoid(x) * tf.tanh(tf.nn.selu(x)),
        None,
    ),
    "numbers": (
        lambda x: tf.math.rsqrt(tf.square(x) + 1.0) / tf.exp(tf.abs(x)) - tf.math.erf(tf.minimum(x, 0.5)),
        None,
    ),
    "constant first": (lambda x: 2.0 - tf.maximum(3.0 * x, 1.0), ["Multiply", "Maximum", "Subtract"]),
    "joined": (lambda x: tf.concat([x, tf.negative(x)], 3), None),
    "excitation": (lambda x: x * tf.sigmoid(tf.reduce_mean(x, [1, 2], keepdims=True)), None),
    "shapes": (lambda x: tf.squeeze(tf.expand_dims(tf.reshape(x, [-1, 16, 16]), 2), 2), None),
    "turned": (lambda x: tf.transpose(x, [0, 3, 1, 2]), None),
    "differences": (
        lambda x: tf.reduce_max(tf.math.squared_difference(x, tf.reduce_mean(x, -1, keepdims=True)), 3),
        None,
    ),
}


def translated(function, values=VALUES):
    """A model of what a function does to its input, and what TensorFlow says to some values."""
    keras = import_keras()
    spec = tf.TensorSpec([None, *values.shape[1:]], tf.float32, "x")
    concrete = tf.function(function, input_signature=[spec], autograph=False).get_concrete_function()
    graph_def = freeze(concrete)
    start, end = (tensor.name.partition(":")[0] for tensor in (concrete.inputs[0], concrete.outputs[0]))
    reader = GraphReader(graph_def, start, [end], (None, *values.shape[1:]))
    pixels = keras.Input(values.shape[1:])
    model = keras.Model(pixels, KerasTranslation(reader).model_on(pixels)[0])
    return model, concrete(tf.constant(values)).numpy()


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_becomes_a_model_that_gives_the_same(name):
    function, kinds = GRAPHS[name]
    model, expected = translated(function)
    np.testing.assert_allclose(model(VALUES), expected, rtol=1e-5, atol=1e-5)
    if kinds is not None:
        assert [type(part).__name__ for part in model.operations[1:]] == kinds


def test_batch_normalisation_keeps_what_was_trained():
    model, _ = translated(norm_of)
    [layer] = model.layers[1:]
    assert layer.epsilon == pytest.approx(1e-3)
    for found, expected in zip(layer.get_weights(), [CHANNELS, CHANNELS - 1, CHANNELS * 2, CHANNELS + 1], strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_layers_have_names_of_their_own():
    def scopes(x):
        for scope in ("net/stem", "net/stem", "net/add_1", "net/Relu"):
            with tf.name_scope(f"{scope}/"):  # which opens the same scope again
                x = tf.nn.relu(x) + 1.0
        return x

    model, _ = translated(scopes)
    names = [layer.name for layer in model.layers[1:]]
    assert names == ["stem", "stem_2", "add_1_layer", "Relu"]


def test_a_network_loads_in_safe_mode_and_can_be_trained(tmp_path):
    network = small_keras_model()
    pixels = RNG.random((2, SIZE, SIZE, 3), np.float32)
    model, expected = translated(lambda x: network(x, training=False), pixels)
    model.save(tmp_path / "it.keras")
    loaded = import_keras().saving.load_model(tmp_path / "it.keras", safe_mode=True)
    np.testing.assert_allclose(loaded(pixels), expected, rtol=1e-5, atol=1e-5)
    names = {layer.name.removesuffix("_1") for layer in loaded.layers}  # TensorFlow numbers scopes that are used again
    assert names >= {layer.name for layer in network.layers if layer.get_weights()}
    counts = [sum(np.size(weights) for weights in one.get_weights()) for one in (loaded, network)]
    assert counts[0] == counts[1]


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (lambda x: tf.raw_ops.Cumsum(x=x, axis=1), "Cumsum"),
        (lambda x: tf.nn.conv2d(x, KERNEL, 1, [[0, 0], [1, 1], [1, 1], [0, 0]]), "Conv2D"),
        (lambda x: tf.pad(x, [[0, 0], [1, 1], [0, 0], [0, 0]], constant_values=1.0), "PadV2"),
        (lambda x: tf.matmul(x, x, transpose_b=True), "BatchMatMulV2"),
        (lambda x: x[:, ::2], "StridedSlice"),
    ],
)
def test_an_operation_without_a_layer_is_named(function, name):
    with pytest.raises(
        ExportError, match=rf"can't be written for Keras: there is no layer for its operation {name} \("
    ):
        translated(function)
