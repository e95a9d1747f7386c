"""Models that take the place of others; with the tiny network."""

import os
import shutil
from pathlib import Path

import pytest
from support.command import retrain

from retrain.errors import ModelFolderError
from retrain.events import Noted, Warned
from retrain.model.classifier import Classifier
from retrain.serving.models import Models
from retrain.serving.problems import Problem


@pytest.fixture
def folder(trained):
    """A copy of a model folder, in the folder of the test."""
    shutil.copytree(trained[0] / "model", "model")
    return Path("model")


@pytest.fixture
def train_anew(trained, tiny_backbone):
    """Trains into model/ on some of the classes: train_anew("cat", "dog")."""

    def train(*classes):
        shutil.rmtree("pictures", ignore_errors=True)
        for name in classes:
            shutil.copytree(trained[0] / "pictures" / name, f"pictures/{name}")
        cache = ["--cache-dir", trained[0] / "cache", "--report", "none"]
        retrain("train", "pictures", "--backbone", tiny_backbone, "--steps", 20, *cache, check=0)

    return train


def test_a_model_and_what_is_known_of_it(folder):
    model = Models({"animals": folder}).get()
    assert (model.name, model.labels, model.input_size) == ("animals", ("cat", "dog", "owl"), (16, 16))
    assert model.version == int(os.stat("model/run.json").st_mtime)
    assert model.held.set == "test"
    assert model.held.accuracy == pytest.approx(model.record["results"]["test"]["accuracy"])
    assert b"<html" in model.report()
    with pytest.raises(Problem, match="no model is called 'model': there is animals"):
        Models({"animals": folder}).get("model")


def test_what_is_no_model_is_an_error_at_the_start(folder):
    with pytest.raises(ModelFolderError, match="no such model folder: nowhere"):
        Models({"a": Path("nowhere")})
    (folder / "classifier.tflite").write_bytes(b"damaged")
    with pytest.raises(ModelFolderError, match=r"classifier.tflite is damaged"):
        Models({"a": folder})


def test_scores_that_do_not_add_up_are_an_error(folder, monkeypatch):
    monkeypatch.setattr(Classifier, "scores", lambda self, pixels: pixels[:, 0, 0].astype("float32"))
    with pytest.raises(ModelFolderError, match="model gives scores that do not add up to 1: train the model again"):
        Models({"a": folder})


def test_scores_of_many_labels_need_not_add_up(many_labels, monkeypatch):
    model = Models({"animals": many_labels}).get()
    assert model.thresholds == model.classifier.thresholds
    monkeypatch.setattr(Classifier, "scores", lambda self, pixels: 1.1 + 0 * pixels[:, 0, 0].astype("float32"))
    with pytest.raises(ModelFolderError, match="gives scores that are not from 0 to 1: train the model again"):
        Models({"animals": many_labels})


def test_a_model_that_is_trained_anew_takes_the_place_of_the_old(folder, train_anew):
    models = Models({"animals": folder})
    old = models.get()
    assert models.refresh() == []
    train_anew("cat", "dog")
    assert models.refresh() == [Noted("the model animals was trained anew: 2 classes")]
    new = models.get()
    assert (new.labels, new.version > old.version) == (("cat", "dog"), True)
    assert models.refresh() == []


def test_a_broken_model_changes_nothing_and_is_told_once(folder, train_anew):
    models = Models({"animals": folder})
    old = models.get()
    shutil.move("model", "aside")
    for broken in ("missing", "damaged"):
        if broken == "damaged":
            shutil.copytree("aside", "model")
            Path("model/classifier.tflite").write_bytes(b"damaged")
        [told] = models.refresh()
        assert isinstance(told, Warned)
        assert told.message.startswith("the model animals stays as it was: ")
        assert models.refresh() == []
        assert models.get() is old
    train_anew("cat", "owl")
    models.refresh()
    assert models.get().labels == ("cat", "owl")


def test_the_same_model_put_back_is_no_news(folder):
    models = Models({"animals": folder})
    old = models.get()
    shutil.copytree("model", "copy")
    os.rename("model", "old")
    os.rename("copy", "model")
    assert models.refresh() == []
    assert models.get() is old
