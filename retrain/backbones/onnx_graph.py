"""The graph of an ONNX backbone: a network of any origin, with its preprocessing in front and its pooling behind.

It takes what pass one decodes, and gives bottlenecks. Whatever runs the network runs this one graph: ONNX Runtime,
OpenVINO (int8), and, with a head behind it, clients of an exported model.
"""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrain.backbones.onnx_file import OnnxFile, TensorType, import_onnx, inner_type, named
from retrain.backbones.onnx_preprocessing import Preprocessing
from retrain.errors import BackboneError
from retrain.options import BackboneOptions
from retrain.paths import display_path
from retrain.text import listing

__all__ = [
    "ONNX_BOTTLENECK",
    "PICTURES",
    "OnnxPlan",
    "join_graph",
    "operators_version",
    "plan_graph",
    "set_batch",
    "set_outputs",
]

# Names in the graph. Those of the network itself lie below `backbone/`, constants of ours below `input/`.
PICTURES = "pictures"  # (n, height, width, 3) uint8, RGB
ONNX_BOTTLENECK = "bottleneck"  # (n, d) float32

_NETWORK, _INPUT, _POOLING = "backbone/", "input/", "pooling/"
_REALS = {"float": 1, "float16": 10, "double": 11, "bfloat16": 16}  # with their numbers in ONNX
_BYTES = "uint8"
_PREFERRED = ("image_embeds", "pooler_output", "last_hidden_state")  # outputs, as `transformers` names them
_RANKS = {2: "vectors", 3: "a sequence", 4: "a map of places"}
_LEAST_IR = 4  # from this form on, constants need not be inputs, too
_AXES_ARE_INPUTS = 18  # of ReduceMean, from this version of the operators on


@dataclass(frozen=True)
class OnnxPlan:
    """How pictures become bottlenecks: what the graph is made by. Its description decides the vectors."""

    digest: str  # of the file
    taken: TensorType
    given: TensorType
    preprocessing: Preprocessing
    layout: str  # "nchw" or "nhwc"
    height: int  # pixels
    width: int
    pooling: str  # "cls", "mean" or "none"

    @property
    def axes(self) -> tuple[int, ...]:
        """Of what the network gives, those that the mean is over.

        Of a map of places they are the two that are as long as each other where no others are: converters may turn what
        is inside of a network. Where that does not tell, its layout is that of the pictures.
        """
        dims = self.given.dims or ()
        if len(dims) == 3:
            return (1,)
        is_square = {(2, 3): None is not dims[2] == dims[3], (1, 2): None is not dims[1] == dims[2]}
        found = [axes for axes in is_square if is_square[axes]]
        if len(found) == 1:
            return found[0]
        return (2, 3) if self.layout == "nchw" else (1, 2)

    @property
    def is_of_bytes(self) -> bool:
        """Whether the network takes whole levels, 0 to 255, and so does all preprocessing itself."""
        return self.taken.dtype == _BYTES

    def as_dict(self) -> dict[str, Any]:
        """For JSON: all that decides the vectors."""
        form: dict[str, Any] = {"channels": self.preprocessing.channels, "layout": self.layout}
        if not self.is_of_bytes:
            form |= {"scale": list(self.preprocessing.scale), "offset": list(self.preprocessing.offset)}
        if self.pooling == "mean":
            form["axes"] = list(self.axes)
        size = [self.height, self.width]
        return {"weights": self.digest, "input_size": size, **form, "output": self.given.name, "pooling": self.pooling}

    def told(self) -> str:
        """In words, for people."""
        if self.is_of_bytes:
            values = "whole levels from 0 to 255"
        else:
            found = self.preprocessing
            values = f"{found.low:g}..{found.high:g}"
            if any(found.mean) or set(found.std) != {1.0}:
                values += f", mean {_joined(found.mean)}, std {_joined(found.std)}"
            values += f" ({found.origin})"
        ways = {"cls": "the first element of", "mean": "the mean of", "none": "all of" if self._rank > 2 else ""}
        channels = f"{self.preprocessing.channels.upper()}, " if self.preprocessing.channels != "rgb" else ""
        return (
            f"pictures of {self.height} x {self.width} go in as {channels}{self.layout.upper()}, {values}; "
            f"the vector is {ways[self.pooling]} {self.given.name}".replace("  ", " ")
        )

    @property
    def _rank(self) -> int:
        return len(self.given.dims or ())


