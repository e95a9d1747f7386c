"""Exported graphs and SavedModels, traced once in a test session, and networks converted and quantised once.

Tracing the parts that decode pictures takes two seconds of every first run of a backbone in a cache. The results depend
on the network alone, so that the tests of one process share them. What runs do with them (checking, keeping, writing,
verifying) is done anew each time; tests/backbones/test_kept_exports.py holds that runs with and without agree.
"""

import functools
import hashlib
import sys
from pathlib import Path

import pytest


def trace_once() -> None:
    """From now on no network is traced for export a second time; where nothing uses TensorFlow, nothing imports it."""
    if "tensorflow" not in sys.modules:
        return
    from retrain import backbones
    from retrain.backbones import conversion, graph, quantization
    from retrain.cache.artifacts import QUANTIZED_MODEL
    from retrain.export import template

    if hasattr(graph.make_trunk, "__wrapped__"):
        return
    make_trunk, make_template = graph.make_trunk, template.make_template
    convert, quantize = conversion.Converter._convert, quantization.quantize
    trunks, templates, converted, quantised = {}, {}, {}, {}

    @functools.wraps(make_trunk)
    def remembered_trunk(network, form=None):
        key = _digest(network.frozen_graph, network.layers), form
        if key not in trunks:
            trunks[key] = make_trunk(network, form)
        return trunks[key]

    @functools.wraps(make_template)
    def remembered_template(trunk, pictures, form, place):
        key = trunk.digest, pictures, form
        if key not in templates:
            templates[key] = make_template(trunk, pictures, form, place)
        return templates[key]

    @functools.wraps(convert)
    def remembered_conversion(self, frozen, original):
        key = _digest(frozen)
        if key not in converted:
            made, details = convert(self, frozen, original)
            converted[key] = made, details
        return converted[key][0], dict(converted[key][1])

    @functools.wraps(quantize)
    def remembered_quantisation(network, pixels, folder, on_progress):
        key = _digest_of_file(*network), hashlib.sha256(pixels.tobytes()).digest()
        if key not in quantised:
            made = quantize(network, pixels, folder, on_progress)
            quantised[key] = {name: Path(folder, name).read_bytes() for name in QUANTIZED_MODEL.names}
            return made
        for number in range(len(pixels)):
            on_progress(number + 1, len(pixels))
        for name, content in quantised[key].items():
            Path(folder, name).write_bytes(content)
        return quantization.QuantizedNetwork(folder)

    # the room's front keeps what it once found
    graph.make_trunk = backbones.make_trunk = remembered_trunk
    template.make_template = remembered_template
    conversion.Converter._convert = remembered_conversion
    quantization.quantize = remembered_quantisation


def trace_anew(patch: pytest.MonkeyPatch) -> None:
    """Forget all that, for a test about tracing."""
    from retrain import backbones
    from retrain.backbones import conversion, graph, quantization
    from retrain.export import template

    for module, name in (
        *((graph, "make_trunk"), (backbones, "make_trunk"), (template, "make_template")),
        *((conversion.Converter, "_convert"), (quantization, "quantize")),
    ):
        function = getattr(module, name)
        patch.setattr(module, name, getattr(function, "__wrapped__", function))


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
