"""Cut a network in two: find the points through which everything flows, and the parts on either side."""

import difflib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrain._tensorflow import tf
from retrain.backbones.layers import NetworkLayer
from retrain.backbones.trunk import BOTTLENECK, PIXELS_INPUT, Trunk
from retrain.errors import BackboneError, UsageError
from retrain.options import FineTuningOptions
from retrain.text import counted

__all__ = ["Cut", "find_cut", "part_above", "part_below"]

Nodes = dict[str, tf.compat.v1.NodeDef]

_CONVOLUTIONS = ("Conv2D", "DepthwiseConv2dNative")
_MOST_SHOWN = 12  # layers in an error message


@dataclass(frozen=True)
class Cut:
    """A point of a trunk, and the layers above it that are to be trained."""

    tensor: str  # name of a tensor (n, ...) float32
    shape: tuple[int, ...]  # of one picture's activations there
    layers: tuple[str, ...]  # names of the layers to be trained, from below
    weights: tuple[str, ...]  # names of their constants in the trunk

    @property
    def size(self) -> int:
        """The count of numbers in one picture's activations."""
        return int(np.prod(self.shape))


def find_cut(trunk: Trunk, options: FineTuningOptions) -> Cut:
    """The last point below the first layer to be trained through which everything flows.

    Such a point is an articulation point of the graph: every way from the pictures to the bottleneck leads through it.

    Raises UsageError if there is no such layer, BackboneError if the network has no weights to train.
    """
    nodes = {node.name: node for node in trunk.nodes().node}
    _check(nodes, trunk.layers)
    order = _order(nodes, PIXELS_INPUT[:-2], BOTTLENECK[:-2])
    first_use = _first_uses(nodes, order, [name for layer in trunk.layers for name in layer.weights])
    layers = _in_order(trunk.layers, first_use)
    if not first_use:
        raise BackboneError(
            "this network can't be fine-tuned: it does not say which of its numbers are weights; use a network of "
            "Keras Applications, or a SavedModel with trainable variables"
        )
    first = _first_layer(layers, options)
    trained = [layer for layer in layers[first:] if layer.weights]
    if not trained:
        last = next(layer.name for layer in reversed(layers) if layer.weights)
        raise UsageError(f"--fine-tune-from {options.fine_tune_from}: the last layer with weights is {last}")
    weights = tuple(name for layer in trained for name in layer.weights)
    lowest = min(first_use[name] for name in weights)
    tensor, shape = _last_point(trunk, nodes, order, lowest)
    return Cut(tensor, shape, tuple(layer.name for layer in trained), weights)


def part_below(trunk: Trunk, cut: Cut) -> tf.compat.v1.GraphDef:
    """The graph from PIXELS_INPUT to the cut."""
    return _part(trunk, cut.tensor[:-2], PIXELS_INPUT[:-2])


def part_above(
    trunk: Trunk, cut: Cut
) -> tuple[Callable[[tf.Tensor, Sequence[tf.Tensor]], tf.Tensor], list[NDArray[np.float32]]]:
    """The network from the cut to the bottleneck, and its present weights.

    Returns: a function of activations (n, size), float16 or float32, and of the cut's weights in their order, to
        bottlenecks (n, d) float32; and these weights.
    """
    graph_def = _part(trunk, BOTTLENECK[:-2], cut.tensor[:-2])
    _fold_scales(graph_def, cut)
    nodes = {node.name: node for node in graph_def.node}
    values = [tf.make_ndarray(nodes[name].attr["value"].tensor) for name in cut.weights]
    for name in (*cut.weights, cut.tensor[:-2]):  # these come from outside
        graph_def.node.remove(nodes[name])

    def above(activations: tf.Tensor, weights: Sequence[tf.Tensor]) -> tf.Tensor:
        inputs = {f"{name}:0": value for name, value in zip(cut.weights, weights, strict=True)}
        inputs[cut.tensor] = tf.reshape(tf.cast(activations, tf.float32), [-1, *cut.shape])
        [vectors] = tf.graph_util.import_graph_def(graph_def, inputs, return_elements=[BOTTLENECK], name="")
        return vectors

    return above, values


