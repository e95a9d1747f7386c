"""Check that a graph from somebody else only computes.

A TensorFlow graph is a program: some operations read and write files, open connections, or call Python. The message is
checked before TensorFlow sees it: its nodes, and those of all functions in its library, called or not.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from retrain.backbones.sources.safe_operations import SAFE_OPERATIONS
from retrain.errors import RetrainError
from retrain.text import listing

__all__ = ["check_graph", "check_saved_model"]

# Every SavedModel is saved and restored by these. They are harmless as long as nothing else runs them.
_WRITERS = frozenset({"SaveV2", "Save", "SaveSlices", "MergeV2Checkpoints"})
_READERS = frozenset({"RestoreV2", "Restore", "RestoreSlice"})

_MOST_NAMED = 3  # operations, in a message


def check_graph(graph_def: Any, where: str, error: type[RetrainError]) -> None:
    """Check a GraphDef.

    Args:
        graph_def: tf.compat.v1.GraphDef.
        where: what it is, as a message begins: "the graph m/graph.pb".
        error: raised if it holds an operation that is not known to be harmless.
    """
    _refuse(_unsafe(graph_def, SAFE_OPERATIONS), where, error)


def check_saved_model(saved_model: Any, where: str, error: type[RetrainError]) -> None:
    """Check a SavedModel message, as check_graph does; what only saves and restores it is allowed.

    Args:
        saved_model: tensorflow.core.protobuf.saved_model_pb2.SavedModel.
    """
    for meta_graph in saved_model.meta_graphs:
        _refuse(_unsafe(meta_graph.graph_def, SAFE_OPERATIONS | _WRITERS | _READERS), where, error)
        _refuse(_stray_savers(meta_graph), where, error)


def _refuse(found: Iterable[str], where: str, error: type[RetrainError]) -> None:
    names = [*dict.fromkeys(found)]
    if names:
        raise error(
            f"{where} has operations that may do more than compute, such as read or write files, start programs or "
            f"call Python: {listing(names, _MOST_NAMED)}; give --trust only if you trust whoever made it with "
            "everything that you can do on this machine"
        )


def _unsafe(graph_def: Any, allowed: frozenset[str]) -> Iterator[str]:
    """The operations that are not allowed, with the node that has each."""
    functions = {function.signature.name for function in graph_def.library.function}
    known = allowed | functions
    for node in _all_nodes(graph_def):
        for name in _operations(node):
            if name not in known:
                yield f"{name:.60} (node {node.name:.60})"
        # if it is missing, stderr is meant
        if node.op == "PrintV2" and "output_stream" in node.attr and node.attr["output_stream"].s.startswith(b"file"):
            yield f"PrintV2 to a file (node {node.name:.60})"
    for gradient in graph_def.library.gradient:
        if gradient.gradient_func not in functions:
            yield f"{gradient.gradient_func:.60} (gradient of {gradient.function_name:.60})"


def _all_nodes(graph_def: Any) -> Iterator[Any]:
    yield from graph_def.node
    for function in graph_def.library.function:
        yield from function.node_def


def _operations(node: Any) -> Iterator[str]:
    """The operation of a node, and all functions that it is told to call."""
    yield node.op
    for value in node.attr.values():
        yield from _called(value)


def _called(value: Any) -> Iterator[str]:
    for function in (value.func, *value.list.func):
        if function.name:
            yield function.name
        for inner in function.attr.values():
            yield from _called(inner)


def _stray_savers(meta_graph: Any) -> Iterator[str]:
    """Savers and restorers that something other than saving and restoring may run.

    In a graph, these are below a node that something outside names: a signature or a collection. In the library, they
    are in functions named in the graph of objects, which alone says what TensorFlow 2 may call.
    """
    functions = {f.signature.name: list(f.node_def) for f in meta_graph.graph_def.library.function}
    roots, objects = _roots(meta_graph), meta_graph.object_graph_def.SerializeToString()
    restoring = meta_graph.saver_def.restore_op_name.partition(":")[0]
    for savers, others in ((_WRITERS, {restoring}), (_READERS, set())):
        inside = _functions_with(functions, savers)
        for name in sorted(inside - savers):
            if name.encode() in objects:
                yield f"{'/'.join(sorted(savers & _reached(functions, name)))} (function {name:.60})"
        for name in _downstream(meta_graph.graph_def.node, inside):
            if name in roots | others or any(name.encode() in text for text in _texts(meta_graph)):
                yield f"{'/'.join(sorted(savers))} (before node {name:.60})"


def _functions_with(functions: dict[str, list[Any]], operations: frozenset[str]) -> set[str]:
    """The operations, and the names of all functions that lead to them."""
    found = set(operations)
    calls = {name: {called for node in nodes for called in _operations(node)} for name, nodes in functions.items()}
    while more := {name for name, called in calls.items() if name not in found and called & found}:
        found |= more
    return found


def _reached(functions: dict[str, list[Any]], name: str) -> set[str]:
    """All operations and functions that a function leads to."""
    found, waiting = {name}, [name]
    while waiting:
        for node in functions.get(waiting.pop(), ()):
            new = {*_operations(node)} - found
            found |= new
            waiting += new
    return found


def _downstream(nodes: Any, operations: set[str]) -> set[str]:
    """The names of nodes with one of the operations, and of all nodes that depend on them."""
    users = defaultdict(list)
    for node in nodes:
        for text in node.input:
            users[text.lstrip("^").partition(":")[0]].append(node.name)
    waiting = [node.name for node in nodes if operations.intersection(_operations(node))]
    found = set(waiting)
    while waiting:
        new = set(users[waiting.pop()]) - found
        found |= new
        waiting += new
    return found


def _roots(meta_graph: Any) -> set[str]:
    """The nodes that signatures and collections name."""
    names = [
        name
        for signature in meta_graph.signature_def.values()
        for info in (*signature.outputs.values(), *signature.inputs.values())
        for name in (
            info.name,
            *(component.name for component in info.composite_tensor.components),
            *(info.coo_sparse.values_tensor_name, info.coo_sparse.indices_tensor_name),
            info.coo_sparse.dense_shape_tensor_name,
        )
    ]
    for collection in meta_graph.collection_def.values():
        names += collection.node_list.value
    names += [asset.tensor_info.name for asset in meta_graph.asset_file_def]
    return {name.lstrip("^").partition(":")[0] for name in names}


def _texts(meta_graph: Any) -> list[bytes]:
    """What collections hold as bytes, such as variables with the names of what sets them.

    Savers are left out: TensorFlow restores by `saver_def` only.
    """
    return [
        text
        for name, collection in meta_graph.collection_def.items()
        if name != "savers"
        for text in (*collection.bytes_list.value, *(item.value for item in collection.any_list.value))
    ]