def _joined(values: Sequence[float]) -> str:
    return ",".join(f"{value:g}" for value in (values if len(set(values)) > 1 else values[:1]))


# what to make


def plan_graph(file: OnnxFile, preprocessing: Preprocessing, options: BackboneOptions) -> OnnxPlan:
    """Decide how a network is used. Raises BackboneError if it is not one from pictures to vectors."""
    where = f"the ONNX network {display_path(file.path)}"
    if len(file.inputs) != 1:
        raise BackboneError(
            f"{where} takes {named(file.inputs)}, expected pictures alone: export the part for pictures alone, such as "
            "vision_model.onnx"
        )
    [taken] = file.inputs
    layout = _layout(taken, options, where)
    height, width = _size(taken, layout, preprocessing, options, where)
    given = _output(file, options, where)
    pooling = _pooling(given, options, where)
    if taken.dtype == _BYTES and (options.input_range or options.input_mean or options.input_std):
        raise BackboneError(
            f"{where} takes whole levels from 0 to 255 (uint8): leave --input-range, --input-mean and --input-std out"
        )
    return OnnxPlan(file.digest, taken, given, preprocessing, layout, height, width, pooling)


def _layout(taken: TensorType, options: BackboneOptions, where: str) -> str:
    dims = taken.dims
    if taken.dtype not in {*_REALS, _BYTES} or dims is None or len(dims) != 4 or dims[0] not in (1, None):
        raise _no_pictures(taken, where)
    fits = {"nchw": dims[1] in (3, None), "nhwc": dims[3] in (3, None)}
    is_said = {"nchw": dims[1] == 3, "nhwc": dims[3] == 3}
    if options.input_layout:
        if not fits[options.input_layout]:
            raise BackboneError(f"{where} takes {taken}, which is not --input-layout {options.input_layout}")
        return options.input_layout
    layout = next((layout for layout in ("nchw", "nhwc") if is_said[layout]), None)
    layout = layout or next((layout for layout in ("nchw", "nhwc") if fits[layout]), None)
    if layout is None:
        raise _no_pictures(taken, where)
    return layout


def _no_pictures(taken: TensorType, where: str) -> BackboneError:
    return BackboneError(
        f"{where} takes {taken}, expected pictures: [?, 3, height, width] or [?, height, width, 3], one or any number "
        "of them, float or uint8"
    )


def _size(
    taken: TensorType, layout: str, preprocessing: Preprocessing, options: BackboneOptions, where: str
) -> tuple[int, int]:
    """Height and width: as the network says, or else --input-size, or else its preprocessor_config.json."""
    dims = taken.dims or ()
    height, width = dims[2:] if layout == "nchw" else dims[1:3]
    said = (options.input_size, options.input_size) if options.input_size else preprocessing.size or (None, None)
    size = height or said[0], width or said[1]
    if size[0] is None or size[1] is None:
        raise BackboneError(f"{where} takes pictures of any size: say which with --input-size")
    if options.input_size and size != said:
        raise BackboneError(
            f"{where} takes pictures of {size[0]} x {size[1]} only, not of --input-size {options.input_size}"
        )
    return size[0], size[1]


