"""Sessions of TensorFlow that begin at once."""

from retrain._tensorflow import tf


def as_it_is() -> tf.compat.v1.ConfigProto:
    """Settings with which a session runs a graph as it is; to improve Inception v3 takes three seconds an input."""
    config = tf.compat.v1.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    config.graph_options.optimizer_options.opt_level = tf.compat.v1.OptimizerOptions.L0
    return config
