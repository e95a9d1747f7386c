"""What exports need of a backbone, kept in the cache: used by later runs, distrusted, and never in the way."""

import errno
import itertools
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.hearing import warnings_to
from support.pictures import TINY_LENGTH, TINY_SIZE, draw_picture

import retrain
from retrain._tensorflow import tf
from retrain.backbones import backbone as backbones
from retrain.backbones.backbone import locate_backbone
from retrain.backbones.conversion import Converter
from retrain.backbones.sources import graph_safety
from retrain.cache import artifacts
from retrain.cli import main as cli
from retrain.errors import BackboneError
from retrain.export.frozen_graph import FrozenGraph
from retrain.export.saved_model import SavedModel
from retrain.export.source import ExportSource
from retrain.model.head import Head, Layer
from retrain.options import BackboneOptions, RunOptions, TrainingOptions

TEMPLATE = "saved_model-1-f6850bc9.export"  # one layer, final_result
NAMES = ["graph.export", TEMPLATE]


@pytest.fixture
def pictures(make_folder) -> Path:
    return make_folder({"cat": 25, "dog": 25})


@pytest.fixture
def train(pictures, tiny_backbone):
    """Trains a model into a folder: the warnings."""

    def call(model_dir: str = "model", **options) -> list[str]:
        warnings: list[str] = []
        settings = RunOptions(
            backbone=BackboneOptions(backbone=str(tiny_backbone)),
            training=TrainingOptions(steps=20, learning_rate=0.5),
            **options,
        )
        retrain.train(pictures, model_dir, settings, warnings_to(warnings.append))
        return warnings

    return call


@pytest.fixture
def export(tiny_backbone):
    """Exports a head into a folder, as train does: the warnings."""

    def call(model_dir: str) -> list[str]:
        warnings: list[str] = []
        graphs, head = builder(tiny_backbone, warnings=warnings), head_of(TINY_LENGTH, 2)
        graphs.prepare()
        Path(model_dir).mkdir()
        FrozenGraph().write(graphs.under(head), Path(model_dir, "graph.pb"))
        SavedModel().write(graphs.under(head, ["a", "b"]), Path(model_dir, "saved_model"))
        return warnings

    return call


@pytest.fixture
def no_network(monkeypatch):
    """From now on no network can be loaded."""

    def refuse(source):
        raise AssertionError("a network is loaded")

    monkeypatch.setattr(backbones, "load_network", refuse)


def kept(name: str) -> Path:
    [path] = Path("cache").glob(f"tiny-*/{name}")
    return path


def exported(model: str) -> dict[str, bytes]:
    model = Path(model)
    paths = [path for path in [model / "graph.pb", *(model / "saved_model").rglob("*")] if path.is_file()]
    return {str(path.relative_to(model)): path.read_bytes() for path in paths}


def builder(tiny_backbone, cache: str = "cache", name: str = "final_result", warnings: list[str] | None = None):
    told = [] if warnings is None else warnings
    return ExportSource(
        locate_backbone(BackboneOptions(backbone=str(tiny_backbone))), name, Converter(cache, warnings_to(told.append))
    )


def head_of(*widths: int) -> Head:
    rng = np.random.default_rng(len(widths))
    return Head(
        tuple(
            Layer(rng.normal(0, 0.5, (inputs, outputs)).astype(np.float32), rng.normal(0, 1, outputs).astype("f"))
            for inputs, outputs in itertools.pairwise(widths)
        )
    )


@pytest.mark.slow
@pytest.mark.usefixtures("traced_anew")
def test_a_second_run_loads_no_network_and_exports_the_same(train, request):
    train("first")
    request.getfixturevalue("no_network")
    assert train("second") == []
    assert exported("first") == exported("second")
    first, second = (json.loads(Path(name, "run.json").read_text()) for name in ("first", "second"))
    assert first["backbone"] == second["backbone"]
    assert len(first["files"]) == len(second["files"])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("damage", ["bit", "note", "cut short", "other text"])
def test_a_damaged_file_is_named_and_made_again(name, damage, export):
    export("first")
    path = kept(name)
    sound = path.read_bytes()
    start = sound.index(b"\n") + 1
    path.write_bytes(
        {
            "bit": sound[:-7] + bytes([sound[-7] ^ 4]) + sound[-6:],
            "note": sound.replace(b'"details": {', b'"details": {"more": 1, ', 1),
            "cut short": sound[:-1000],
            "other text": b"<html>\n" + sound[start:],
        }[damage]
    )
    [warning] = export("second")
    assert warning.startswith(f"cache/tiny-{path.parent.name[-8:]}/{name} is damaged: it is made again")
    assert export("third") == []
    assert_same_scores("first", "second", "third")


