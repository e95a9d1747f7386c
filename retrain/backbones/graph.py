"""A backbone's graph from picture to bottleneck: the trunk that all heads on it share."""

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrain._tensorflow import tf
from retrain.backbones import graph_images
from retrain.backbones.layers import NetworkLayer
from retrain.backbones.network import Network

__all__ = ["BOTTLENECK", "JPEG_INPUT", "PIXELS_INPUT", "Trunk", "make_trunk", "without_defaults"]

# Names in the graph; the inputs have those of the original program's releases.
JPEG_INPUT = "DecodeJpeg/contents:0"  # () string: the bytes of a JPEG; of 2015 and 2016
PIXELS_INPUT = "Placeholder:0"  # (n, height, width, 3) float32 in [0, 1]; of 2018
BOTTLENECK = "bottleneck:0"  # (n, d) float32

# Smaller constants count as part of the graph.
_LARGE_BYTES = 4096


@dataclass(frozen=True)
class Trunk:
    """A frozen graph from picture to bottleneck, serialized.

    It is one chain, which can be fed at any of these points:
    `DecodeJpeg/contents` () string, JPEG bytes; `DecodeJpeg` (any, any, 3) uint8 (a large JPEG arrives there
    scaled); `input` (n, any, any, 3) float32 in [-1, 1]; `Mul` (n, height, width, 3) float32 in [-1, 1];
    `Placeholder` (n, height, width, 3) float32 in [0, 1]. Out comes `bottleneck` (n, d) float32. The nodes of the
    network itself lie below `backbone/`, its weights are constants.
    """

    graph: bytes | memoryview  # a GraphDef
    height: int  # of the pictures, in pixels
    width: int
    bottleneck_size: int
    digest: str  # SHA-256 of the graph, hexadecimal
    layers: tuple[NetworkLayer, ...] = ()  # of the network

    def nodes(self) -> tf.compat.v1.GraphDef:
        """The graph, parsed."""
        return tf.compat.v1.GraphDef.FromString(self.graph)

    @cached_property
    def weights(self) -> dict[str, NDArray[Any]]:
        """The large constants, in the graph's order: name of the node -> array."""
        return {
            node.name: tf.make_ndarray(node.attr["value"].tensor)
            for node in self.nodes().node
            if node.op == "Const" and len(node.attr["value"].tensor.tensor_content) >= _LARGE_BYTES
        }

    def with_weights(self, weights: Mapping[str, NDArray[np.float32]]) -> "Trunk":
        """The trunk with other constants.

        Args:
            weights: names of nodes -> arrays, of the same shapes.
        """
        graph_def = self.nodes()
        for node in graph_def.node:
            if node.name in weights:
                node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(weights[node.name]))
        serialized = graph_def.SerializeToString(deterministic=True)
        return dataclasses.replace(self, graph=serialized, digest=hashlib.sha256(serialized).hexdigest())


def make_trunk(network: Network) -> Trunk:
    """Freeze a network, and put the inputs in front of it."""
    frozen = network.frozen_graph
    with tf.Graph().as_default() as graph:
        pixels = _picture_inputs(network.height, network.width)
        [vectors] = tf.import_graph_def(
            frozen.graph_def, input_map={frozen.start: pixels}, return_elements=[frozen.end], name="backbone"
        )
        tf.identity(vectors, name=BOTTLENECK[:-2])
        serialized = without_defaults(graph).SerializeToString(deterministic=True)
    digest = hashlib.sha256(serialized).hexdigest()
    layers = tuple(
        NetworkLayer(layer.name, tuple(f"backbone/{name}" for name in layer.weights)) for layer in network.layers
    )
    return Trunk(serialized, network.height, network.width, network.bottleneck_size, digest, layers)


def without_defaults(graph: tf.Graph) -> tf.compat.v1.GraphDef:
    """A graph as a message, without attributes at their defaults, so that TensorFlow 1 can load it."""
    return tf.compat.v1.train.export_meta_graph(graph=graph, strip_default_attrs=True).graph_def


def _picture_inputs(height: int, width: int) -> tf.Tensor:
    """The inputs of the original program's releases, one after the other, in the default graph.

    What lies between them has names in scopes, since names must differ in more than case: `mul` would block `Mul`.
    """
    feed = tf.compat.v1.placeholder_with_default
    contents = tf.compat.v1.placeholder(tf.string, [], name=JPEG_INPUT[:-2])
    with tf.name_scope("decode"):
        upright = graph_images.decode_jpeg(contents, height, width)
    pixels = tf.identity(upright, name="DecodeJpeg")
    pixels = tf.expand_dims(tf.cast(pixels, tf.float32, name="Cast"), 0, name="ExpandDims")
    with tf.name_scope("any_size"):
        pixels = pixels / 127.5 - 1.0
    pixels = feed(pixels, [None, None, None, 3], name="input")
    with tf.name_scope("resize"):
        pixels = graph_images.resize((pixels + 1.0) * 127.5, height, width) / 127.5 - 1.0
    pixels = feed(pixels, [None, height, width, 3], name="Mul")
    with tf.name_scope("unit_range"):
        pixels = pixels * 0.5 + 0.5
    return feed(pixels, [None, height, width, 3], name=PIXELS_INPUT[:-2])
