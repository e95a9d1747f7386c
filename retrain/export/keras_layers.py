"""A frozen graph as a functional model of Keras, made of its own layers and operations.

So it loads in safe mode, whatever network it was: one of Keras's, or a SavedModel. Convolutions, batch normalisation
and fully connected layers become the layers that can be trained again; what is between them becomes other layers, or
operations of keras.ops.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from retrain._tensorflow import import_keras
from retrain.errors import ExportError
from retrain.export.graph_reader import Array, GraphReader

if TYPE_CHECKING:
    from retrain._tensorflow import tf

__all__ = ["KerasTranslation"]

Build = Callable[..., Any]  # from tensors to a tensor

_ACTIVATIONS = {
    "Elu": "elu",
    "Relu": "relu",
    "Relu6": "relu6",
    "Selu": "selu",
    "Sigmoid": "sigmoid",
    "Softmax": "softmax",
    "Softplus": "softplus",
    "Tanh": "tanh",
}
_UNARY = {
    "Abs": "absolute",
    "Erf": "erf",
    "Exp": "exp",
    "Floor": "floor",
    "Log": "log",
    "Neg": "negative",
    "Rsqrt": "rsqrt",
    "Sqrt": "sqrt",
    "Square": "square",
}
_BINARY = {
    "Add": "add",
    "AddV2": "add",
    "BiasAdd": "add",
    "Maximum": "maximum",
    "Minimum": "minimum",
    "Mul": "multiply",
    "RealDiv": "divide",
    "Sub": "subtract",
}
_REDUCTIONS = {"Max": "max", "Mean": "mean", "Min": "min", "Sum": "sum"}
_UNCHANGED = ("Identity", "IdentityN", "StopGradient")
_RESHAPING = ("ExpandDims", "Reshape", "Squeeze")


class KerasTranslation:
    """Translates a graph, node by node from its ends.

    Args:
        graph: to translate.
        taken: names that other layers of the model have.
    """

    def __init__(self, graph: GraphReader, taken: Iterable[str] = ()) -> None:
        self._graph = graph
        self._keras = import_keras()
        self._names = {*taken}

    def model_on(self, value: Any) -> list[Any]:
        """Apply the graph to a KerasTensor in place of its start: the values of its ends.

        Raises ExportError for an unknown operation.
        """
        graph = self._graph
        done: dict[str, Any] = {graph.start: value}
        plans: dict[str, tuple[list[str], Build]] = {}
        waiting = [*graph.ends]
        while waiting:  # not by recursion: networks are deeper than Python's stack
            name = waiting[-1]
            if name not in done:
                if name not in plans:
                    plans[name] = self._plan(graph.nodes[name])
                inputs, build = plans[name]
                missing = [source for source in inputs if source not in done]
                if missing:
                    waiting += missing
                    continue
                done[name] = build(*(done[source] for source in inputs))
            waiting.pop()
        return [done[end] for end in graph.ends]

    def _plan(self, node: "tf.compat.v1.NodeDef") -> tuple[list[str], Build]:
        """The names of the nodes whose values a node wants, and what makes its value of them."""
        for way in (self._with_weights, self._of_pictures, self._of_numbers, self._of_shapes):
            found = way(node)
            if found is not None:
                return found
        raise ExportError(
            f"this network can't be written for Keras: there is no layer for its operation {node.op} ({node.name})"
        )

    def _with_weights(self, node: "tf.compat.v1.NodeDef") -> tuple[list[str], Build] | None:
        """Layers with weights; an addition of biases belongs to the layer before it."""
        graph, layers = self._graph, self._keras.layers
        norm = graph.batch_norm(node)
        if norm is not None:
            arrays = [norm.scale, norm.offset, norm.mean, norm.variance]
            kept = [array for array in arrays if array is not None]
            parts = {"epsilon": norm.epsilon, "scale": norm.scale is not None, "center": norm.offset is not None}
            return [norm.source], self._layer(layers.BatchNormalization, node, kept, parts)
        node, biases = graph.under_biases(node)
        if node.op not in ("Conv2D", "DepthwiseConv2dNative", "MatMul"):
            return None
        source, kernel = graph.inputs(node)[0], graph.constant(graph.inputs(node)[1])
        if kernel is None or graph.constant(source) is not None:
            return None
        weights = [kernel] if biases is None else [kernel, biases]
        options: dict[str, Any] = {"use_bias": biases is not None}
        if node.op == "MatMul":
            if node.attr["transpose_a"].b:
                return None
            weights[0] = kernel.T if node.attr["transpose_b"].b else kernel
            return [source], self._layer(layers.Dense, node, weights, options | {"units": weights[0].shape[1]})
        window = self._window(node)
        if window is None:
            return None
        options |= window | {
            "kernel_size": kernel.shape[:2],
            "dilation_rate": tuple(node.attr["dilations"].list.i)[1:3],
        }
        if node.op == "DepthwiseConv2dNative":
            options["depth_multiplier"] = kernel.shape[3]
            return [source], self._layer(layers.DepthwiseConv2D, node, weights, options)
        groups = graph.shape(source)[3] // kernel.shape[2]
        return [source], self._layer(
            layers.Conv2D, node, weights, options | {"filters": kernel.shape[3], "groups": groups}
        )

    def _of_pictures(self, node: "tf.compat.v1.NodeDef") -> tuple[list[str], Build] | None:
        """Layers without weights that know rows and columns."""
        graph, layers = self._graph, self._keras.layers
        sources = graph.inputs(node)
        if node.op in ("AvgPool", "MaxPool"):
            window = self._window(node)
            if window is not None:
                kind = layers.AveragePooling2D if node.op == "AvgPool" else layers.MaxPooling2D
                size = tuple(node.attr["ksize"].list.i)[1:3]
                return sources, self._layer(kind, node, [], window | {"pool_size": size})
        elif node.op in ("Pad", "PadV2"):
            sides = graph.constant(sources[1])
            value = graph.constant(sources[2]) if len(sources) > 2 else np.zeros(())
            if sides is not None and len(sides) == 4 and not sides[[0, 3]].any() and value is not None and not value:
                padding = tuple(map(tuple, sides[1:3].tolist()))
                return sources[:1], self._layer(layers.ZeroPadding2D, node, [], {"padding": padding})
        elif node.op == "StridedSlice":
            return self._part(node)
        return None

    def _part(self, node: "tf.compat.v1.NodeDef") -> tuple[list[str], Build] | None:
        """A picture without its edges, or one of its channels."""
        graph, ops, source = self._graph, self._keras.ops, self._graph.inputs(node)[0]
        size = graph.shape(source)
        match graph.slices(node):
            case [slice(), slice(), slice(), int(channel)] if size[1:3] == graph.shape(node.name)[1:3]:
                return [source], lambda value: ops.take(value, channel, axis=3)
            case [slice(), slice() as rows, slice() as columns, slice()] if size[3] == graph.shape(node.name)[3]:
                edges = []
                for one, length in ((rows, size[1]), (columns, size[2])):
                    first, last, step = one.indices(length or 0)
                    if step != 1 or not length:
                        return None
                    edges.append((first, length - last))
                return [source], self._layer(self._keras.layers.Cropping2D, node, [], {"cropping": tuple(edges)})
        return None

    def _of_numbers(self, node: "tf.compat.v1.NodeDef") -> tuple[list[str], Build] | None:
        """What is done to each number, or to two of them."""
        graph, ops = self._graph, self._keras.ops
        sources = graph.inputs(node)
        if node.op in _UNCHANGED:
            return sources[:1], lambda value: value
        if node.op in _ACTIVATIONS:
            return sources, self._layer(self._keras.layers.Activation, node, [], {"activation": _ACTIVATIONS[node.op]})
        if node.op == "LeakyRelu":
            slope = {"negative_slope": node.attr["alpha"].f}
            return sources, self._layer(self._keras.layers.LeakyReLU, node, [], slope)
        if node.op in _UNARY:
            return sources, getattr(ops, _UNARY[node.op])
        if node.op == "SquaredDifference":
            return self._applied(sources, lambda one, other: ops.square(ops.subtract(one, other)))
        if node.op in _BINARY:
            return self._applied(sources, getattr(ops, _BINARY[node.op]))
        return None

    def _of_shapes(self, node: "tf.compat.v1.NodeDef") -> tuple[list[str], Build] | None:
        """What joins numbers, sums them up, or arranges them otherwise."""
        graph, ops = self._graph, self._keras.ops
        sources = graph.inputs(node)
        if node.op in _REDUCTIONS:
            axes, keeps = graph.constant(sources[1]), node.attr["keep_dims"].b
            if axes is None:
                return None
            axis = tuple(sorted(int(one) % len(graph.shape(sources[0])) for one in axes.ravel()))
            if (node.op, axis) == ("Mean", (1, 2)) and len(graph.shape(sources[0])) == 4:
                return sources[:1], self._layer(
                    self._keras.layers.GlobalAveragePooling2D, node, [], {"keepdims": keeps}
                )
            return sources[:1], lambda value: getattr(ops, _REDUCTIONS[node.op])(value, axis=axis, keepdims=keeps)
        if node.op == "ConcatV2":
            along = graph.constant(sources[-1])
            if along is not None:
                return self._applied(sources[:-1], lambda *values: ops.concatenate(values, axis=int(along)))
        if node.op == "Pack":
            return self._applied(sources, lambda *values: ops.stack(values, axis=node.attr["axis"].i))
        if node.op in _RESHAPING:
            shape = [-1 if side is None else side for side in graph.shape(node.name)]
            if shape.count(-1) < 2:
                return sources[:1], lambda value: ops.reshape(value, shape)
        if node.op == "Transpose":
            order = graph.constant(sources[1])
            if order is not None:
                return sources[:1], lambda value: ops.transpose(value, order.tolist())
        return None

    def _applied(self, sources: Sequence[str], function: Build) -> tuple[list[str], Build]:
        """A function of several values, some of them constants."""
        constants = [self._graph.constant(source) for source in sources]

        def build(*values: Any) -> Any:
            rest = iter(values)
            return function(*(next(rest) if constant is None else constant for constant in constants))

        return [source for source, constant in zip(sources, constants, strict=True) if constant is None], build

    def _layer(
        self, kind: Any, node: "tf.compat.v1.NodeDef", weights: Sequence[Array], options: dict[str, Any]
    ) -> Build:
        """What applies a new layer, once, and gives it its weights."""

        def build(value: Any) -> Any:
            layer = kind(name=self._name(node), **options)
            applied = layer(value)
            if weights:
                layer.set_weights(list(weights))
            return applied

        return build

    def _window(self, node: "tf.compat.v1.NodeDef") -> dict[str, Any] | None:
        """Strides and padding of an operation that moves a window over pictures."""
        padding = node.attr["padding"].s.decode().lower()
        if padding not in ("same", "valid") or node.attr["data_format"].s not in (b"", b"NHWC"):
            return None
        return {"strides": tuple(node.attr["strides"].list.i)[1:3], "padding": padding}

    def _name(self, node: "tf.compat.v1.NodeDef") -> str:
        """A name for a layer, that of the scope that its node is in; each is given once.

        Operations are named by Keras (add_3), so no layer may be called like one.
        """
        parts = [part for part in node.name.split("/") if part != "batchnorm"]
        wanted = str(parts[-2] if len(parts) > 2 else parts[-1])
        if hasattr(self._keras.ops, re.sub(r"_\d+$", "", wanted)):
            wanted += "_layer"
        name, number = wanted, 1
        while name in self._names:
            number += 1
            name = f"{wanted}_{number}"
        self._names.add(name)
        return name
