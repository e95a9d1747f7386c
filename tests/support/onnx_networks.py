"""Small ONNX networks, and what they compute in NumPy."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

SIZE = 16  # pixels, side of the pictures
CHANNELS = 6  # of the places
PLACES = 4  # a side

_DTYPES = {"float": 1, "uint8": 2, "int64": 7, "float16": 10}


@dataclass(frozen=True)
class Form:
    """What such a network looks like from outside. It pools 4 x 4 blocks, and multiplies each place with a matrix."""

    layout: str = "nchw"
    dtype: str = "float"
    batch: int | str = "n"
    side: int | str = SIZE
    gives: tuple[str, ...] = ("vector",)  # of vector, sequence, places: (n, d), (n, 16, 6), (n, 6, 4, 4)
    opset: int = 17
    names: tuple[str, ...] = ()  # of the outputs; by default as in `gives`
    seed: int = 0

    @property
    def kernel(self):
        return np.random.default_rng(self.seed).normal(0, 1, (CHANNELS, 3, 1, 1)).astype(np.float32)


def make_network(form=Form()):
    """The ModelProto."""
    from onnx import helper, numpy_helper

    real = "float" if form.dtype == "uint8" else form.dtype
    dtype = {"float": np.float32, "float16": np.float16}.get(real, np.float32)
    nodes, names = [], form.names or form.gives
    values = "pixels"  # also the name of nothing of ours
    if form.dtype != real:
        nodes.append(helper.make_node("Cast", [values], ["cast"], to=_DTYPES[real]))
        values = "cast"
    if form.layout == "nhwc":
        nodes.append(helper.make_node("Transpose", [values], ["nchw"], perm=[0, 3, 1, 2]))
        values = "nchw"
    nodes.append(helper.make_node("AveragePool", [values], ["blocks"], kernel_shape=[4, 4], strides=[4, 4]))
    nodes.append(helper.make_node("Conv", ["blocks", "kernel"], ["conv"]))
    nodes.append(helper.make_node("Relu", ["conv"], ["relu"]))
    nodes.append(helper.make_node("Reshape", ["relu", "rows"], ["flat"]))
    nodes.append(helper.make_node("Transpose", ["flat"], ["rows_first"], perm=[0, 2, 1]))
    inner = {"vector": "relu", "sequence": "rows_first", "places": "relu"}
    outputs = []
    elements, batch = PLACES**2, form.batch
    for kind, name in zip(form.gives, names, strict=True):
        node = ("Flatten", {"axis": 1}) if kind == "vector" else ("Identity", {})
        nodes.append(helper.make_node(node[0], [inner[kind]], [name], **node[1]))
        places = [CHANNELS, PLACES, PLACES]
        if kind == "places" and form.layout == "nhwc":
            nodes[-1] = helper.make_node("Transpose", ["relu"], [name], perm=[0, 2, 3, 1])
            places = [PLACES, PLACES, CHANNELS]
        dims = {"vector": [CHANNELS * elements], "sequence": [elements, CHANNELS], "places": places}[kind]
        outputs.append(helper.make_tensor_value_info(name, _DTYPES[real], [batch, *dims]))
    picture = [3, form.side, form.side] if form.layout == "nchw" else [form.side, form.side, 3]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("pixels", _DTYPES[form.dtype], [batch, *picture])],
        outputs,
        [
            numpy_helper.from_array(form.kernel.astype(dtype), "kernel"),
            numpy_helper.from_array(np.array([0, CHANNELS, elements], np.int64), "rows"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", form.opset)], ir_version=8)


def save_network(path, form=Form()):
    """Write it as a file."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(make_network(form).SerializeToString())
    return Path(path)


def places_of(values, form=Form()):
    """What it gives of (n, 16, 16, 3) numbers: (n, 6, 4, 4)."""
    blocks = values.reshape(len(values), PLACES, 4, PLACES, 4, 3).mean((2, 4), dtype=np.float64)
    return np.maximum(np.einsum("nhwc,kc->nkhw", blocks, form.kernel[:, :, 0, 0]), 0)


def pictures(count=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, SIZE, SIZE, 3)).astype(np.uint8)
