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
from retrain.model import KNOWN, KNOWN_SCOPE, Activation, Head, Rejection
from retrain.paths import display_path
from retrain.tensorflow_formats import FLOAT, INT32, GraphDef

__all__ = ["FrozenGraph"]

_LEAST = np.float32(1e-30)  # of the sum of the squares of a bottleneck, so that zeros stay zeros
_MOST_BYTES = 2**31 - 1  # of a message of protocol buffers
_OPERATIONS: dict[Activation, str] = {"softmax": "Softmax", "sigmoid": "Sigmoid"}


class FrozenGraph:
    """Writes a graph file. `Trunk` describes its inputs; the scores have the final tensor's name.

    If the head tells pictures of no class, it also has `known`, (n, 1) float32 in [0, 1].
    """

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
            graph, operation = GraphDef.FromString(rest), _OPERATIONS[network.head.activation]
            layers = [*_layers_in(graph, network.final_tensor_name, operation)]
            known = _known_in(graph)
        except (DecodeError, LookupError, ValueError) as error:
            raise _differs(place) from error
        found = [array for layer in layers for array in layer]
        expected = [array for layer in reversed(network.head.layers) for array in (layer.weights, layer.biases)]
        wanted = _known_in(GraphDef.FromString(self.parts(network)[1]))
        if [*map(_identity, found)] != [*map(_identity, expected)] or known != wanted:
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
    """A GraphDef from the bottleneck, which is not in it, to the scores and, if the head tells it, `known`.

    The scores are what TensorFlow writes of `softmax(relu(bottleneck @ weights + biases) @ weights + biases)` in a name
    scope; for several labels, `sigmoid` stands for `softmax`.

    Args:
        producer: the version of graphs that TensorFlow writes.
    """
    graph, values, last = GraphDef(), BOTTLENECK[:-2], len(head.layers) - 1
    if head.rejection is not None:  # before the layers: clients may take the last node for the scores
        _add_known(graph, head.rejection)
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


def _add_known(graph: Any, rejection: Rejection) -> None:
    """Nodes from the bottleneck to `known`, (n, 1), as `Rejection` computes it."""
    size, count = rejection.directions.shape

    def constant(name: str, values: Any) -> str:
        array = np.asarray(values)
        _add_constant(graph, f"{KNOWN_SCOPE}{name}", array)
        return f"{KNOWN_SCOPE}{name}"

    def operation(kind: str, name: str, inputs: Sequence[str], width: int = 1) -> str:
        name = name if name == KNOWN else f"{KNOWN_SCOPE}{name}"
        _add_operation(graph, kind, name, inputs, width)
        return name

    def reduction(kind: str, name: str, values: str) -> str:
        name = operation(kind, name, [values, axis])
        attributes = graph.node[-1].attr
        attributes["Tidx"].type, attributes["keep_dims"].b = INT32, True
        return name

    bottleneck, axis = BOTTLENECK[:-2], constant("axis", np.int32(1))
    total = reduction("Sum", "total", operation("Square", "squares", [bottleneck], size))
    inverse = operation("Rsqrt", "inverse", [operation("Maximum", "positive", [total, constant("least", _LEAST)])])
    unit = operation("Mul", "unit", [bottleneck, inverse], size)
    along = operation("MatMul", "along", [unit, constant("directions", rejection.directions)], count)
    taken_off = reduction("Sum", "taken_off", operation("Square", "along_squares", [along], count))
    classes = rejection.offsets.size
    products = operation("MatMul", "products", [unit, constant("slopes", rejection.slopes)], classes)
    sums = operation("AddV2", "sums", [products, constant("offsets", rejection.offsets)], classes)
    distance = operation("Sub", "distance", [reduction("Min", "nearest", sums), taken_off])
    margin = operation("Sub", "margin", [constant("threshold", np.float32(rejection.limit.threshold)), distance])
    scaled = operation("RealDiv", "scaled", [margin, constant("scale", np.float32(rejection.limit.scale))])
    operation("Sigmoid", KNOWN, [scaled])


def _add_operation(graph: Any, operation: str, name: str, inputs: Sequence[str], width: int) -> None:
    """A node that gives (n, width) float32."""
    node = graph.node.add(op=operation, name=name, input=inputs)
    node.attr["T"].type = FLOAT
    _set_sizes(node.attr["_output_shapes"].list.shape.add(), (-1, width))


def _add_constant(graph: Any, name: str, array: NDArray[Any]) -> None:
    node = graph.node.add(op="Const", name=name)
    kind = node.attr["dtype"].type = INT32 if array.dtype == np.int32 else FLOAT
    tensor = node.attr["value"].tensor
    tensor.dtype = kind
    if array.size == 1 and kind == FLOAT:
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


def _known_in(graph: Any) -> list[bytes]:
    """The nodes that give `known`; none if the head tells no pictures apart."""
    nodes = (node for node in graph.node if node.name == KNOWN or node.name.startswith(KNOWN_SCOPE))
    return [node.SerializeToString(deterministic=True) for node in nodes]


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
