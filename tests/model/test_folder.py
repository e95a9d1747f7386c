"""Model folders that are damaged, foreign, or of an earlier version: right, or one line; never other scores."""

import dataclasses
import hashlib
import io
import json
import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from support.mutations import MUTATIONS, json_mutations, mutations, no_hang
from support.pictures import TINY_SIZE, draw_picture

import retrain
from retrain._tensorflow import tf
from retrain.backbones.backbone import locate_backbone
from retrain.backbones.conversion import Converter
from retrain.errors import ModelFolderError
from retrain.model.classifier import Classifier
from retrain.model.folder import read_description, seal
from retrain.model.graph_file import parse_graph
from retrain.options import BackboneOptions, RunOptions, TrainingOptions
from retrain.pipeline.evaluate import evaluate as evaluate_folder
from retrain.pipeline.extract import extract as extract_folder

PIXELS = np.random.default_rng(0).integers(0, 256, (3, TINY_SIZE, TINY_SIZE, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def options(tiny_backbone):
    return RunOptions(
        backbone=BackboneOptions(str(tiny_backbone)), training=TrainingOptions(steps=50, learning_rate=0.1)
    )


@pytest.fixture(scope="module")
def trained(options, tmp_path_factory):
    """A folder with pictures, their cache, and a model."""
    folder = tmp_path_factory.mktemp("trained")
    for label, name in enumerate(["cat", "dog"]):
        (folder / "pictures" / name).mkdir(parents=True)
        for number in range(20):
            draw_picture(number, label).save(folder / "pictures" / name / f"{number}.png")
    before = os.getcwd()
    os.chdir(folder)
    try:
        retrain.train("pictures", "model", options)
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def model(trained, tmp_path):
    """A copy of the model in `model`, beside copies of the pictures and the cache."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    return Path("model")


@pytest.fixture
def earlier(model):
    """The same as an earlier version wrote it: a graph alone, no digests, labels of variable length in head.h5."""
    (model / "classifier.tflite").unlink()
    run = json.loads((model / "run.json").read_text())
    (model / "run.json").write_text(json.dumps({key: run[key] for key in run if key not in ("sha256", "digest")}))
    with h5py.File(model / "head.h5", "r+") as file:
        del file["labels"]
        file.create_dataset("labels", data=["cat", "dog"], dtype=h5py.string_dtype())
    return model


def write_run(folder, **changes):
    """Change run.json as somebody would who knows its form."""
    run = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(seal(run | changes)))


def one_line(error):
    text = str(error)
    assert text
    assert "\n" not in text
    assert len(text) < 600
    return text


def test_every_file_of_a_model_has_its_digest(model):
    run = json.loads((model / "run.json").read_text())
    assert {*run["sha256"], "run.json", "report.html"} == {*run["files"]}
    assert read_description(model).digests == run["sha256"]


def test_a_model_of_an_earlier_version_works(model, earlier):
    found = evaluate_folder(Classifier(earlier), "pictures")
    assert found.extraction.extracted == 0
    assert found.metrics.accuracy > 0.9


@pytest.mark.parametrize("name", ["classifier.tflite", "graph.pb"])
def test_a_damaged_network_is_told_before_it_is_loaded(model, name):
    data = (model / name).read_bytes()
    (model / "classifier.tflite").unlink()  # then the graph counts
    for what, other in mutations(data):
        (model / name).write_bytes(other)
        with no_hang(), pytest.raises(ModelFolderError) as caught:
            Classifier(model)
        assert f"{name} is damaged: it is not the file" in one_line(caught.value), what


def test_both_forms_of_a_model_give_the_same_scores(model):
    scores = Classifier(model).scores(PIXELS)
    (model / "classifier.tflite").unlink()
    np.testing.assert_allclose(Classifier(model).scores(PIXELS), scores, rtol=0, atol=1e-5)


def test_a_damaged_head_is_told_before_it_is_opened(model, monkeypatch):
    classifier = Classifier(model)
    expected = classifier.head()
    assert expected.bottleneck_size == classifier.description.bottleneck_size
    data = (model / "head.h5").read_bytes()
    monkeypatch.setattr(h5py, "File", None)
    for what, other in mutations(data):
        (model / "head.h5").write_bytes(other)
        with no_hang(), pytest.raises(ModelFolderError) as caught:
            classifier.head()
        assert "head.h5 is damaged: it is not the file" in one_line(caught.value), what


def test_a_model_that_was_replaced_meanwhile_is_not_called_damaged(model):
    classifier = Classifier(model)
    (model / "head.h5").write_bytes(b"of the next model")
    run = json.loads((model / "run.json").read_text())
    del run["digest"]
    run["sha256"]["head.h5"] = hashlib.sha256(b"of the next model").hexdigest()
    (model / "run.json").write_text(json.dumps(seal(run)))
    with pytest.raises(ModelFolderError, match="was replaced while it was read: run the command again"):
        classifier.head()


def test_a_damaged_head_of_an_earlier_version_gives_no_other_scores(earlier):
    classifier = Classifier(earlier)
    expected = classifier.head()
    data = (earlier / "head.h5").read_bytes()
    refused = 0
    for what, other in mutations(data):
        (earlier / "head.h5").write_bytes(other)
        try:
            with no_hang():
                found = classifier.head()
        except ModelFolderError as error:
            one_line(error)
            refused += 1
        else:
            for one, two in zip(found.layers, expected.layers, strict=True):
                assert np.array_equal(one.weights, two.weights), what
                assert np.array_equal(one.biases, two.biases), what
    assert MUTATIONS / 10 < refused < MUTATIONS


def test_a_damaged_run_json_is_told(model):
    expected = read_description(model)
    data = (model / "run.json").read_bytes()
    documents = ((what, json.dumps(other).encode()) for what, other in json_mutations(json.loads(data), MUTATIONS // 2))
    refused = 0
    for what, other in [*mutations(data, MUTATIONS // 2), *documents]:
        (model / "run.json").write_bytes(other)
        try:
            with no_hang():
                assert read_description(model) == expected or "digest" not in json.loads(other), what
        except ModelFolderError as error:
            one_line(error)
            refused += 1
    assert refused > MUTATIONS * 0.9


@pytest.mark.slow
def test_a_run_json_of_other_types_and_values_gives_no_other_scores(earlier):
    """Without a digest, as whoever makes a model folder by hand would leave it."""
    run = json.loads((earlier / "run.json").read_text())
    used = ("format", "labels", "class_folders", "options", "backbone")
    read = {name: run[name] for name in used} | {"options": {"final_tensor_name": "final_result"}, "sha256": {}}
    (earlier / "run.json").write_text(json.dumps(read))
    expected, known = Classifier(earlier).scores(PIXELS), read_description(earlier)
    refused = 0
    for what, other in json_mutations(read, MUTATIONS // 2):
        (earlier / "run.json").write_text(json.dumps(other))
        try:
            with no_hang():
                is_known = read_description(earlier) == known
                assert is_known or np.array_equal(Classifier(earlier).scores(PIXELS), expected), what
        except ModelFolderError as error:
            one_line(error)
            refused += 1
    assert refused > MUTATIONS / 6


@pytest.mark.parametrize("suffix", ["", "of an earlier version"])
def test_damaged_predictions_put_no_picture_into_another_set(model, suffix, request):
    if suffix:
        request.getfixturevalue("earlier")
    classifier = Classifier(model)
    expected = classifier.sets()
    data = (model / "predictions.csv").read_bytes()
    for what, other in mutations(data):
        (model / "predictions.csv").write_bytes(other)
        try:
            found = classifier.sets()
        except ModelFolderError as error:
            one_line(error)
        else:
            assert suffix, what
            assert {*found.values()} <= {"train", "validation", "test"}
    (model / "predictions.csv").write_bytes(b"path,set,key\n")
    if suffix:
        assert classifier.sets() == {}
    assert len(expected) == 40


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"labels": [1, 2]}, r"run.json is damaged: labels\[0\] is 1, expected a name"),
        ({"labels": ["cat", "cat"]}, 'labels has "cat" twice'),
        ({"class_folders": ["cat"]}, "class_folders do not fit labels: 1 and 2"),
        ({"backbone": None}, "backbone is null, expected an object"),
        ({"options": {}}, "options.final_tensor_name is missing"),
        ({"options": {"final_tensor_name": "a/b"}}, "options.final_tensor_name is"),
        ({"sha256": {"graph.pb": "0"}}, "sha256.graph.pb is"),
        ({"thresholds": [0.5]}, r"thresholds is \[0.5\], expected a number, or a list of 2 numbers"),
        ({"thresholds": [0.5, 1.5]}, r"thresholds is \[0.5, 1.5\], expected numbers from 0 to 1"),
        ({"thresholds": [0.5, None]}, r"thresholds is \[0.5, null\]"),
        ({"thresholds": [0.5, 0.5]}, r"can't read model/thresholds.txt: No such file"),
        ({"sha256": 3}, "sha256 is 3, expected an object"),
        ({"format": "a\nb"}, r'of format "a\\nb", this version of retrain knows 1, 2:'),
    ],
)
def test_a_wrong_field_is_named(model, changes, match):
    write_run(model, **changes)
    with pytest.raises(ModelFolderError, match=match) as caught:
        Classifier(model)
    one_line(caught.value)


@pytest.mark.parametrize(
    ("field", "value", "match"),
    [
        ("height", 0, "backbone.height is 0, expected a whole number from 1 to"),
        ("height", TINY_SIZE + 1, "classifier.tflite maps 16 x 16 pixels to 2 scores, expected 17 x 16 and 2"),
        ("width", "16", 'backbone.width is "16"'),
        ("bottleneck_size", True, "backbone.bottleneck_size is true"),
        ("bottleneck_size", 23, "head.h5 in model does not fit classifier.tflite"),
        ("description", [], r"backbone.description is \[\], expected an object"),
        ("graph", {}, "backbone.graph.description is missing"),
        ("name", "../../../elsewhere/x", "backbone.name is .*, expected letters, digits"),
        ("name", "/etc/x", "backbone.name is"),
        ("name", "..", "backbone.name is"),
        ("name", "a\0b", "backbone.name is"),
        ("name", "x" * 300, "backbone.name is"),
    ],
)
def test_a_wrong_field_of_the_backbone_is_named_and_nothing_is_written(model, field, value, match):
    backbone = json.loads((model / "run.json").read_text())["backbone"]
    if field == "description":
        del backbone["graph"]
    write_run(model, backbone=backbone | {field: value})
    before = sorted(Path().rglob("*"))
    with pytest.raises(ModelFolderError, match=match) as caught:
        evaluate_folder(Classifier(model), "pictures")
    one_line(caught.value)
    assert sorted(Path().rglob("*")) == before


@pytest.mark.parametrize("name", ["run.json", "labels.txt", "classifier.tflite", "head.h5", "predictions.csv"])
def test_a_pipe_or_a_folder_in_place_of_a_file_is_an_error(model, name):
    for make in (os.mkfifo, os.mkdir):
        path = model / name
        path.rmdir() if path.is_dir() else path.unlink()
        make(path)
        with no_hang(), pytest.raises(ModelFolderError, match=r"not a file|Is a directory") as caught:
            evaluate_folder(Classifier(model), "pictures")
        assert name in one_line(caught.value)
        path.unlink() if path.is_fifo() else path.rmdir()
        path.mkdir()


def test_a_head_of_another_model_is_refused(model, earlier):
    with h5py.File(model / "head.h5", "r+") as file:
        file["biases"][0] += 1e-3
    with pytest.raises(ModelFolderError, match=r"head.h5 in model does not fit graph.pb"):
        evaluate_folder(Classifier(model), "pictures")


def test_scores_that_are_not_finite_are_an_error(model, earlier):
    graph = parse_graph((model / "graph.pb").read_bytes(), "graph")
    for node in graph.node:
        if node.op == "Const" and node.name.startswith("head/"):
            node.attr["value"].tensor.CopyFrom(
                tf.make_tensor_proto(tf.make_ndarray(node.attr["value"].tensor) * np.inf)
            )
    (model / "graph.pb").write_bytes(graph.SerializeToString())
    with pytest.raises(ModelFolderError, match="the graph returns values that are not finite: train the model again"):
        Classifier(model).scores(PIXELS)


# what evaluate keeps in the cache


def rows_of(folder):
    return {path: path.read_bytes() for path in Path("cache").glob(f"{folder}/segment-*.h5")}


def change_backbone(model):
    """Make the network inside the graph another one; who it is said to be stays."""
    graph = parse_graph((model / "graph.pb").read_bytes(), "graph")
    [kernel] = [n for n in graph.node if n.op == "Const" and len(n.attr["value"].tensor.tensor_content) > 4096]
    kernel.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(tf.make_ndarray(kernel.attr["value"].tensor) + 1))
    (model / "graph.pb").write_bytes(graph.SerializeToString())


def test_what_another_graph_computes_is_kept_apart(earlier, options):
    change_backbone(earlier)
    draw_picture(99, 0).save("pictures/cat/new.png")
    before = rows_of("tiny-*")
    found = evaluate_folder(Classifier(earlier), "pictures")
    assert found.extraction.extracted == 41
    assert rows_of("tiny-*") == before
    assert rows_of("tiny_graph-*")
    assert evaluate_folder(Classifier(earlier), "pictures").extraction.extracted == 0
    extraction = extract_folder(
        "pictures", options
    ).extraction  # the backbone itself has computed the new picture nowhere
    assert extraction.extracted == 1


def test_evaluate_gives_the_same_bits_as_the_backbone_and_shares_its_rows(model, options):
    backbone = locate_backbone(options.backbone)
    extractor = Classifier(model).extractor("cache")
    assert (extractor.name, extractor.fingerprint) == (backbone.name, backbone.fingerprint)
    runtime = Converter("cache").network(backbone, lambda: backbone.network.frozen_graph)
    assert np.array_equal(extractor.network.bottlenecks(PIXELS), runtime.bottlenecks(PIXELS))
    draw_picture(99, 0).save("pictures/cat/new.png")
    assert evaluate_folder(Classifier(model), "pictures").extraction.extracted == 1
    assert extract_folder("pictures", options).extraction.extracted == 0


def test_on_a_gpu_tensorflow_runs_the_backbone_of_the_graph(model, options, monkeypatch):
    monkeypatch.setattr("retrain.model.classifier.has_gpu", lambda: True)
    backbone = locate_backbone(options.backbone)
    extractor = Classifier(model).extractor("cache")
    assert (extractor.name, extractor.fingerprint) == (backbone.name, backbone.fingerprint)
    assert np.array_equal(extractor.network.bottlenecks(PIXELS), backbone.network.bottlenecks(PIXELS))


@pytest.mark.parametrize("form", ["litert", "graph"])
def test_a_cache_that_does_not_know_the_backbone_gets_rows_of_the_model(model, options, form):
    if form == "graph":
        (model / "classifier.tflite").unlink()
    extraction = dataclasses.replace(options.extraction, cache_dir="other")
    assert evaluate_folder(Classifier(model), "pictures", extraction).extraction.extracted == 40
    assert evaluate_folder(Classifier(model), "pictures", extraction).extraction.extracted == 0
    assert [path.name[:11] for path in sorted(Path("other").glob("*-*"))] == [f"tiny_{form}-"[:11]]
    retrain.train("pictures", "again", dataclasses.replace(options, training=TrainingOptions(steps=60)))
    if form == "graph":
        Path("again/classifier.tflite").unlink()
    # another head on the same backbone
    assert evaluate_folder(Classifier("again"), "pictures", extraction).extraction.extracted == 0


@pytest.mark.parametrize("note", [b"", b"\n", b"[]\n", b'{"details": 3, "fingerprint": 1}\n', b"[" * 100_000 + b"\n"])
@pytest.mark.parametrize("form", ["litert", "graph"])
def test_a_damaged_note_in_the_cache_is_no_proof(model, note, form):
    if form == "graph":
        (model / "classifier.tflite").unlink()
    [path] = Path("cache").glob(f"tiny-*/{form}.export")
    path.write_bytes(note)
    assert Classifier(model).extractor("cache").name == f"tiny_{form}"


def test_labels_of_a_fixed_length_are_read_again(model):
    with h5py.File(io.BytesIO((model / "head.h5").read_bytes()), "r") as file:
        assert h5py.check_string_dtype(file["labels"].dtype).length == 3
