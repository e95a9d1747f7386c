"""A model and all that is made of it see pictures in the form that it was trained with."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.command import retrain
from support.exports import exports_here  # noqa: F401  # a fixture
from support.pictures import TINY_SIZE, draw_picture
from support.remembered import trace_anew

from retrain.backbones import graph_images
from retrain.data.picture_form import PictureForm
from retrain.export import onnx_format
from retrain.model import Classifier

CLASSES = ("cat", "dog")
ON_GREY = "A picture with other proportions is shown whole, on grey."
FORMATS = ("graph", "saved-model", "keras")  # pixels of the others are compared in tests/export


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """Wide pictures whose class shows in the middle alone: beside it is noise of the other class."""
    root = tmp_path_factory.mktemp("wide")
    for label, name in enumerate(CLASSES):
        (root / "pictures" / name).mkdir(parents=True)
        for number in range(24):
            parts = [np.asarray(draw_picture(number, part)) for part in (1 - label, label, 1 - label)]
            Image.fromarray(np.concatenate(parts, axis=1)).save(root / "pictures" / name / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def cropped(wide, tiny_backbone):
    """A folder with pictures/, cache/ and model/, which was trained on the middle of pictures."""
    options = ("--steps", 100, "--augment", 1, "--flip")
    retrain("train", "pictures", "--backbone", tiny_backbone, "--fit", "crop", *options, cwd=wide, check=0)
    return wide


def test_the_model_says_how_it_sees_pictures_and_sees_them_so(cropped, tmp_path):
    record = json.loads((cropped / "model" / "run.json").read_text())
    assert record["format"] == 2  # readers of format 1 would see pictures otherwise
    assert (record["options"]["fit"], record["backbone"]["fit"]) == ("crop", "crop")
    assert record["backbone"]["description"]["fit"] == "crop"
    classifier = Classifier(cropped / "model")
    assert classifier.description.form == PictureForm(TINY_SIZE, TINY_SIZE, "crop")
    path = cropped / "pictures" / "cat" / "3.png"
    image = Image.open(path)
    image.crop((20, 0, 40, 20)).save(tmp_path / "middle.png")
    image.resize((20, 20)).save(tmp_path / "squashed.png")
    whole, middle, squashed = classifier.predict([path, tmp_path / "middle.png", tmp_path / "squashed.png"])
    assert whole.scores == middle.scores
    assert whole.scores != squashed.scores


def test_pictures_are_fitted_in_a_cache_of_their_own(cropped, tiny_backbone):
    retrain("extract", "pictures", "--backbone", tiny_backbone, cwd=cropped, check=0)
    notes = [json.loads(note.read_text()) for note in sorted((cropped / "cache").glob("*/extractor.json"))]
    assert "crop" in {note.get("fit") for note in notes}
    assert any("fit" not in note for note in notes)
    again = retrain("extract", "pictures", "--backbone", tiny_backbone, "--fit", "crop", "--json", cwd=cropped, check=0)
    assert json.loads(again.stdout)["extracted"] == 0


def test_evaluation_finds_the_bottlenecks_of_training(cropped):
    done = retrain("evaluate", "model", "pictures", "--cache-dir", "cache", "--json", cwd=cropped, check=0)
    assert json.loads(done.stdout)["accuracy"] > 0.9


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.usefixtures("exports_here")
def test_every_export_sees_pictures_as_the_model_does(wide, tiny_backbone):
    options = ("--steps", 20, "--fit", "pad", "--model-dir", "padded")
    retrain("train", "pictures", "--backbone", tiny_backbone, *options, cwd=wide, check=0)
    done = retrain("export", "padded", "--format", ",".join(FORMATS), "--json", cwd=wide)
    found = json.loads(done.stdout)
    assert found["failures"] == {}
    for row in found["exports"]:
        assert row["largest_difference"] < 1e-5
        assert row["notes"] == [f"{ON_GREY} That is done inside, unless pixels of 16 x 16 are given."]
        assert ON_GREY in Path(wide, row["folder"], "README.md").read_text()


@pytest.mark.network
@pytest.mark.usefixtures("exports_here")
def test_an_export_that_fits_pictures_otherwise_is_refused(cropped, monkeypatch):
    right, squash = onnx_format.with_resizing, PictureForm(TINY_SIZE, TINY_SIZE)
    monkeypatch.setattr(onnx_format, "with_resizing", lambda model, form: right(model, squash))
    done = retrain("export", "model", "--format", "onnx", cwd=cropped)
    assert done.returncode == 1
    assert "scores that differ from those of retrain predict" in done.stderr
    assert not Path(cropped, "model", "exports", "onnx").exists()


def test_deep_pictures_are_trained_on_and_classified_by_the_same_rule(tmp_path, tiny_backbone):
    """Pictures of floats, each in a range of its own; one of them has none."""
    for label, name in enumerate(CLASSES):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(24):
            grey = np.asarray(draw_picture(number, label).convert("L"), np.float32)
            Image.fromarray(grey * 10.0 ** (number % 5) - number).save(tmp_path / "pictures" / name / f"{number}.tiff")
    Image.fromarray(np.full((20, 20), np.nan, np.float32)).save(tmp_path / "pictures" / "cat" / "nan.tiff")
    options = ("--backbone", tiny_backbone, "--steps", 100, "--depth", "percentiles")
    retrain("train", "pictures", *options, cwd=tmp_path, check=0)
    record = json.loads((tmp_path / "model" / "run.json").read_text())
    assert (record["options"]["depth"], record["backbone"]["depth"]) == ("percentiles", "percentiles")
    assert record["results"]["test"]["accuracy"] == 1
    [skipped] = (tmp_path / "model" / "skipped.csv").read_text().splitlines()[1:]
    assert "400 of its 400 pixels are not numbers" in skipped
    path = tmp_path / "pictures" / "cat" / "1.tiff"
    scaled = tmp_path / "scaled.tiff"
    Image.fromarray(np.asarray(Image.open(path)) * 2).save(scaled)
    first, second = Classifier(tmp_path / "model").predict([path, scaled])
    assert first.scores == second.scores


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.usefixtures("exports_here")
def test_graphs_scale_deep_files_themselves(tmp_path, tiny_backbone, monkeypatch):
    for label, name in enumerate(CLASSES):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(16):
            grey = np.asarray(draw_picture(number, label).convert("L"), np.uint16)
            Image.fromarray(grey * 50 + 7).save(tmp_path / "pictures" / name / f"{number}.png")
    options = ("--backbone", tiny_backbone, "--steps", 20, "--depth", "percentiles")
    retrain("train", "pictures", *options, cwd=tmp_path, check=0)
    retrain("export", "model", "--format", "graph,onnx", cwd=tmp_path, check=0)
    monkeypatch.setattr(graph_images, "_stretched", lambda values: values // 256)
    trace_anew(monkeypatch)
    retrain("train", "pictures", *options, "--cache-dir", "other", cwd=tmp_path, check=0)
    done = retrain("export", "model", "--format", "graph", cwd=tmp_path)
    assert "scores that differ from those of retrain predict" in done.stderr