def _in_order(layers: Sequence[NetworkLayer], first_use: dict[str, int]) -> list[NetworkLayer]:
    """The layers from below, without unused weights; a SavedModel names only layers with weights, in any order."""
    used = [NetworkLayer(layer.name, tuple(n for n in layer.weights if n in first_use)) for layer in layers]
    if all(layer.weights for layer in layers):
        used = [layer for layer in used if layer.weights]
        used.sort(key=lambda layer: min(first_use[name] for name in layer.weights))
    return used


def _check(nodes: Nodes, layers: Sequence[NetworkLayer]) -> None:
    """Refuse networks that can't be fine-tuned. Raises BackboneError."""
    loop = next((node.name for node in nodes.values() if node.op == "NextIteration"), None)
    if loop is not None:
        raise BackboneError(f"this network can't be fine-tuned: it has a loop ({loop}); use another --backbone")
    for layer in layers:
        for name in layer.weights:
            kind = tf.as_dtype(nodes[name].attr["dtype"].type)
            if kind != tf.float32:
                raise BackboneError(
                    f"this network can't be fine-tuned: the weights of {layer.name} are of {kind.name}, expected "
                    "float32; use another --backbone"
                )


def _first_layer(layers: Sequence[NetworkLayer], options: FineTuningOptions) -> int:
    """The index of the first layer to be trained. Raises UsageError."""
    wanted = options.fine_tune_from
    if wanted is None:
        count = options.fine_tune_layers or 0
        weighted = [number for number, layer in enumerate(layers) if layer.weights]
        if count > len(weighted):
            raise UsageError(
                f"--fine-tune-layers {count}: the network has {counted(len(weighted), 'layer')} with weights"
            )
        return weighted[-count]
    names = [layer.name for layer in layers]
    if wanted in names:
        return names.index(wanted)
    if wanted.isdecimal():
        if int(wanted) < len(layers):
            return int(wanted)
        raise UsageError(f"--fine-tune-from {wanted}: the network has the layers 0 to {len(layers) - 1}")
    near = difflib.get_close_matches(wanted, names, 1)
    last = ", ".join(f"{n} {layer.name}" for n, layer in list(enumerate(layers))[-_MOST_SHOWN:])
    raise UsageError(
        f"--fine-tune-from {wanted}: the network has no such layer"
        + (f"; did you mean {near[0]}?" if near else f"; its last ones are {last}")
    )


# the graph


def _fold_scales(graph_def: tf.compat.v1.GraphDef, cut: Cut) -> None:
    """Multiply kernels by what their convolutions' outputs are multiplied by, as in batch normalisation; in place.

    The function is the same, and by the chain rule so are its gradients, with less work for each picture.
    """
    nodes = {node.name: node for node in graph_def.node}
    active = {*_order(nodes, cut.tensor[:-2], BOTTLENECK[:-2])}
    uses = Counter(name for node in graph_def.node for name in _inputs(node))
    with tf.Graph().as_default() as graph:
        start = tf.compat.v1.placeholder(tf.float32, [None, *cut.shape])
        tf.graph_util.import_graph_def(graph_def, {cut.tensor: start}, name="")
    for node in [*graph_def.node]:
        names = [*_inputs(node)]
        if node.op != "Mul" or len({*names} & active) != 1:
            continue
        values, scale = sorted(names, key=lambda name: name not in active)
        convolution = nodes[values]
        if convolution.op not in _CONVOLUTIONS or uses[values] != 1:
            continue
        kernel = graph.get_operation_by_name(values).inputs[1].shape
        channels = graph.get_tensor_by_name(f"{scale}:0").shape
        if channels.as_list() != graph.get_tensor_by_name(f"{values}:0").shape.as_list()[-1:]:
            continue
        if convolution.op == "DepthwiseConv2dNative":  # its last two axes together are the channels
            shape = graph_def.node.add(op="Const", name=f"{values}/scale/shape")
            shape.attr["dtype"].type = tf.int32.as_datatype_enum
            shape.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(kernel[2:].as_list(), tf.int32))
            reshape = graph_def.node.add(op="Reshape", name=f"{values}/scale", input=[scale, shape.name])
            reshape.attr["T"].type, reshape.attr["Tshape"].type = tf.float32.as_datatype_enum, shape.attr["dtype"].type
            scale = reshape.name
        scaled = graph_def.node.add(op="Mul", name=f"{values}/scaled", input=[convolution.input[1], scale])
        scaled.attr["T"].type = tf.float32.as_datatype_enum
        convolution.input[1] = scaled.name
        node.op = "Identity"
        del node.input[:]
        node.input.append(values)


