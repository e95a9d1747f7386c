"""The frozen graph: one file from picture to scores, as the original program's clients load it."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from retrain.backbones import BOTTLENECK
from retrain.errors import OutputError
from retrain.export.source import TrainedNetwork
from retrain.files import FilePart, write_whole
from retrain.model import Activation, Head
from retrain.paths import display_path
from retrain.tensorflow_formats import FLOAT, GraphDef

__all__ = ["FrozenGraph"]

_MOST_BYTES = 2**31 - 1  # of a message of protocol buffers
_OPERATIONS: dict[Activation, str] = {"softmax": "Softmax", "sigmoid": "Sigmoid"}


class FrozenGraph:
    """Writes a graph file. `Trunk` describes its inputs; the scores have the final tensor's name."""

    def write(self, network: TrainedNetwork, place: str | os.PathLike[str]) -> dict[str, str]:
        """Write the file. Raises OSError; OutputError if it would have over 2 GiB."""
        write_whole(place, *self.parts(network))
        return {}

    def verify(self, network: TrainedNetwork, place: str | os.PathLike[str]) -> dict[str, str]:
        """Read the file again: it must have the backbone's graph, and on it the head, bit for bit.

        Returns its SHA-256, as of the path ".". Raises OutputError, OSError.
        """
        file, trunk = FilePart(place), network.trunk
        digest = hashlib.sha256()
        for block in file[: len(trunk.graph)].blocks():
            digest.update(block)
        if digest.hexdigest() != trunk.digest:
            raise _differs(place)
        rest = bytes(file[len(trunk.graph) :])
        try:
            operation = _OPERATIONS[network.head.activation]
            layers = [*_layers_in(GraphDef.FromString(rest), network.final_tensor_name, operation)]
        except (DecodeError, LookupError, ValueError) as error:
            raise _differs(place) from error
        found = [array for layer in layers for array in layer]
        expected = [array for layer in reversed(network.head.layers) for array in (layer.weights, layer.biases)]
        if [*map(_identity, found)] != [*map(_identity, expected)]:
            raise _differs(place)
        digest.update(rest)
        return {".": digest.hexdigest()}

    def parts(self, network: TrainedNetwork) -> tuple[bytes | memoryview | FilePart, bytes]:
        """Return the file's content in two parts, the backbone's and the head's.

        Messages one after the other are one message with the parts of both. Raises OutputError over 2 GiB.
        """
        trunk = network.trunk
        parts = trunk.graph, head_graph(network.head, network.final_tensor_name, trunk.producer)
        size = sum(map(len, parts))
        if size > _MOST_BYTES:
            raise OutputError(
                f"the graph has {size} bytes, more than a graph file can hold ({_MOST_BYTES}): use a smaller backbone"
            )
        return parts


def head_graph(head: Head, final_tensor_name: str, producer: int) -> bytes:
    """A GraphDef from the bottleneck, which is not in it, to the scores.

    It is what TensorFlow writes of `softmax(relu(bottleneck @ weights + biases) @ weights + biases)` in a name scope;
    for many labels, `sigmoid` stands for `softmax`.

    Args:
        producer: the version of graphs that TensorFlow writes.
    """
    graph, values, last = GraphDef(), BOTTLENECK[:-2], len(head.layers) - 1
    for number, layer in enumerate(head.layers):
        suffix, width = f"_{number}" if number else "", layer.biases.size
        product, total, positive = (f"head/{name}{suffix}" for name in ("MatMul", "add", "Relu"))
        _add_constant(graph, f"{product}/b", layer.weights)
        _add_operation(graph, "MatMul", product, [values, f"{product}/b"], width)
        _add_constant(graph, f"{total}/y", layer.biases)
        _add_operation(graph, "AddV2", total, [product, f"{total}/y"], width)
        scores = _OPERATIONS[head.activation], final_tensor_name
        _add_operation(graph, *(scores if number == last else ("Relu", positive)), [total], width)
        values = positive
    graph.versions.producer = producer
    return bytes(graph.SerializeToString(deterministic=True))


def _add_operation(graph: Any, operation: str, name: str, inputs: Sequence[str], width: int) -> None:
    """A node that gives (n, width) float32."""
    node = graph.node.add(op=operation, name=name, input=inputs)
    node.attr["T"].type = FLOAT
    _set_sizes(node.attr["_output_shapes"].list.shape.add(), (-1, width))


def _add_constant(graph: Any, name: str, array: NDArray[np.float32]) -> None:
    node = graph.node.add(op="Const", name=name)
    node.attr["dtype"].type = FLOAT
    tensor = node.attr["value"].tensor
    tensor.dtype = FLOAT
    if array.size == 1:
        tensor.float_val.append(array.item())
    else:
        tensor.tensor_content = array.tobytes()
    for shape in (tensor.tensor_shape, node.attr["_output_shapes"].list.shape.add()):
        _set_sizes(shape, array.shape)


def _set_sizes(shape: Any, sizes: Sequence[int]) -> None:
    for size in sizes:
        shape.dim.add(size=size)


def _layers_in(
    graph: Any, final_tensor_name: str, operation: str
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Weights and biases of the layers below the scores, from the last to the first.

    Args:
        operation: that gives the scores.
    Raises LookupError, ValueError if the graph is not of that form.
    """
    nodes = {node.name: node for node in graph.node}

    def inputs(name: str, operation: str) -> Sequence[str]:
        node = nodes.pop(name)  # so that no circle is followed for ever
        if node.op != operation:
            raise ValueError(f"{name} is {node.op}, expected {operation}")
        return list(node.input)

    values = final_tensor_name
    while values != BOTTLENECK[:-2]:
        [total] = inputs(values, operation)
        product, biases = inputs(total, "AddV2")
        values, weights = inputs(product, "MatMul")
        yield _array_in(nodes[weights]), _array_in(nodes[biases])
        operation = "Relu"


def _array_in(node: Any) -> NDArray[np.float32]:
    tensor = node.attr["value"].tensor
    if node.op != "Const" or tensor.dtype != FLOAT:
        raise ValueError(f"{node.name} is no constant of float32")
    values = np.frombuffer(tensor.tensor_content, "<f4") if tensor.tensor_content else np.array(tensor.float_val, "<f4")
    return values.reshape([dim.size for dim in tensor.tensor_shape.dim])


def _identity(array: NDArray[np.float32]) -> tuple[tuple[int, ...], bytes]:
    return array.shape, array.tobytes()


def _differs(place: str | os.PathLike[str]) -> OutputError:
    return OutputError(f"{display_path(place)} does not give the scores of the trained model: train it again")
