"""The trunk: a backbone's frozen graph, which all heads on it share, and where its weights lie in that.

TensorFlow is needed to change it or to run it. To look into it and to copy it, it is not.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from retrain.backbones.layers import NetworkLayer
from retrain.files import FilePart, blocks
from retrain.tensorflow_formats import GraphDef, masked_crc32c, read_varint

if TYPE_CHECKING:
    from retrain._tensorflow import tf

__all__ = ["BOTTLENECK", "JPEG_INPUT", "PIXELS_INPUT", "Trunk", "Weight", "outline"]

# Names in the graph; the inputs have those of the original program's releases.
JPEG_INPUT = "DecodeJpeg/contents:0"  # () string: the bytes of a JPEG; of 2015 and 2016
PIXELS_INPUT = "Placeholder:0"  # (n, height, width, 3) float32 in [0, 1]; of 2018
BOTTLENECK = "bottleneck:0"  # (n, d) float32

# Smaller constants count as part of the graph.
_LARGE_BYTES = 4096

# Kinds of fields: as they stand in a message
_NUMBER, _BYTES = 0, 2
_LONGEST_HEADER = 20  # bytes: number and length of a field, each up to ten
_FIRST_BYTES = 64  # of a constant, that are looked for

Graph = bytes | memoryview | FilePart


@dataclass(frozen=True)
class Weight:
    """A large constant, and where its values lie in the graph, little-endian."""

    name: str  # of its node
    dtype: int  # as TensorFlow numbers types
    shape: tuple[int, ...]
    offset: int  # bytes
    length: int
    crc32c: int  # of the values, masked


@dataclass(frozen=True)
class Trunk:
    """A frozen graph from picture to bottleneck, serialized.

    It is one chain, which can be fed at any of these points:
    `DecodeJpeg/contents` () string, JPEG bytes; `DecodeJpeg` (any, any, 3) uint8 (a large JPEG arrives there
    scaled); `input` (n, any, any, 3) float32 in [-1, 1]; `Mul` (n, height, width, 3) float32 in [-1, 1];
    `Placeholder` (n, height, width, 3) float32 in [0, 1]. Out comes `bottleneck` (n, d) float32. The nodes of the
    network itself lie below `backbone/`, its weights are constants.
    """

    graph: Graph  # a GraphDef
    height: int  # of the pictures, in pixels
    width: int
    bottleneck_size: int
    digest: str  # SHA-256 of the graph, hexadecimal
    layers: tuple[NetworkLayer, ...]  # of the network
    producer: int  # the version of graphs that TensorFlow writes
    weights: tuple[Weight, ...]  # in the graph's order
    weights_digest: str  # SHA-256 of their values, one after the other

    @classmethod
    def of_graph(
        cls, graph: Graph, size: tuple[int, int, int], layers: Sequence[NetworkLayer] = (), producer: int = 0
    ) -> "Trunk":
        """Find out what is to know of a graph.

        Args:
            size: height, width, length of a bottleneck.
            producer: 0: the version that the graph has.
        Raises OSError, google.protobuf.message.DecodeError.
        """
        found, weights = outline(graph)
        values = _digest_of([graph[weight.offset : weight.offset + weight.length] for weight in weights])
        version = producer or found.versions.producer
        return cls(graph, *size, _digest_of([graph]), tuple(layers), version, weights, values)

    def nodes(self) -> "tf.compat.v1.GraphDef":
        """The graph, parsed. Raises OSError."""
        from retrain._tensorflow import tf

        return tf.compat.v1.GraphDef.FromString(bytes(self.graph))

    def values(self, weight: Weight) -> Graph:
        """The bytes of a weight."""
        return self.graph[weight.offset : weight.offset + weight.length]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The weights, in the graph's order: name of the node -> array. Raises OSError."""
        from retrain._tensorflow import tf

        return {
            weight.name: np.frombuffer(bytes(self.values(weight)), tf.as_dtype(weight.dtype).as_numpy_dtype).reshape(
                weight.shape
            )
            for weight in self.weights
        }

    def with_weights(self, weights: Mapping[str, NDArray[np.float32]]) -> "Trunk":
        """The trunk with other constants.

        Args:
            weights: names of nodes -> arrays, of the same shapes.
        """
        from retrain._tensorflow import tf

        graph_def = self.nodes()
        for node in graph_def.node:
            if node.name in weights:
                node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(weights[node.name]))
        serialized = graph_def.SerializeToString(deterministic=True)
        size = self.height, self.width, self.bottleneck_size
        return Trunk.of_graph(serialized, size, self.layers, self.producer)


def outline(graph: Graph) -> tuple[Any, tuple[Weight, ...]]:
    """A graph without the values of its large constants, and where they are. One node is in memory at a time.

    Returns a GraphDef of `tensorflow_formats`. Raises OSError, google.protobuf.message.DecodeError.
    """
    found, weights = GraphDef(), []
    for start, end in _fields(graph):
        data = bytes(graph[start:end])
        part = GraphDef.FromString(data)
        for node in part.node:
            tensor = node.attr["value"].tensor if node.op == "Const" else None
            if tensor is not None and len(tensor.tensor_content) >= _LARGE_BYTES:
                values = tensor.tensor_content
                shape, offset = tuple(dim.size for dim in tensor.tensor_shape.dim), start + _place_of(values, data)
                weights.append(Weight(node.name, tensor.dtype, shape, offset, len(values), masked_crc32c(values)))
                tensor.ClearField("tensor_content")
        found.MergeFrom(part)
    return found, tuple(weights)


def _fields(graph: Graph) -> Iterator[tuple[int, int]]:
    """Where each field of a message begins and ends. Raises DecodeError."""
    place = 0
    while place < len(graph):
        header = bytes(graph[place : place + _LONGEST_HEADER])
        tag, behind = read_varint(header, 0)
        length, behind = read_varint(header, behind)
        kind = tag % 8
        if kind not in (_NUMBER, _BYTES):
            raise DecodeError(f"a field of a graph is of the unknown kind {kind}")
        end = place + behind + (length if kind == _BYTES else 0)
        if end > len(graph):
            raise DecodeError("the graph is cut short")
        yield place, end
        place = end


def _place_of(values: bytes, data: bytes) -> int:
    """Where some bytes begin in others that have them; the start alone is looked for, since that takes no time."""
    place = data.index(values[:_FIRST_BYTES])
    while data[place : place + len(values)] != values:
        place = data.index(values[:_FIRST_BYTES], place + 1)
    return place


def _digest_of(parts: Sequence[Graph]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        for block in blocks(part):
            digest.update(block)
    return digest.hexdigest()
