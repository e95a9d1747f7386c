"""A frozen network: pictures in, bottlenecks out, whatever form it comes in."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrain._tensorflow import convert, freeze, run_as_it_is, tf
from retrain.backbones.extractor import finite
from retrain.backbones.layers import VariableGroup, find_layers
from retrain.errors import BackboneError
from retrain.text import first_line

__all__ = ["FrozenGraph", "Network", "suitable_batch_size"]

Runner = Callable[[NDArray[np.uint8]], NDArray[np.float32]]

# Pictures in one call of the network. On processors, 16 to 64 pictures of 299 x 299 take the same time each.
_GPU_BATCH_SIZE = 64
_BATCH_SIZE = 32
_BATCH_PIXELS = 32 * 331**2  # fewer of larger pictures, so that memory stays bounded


@dataclass(frozen=True, eq=False)
class FrozenGraph:
    """A graph whose weights are constants."""

    graph_def: tf.compat.v1.GraphDef
    start: str  # the tensor that takes pictures, (n, height, width, 3) float32, RGB in [0, 1]
    end: str  # the tensor that is wanted
    height: int  # pixels
    width: int

    def runner(self, config: tf.compat.v1.ConfigProto | None = None) -> Runner:
        """The graph as a function of (n, height, width, 3) uint8 pixels, for many calls.

        Since its weights are constants, TensorFlow arranges them for the processor once and not in each call: 1.1
        (Inception v3) to 1.5 times (MobileNetV2) as fast as a function with variables.

        Args:
            config: the session's settings.
        """
        graph = tf.Graph()
        with graph.as_default():
            pixels = tf.compat.v1.placeholder(tf.uint8, [None, self.height, self.width, 3])
            [vectors] = tf.graph_util.import_graph_def(
                self.graph_def, {self.start: tf.cast(pixels, tf.float32) / 255.0}, return_elements=[self.end]
            )
        config = config or tf.compat.v1.ConfigProto()
        config.gpu_options.allow_growth = True
        run: Runner = tf.compat.v1.Session(graph=graph, config=config).make_callable(vectors, [pixels])
        return run

    def as_network(self, for_few: bool = False) -> "GraphNetwork":
        """The graph as pass one runs it.

        Args:
            for_few: it is for a few pictures, and starts sooner.
        """
        config = tf.compat.v1.ConfigProto()
        if for_few:
            run_as_it_is(config)
        return GraphNetwork(self, config)

    def converted(self) -> bytes:
        """The graph as a file of LiteRT: (n, height, width, 3) float32 in [0, 1] to the wanted tensor, in float32.

        Raises BackboneError if it has an operation that LiteRT does not know.
        """

        def function(pixels: tf.Tensor) -> tf.Tensor:
            [vectors] = tf.graph_util.import_graph_def(self.graph_def, {self.start: pixels}, return_elements=[self.end])
            return vectors

        spec = tf.TensorSpec([None, self.height, self.width, 3], tf.float32, name="pixels")
        try:
            return convert(tf.function(function, input_signature=[spec], autograph=False).get_concrete_function())
        except Exception as error:  # the converter raises many kinds; the reason is kept
            raise BackboneError(f"TensorFlow can't convert this network for LiteRT: {first_line(error)}") from error


class GraphNetwork:
    """A graph as pass one runs it."""

    def __init__(self, graph: FrozenGraph, config: tf.compat.v1.ConfigProto) -> None:
        self.height, self.width = graph.height, graph.width
        self.batch_size = suitable_batch_size(self.height, self.width)
        self._run = graph.runner(config)

    def bottlenecks(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run it: (n, height, width, 3) uint8, RGB, to (n, ...) float32. Raises BackboneError for NaN or infinity."""
        return finite(self._run(pixels))


class Network:
    """A frozen network.

    Args:
        function: (n, height, width, 3) float32, RGB in [0, 1], to (n, bottleneck_size) float32.
        height, width: of the pictures, in pixels.
        owner: the Keras model or loaded SavedModel that `function` calls; its variables live as long as it does.
        groups: its layers.
    """

    def __init__(
        self,
        function: Callable[[tf.Tensor], tf.Tensor],
        height: int,
        width: int,
        owner: Any,
        groups: Sequence[VariableGroup] = (),
    ) -> None:
        self.height, self.width = height, width
        self.batch_size = suitable_batch_size(height, width)
        self._owner = owner
        spec = tf.TensorSpec([None, height, width, 3], tf.float32, name="pixels")
        # without autograph, which would put its own text before that of an error
        self.function = tf.function(function, input_signature=[spec], autograph=False).get_concrete_function()
        shape = self.function.outputs[0].shape
        if shape.rank != 2 or shape[1] is None:
            raise BackboneError(f"the backbone gives {shape} for a batch of pictures, expected (n, length)")
        self.bottleneck_size = int(shape[1])
        self.layers = find_layers(self.function, groups)

    def bottlenecks(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run the network: (n, height, width, 3) uint8, RGB, to (n, bottleneck_size) float32.

        Raises BackboneError for NaN or infinity.
        """
        return finite(self._run(pixels))

    @cached_property
    def _run(self) -> Runner:
        return self.frozen_graph.runner()

    @cached_property
    def frozen_graph(self) -> FrozenGraph:
        """The network with its weights as constants."""
        function = self.function
        return FrozenGraph(freeze(function), function.inputs[0].name, function.outputs[0].name, self.height, self.width)

    def weights_digest(self) -> str:
        """SHA-256 of the arrays of a Keras model, in its order."""
        digest = hashlib.sha256()
        for array in self._owner.get_weights():
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def suitable_batch_size(height: int, width: int) -> int:
    """How many pictures of a size, in pixels, go into one call of a network on this machine's device."""
    if tf.config.list_physical_devices("GPU"):
        return _GPU_BATCH_SIZE
    return max(1, min(_BATCH_SIZE, _BATCH_PIXELS // (height * width)))