@pytest.mark.parametrize("entry", ["format", "fingerprint", "retrain", "tensorflow"])
def test_files_of_another_backbone_or_version_are_made_again(entry, export):
    export("first")
    lines = {}
    for path in map(kept, NAMES):
        lines[path], _, rest = path.read_bytes().partition(b"\n")
        path.write_bytes(json.dumps(json.loads(lines[path]) | {entry: "another"}).encode() + b"\n" + rest)
    assert export("second") == []
    for path, line in lines.items():
        assert json.loads(path.read_bytes().partition(b"\n")[0])[entry] == json.loads(line)[entry]
    assert_same_scores("first", "second")


@pytest.mark.parametrize("details", [{"digest": "another"}, {"more": 1}])
def test_a_template_goes_with_the_graph_that_it_was_made_from(details, export):
    """Weights have no names in it but their places in the graph, which another one may have in another order."""
    export("first")
    path = kept("graph.export")
    line, _, rest = path.read_bytes().partition(b"\n")
    note = json.loads(line)
    note["details"] |= details
    note["sha256"] = artifacts._digest(note["details"], [rest])
    path.write_bytes(json.dumps(note).encode() + b"\n" + rest)
    assert export("second") == []
    template, graph = (json.loads(kept(name).read_bytes().partition(b"\n")[0]) for name in (TEMPLATE, "graph.export"))
    assert template["details"]["trunk"] == graph["details"]["digest"]
    assert_same_scores("first", "second")


def test_a_graph_that_an_earlier_version_kept_is_used_and_described(export, request):
    """It said less of it."""
    export("first")
    path = kept("graph.export")
    whole = path.read_bytes()
    line, _, rest = whole.partition(b"\n")
    note = json.loads(line)
    names = ("height", "width", "bottleneck_size", "digest", "layers")
    note["details"] = {name: note["details"][name] for name in names}
    note["sha256"] = artifacts._digest(note["details"], [rest])
    path.write_bytes(json.dumps(note).encode() + b"\n" + rest)
    request.getfixturevalue("no_network")
    assert export("second") == []
    assert exported("first") == exported("second")
    assert path.read_bytes() == whole


