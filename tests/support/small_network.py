"""A small Keras network with batch normalisation, a residual block and branches, for tests of what is inside one."""

import numpy as np

from retrain._tensorflow import tf
from retrain.backbones.layers import keras_groups
from retrain.backbones.network import Network

SIZE = 16  # pixels
LENGTH = 12  # of its bottlenecks


def small_keras_model(seed=3):
    import keras

    keras.utils.set_random_seed(seed)
    layers = keras.layers
    pixels = keras.Input((SIZE, SIZE, 3), name="pixels")
    stem = layers.Conv2D(8, 3, 2, padding="same", use_bias=False, name="stem")(pixels)
    stem = layers.BatchNormalization(name="stem_bn")(stem)
    stem = layers.ReLU(name="stem_relu")(stem)
    inner = layers.Conv2D(8, 3, padding="same", name="residual", activation="silu")(stem)
    joined = layers.Add(name="add")([stem, inner])
    left = layers.Conv2D(6, 1, name="left")(joined)
    right = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="right")(joined)
    right = layers.BatchNormalization(name="right_bn")(right)
    both = layers.Concatenate(name="both")([left, right])
    top = layers.Conv2D(LENGTH, 1, name="top", use_bias=False)(both)
    top = layers.BatchNormalization(name="top_bn")(top)
    top = layers.ReLU(name="top_relu")(top)
    model = keras.Model(pixels, layers.GlobalAveragePooling2D(name="mean")(top))
    rng = np.random.default_rng(seed)
    for layer in model.layers:  # moving averages that do something
        if layer.name.endswith("_bn"):
            shape = layer.gamma.shape
            gamma, variance = rng.uniform(0.5, 1.5, shape), rng.uniform(0.5, 2, shape)
            layer.set_weights([gamma, rng.normal(0, 0.3, shape), rng.normal(0, 0.3, shape), variance])
    return model


def small_network(model=None):
    """The model as a network."""
    model = small_keras_model() if model is None else model

    def function(pixels):
        return model(pixels * 2.0 - 1.0, training=False)

    return Network(function, SIZE, SIZE, model, keras_groups(model))


def small_saved_model(folder):
    """The model as a SavedModel that can be called and lists no variables."""
    model = small_keras_model()
    module = tf.Module()
    module.model = model
    call = tf.function(
        lambda inputs: model(inputs * 2.0 - 1.0, training=False),
        input_signature=[tf.TensorSpec([None, SIZE, SIZE, 3], tf.float32, name="inputs")],
    )
    module.__call__ = call
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(module, str(folder), options=options)
    return folder


def pooled_saved_model(folder):
    """One convolution and the mean over its places, as a SavedModel: a network that has heat maps, without Keras."""
    rng = np.random.default_rng(4)
    module = tf.Module()
    module.kernel = tf.Variable(rng.normal(0, 0.4, (3, 3, 3, LENGTH)).astype(np.float32))

    def call(inputs):
        return tf.reduce_mean(tf.nn.relu(tf.nn.conv2d(inputs * 2.0 - 1.0, module.kernel, 2, "SAME")), [1, 2])

    spec = tf.TensorSpec([None, SIZE, SIZE, 3], tf.float32, name="inputs")
    module.__call__ = tf.function(call, input_signature=[spec])
    tf.saved_model.save(module, str(folder))
    return folder


def random_pixels(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, SIZE, SIZE, 3)).astype(np.uint8)
