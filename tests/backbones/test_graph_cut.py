import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.small_network import LENGTH, random_pixels, small_network, small_saved_model

from retrain._tensorflow import tf
from retrain.backbones import graph_cut
from retrain.backbones.activations import activations_at
from retrain.backbones.backbone import Backbone, BackboneSource
from retrain.backbones.conversion import Converter
from retrain.backbones.graph import make_trunk
from retrain.backbones.graph_cut import find_cut, part_above
from retrain.backbones.trunk import BOTTLENECK, PIXELS_INPUT, Trunk
from retrain.errors import BackboneError, UsageError
from retrain.options import FineTuningOptions

pytestmark = pytest.mark.network


@pytest.fixture(scope="module")
def network():
    return small_network()


@pytest.fixture(scope="module")
def trunk(network):
    return make_trunk(network)


def cut_from(trunk, layer):
    return find_cut(trunk, FineTuningOptions(fine_tune_from=layer))


# the first layer to be trained -> the shape of the activations below it, and which layers are trained
CUTS = {
    "stem": ((16, 16, 3), ["stem", "stem_bn", "residual", "left", "right", "right_bn", "top", "top_bn"]),
    "stem_bn": ((8, 8, 8), ["stem_bn", "residual", "left", "right", "right_bn", "top", "top_bn"]),
    "residual": ((8, 8, 8), ["residual", "left", "right", "right_bn", "top", "top_bn"]),
    "add": ((8, 8, 8), ["left", "right", "right_bn", "top", "top_bn"]),
    "top": ((8, 8, 14), ["top", "top_bn"]),
    "top_bn": ((8, 8, 12), ["top_bn"]),
}


@pytest.mark.parametrize("layer", CUTS)
def test_the_cut_is_the_last_point_that_everything_flows_through(trunk, layer):
    cut = cut_from(trunk, layer)
    assert (cut.shape, sorted(cut.layers)) == (CUTS[layer][0], sorted(CUTS[layer][1]))
    names = [each.name for each in trunk.layers]
    assert cut == cut_from(trunk, str(names.index(layer)))
    assert cut == find_cut(trunk, FineTuningOptions(fine_tune_layers=len(cut.layers)))


def test_in_a_branch_the_cut_lies_below_the_fork(trunk):
    """What lies below `right_bn` stays, but is needed above the cut."""
    cut = cut_from(trunk, "right_bn")
    assert cut.tensor == cut_from(trunk, "add").tensor
    assert set(cut.layers) - {"left"} == {"right_bn", "top", "top_bn"}


@pytest.mark.parametrize("layer", CUTS)
def test_both_parts_together_are_the_network(trunk, network, layer):
    cut = cut_from(trunk, layer)
    backbone = Backbone(BackboneSource("small", "saved_model", "."))
    backbone.description = {"architecture": "small"}
    below = activations_at(cut, backbone, trunk, Converter("cache"))
    pixels = random_pixels(5)
    activations = below.network.bottlenecks(pixels)
    assert (activations.dtype, activations.shape) == (np.float16, (5, cut.size))
    above, weights = part_above(trunk, cut)
    found = tf.function(above)(activations, tuple(map(tf.constant, weights))).numpy()
    assert found.shape == (5, LENGTH)
    np.testing.assert_allclose(found, network.bottlenecks(pixels), rtol=5e-3, atol=5e-3)


def test_only_what_training_may_change_is_a_weight(trunk):
    """Of batch normalisation, that is gamma and beta, and not the moving averages."""
    shapes = [weights.shape for weights in part_above(trunk, cut_from(trunk, "top"))[1]]
    assert shapes == [(1, 1, 14, LENGTH), (LENGTH,), (LENGTH,)]


def test_cuts_of_one_network_have_fingerprints_of_their_own(trunk):
    backbone = Backbone(BackboneSource("small", "saved_model", "."))
    backbone.description = {"architecture": "small"}
    prints = {activations_at(cut_from(trunk, layer), backbone, trunk, Converter("cache")).fingerprint for layer in CUTS}
    assert len(prints) == len({cut_from(trunk, layer).tensor for layer in CUTS})


def test_a_saved_model_is_cut_by_its_variables(tmp_path):
    from retrain.backbones.backbone import load_network

    source = BackboneSource("small", "saved_model", str(small_saved_model(tmp_path / "saved")), input_range="0..1")
    network = load_network(source)
    trunk = make_trunk(network)
    cut = find_cut(trunk, FineTuningOptions(fine_tune_layers=2))
    assert cut.shape == (8, 8, 14)
    pixels = random_pixels(4)
    above, weights = part_above(trunk, cut)
    below = activations_at(cut, Backbone(source), trunk, Converter("cache")).network.bottlenecks(pixels)
    found = tf.function(above)(below, tuple(map(tf.constant, weights))).numpy()
    np.testing.assert_allclose(found, network.bottlenecks(pixels), rtol=5e-3, atol=5e-3)


