"""Exported graphs and SavedModels, traced once in a test session.

Tracing the parts that decode pictures takes two seconds of every first run of a backbone in a cache. The results depend
on the network alone, so that the tests of one process share them. What runs do with them (checking, keeping, writing,
verifying) is done anew each time; tests/backbones/test_kept_exports.py holds that runs with and without agree.
"""

import contextlib
import hashlib
from collections.abc import Iterator

import pytest


@contextlib.contextmanager
def traced_once() -> Iterator[None]:
    """While this lasts, no network is traced for export a second time."""
    from retrain.export import saved_model, source

    make_trunk, make_template = source.make_trunk, saved_model.make_template
    trunks, templates = {}, {}

    def remembered_trunk(network):
        key = _digest(network)
        if key not in trunks:
            trunks[key] = make_trunk(network)
        return trunks[key]

    def remembered_template(trunk, final_tensor_name, layers, place):
        key = trunk.digest, final_tensor_name, layers
        if key not in templates:
            templates[key] = make_template(trunk, final_tensor_name, layers, place)
        return templates[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "make_trunk", remembered_trunk)
        patch.setattr(saved_model, "make_template", remembered_template)
        yield


def _digest(network) -> bytes:
    """Of a network's operations and weights, whatever numbers TensorFlow has given to their names."""
    graph, start, end = network.frozen_graph
    numbers: dict[str, int] = {}
    digest = hashlib.sha256(repr((network.height, network.width, start)).encode())
    digest.update(graph.library.SerializeToString(deterministic=True))

    def number(name: str) -> int:
        return numbers.setdefault(name.lstrip("^").partition(":")[0], len(numbers))

    for node in graph.node:
        places = [(place.startswith("^"), place.partition(":")[2], number(place)) for place in node.input]
        digest.update(repr((number(node.name), node.op, places)).encode())
        for name in sorted(node.attr):
            digest.update(name.encode() + node.attr[name].SerializeToString(deterministic=True))
    layers = [(layer.name, [number(name) for name in layer.weights]) for layer in network.layers]
    digest.update(repr((number(end), layers)).encode())
    return digest.digest()