def _inputs(node: tf.compat.v1.NodeDef) -> Iterator[str]:
    """Names of the nodes that a node takes values from."""
    for name in node.input:
        if not name.startswith("^"):
            yield name.partition(":")[0]


def _needed(nodes: Nodes, end: str, stop: str = "") -> list[str]:
    """The nodes that `end` needs, each after its own inputs; `stop` is the first, and what it needs is left out."""
    found: dict[str, None] = {stop: None} if stop else {}
    pending = [end]
    while pending:
        name = pending[-1]
        missing = [other for other in _inputs(nodes[name]) if other not in found] if name not in found else []
        if missing:
            pending += missing
        else:
            found.setdefault(name)
            pending.pop()
    return list(found)


def _order(nodes: Nodes, start: str, end: str) -> list[str]:
    """The nodes on all ways from start to end, each after those that it takes values from."""
    active = {start}
    order = [start]
    for name in _needed(nodes, end, start)[1:]:
        if any(other in active for other in _inputs(nodes[name])):
            active.add(name)
            order.append(name)
    return order


def _first_uses(nodes: Nodes, order: Sequence[str], weights: Collection[str]) -> dict[str, int]:
    """The place in the order where each weight is first used, alone or combined with other constants."""
    places = {name: place for place, name in enumerate(order)}
    users: dict[str, list[str]] = {}
    for name in _needed(nodes, order[-1], order[0])[1:]:
        for other in _inputs(nodes[name]):
            users.setdefault(other, []).append(name)
    found: dict[str, int] = {}
    for weight in weights:
        reached, pending = set[int](), [weight]
        while pending:
            for user in users.get(pending.pop(), []):
                if user in places:
                    reached.add(places[user])
                else:
                    pending.append(user)
        if reached:
            found[weight] = min(reached)
    return found


def _last_point(trunk: Trunk, nodes: Nodes, order: Sequence[str], lowest: int) -> tuple[str, tuple[int, ...]]:
    """The last tensor before a place in the order through which everything flows, and its shape for one picture.

    One pass: a node is such a point if no edge leads from before it to after it.
    """
    places = {name: place for place, name in enumerate(order)}
    furthest = [0] * len(order)
    outputs: dict[str, set[str]] = {}
    for place, name in enumerate(order[1:], 1):
        for text in nodes[name].input:
            other = text.partition(":")[0]
            if other in places:
                furthest[places[other]] = place
                outputs.setdefault(other, set()).add(text)
    points, reach = [], 0
    for place, name in enumerate(order[:lowest]):
        if reach <= place and outputs[name] <= {name, f"{name}:0"}:
            points.append(f"{name}:0")
        reach = max(reach, furthest[place])
    with tf.Graph().as_default():
        tensors = tf.graph_util.import_graph_def(trunk.nodes(), return_elements=points, name="")
    for tensor in reversed(tensors):
        shape = tensor.shape.as_list() if tensor.shape.rank else [1]
        if tensor.dtype == tf.float32 and shape[0] is None and None not in shape[1:]:
            return tensor.name, tuple(shape[1:])
    raise BackboneError("this network can't be cut into two parts: no tensor in it has a fixed shape for each picture")


def _part(trunk: Trunk, end: str, start: str) -> tf.compat.v1.GraphDef:
    """The nodes between two others, with `start` as a placeholder."""
    whole, part = trunk.nodes(), tf.compat.v1.GraphDef()
    part.versions.CopyFrom(whole.versions)
    wanted = {*_needed({node.name: node for node in whole.node}, end, start)}
    for node in whole.node:
        if node.name in wanted:
            kept = part.node.add()
            kept.CopyFrom(node)
            del kept.input[:]
            if node.name == start:
                kept.op = "Placeholder"
                kept.attr.clear()
                kept.attr["dtype"].type = tf.float32.as_datatype_enum
            else:
                kept.input.extend(name for name in node.input if not name.startswith("^"))
    return part
