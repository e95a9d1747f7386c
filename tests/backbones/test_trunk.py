"""A trunk is looked into without TensorFlow: what it finds is compared with TensorFlow's own view."""

import hashlib

import numpy as np
import pytest
from google.protobuf.message import DecodeError

from retrain._tensorflow import tf
from retrain.backbones.backbone import BackboneSource, load_network
from retrain.backbones.graph import make_trunk
from retrain.backbones.trunk import Trunk, outline
from retrain.files import FilePart

RNG = np.random.default_rng(0)
ARRAYS = {
    "plain": RNG.normal(size=(3, 3, 8, 40)).astype(np.float32),
    "zeros": np.zeros((1, 2000), np.float32),
    "bytes": np.arange(5000, dtype=np.uint8),
    "doubles": RNG.normal(size=600),
    # begins anew in its middle, and as the constant before it does
    "periods": np.tile(np.arange(256, dtype=np.int32), 8),
    "again": np.arange(2048, dtype=np.int32) % 256,
    "small": np.ones(4, np.float32),
}


@pytest.fixture(scope="module")
def graph():
    with tf.Graph().as_default() as made:
        for name, array in ARRAYS.items():
            tf.constant(array, name=name)
        tf.compat.v1.placeholder(tf.float32, [None, 2], name="x")
    return made.as_graph_def().SerializeToString(deterministic=True)


@pytest.fixture(params=["bytes", "file"])
def content(request, graph, tmp_path):
    if request.param == "bytes":
        return graph
    (tmp_path / "graph.pb").write_bytes(b"before it" + graph)
    return FilePart(tmp_path / "graph.pb")[9:]


def test_weights_are_where_they_are_said_to_be(content):
    trunk = Trunk.of_graph(content, (1, 1, 2))
    arrays = trunk.arrays()
    assert [*arrays] == [name for name in ARRAYS if name != "small"]
    for name, array in arrays.items():
        assert array.dtype == ARRAYS[name].dtype
        np.testing.assert_array_equal(array, ARRAYS[name])
    values = b"".join(ARRAYS[weight.name].tobytes() for weight in trunk.weights)
    assert trunk.weights_digest == hashlib.sha256(values).hexdigest()


def test_the_outline_is_the_graph_without_them(content, graph):
    found, weights = outline(content)
    expected = tf.compat.v1.GraphDef.FromString(graph)
    for node in expected.node:
        if node.name in {weight.name for weight in weights}:
            node.attr["value"].tensor.ClearField("tensor_content")
    assert tf.compat.v1.GraphDef.FromString(found.SerializeToString()) == expected


def test_a_trunk_knows_its_digest_and_the_version_of_its_graph(content, graph):
    trunk = Trunk.of_graph(content, (1, 1, 2))
    assert trunk.digest == hashlib.sha256(graph).hexdigest()
    assert trunk.producer == tf.version.GRAPH_DEF_VERSION
    assert Trunk.of_graph(content, (1, 1, 2), producer=7).producer == 7
    assert trunk.nodes() == tf.compat.v1.GraphDef.FromString(graph)


def test_with_other_weights_all_is_found_out_anew(content):
    trunk = Trunk.of_graph(content, (1, 1, 2))
    other = trunk.with_weights({"plain": -ARRAYS["plain"]})
    np.testing.assert_array_equal(other.arrays()["plain"], -ARRAYS["plain"])
    np.testing.assert_array_equal(other.arrays()["doubles"], ARRAYS["doubles"])
    assert other == Trunk.of_graph(other.graph, (1, 1, 2))
    assert other.weights_digest != trunk.weights_digest


@pytest.mark.parametrize("cut", [1, 50, 4000])
def test_a_graph_that_is_cut_short_is_an_error(content, cut):
    with pytest.raises(DecodeError):
        outline(content[: len(content) - cut])


def test_a_field_of_an_unknown_kind_is_an_error(graph):
    with pytest.raises(DecodeError, match="a field of a graph is of the unknown kind 5"):
        outline(graph + b"\x7d1234")


def test_a_real_trunk_is_its_network(tiny_backbone):
    network = load_network(BackboneSource("tiny", "saved_model", str(tiny_backbone), input_range="0..1"))
    trunk = make_trunk(network)
    nodes = {node.name: node for node in trunk.nodes().node}
    for name, array in trunk.arrays().items():
        np.testing.assert_array_equal(array, tf.make_ndarray(nodes[name].attr["value"].tensor))
    assert trunk.bottleneck_size == network.bottleneck_size
    assert len(trunk.weights) == sum(array.nbytes >= 4096 for array in map(constant, nodes.values()) if array.size)


def constant(node):
    return tf.make_ndarray(node.attr["value"].tensor) if node.op == "Const" else np.empty(0)
