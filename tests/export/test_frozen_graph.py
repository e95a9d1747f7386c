"""The graph file: the head's nodes are TensorFlow's own, byte for byte, and verifying finds what is wrong with them."""

import dataclasses
import itertools
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support.rejections import some_rejection

from retrain._tensorflow import tf
from retrain.backbones.graph import without_defaults
from retrain.backbones.trunk import BOTTLENECK, Trunk
from retrain.errors import OutputError
from retrain.export.frozen_graph import FrozenGraph, head_graph
from retrain.export.template import apply_layers
from retrain.files import digest_of_file
from retrain.model.head import Head, Layer
from retrain.tensorflow_formats import GraphDef


def head_of(*widths, draw=None, thresholds=None):
    draw = draw or np.random.default_rng(len(widths)).normal
    return Head(
        tuple(
            Layer(draw(size=(rows, columns)).astype("f"), draw(size=columns).astype("f"))
            for rows, columns in itertools.pairwise(widths)
        ),
        thresholds,
    )


def as_tensorflow_writes_it(head, name):
    with tf.Graph().as_default() as graph:
        vectors = tf.compat.v1.placeholder(tf.float32, [None, head.bottleneck_size], name=BOTTLENECK[:-2])
        with tf.name_scope("head"):
            logits = apply_layers(vectors, head.layers)
        (tf.nn.softmax if head.thresholds is None else tf.nn.sigmoid)(logits, name=name)
        graph_def = without_defaults(graph)
    [stand_in] = [node for node in graph_def.node if node.name == BOTTLENECK[:-2]]
    graph_def.node.remove(stand_in)  # the trunk has the node of this name
    return graph_def.SerializeToString(deterministic=True)


@pytest.mark.parametrize(
    "widths", [(24, 2), (3, 1), (1, 1), (1, 2), (2048, 1000), (24, 8, 3), (5, 1, 2), (5, 1, 1)], ids=str
)
@pytest.mark.parametrize("name", ["final_result", "softmax", "A", "MatMul", "T", "x" * 200])
def test_the_head_is_what_tensorflow_writes(widths, name):
    head = head_of(*widths)
    assert head_graph(head, name, tf.version.GRAPH_DEF_VERSION) == as_tensorflow_writes_it(head, name)


@pytest.mark.parametrize("widths", [(24, 2), (24, 8, 3), (3, 1)], ids=str)
def test_the_head_of_many_labels_is_what_tensorflow_writes(widths):
    head = head_of(*widths, thresholds=np.full(widths[-1], 0.5, np.float32))
    assert head_graph(head, "scores", tf.version.GRAPH_DEF_VERSION) == as_tensorflow_writes_it(head, "scores")


@pytest.mark.parametrize("value", [0.0, -0.0, np.inf, np.nan, 1e-45])
@pytest.mark.parametrize("widths", [(3, 2), (1, 1)], ids=str)
def test_numbers_are_kept_bit_for_bit(value, widths):
    head = head_of(*widths, draw=lambda size: np.full(size, value))
    assert head_graph(head, "scores", tf.version.GRAPH_DEF_VERSION) == as_tensorflow_writes_it(head, "scores")


def test_arrays_in_another_order_in_memory_are_the_same():
    [layer] = head_of(24, 3).layers
    turned = Head((Layer(np.asfortranarray(layer.weights), layer.biases),))
    assert head_graph(turned, "scores", 1) == head_graph(Head((layer,)), "scores", 1)


@pytest.fixture(params=[(24, 3), (24, 8, 3), (1, 1)], ids=str)
def network(request):
    """A head on a graph of one node."""
    graph = GraphDef()
    graph.node.add(name="bottleneck", op="Placeholder")
    trunk = Trunk.of_graph(graph.SerializeToString(), (1, 1, request.param[0]), producer=5)
    return SimpleNamespace(trunk=trunk, head=head_of(*request.param), final_tensor_name="scores")


def changed(network, change):
    """The file, with something changed in its head."""
    FrozenGraph().write(network, "graph.pb")
    with open("graph.pb", "rb") as file:
        trunk, head = file.read(len(network.trunk.graph)), GraphDef.FromString(file.read())
    change({node.op: node for node in head.node})
    with open("graph.pb", "wb") as file:
        file.write(trunk + head.SerializeToString())


def test_a_sound_file_passes_and_its_digest_is_known(network):
    assert FrozenGraph().write(network, "graph.pb") == {}
    assert FrozenGraph().verify(network, "graph.pb") == {".": digest_of_file("graph.pb")}
    changed(network, lambda nodes: nodes["Softmax"].attr.clear())  # nothing that decides the scores
    FrozenGraph().verify(network, "graph.pb")


def rejecting(network):
    """The same with a head that tells pictures of no class."""
    rejection = some_rejection(network.head.bottleneck_size, network.head.layers[-1].biases.size)
    return SimpleNamespace(**vars(network) | {"head": dataclasses.replace(network.head, rejection=rejection)})