def _output(file: OnnxFile, options: BackboneOptions, where: str) -> TensorType:
    by_name = {tensor.name: tensor for tensor in file.outputs}
    wanted = options.backbone_output
    if wanted is not None:
        if wanted in by_name:
            return by_name[wanted]
        if wanted in file.inner:
            return inner_type(file, wanted)
        near = difflib.get_close_matches(wanted, file.inner, 3)
        raise BackboneError(
            f"{where} has no output {wanted}, and nothing in it is called so: --backbone-output can be "
            f"{listing(dict.fromkeys([*by_name, *near]))}"
        )
    preferred = next((name for name in _PREFERRED if name in by_name), None)
    if preferred is None and len(by_name) != 1:
        raise BackboneError(
            f"{where} gives {named(file.outputs)}: say with --backbone-output which of them is the vector"
        )
    return by_name[preferred or next(iter(by_name))]


def _pooling(given: TensorType, options: BackboneOptions, where: str) -> str:
    rank = None if given.dims is None else len(given.dims)
    if given.dtype not in _REALS or rank not in _RANKS:
        raise BackboneError(
            f"{where} gives {given}, expected numbers [?, length], [?, elements, length] or one for each place; "
            "--backbone-output chooses another output"
        )
    possible = {2: ("none",), 3: ("cls", "mean", "none"), 4: ("mean", "none")}[rank]
    if options.pooling and options.pooling not in possible:
        raise BackboneError(
            f"{where} gives {_RANKS[rank]} ({given}): --pooling {options.pooling} does not go with it, use "
            f"{' or '.join(possible)}"
        )
    return options.pooling or possible[0]


# making it


def join_graph(network: Any, plan: OnnxPlan) -> Any:
    """Turn a network into the whole graph: its preprocessing, itself, its pooling. It takes one picture.

    Args:
        network: a ModelProto, which is changed.
    Returns the ModelProto.
    """
    helper = import_onnx("onnx.helper")
    graph = network.graph
    _add_prefix(graph)
    for field in ("input", "output", "value_info", "quantization_annotation", "metadata_props"):
        graph.ClearField(field)
    for field in ("producer_name", "producer_version", "model_version", "doc_string", "domain"):
        network.ClearField(field)
    network.ir_version = max(network.ir_version, _LEAST_IR)
    own = _needed(graph, _NETWORK + plan.given.name)
    del graph.node[:]
    front, behind = _Nodes(graph, _INPUT), _Nodes(graph, _POOLING)
    _add_input(front, plan)
    graph.node.extend(own)
    _add_pooling(behind, plan, operators_version(network))
    graph.name = "retrain"
    graph.input.append(helper.make_tensor_value_info(PICTURES, 2, [1, plan.height, plan.width, 3]))
    set_outputs(network, {ONNX_BOTTLENECK: None})
    return network


def set_outputs(model: Any, lengths: Mapping[str, int | None]) -> None:
    """Say what a graph gives: names of tensors -> length of each row, of float32; None: whatever it is."""
    helper = import_onnx("onnx.helper")
    del model.graph.output[:]
    for name, length in lengths.items():
        dims = [1, "length" if length is None else length]
        model.graph.output.append(helper.make_tensor_value_info(name, _REALS["float"], dims))


def set_batch(model: Any, size: int | None) -> None:
    """Say of a graph how many pictures it takes at once; None: any number. That is a claim: a run is the proof."""
    for value in (*model.graph.input, *model.graph.output):
        dim = value.type.tensor_type.shape.dim[0]
        dim.Clear()
        if size is None:
            dim.dim_param = "n"
        else:
            dim.dim_value = size


def operators_version(network: Any) -> int:
    """Of the operators that ONNX itself defines."""
    return max((int(entry.version) for entry in network.opset_import if entry.domain in ("", "ai.onnx")), default=0)


def _add_prefix(graph: Any) -> None:
    """Put all names of a network below `backbone/`, those of graphs inside of its operations included."""
    for value in (*graph.initializer, *graph.input, *graph.output, *graph.value_info):
        value.name = _NETWORK + value.name
    for sparse in graph.sparse_initializer:
        sparse.values.name = _NETWORK + sparse.values.name
    for node in graph.node:
        for names in (node.input, node.output):  # an empty name stands for nothing
            names[:] = [name and _NETWORK + name for name in names]
        node.name = node.name and _NETWORK + node.name
        for inner in _graphs_in(node):
            _add_prefix(inner)


