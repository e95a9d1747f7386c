"""Exported graphs and SavedModels, traced once in a test session, and networks converted and quantised once.

Tracing the parts that decode pictures takes two seconds of every first run of a backbone in a cache, and converting
Inception v3 ten. The results depend on the network alone, so that tests share them, also those of other processes. What
runs do with them (checking, keeping, writing, verifying) is done anew each time; tests/backbones/test_kept_exports.py
holds that runs with and without agree.
"""

import contextlib
import fcntl
import functools
import hashlib
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


class Remembered:
    """What functions returned, by key, for all processes that test; the first one computes, others wait for it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[tuple[str, str], Any] = {}

    def get(self, name: str, key: object, compute: Callable[[], Any]) -> Any:
        """What `compute` returned when it was first called for this key; `repr(key)` is the same in every process."""
        place = name, hashlib.sha256(repr(key).encode()).hexdigest()
        if place not in self._known:
            with self._alone("-".join(place)) as file:
                content = file.read()
                if not content:
                    content = pickle.dumps(compute())
                    file.write(content)
            self._known[place] = pickle.loads(content)
        return self._known[place]

    @contextlib.contextmanager
    def _alone(self, name: str) -> Iterator[Any]:
        self._folder.mkdir(exist_ok=True)
        with Path(self._folder, name).open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            yield file


def trace_once(folder: Path) -> None:
    """From now on no network is traced for export a second time; where nothing uses TensorFlow, nothing imports it.

    Args:
        folder: shared by the processes of this session.
    """
    if "tensorflow" not in sys.modules:
        return
    from retrain.backbones import conversion, graph, quantization
    from retrain.cache.artifacts import QUANTIZED_MODEL
    from retrain.export import onnx_format, template, tflite_format

    if hasattr(graph.make_trunk, "__wrapped__"):
        return
    make_trunk, make_template = graph.make_trunk, template.make_template
    convert, quantize = conversion.Converter._convert, quantization.quantize
    converted_resizing, to_onnx = tflite_format._converted_resizing, onnx_format._converted
    remembered = Remembered(folder)

    @functools.wraps(make_trunk)
    def remembered_trunk(network, form=None):
        key = _digest(network.frozen_graph, network.layers), form
        return remembered.get("trunk", key, lambda: make_trunk(network, form))

    @functools.wraps(make_template)
    def remembered_template(trunk, pictures, form, place):
        key = trunk.digest, pictures, form
        return remembered.get("template", key, lambda: make_template(trunk, pictures, form, place))

    @functools.wraps(convert)
    def remembered_conversion(self, frozen):
        made, details = remembered.get("converted", _digest(frozen), lambda: convert(self, frozen))
        return made, dict(details)

    @functools.wraps(converted_resizing)
    def remembered_resizing(form):
        return remembered.get("resizing", form, lambda: converted_resizing(form))

    @functools.wraps(to_onnx)
    def remembered_onnx(model):
        import onnx

        key = _digest_of_graph(model.graph_def, {}), model.description.outputs, model.description.form
        content = remembered.get("onnx", key, lambda: to_onnx(model).SerializeToString())
        return onnx.ModelProto.FromString(content)  # anew, as tests change it

    @functools.wraps(quantize)
    def remembered_quantisation(network, pixels, folder, on_progress):
        made = None

        def quantised():
            nonlocal made
            made = quantize(network, pixels, folder, on_progress)
            return {name: Path(folder, name).read_bytes() for name in QUANTIZED_MODEL.names}

        key = _digest_of_file(*network), hashlib.sha256(pixels.tobytes()).digest()
        files = remembered.get("quantised", key, quantised)
        if made is None:
            for number in range(len(pixels)):
                on_progress(number + 1, len(pixels))
            for name, content in files.items():
                Path(folder, name).write_bytes(content)
            made = quantization.QuantizedNetwork(folder)
        return made

    made = (remembered_trunk, remembered_template, remembered_conversion, remembered_quantisation)
    by_name = {function.__name__: function for function in (*made, remembered_resizing, remembered_onnx)}
    for owner, name in _replaced():
        setattr(owner, name, by_name[name])


def trace_anew(patch: pytest.MonkeyPatch) -> None:
    """Forget all that, for a test about tracing."""
    from retrain.export import template

    for owner, name in (*_replaced(), (template, "_decoding")):  # the last one keeps what it gave by itself
        function = getattr(owner, name)
        patch.setattr(owner, name, getattr(function, "__wrapped__", function))


def _replaced() -> list[tuple[Any, str]]:
    """What is remembered: where each function stands, and its name."""
    from retrain import backbones
    from retrain.backbones import conversion, graph, quantization
    from retrain.export import onnx_format, template, tflite_format

    return [
        *((graph, "make_trunk"), (backbones, "make_trunk")),  # the room's front keeps what it once found
        *((template, "make_template"), (conversion.Converter, "_convert"), (quantization, "quantize")),
        *((tflite_format, "_converted_resizing"), (onnx_format, "_converted")),
    ]


def _digest(frozen, layers=()) -> bytes:
    """Of a network's operations and weights, whatever numbers TensorFlow has given to their names."""
    numbers: dict[str, int] = {}
    digest = hashlib.sha256(repr((frozen.height, frozen.width)).encode())
    digest.update(_digest_of_graph(frozen.graph_def, numbers))
    layers = [(layer.name, [_number(name, numbers) for name in layer.weights]) for layer in layers]
    digest.update(repr((_number(frozen.start, numbers), _number(frozen.end, numbers), layers)).encode())
    return digest.digest()


def _digest_of_file(name: str, content: bytes) -> bytes:
    """Of a network in a file that OpenVINO reads."""
    if not name.endswith(".pb"):
        return hashlib.sha256(content).digest()
    from retrain._tensorflow import tf

    return _digest_of_graph(tf.compat.v1.GraphDef.FromString(content), {})


def _digest_of_graph(graph_def, numbers: dict[str, int]) -> bytes:
    digest = hashlib.sha256(graph_def.library.SerializeToString(deterministic=True))
    for node in graph_def.node:
        places = [(place.startswith("^"), place.partition(":")[2], _number(place, numbers)) for place in node.input]
        digest.update(repr((_number(node.name, numbers), node.op, places)).encode())
        for name in sorted(node.attr):
            digest.update(name.encode() + node.attr[name].SerializeToString(deterministic=True))
    return digest.digest()


def _number(name: str, numbers: dict[str, int]) -> int:
    """A node's, in the order in which the names come."""
    return numbers.setdefault(name.lstrip("^").partition(":")[0], len(numbers))
