"""The layers above a cut, which fine-tuning trains: TensorFlow runs them and finds their gradients."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from retrain._tensorflow import tf
from retrain.backbones import Cut, Trunk, part_above
from retrain.cache import Vectors, VectorSource, new_vectors

__all__ = ["UpperLayers"]

_ROWS_AT_ONCE = 128  # activations that go through the layers at once, outside of training

Weights = Sequence[NDArray[np.float32]]


class UpperLayers:
    """The network above a cut, as a function of its weights.

    Args:
        trunk: the network.
        cut: where it is cut.
        dtype: of the activations, float16 or float32.
    """

    version: str = tf.__version__  # of what computes the gradients

    def __init__(self, trunk: Trunk, cut: Cut, dtype: "np.dtype[np.generic]") -> None:
        above, weights = part_above(trunk, cut)
        self.weights: Weights = weights  # those that the trunk has, in the cut's order
        self._bottleneck_size = trunk.bottleneck_size
        signature = [
            tf.TensorSpec([None, cut.size], dtype),
            tuple(tf.TensorSpec(part.shape, tf.float32) for part in weights),
        ]
        # a function of its own, so that the network is imported into the other's graph only once
        self._above = tf.function(above, input_signature=signature, autograph=False)
        self._gradients = tf.function(self._gradient_graph, input_signature=signature, autograph=False)

    def bottlenecks(self, activations: VectorSource, weights: Weights) -> NDArray[np.float32]:
        """Compute bottlenecks (n, d) from activations (n, size)."""
        tensors = tuple(map(tf.constant, weights))
        vectors = new_vectors(activations.shape[0], self._bottleneck_size)
        for start in range(0, len(vectors), _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            vectors[rows] = self._above(tf.constant(activations[rows]), tensors).numpy()
        return vectors

    def gradients(
        self, activations: Vectors, weights: Weights, slopes_of: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    ) -> list[NDArray[np.float32]]:
        """Compute the gradients of the weights, in their order.

        Args:
            activations: (n, size).
            slopes_of: returns the gradients of the bottlenecks, both (n, d). It is called once, on any thread, and must
                not raise. The bottlenecks are valid until it returns.
        """
        self._slopes_of = slopes_of
        found = self._gradients(tf.constant(activations), tuple(map(tf.constant, weights)))
        return [gradient.numpy() for gradient in found]

    def _gradient_graph(self, activations: tf.Tensor, weights: tuple[tf.Tensor, ...]) -> list[tf.Tensor]:
        """Both ways in one graph: apart, all values between them would have to be kept, which takes twice as long."""
        with tf.GradientTape() as tape:
            tape.watch(weights)
            vectors = self._above(activations, weights)
        slopes = tf.numpy_function(lambda array: self._slopes_of(array), [vectors], tf.float32)
        slopes = tf.ensure_shape(slopes, vectors.shape)
        gradients: list[tf.Tensor] = tape.gradient(
            vectors, weights, slopes, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        return gradients