def _needed(graph: Any, end: str) -> list[Any]:
    """The nodes that something in a graph is made by; constants of others are removed."""
    needed, nodes = {end}, []
    for node in reversed(graph.node):  # what makes a tensor stands before what takes it
        if needed.intersection(node.output):
            nodes.append(node)
            needed.update(_taken_by(node))
    for field in (graph.initializer, graph.sparse_initializer):
        kept = [one for one in field if (one.name if hasattr(one, "name") else one.values.name) in needed]
        del field[:]
        field.extend(kept)
    return nodes[::-1]


def _taken_by(node: Any) -> Iterator[str]:
    """What a node takes, with what graphs inside of it take, wherever it comes from."""
    yield from node.input
    for inner in _graphs_in(node):
        yield from (output.name for output in inner.output)
        for one in inner.node:
            yield from _taken_by(one)


def _graphs_in(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


class _Nodes:
    """Adds nodes to a graph, each behind the one before.

    Args:
        scope: of their names.
    """

    def __init__(self, graph: Any, scope: str) -> None:
        self._graph, self._scope = graph, scope
        self._helper, self._numpy = import_onnx("onnx.helper"), import_onnx("onnx.numpy_helper")

    def add(self, kind: str, start: str, *constants: NDArray[Any], output: str = "", **attributes: Any) -> str:
        """Add a node that takes a tensor and constants; the name of what it gives."""
        name = f"{self._scope}{len(self._graph.node)}_{kind.lower()}"
        inputs = [start]
        for number, constant in enumerate(constants):
            inputs.append(f"{name}_{number}")
            self._graph.initializer.append(self._numpy.from_array(constant, inputs[-1]))
        output = output or f"{name}_output"
        self._graph.node.append(self._helper.make_node(kind, inputs, [output], name, **attributes))
        return output


def _add_input(nodes: _Nodes, plan: OnnxPlan) -> None:
    """From uint8 pictures to what the network takes."""
    found, end = plan.preprocessing, f"{_NETWORK}{plan.taken.name}"
    values = PICTURES
    if found.channels == "bgr":
        values = nodes.add("Gather", values, np.array([2, 1, 0], np.int64), axis=3)
    if not plan.is_of_bytes:
        values = nodes.add("Cast", values, to=_REALS["float"])
        values = nodes.add("Div", values, np.array(255, np.float32))
        for kind, numbers, nothing in (("Mul", found.scale, 1.0), ("Add", found.offset, 0.0)):
            if set(numbers) != {nothing}:
                values = nodes.add(kind, values, np.array(numbers, np.float32))
        if plan.taken.dtype != "float":
            values = nodes.add("Cast", values, to=_REALS[plan.taken.dtype])
    if plan.layout == "nchw":
        nodes.add("Transpose", values, output=end, perm=[0, 3, 1, 2])
    else:
        nodes.add("Identity", values, output=end)


def _add_pooling(nodes: _Nodes, plan: OnnxPlan, version: int) -> None:
    """From what the network gives to bottlenecks."""
    values = f"{_NETWORK}{plan.given.name}"
    if plan.given.dtype != "float":
        values = nodes.add("Cast", values, to=_REALS["float"])
    if plan.pooling == "cls":
        nodes.add("Gather", values, np.array(0, np.int64), output=ONNX_BOTTLENECK, axis=1)
    elif plan.pooling == "none":
        nodes.add("Flatten", values, output=ONNX_BOTTLENECK, axis=1)
    else:
        axes = list(plan.axes)
        if version >= _AXES_ARE_INPUTS:
            nodes.add("ReduceMean", values, np.array(axes, np.int64), output=ONNX_BOTTLENECK, keepdims=0)
        else:
            nodes.add("ReduceMean", values, output=ONNX_BOTTLENECK, axes=axes, keepdims=0)