def test_a_graph_that_does_more_than_compute_needs_trust_again(tiny_backbone, export, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(graph_safety, "SAFE_OPERATIONS", frozenset({"Const"}))
        patched.setattr("retrain.backbones.saved_models.check_saved_model", lambda *_: None)
        export("first")
    with pytest.raises(BackboneError, match="the graph of backbone tiny has operations that may do more than compute"):
        export("second")
    trusting = ExportSource(
        locate_backbone(BackboneOptions(backbone=str(tiny_backbone), trust=True)), "final_result", Converter("cache")
    )
    assert (
        trusting.trunk.digest == json.loads(kept("graph.export").read_bytes().partition(b"\n")[0])["details"]["digest"]
    )


def assert_same_scores(first: str, *others: str) -> None:
    """What has the same bytes is not run."""
    others = [other for other in others if exported(other) != exported(first)]
    if not others:
        return
    pixels = np.random.default_rng(0).random((4, TINY_SIZE, TINY_SIZE, 3), np.float32)
    expected = run_graph(Path(first, "graph.pb").read_bytes(), pixels)
    for model in (first, *others):
        np.testing.assert_allclose(run_graph(Path(model, "graph.pb").read_bytes(), pixels), expected, atol=1e-6)
        loaded = tf.saved_model.load(f"{model}/saved_model")
        answer = loaded.signatures["pixels"](pixels=tf.constant(pixels))
        np.testing.assert_allclose(answer["final_result"].numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_cache_that_cannot_be_written_fails_no_run(number, train, monkeypatch, caplog):
    def refuse(path, *data):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(artifacts, "write_whole", refuse)
    with caplog.at_level(logging.INFO, "retrain.cache.artifacts"):
        assert train("first") == []
    assert f"can't keep graph.export for later runs: [Errno {number}]" in caplog.text
    assert not list(Path("cache").glob("*/*.export"))
    assert retrain.Classifier("first").labels == ("cat", "dog")
    monkeypatch.undo()


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_cannot_be_read_or_written_fails_no_run(name, export):
    export("first")
    kept(name).unlink()
    (next(Path("cache").glob("tiny-*")) / name).mkdir()
    [warning] = export("second")
    assert warning.endswith(f"{name} can't be read (Is a directory): it is made again")
    assert_same_scores("first", "second")


def test_a_folder_of_another_extractor_is_left_alone(tiny_backbone):
    made = builder(tiny_backbone)
    folder = Path("cache") / f"tiny-{made.backbone.fingerprint[:8]}"
    folder.mkdir(parents=True)
    other = made.backbone.fingerprint[:8] + "0" * 56
    (folder / "extractor.json").write_text(json.dumps({"format": 1, "fingerprint": other}))
    FrozenGraph().parts(made.under(head_of(TINY_LENGTH, 2)))
    assert [path.name for path in folder.iterdir()] == ["extractor.json"]


@pytest.mark.slow
def test_heads_and_labels_share_what_is_kept(tiny_backbone, no_network_after):
    for widths in ((TINY_LENGTH, 2), (TINY_LENGTH, 5), (TINY_LENGTH, 7, 3)):
        head, labels = head_of(*widths), [f"label {number}" for number in range(widths[-1])]
        graphs = builder(tiny_backbone)
        graphs.prepare()
        SavedModel().write(graphs.under(head, labels), "-".join(map(str, widths)))
        if widths == (TINY_LENGTH, 2):  # the one that made what the others use
            no_network_after()
            continue
        pixels = np.random.default_rng(0).random((4, TINY_SIZE, TINY_SIZE, 3), np.float32)
        expected = head.logits(bottlenecks(graphs, pixels))
        expected = np.exp(expected) / np.exp(expected).sum(axis=1, keepdims=True)
        loaded = tf.saved_model.load("-".join(map(str, widths)))
        answer = loaded.signatures["pixels"](pixels=tf.constant(pixels))
        np.testing.assert_allclose(answer["final_result"].numpy(), expected, atol=1e-6)
        assert [text.decode() for text in answer["labels"].numpy()[3]] == labels
        answer = loaded.from_pixels(tf.constant(pixels))
        np.testing.assert_allclose(answer["final_result"].numpy(), expected, atol=1e-6)
        np.testing.assert_allclose(
            run_graph(b"".join(map(bytes, FrozenGraph().parts(graphs.under(head)))), pixels), expected, atol=1e-6
        )


@pytest.fixture
def no_network_after(monkeypatch):
    def call():
        monkeypatch.setattr(backbones, "load_network", None)

    return call


def bottlenecks(graphs: ExportSource, pixels: np.ndarray) -> np.ndarray:
    return run_graph(bytes(graphs.trunk.graph), pixels, "bottleneck:0")


def run_graph(graph, pixels: np.ndarray, end: str = "final_result:0") -> np.ndarray:
    with tf.Graph().as_default():
        tf.graph_util.import_graph_def(tf.compat.v1.GraphDef.FromString(graph), name="")
        with tf.compat.v1.Session() as session:
            return session.run(end, {"Placeholder:0": pixels})


def test_another_name_of_the_scores_needs_another_template_only(tiny_backbone, no_network_after):
    for number, name in enumerate(["final_result", "scores", "final_result"]):
        graphs = builder(tiny_backbone, name=name)
        SavedModel().write(graphs.under(head_of(TINY_LENGTH, 2), ["a", "b"]), f"saved{number}")
        if number == 0:
            no_network_after()
            continue
        loaded = tf.saved_model.load(f"saved{number}")
        answer = loaded.signatures["pixels"](pixels=tf.zeros([1, TINY_SIZE, TINY_SIZE, 3]))
        assert set(answer) == {name, "labels"}
        assert np.isclose(answer[name].numpy().sum(), 1)


def test_the_saved_model_says_how_many_classes_there_are(tiny_backbone):
    from tensorflow.core.protobuf import saved_model_pb2

    SavedModel().write(builder(tiny_backbone).under(head_of(TINY_LENGTH, 5), list("abcde")), "saved")
    model = saved_model_pb2.SavedModel.FromString(Path("saved/saved_model.pb").read_bytes())
    for signature in ("serving_default", "pixels"):
        outputs = model.meta_graphs[0].signature_def[signature].outputs
        for name in ("final_result", "labels"):
            assert [dimension.size for dimension in outputs[name].tensor_shape.dim] == [-1, 5]


def test_tensorflow_1_style_programs_load_the_saved_model(tiny_backbone):
    SavedModel().write(builder(tiny_backbone).under(head_of(TINY_LENGTH, 2), ["a", "ü"]), "saved")
    picture = draw_picture(1, 1, 40)
    picture.save("a.png")
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        meta = tf.compat.v1.saved_model.load(session, ["serve"], "saved")
        signature = meta.signature_def["serving_default"]
        names = [signature.outputs[name].name for name in ("final_result", "labels")]
        scores, labels = session.run(names, {signature.inputs["image_bytes"].name: [Path("a.png").read_bytes()] * 3})
    assert scores.shape == (3, 2)
    assert [text.decode() for text in labels[2]] == ["a", "ü"]


def test_the_cache_commands_know_what_is_kept(tiny_backbone, make_folder, capsys):
    """As after a run with --precision int8, whose bottlenecks lie elsewhere."""
    SavedModel().write(builder(tiny_backbone).under(head_of(TINY_LENGTH, 2), ["a", "b"]), "saved")
    sizes = [kept(name).stat().st_size for name in NAMES]
    pictures = make_folder({"cat": 1, "dog": 1})
    for command in (["info"], ["verify"], ["compact"], ["prune", "--keep", str(pictures), "--yes"]):
        assert cli.main(["cache", *command, "--json"]) == 0
        [document] = json.loads(capsys.readouterr().out)
        if command == ["info"]:
            assert (document["name"], document["rows"], document["bytes"]) == ("tiny", 0, sum(sizes))
    assert [kept(name).stat().st_size for name in NAMES] == sizes
    code = "import retrain.cache.maintenance, sys; print('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
