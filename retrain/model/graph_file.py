"""Read a graph file: run its parts as functions of arrays, and find the constants in it."""

from collections.abc import Callable, Sequence

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from retrain._tensorflow import tf
from retrain.errors import ModelFolderError
from retrain.model.head import array_identity
from retrain.model.litert_file import HEAD_SCOPE, KNOWN_SCOPE

__all__ = ["checked_run", "head_constants", "parse_graph", "part_below", "part_of_graph"]


def parse_graph(data: bytes, where: str) -> tf.compat.v1.GraphDef:
    """Parse the bytes of a graph file.

    Args:
        where: the file, for messages.
    Raises ModelFolderError if it is damaged.
    """
    try:
        return tf.compat.v1.GraphDef.FromString(data)
    except DecodeError as error:
        raise ModelFolderError(f"{where} is damaged ({error}): train the model again") from error


def part_of_graph(
    graph_def: tf.compat.v1.GraphDef, start: str, ends: Sequence[str], picture: tuple[int, int, int], length: int
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Return the part of a graph between tensors as a function: (n, *picture) float32 to (n, length) float32.

    Args:
        start: the tensor that takes pictures.
        ends: the tensors whose values are wanted, (n, ...); one behind the other they have length numbers.
        picture: the shape of one picture.
    Raises ModelFolderError if the graph has no such part. The function raises it if the graph can't run, or if it
    returns values that are not finite.
    """

    def run(values: tf.Tensor) -> tf.Tensor:
        found = tf.import_graph_def(graph_def, input_map={start: values}, return_elements=[*ends], name="")
        return found[0] if len(found) == 1 else tf.concat(found, 1)

    spec = tf.TensorSpec([None, *picture], tf.float32)
    try:
        attributes = next(node.attr for node in graph_def.node if f"{node.name}:0" == start)
        found = tf.TensorSpec(tf.TensorShape(attributes["shape"].shape), tf.as_dtype(attributes["dtype"].type))
        if found != spec:
            raise ValueError(f"it takes {found.dtype.name} {found.shape}, expected float32 {spec.shape}")
        function = tf.function(run, input_signature=[spec])
        [result] = function.get_concrete_function().outputs
        if result.dtype != tf.float32 or not result.shape.is_compatible_with([None, length]):
            raise ValueError(f"{', '.join(ends)} is {result.dtype.name} {result.shape}, expected float32 (n, {length})")
    except StopIteration:
        raise ModelFolderError(f"the graph has no tensor {start}: train the model again") from None
    except (AttributeError, LookupError, ValueError, TypeError, RuntimeError, tf.errors.OpError) as error:
        raise _unusable(error) from error
    return lambda values: checked_run(lambda: function(tf.constant(values)).numpy(), len(values), length)


def checked_run(run: Callable[[], NDArray[np.float32]], rows: int, length: int) -> NDArray[np.float32]:
    """Run a foreign graph. Raises ModelFolderError unless it returns (rows, length) finite values."""
    try:
        values = np.asarray(run())
    except (ValueError, TypeError, tf.errors.OpError) as error:
        raise _unusable(error) from error
    if values.shape != (rows, length):
        raise ModelFolderError(
            f"the graph returns {values.shape} for {rows} pictures, expected {(rows, length)}: train the model again"
        )
    if not np.isfinite(values).all():
        raise ModelFolderError("the graph returns values that are not finite: train the model again")
    return values


def part_below(graph_def: tf.compat.v1.GraphDef, end: str) -> bytes:
    """Return the nodes that a tensor depends on, as a graph file. It is the same for all heads on one backbone."""
    inputs = {node.name: [text.lstrip("^").partition(":")[0] for text in node.input] for node in graph_def.node}
    for node in graph_def.node:
        if "_class" in node.attr:  # nodes that must be on the same device
            inputs[node.name] += [text.decode().removeprefix("loc:@") for text in node.attr["_class"].list.s]
    needed: set[str] = set()
    waiting = [end.partition(":")[0]]
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting += inputs.get(name, ())
    part = tf.compat.v1.GraphDef(versions=graph_def.versions, library=graph_def.library)
    part.node.extend(node for node in graph_def.node if node.name in needed)
    return bytes(part.SerializeToString(deterministic=True))


def head_constants(graph_def: tf.compat.v1.GraphDef) -> set[tuple[tuple[int, ...], bytes]]:
    """Return the identities of the arrays of the head's layers. Empty if the graph is built in another way."""
    constants = [node for node in graph_def.node if node.op == "Const" and node.name.startswith(HEAD_SCOPE)]
    nodes = [node for node in constants if not node.name.startswith(KNOWN_SCOPE)]
    try:
        return {array_identity(tf.make_ndarray(node.attr["value"].tensor)) for node in nodes}
    except (ValueError, TypeError) as error:
        raise ModelFolderError(f"the graph can't be used ({error}): train the model again") from error


def _unusable(error: Exception) -> ModelFolderError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return ModelFolderError(f"the graph can't be used ({lines[0][:200]}): train the model again")