def test_it_says_what_pictures_are_known(network):
    network = rejecting(network)
    FrozenGraph().write(network, "graph.pb")
    FrozenGraph().verify(network, "graph.pb")
    vectors = np.random.default_rng(0).random((40, network.head.bottleneck_size), np.float32)
    vectors[0] = 0
    graph_def = tf.compat.v1.GraphDef.FromString(Path("graph.pb").read_bytes())
    assert graph_def.node[-1].name == "scores"  # as earlier clients may look for it
    graph_def.node[0].attr["dtype"].type = tf.float32.as_datatype_enum
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
    with tf.compat.v1.Session(graph=graph) as session:
        known, scores = session.run(["known:0", "scores:0"], {"bottleneck:0": vectors})
    np.testing.assert_allclose(known, network.head.rejection.known(vectors), rtol=0, atol=1e-5)
    np.testing.assert_allclose(scores, network.head.scores(vectors), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        lambda nodes: setattr(nodes["Sigmoid"], "op", "Relu"),
        lambda nodes: setattr(nodes["Sigmoid"], "name", "unknown"),
        lambda nodes: nodes["Sub"].input.reverse(),
        lambda nodes: nodes["Min"].attr["keep_dims"].__setattr__("b", False),
    ],
)
def test_another_rejection_is_found_out(network, change):
    network = rejecting(network)
    changed(network, change)
    with pytest.raises(OutputError, match=r"graph\.pb does not give the scores of the trained model: train it again"):
        FrozenGraph().verify(network, "graph.pb")


def test_a_rejection_that_is_missing_is_found_out(network):
    FrozenGraph().write(network, "graph.pb")
    with pytest.raises(OutputError, match="does not give the scores of the trained model"):
        FrozenGraph().verify(rejecting(network), "graph.pb")


CHANGES = {
    "another name of the scores": lambda nodes: setattr(nodes["Softmax"], "name", "score"),
    "another operation": lambda nodes: setattr(nodes["Softmax"], "op", "Relu"),
    "another constant": lambda nodes: nodes["Const"].attr["value"].tensor.tensor_shape.dim[0].__setattr__("size", 7),
    "another type": lambda nodes: (
        nodes["Const"].attr["dtype"].__setattr__("type", 2)
        or nodes["Const"].attr["value"].tensor.__setattr__("dtype", 2)
    ),
    "no constant": lambda nodes: setattr(nodes["Const"], "op", "Placeholder"),
    "constants in another order": lambda nodes: nodes["AddV2"].input.reverse(),
    "a circle": lambda nodes: nodes["MatMul"].input.__setitem__(0, nodes["AddV2"].name),
    "more inputs": lambda nodes: nodes["AddV2"].input.append("bottleneck"),
    "a missing node": lambda nodes: nodes["MatMul"].input.__setitem__(1, "nowhere"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_head_is_found_out(network, change):
    changed(network, CHANGES[change])
    with pytest.raises(OutputError, match=r"graph\.pb does not give the scores of the trained model: train it again"):
        FrozenGraph().verify(network, "graph.pb")


@pytest.mark.parametrize("thresholds", [None, np.full(3, 0.5, np.float32)], ids=["one label", "several labels"])
def test_another_activation_is_found_out(network, thresholds):
    network.head = head_of(24, 3, thresholds=thresholds)
    written, other = ("Softmax", "Sigmoid") if thresholds is None else ("Sigmoid", "Softmax")
    changed(network, lambda nodes: None)
    FrozenGraph().verify(network, "graph.pb")
    changed(network, lambda nodes: setattr(nodes[written], "op", other))
    with pytest.raises(OutputError, match=r"graph\.pb does not give the scores of the trained model"):
        FrozenGraph().verify(network, "graph.pb")


def test_any_other_byte_of_the_trunk_is_found_out(network):
    FrozenGraph().write(network, "graph.pb")
    with open("graph.pb", "r+b") as file:
        file.seek(len(network.trunk.graph) - 1)
        file.write(b"\0")
    with pytest.raises(OutputError, match=r"graph\.pb does not give the scores"):
        FrozenGraph().verify(network, "graph.pb")


@pytest.mark.parametrize("size", [0, 10, -1])
def test_a_file_that_is_cut_short_is_found_out(network, size):
    FrozenGraph().write(network, "graph.pb")
    with open("graph.pb", "r+b") as file:
        file.truncate(size if size >= 0 else len(file.read()) + size)
    with pytest.raises(OutputError, match=r"graph\.pb does not give the scores"):
        FrozenGraph().verify(network, "graph.pb")


def test_more_than_a_graph_file_can_hold_is_refused(network):
    class Huge(bytes):
        def __len__(self):
            return 2**31

    huge = SimpleNamespace(graph=Huge(), producer=5)
    with pytest.raises(OutputError, match=r"more than a graph file can hold .*: use a smaller backbone"):
        FrozenGraph().write(SimpleNamespace(**vars(network) | {"trunk": huge}), "graph.pb")