def test_a_saved_model_without_variables_can_not_be_fine_tuned(tmp_path, tiny_backbone):
    from retrain.backbones.backbone import load_network

    trunk = make_trunk(load_network(BackboneSource("tiny", "saved_model", str(tiny_backbone), input_range="0..1")))
    frozen = dataclasses.replace(trunk, layers=())
    with pytest.raises(BackboneError, match="it does not say which of its numbers are weights"):
        find_cut(frozen, FineTuningOptions(fine_tune_layers=1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fine_tune_from": "residul"}, "from residul: the network has no such layer; did you mean residual\\?"),
        ({"fine_tune_from": "xyz"}, "has no such layer; its last ones are .*11 top_bn"),
        ({"fine_tune_from": "14"}, "--fine-tune-from 14: the network has the layers 0 to 13"),
        ({"fine_tune_from": "mean"}, "--fine-tune-from mean: the last layer with weights is top_bn"),
        ({"fine_tune_layers": 9}, "--fine-tune-layers 9: the network has 8 layers with weights"),
    ],
)  # fmt: skip
def test_layers_that_are_not_there_are_refused(trunk, options, message):
    with pytest.raises(UsageError, match=message):
        find_cut(trunk, FineTuningOptions(**options))


def test_a_network_with_a_loop_is_refused(tmp_path):
    from retrain.backbones.backbone import load_network

    module = tf.Module()
    module.kernel = tf.Variable(np.ones((3, 4), np.float32))

    def call(pixels):
        scaled = tf.map_fn(lambda picture: picture - tf.reduce_mean(picture), pixels)
        return tf.reduce_mean(scaled @ module.kernel, axis=[1, 2])

    module.__call__ = tf.function(call, input_signature=[tf.TensorSpec([None, 8, 8, 3], tf.float32)])
    tf.saved_model.save(module, str(tmp_path / "loop"))
    trunk = make_trunk(load_network(BackboneSource("loop", "saved_model", str(tmp_path / "loop"), input_range="0..1")))
    with pytest.raises(BackboneError, match="this network can't be fine-tuned: it has a loop"):
        find_cut(trunk, FineTuningOptions(fine_tune_layers=1))


def test_weights_of_another_type_are_refused(trunk):
    nodes = trunk.nodes()
    name = trunk.layers[-3].weights[0]
    node = next(node for node in nodes.node if node.name == name)
    node.attr["dtype"].type = tf.float16.as_datatype_enum
    other = dataclasses.replace(trunk, graph=nodes.SerializeToString())
    with pytest.raises(BackboneError, match="the weights of top_bn are of float16, expected float32"):
        find_cut(other, FineTuningOptions(fine_tune_layers=1))


def test_activations_beyond_float16_are_refused(trunk):
    factor = 1e6
    cut = cut_from(trunk, "top")
    [kernel] = [name for layer in trunk.layers if layer.name == "left" for name in layer.weights[:1]]
    node = next(node for node in trunk.nodes().node if node.name == kernel)
    large = trunk.with_weights({kernel: tf.make_ndarray(node.attr["value"].tensor) * factor})
    backbone = Backbone(BackboneSource("small", "saved_model", "."))
    backbone.description = {}
    with pytest.raises(BackboneError, match="are beyond what float16 holds: choose another layer"):
        activations_at(cut, backbone, large, Converter("cache")).network.bottlenecks(random_pixels(2))


@st.composite
def graphs(draw):
    """A graph of additions from the pixels to the bottleneck: for each node, the places of its two inputs."""
    count = draw(st.integers(1, 9))
    return [draw(st.tuples(st.integers(0, place), st.integers(0, place))) for place in range(count)]


@settings(max_examples=60, deadline=None)
@given(graphs(), st.integers(1, 10))
def test_cuts_agree_with_taking_nodes_away(edges, lowest):
    with tf.Graph().as_default() as graph:
        tensors = [tf.compat.v1.placeholder(tf.float32, [None, 2], name=PIXELS_INPUT[:-2])]
        for number, (one, other) in enumerate(edges):
            tensors.append(tf.add(tensors[one], tensors[other], name=f"n{number}"))
        tf.identity(tensors[-1], name=BOTTLENECK[:-2])
        trunk = Trunk.of_graph(graph.as_graph_def().SerializeToString(), (1, 1, 2))
    nodes = {node.name: node for node in trunk.nodes().node}
    order = graph_cut._order(nodes, PIXELS_INPUT[:-2], BOTTLENECK[:-2])
    lowest = min(lowest, len(order) - 1)

    def reaches_the_end(without):
        reached = {order[0]} - {without}
        for name in order[1:]:
            if name != without and {text.partition(":")[0] for text in nodes[name].input} & reached:
                reached.add(name)
        return order[-1] in reached

    assert all(order.index(a) < order.index(b) for b in order for a in graph_cut._inputs(nodes[b]) if a in order)
    wanted = [name for name in order[:lowest] if not reaches_the_end(name)][-1]
    assert graph_cut._last_point(trunk, nodes, order, lowest) == (f"{wanted}:0", (2,))
