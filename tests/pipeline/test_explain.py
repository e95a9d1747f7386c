"""`predict --explain`: pictures with what spoke for their label."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.command import retrain
from support.pictures import draw_picture
from support.small_network import small_saved_model

from retrain.errors import ModelFolderError, OutputError
from retrain.model.classifier import Classifier
from retrain.options import BackboneOptions, ImageOptions, RunOptions, TrainingOptions
from retrain.pipeline.explain import Explainer
from retrain.pipeline.report import write_report
from retrain.pipeline.train import train

pytestmark = pytest.mark.network


@pytest.fixture(scope="module")
def pooled(tmp_path_factory):
    """A folder with pictures/ and model/, of a network that takes a mean over all places."""
    folder = tmp_path_factory.mktemp("pooled")
    for label, name in enumerate(["cat", "dog"]):
        (folder / "pictures" / name).mkdir(parents=True)
        for number in range(20):
            draw_picture(number, label, 64).save(folder / "pictures" / name / f"{number}.png")
    backbone = BackboneOptions(backbone=str(small_saved_model(folder / "backbone")))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        train("pictures", "model", RunOptions(backbone=backbone, training=TrainingOptions(steps=100)))
    return folder


def test_every_picture_gets_a_file(pooled):
    pictures = [pooled / "pictures" / "cat" / "0.png", pooled / "pictures" / "dog" / "0.png"]
    done = retrain("predict", pooled / "model", *pictures, "--explain", "maps", check=0)
    assert [line.rpartition("(")[2] for line in done.stdout.splitlines()] == ["maps/0.png.jpg)", "maps/0.png-2.jpg)"]
    found = json.loads(retrain("predict", pooled / "model", *pictures, "--explain", "m", "--json", check=0).stdout)
    assert [answer["heat_map"] for answer in found] == ["m/0.png.jpg", "m/0.png-2.jpg"]
    explained = np.asarray(Image.open("maps/0.png.jpg")).astype(int)
    original = np.asarray(Image.open(pictures[0]).convert("RGB")).astype(int)
    assert explained.shape == original.shape
    assert (explained - original)[..., 0].mean() > 1  # redder
    assert (explained - original)[..., 2].mean() < 1


def test_what_cant_be_read_has_none(pooled):
    Path("notes.png").write_text("no picture")
    done = retrain("predict", pooled / "model", "notes.png", "--explain", "maps")
    assert done.returncode == 1
    assert not [*Path("maps").iterdir()]


def test_names_of_files_are_safe(pooled):
    name = "x" * 150 + " <b>\n\u202e.png"
    shutil.copyfile(pooled / "pictures" / "cat" / "1.png", name)
    retrain("predict", pooled / "model", name, "--explain", "maps", check=0)
    [written] = Path("maps").iterdir()
    assert len(written.name) <= 104
    assert not {*written.name} & {*"<>\n\u202e "}


def test_standard_input_is_no_file(pooled):
    assert (
        "--explain needs picture files" in retrain("predict", pooled / "model", "-", "--explain", "m", check=2).stderr
    )


def test_models_without_heat_maps(trained, pooled):
    message = r"there are no heat maps of .*model: this network does not end with a mean.*; leave --explain out"
    with pytest.raises(ModelFolderError, match=message):
        Explainer(Classifier(trained[0] / "model"), "maps", ImageOptions())
    shutil.copytree(pooled / "model", "copy")
    Path("copy/classifier.tflite").unlink()
    with pytest.raises(ModelFolderError, match=r"they need its classifier\.tflite"):
        Explainer(Classifier("copy"), "maps", ImageOptions())


def test_a_folder_that_cant_be_made(pooled):
    Path("maps").write_text("a file")
    with pytest.raises(OutputError, match=r"can't write into maps: .*give another --explain"):
        Explainer(Classifier(pooled / "model"), "maps", ImageOptions())


def test_the_report_of_such_a_model_has_exact_maps(pooled):
    made = write_report(pooled / "model", cache_dir=pooled / "cache")
    assert "exact" in made.report.heat_maps
    galleries = {number for gallery in made.report.galleries for number in gallery.pictures}
    assert all(made.report.pictures[number].heat_map for number in galleries)
