"""The SavedModel that is written without TensorFlow, beside the one that TensorFlow writes."""

import dataclasses
import itertools
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.pictures import TINY_LENGTH, TINY_SIZE, draw_picture
from support.rejections import some_rejection

from retrain._tensorflow import tf
from retrain.backbones.backbone import locate_backbone
from retrain.backbones.conversion import Converter
from retrain.errors import OutputError
from retrain.export.frozen_graph import FrozenGraph
from retrain.export.saved_model import OBJECT_GRAPH, SavedModel
from retrain.export.source import ExportSource
from retrain.files import digest_of_file
from retrain.model.head import Head, Layer
from retrain.options import BackboneOptions

NAMES = [f"label {number} ä花" for number in range(1000)]


def network_of(backbone, *widths, name="final_result"):
    rng = np.random.default_rng(0)
    layers = [
        Layer(rng.normal(size=pair).astype("f"), rng.normal(size=pair[1]).astype("f"))
        for pair in itertools.pairwise(widths)
    ]
    source = ExportSource(locate_backbone(BackboneOptions(backbone=str(backbone))), name, Converter("cache"))
    return source.under(Head(tuple(layers)), NAMES[: widths[-1]])


def write_with_tensorflow(network, folder, ours):
    """As TensorFlow saves the variables; the graph is its own in any case."""
    reader = tf.train.load_checkpoint(f"{ours}/variables/variables")
    entries = {OBJECT_GRAPH: reader.get_tensor(OBJECT_GRAPH)}
    value = "/.ATTRIBUTES/VARIABLE_VALUE"
    entries[f"labels{value}"] = list(network.labels)
    for number, node in enumerate(node for node in network.trunk.nodes().node if is_large(node)):
        entries[f"backbone/{number}{value}"] = tf.make_ndarray(node.attr["value"].tensor)
    for number, layer in enumerate(network.head.layers):
        entries[f"head/{number}/0{value}"], entries[f"head/{number}/1{value}"] = layer.weights, layer.biases
    shutil.copytree(ours, folder)
    shutil.rmtree(f"{folder}/variables")
    os.mkdir(f"{folder}/variables")
    with tf.device("CPU"):
        tf.raw_ops.SaveV2(
            prefix=f"{folder}/variables/variables",
            tensor_names=list(entries),
            shape_and_slices=[""] * len(entries),
            tensors=[tf.constant(entry) for entry in entries.values()],
        )


def is_large(node):
    return node.op == "Const" and len(node.attr["value"].tensor.tensor_content) >= 4096


def entries_of(folder):
    reader = tf.train.load_checkpoint(f"{folder}/variables/variables")
    types = reader.get_variable_to_dtype_map()
    return {name: (types[name], reader.get_tensor(name)) for name in types}


@pytest.mark.parametrize("widths", [(TINY_LENGTH, 5, 3), (TINY_LENGTH, 1000)])
def test_it_is_what_tensorflow_writes(tiny_backbone, widths):
    network = network_of(tiny_backbone, *widths)
    SavedModel().write(network, "ours")
    write_with_tensorflow(network, "theirs", "ours")
    ours, theirs = entries_of("ours"), entries_of("theirs")
    assert {*ours} == {*theirs}
    for name, (kind, values) in ours.items():
        assert kind == theirs[name][0]
        np.testing.assert_array_equal(values, theirs[name][1], strict=isinstance(values, np.ndarray))
    pixels = np.random.default_rng(1).random((3, TINY_SIZE, TINY_SIZE, 3), np.float32)
    draw_picture(1, 1, 40).save("a.jpg")
    answers = []
    for name in ("ours", "theirs"):
        signatures = tf.saved_model.load(name).signatures
        from_pixels = signatures["pixels"](pixels=tf.constant(pixels))
        from_file = signatures["serving_default"](image_bytes=tf.constant([Path("a.jpg").read_bytes()]))
        answers.append([from_pixels["final_result"].numpy(), from_file["final_result"].numpy()])
        assert [text.decode() for text in from_file["labels"].numpy()[0]] == NAMES[: widths[-1]]
    for one, other in zip(*answers, strict=True):
        np.testing.assert_array_equal(one, other)


def test_heads_of_one_label_and_of_many_have_templates_of_their_own(tiny_backbone):
    one = network_of(tiny_backbone, TINY_LENGTH, 3)
    thresholds = np.array([0.25, 0.5, 0.7], np.float32)
    many = one.source.under(dataclasses.replace(one.head, thresholds=thresholds), one.labels)
    pixels = tf.constant(np.random.default_rng(1).random((4, TINY_SIZE, TINY_SIZE, 3), np.float32))
    for name, network in {"many": many, "one": one, "many again": many, "one again": one}.items():
        SavedModel().write(network, name)
    answers = {name: tf.saved_model.load(name).signatures["pixels"](pixels=pixels) for name in ("one", "many")}
    kept = [path.name for path in Path("cache").glob("*/saved_model-*.export")]
    assert sorted(kept) == ["saved_model-1-f6850bc9.export", "saved_model-1-sigmoid-f6850bc9.export"]
    for name in ("one", "many"):
        files = [path.relative_to(name) for path in Path(name).rglob("*") if path.is_file()]
        assert len(files) == 4
        assert all(Path(name, file).read_bytes() == Path(f"{name} again", file).read_bytes() for file in files)
    assert {*answers["one"]} == {"final_result", "labels"}
    scores = answers["many"]["final_result"].numpy()
    np.testing.assert_array_equal(answers["many"]["thresholds"], np.tile(thresholds, (4, 1)))
    odds = scores.astype(float) / (1 - scores)  # e to the power of logits
    np.testing.assert_allclose(odds / odds.sum(axis=1, keepdims=True), answers["one"]["final_result"], atol=1e-5)


def test_a_head_that_tells_pictures_of_no_class_has_a_template_of_its_own(tiny_backbone):
    plain = network_of(tiny_backbone, TINY_LENGTH, 3)
    head = dataclasses.replace(plain.head, rejection=some_rejection(TINY_LENGTH, 3))
    pixels = np.random.default_rng(1).random((4, TINY_SIZE, TINY_SIZE, 3), np.float32)
    FrozenGraph().write(plain.source.under(head), "graph.pb")
    graph_def = tf.compat.v1.GraphDef.FromString(Path("graph.pb").read_bytes())
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
    with tf.compat.v1.Session(graph=graph) as session:
        vectors, expected = session.run(["bottleneck:0", "known:0"], {"Placeholder:0": pixels})
    np.testing.assert_allclose(expected, head.rejection.known(vectors), rtol=0, atol=1e-5)
    draw_picture(1, 1, 40).save("a.jpg")
    for name in ("made", "kept"):
        SavedModel().write(plain.source.under(head, plain.labels), name)
        signatures = tf.saved_model.load(name).signatures
        answer = signatures["pixels"](pixels=tf.constant(pixels))
        np.testing.assert_allclose(answer["known"], expected, rtol=0, atol=1e-5)
        assert signatures["pixels"].structured_outputs["known"].shape == (None, 1)
        of_file = signatures["serving_default"](image_bytes=tf.constant([Path("a.jpg").read_bytes()] * 2))
        assert of_file["known"].shape == (2, 1)
    SavedModel().write(plain, "plain")
    assert {*tf.saved_model.load("plain").signatures["pixels"](pixels=tf.constant(pixels))} == {
        "final_result",
        "labels",
    }


def test_the_digest_of_the_weights_is_known_without_reading_them_again(tiny_backbone):
    for _ in range(2):  # made, and found in the cache
        shutil.rmtree("saved", ignore_errors=True)
        [(path, digest)] = SavedModel().write(network_of(tiny_backbone, TINY_LENGTH, 2), "saved").items()
        assert digest == digest_of_file(Path("saved", path))
        assert path == "variables/variables.data-00000-of-00002"


def test_nothing_of_the_tracing_is_left_behind(tiny_backbone):
    SavedModel().write(network_of(tiny_backbone, TINY_LENGTH, 2, name="traced"), "first")
    SavedModel().write(network_of(tiny_backbone, TINY_LENGTH, 2, name="traced"), "second")
    first, second = (sorted(str(p.relative_to(f)) for p in Path(f).rglob("*")) for f in ("first", "second"))
    data = [f"variables/variables.data-0000{number}-of-00002" for number in (0, 1)]
    assert first == second == ["assets", "saved_model.pb", "variables", *data, "variables/variables.index"]


@pytest.mark.parametrize("damage", ["cut short", "gone"])
def test_a_graph_that_changes_while_it_is_copied_is_one_clear_error(tiny_backbone, damage):
    network_of(tiny_backbone, TINY_LENGTH, 2).source.trunk  # noqa: B018
    network = network_of(tiny_backbone, TINY_LENGTH, 2)
    _ = network.trunk
    [path] = Path("cache").glob("*/graph.export")
    if damage == "gone":
        path.unlink()
        SavedModel().write(network, "saved")  # it is still open
        assert tf.train.load_checkpoint("saved/variables/variables").get_variable_to_shape_map()
    else:
        os.truncate(path, 1000)
        with pytest.raises(OutputError, match="can't write the SavedModel saved: it was cut short while it was read"):
            SavedModel().write(network, "saved")
        assert not list(Path("saved").rglob("*.data*"))
