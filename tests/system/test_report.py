"""The report of real photographs: planted faults are found, heat maps add up, and TensorFlow is not needed."""

import subprocess
import sys

import numpy as np
import pytest
from support.planted import plant

from retrain.data.decoding import decode_image
from retrain.data.picture_file import read_picture
from retrain.data.picture_form import PictureForm
from retrain.export import LiteRTModel
from retrain.model.classifier import Classifier
from retrain.model_files import CLASSIFIER
from retrain.options import BackboneOptions, ExtractionOptions, RunOptions, TrainingOptions
from retrain.pipeline import outputs
from retrain.pipeline.report import write_report
from retrain.pipeline.train import train
from retrain.report.contents import Absent
from retrain.report.heat_maps import heat_maps_of

SIZE = 160  # pixels, in which the network sees pictures
REFUSE = """
import importlib.abc, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "keras", "matplotlib"):
            raise AssertionError(f"{name} is imported")

sys.meta_path.insert(0, Refuse())
from retrain.cli.main import main
from retrain.report.heat_maps import heat_maps_of
sys.exit(main(sys.argv[1:]))
"""


def write_what_reports_need(network, folder):
    """The model in LiteRT's form: to write and to check the others would take a third of the time."""
    LiteRTModel().write(network, folder / CLASSIFIER)
    return {CLASSIFIER: LiteRTModel().verify(network, folder / CLASSIFIER)}


@pytest.fixture(scope="module")
def flowers(test_data, tmp_path_factory, session_folder):
    """Pictures with planted faults, and a model of them. Processes that run tests at once share the cache."""
    folder = tmp_path_factory.mktemp("planted")
    cache = session_folder / "planted_flowers_cache"
    planted = plant(test_data / "images" / "flowers", folder / "pictures", 60, seed=2)
    options = RunOptions(
        backbone=BackboneOptions(backbone="mobilenet_v2", input_size=SIZE),
        training=TrainingOptions(steps=500),  # the report trains 25 more heads
        extraction=ExtractionOptions(cache_dir=str(cache)),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("RETRAIN_BACKBONES", str(test_data / "backbones"))
        patch.setattr(outputs, "_write_tensorflow_forms", write_what_reports_need)
        train("pictures", "model", options)
    return folder, planted


@pytest.mark.real
def test_planted_faults_are_found_and_nothing_absurd(flowers, monkeypatch):
    folder, planted = flowers
    monkeypatch.chdir(folder)
    report = write_report("model").report
    found = {finding.name: finding for finding in report.findings if not isinstance(finding, Absent)}
    assert len({*found["suspects"].paths[:10]} & {*planted.swapped}) >= 4
    assert found["suspects"].total < 40  # of 312
    assert sorted(found["leaks"].paths) == sorted(original for original, _ in planted.copies)
    assert found["leaks"].figure.n == report.headline.accuracy.n - 10
    assert found["near-duplicates"].total == 10
    assert sorted(found["two-labels"].paths) == sorted(path for pair in planted.twice for path in pair)
    assert sorted(found["unreadable"].paths) == sorted(planted.broken)
    assert found["exact-copies"].total == 0
    assert found["small-classes"].total == 0
    assert found["outliers"].total <= 5
    assert (folder / "model" / "report.html").stat().st_size < 10_000_000


@pytest.mark.real
def test_the_places_of_a_heat_map_add_up_to_the_logit(flowers):
    folder, _ = flowers
    classifier = Classifier(folder / "model")
    maps = heat_maps_of(classifier)
    assert maps.is_exact
    paths = sorted((folder / "pictures").glob("*/*.jpg"))[::24]
    pixels = np.stack(
        [decode_image(read_picture(path), PictureForm(SIZE, SIZE)) for path in paths if "broken" not in path.name]
    )
    scores = classifier.scores(pixels)
    labels = scores.argmax(axis=1)
    bottlenecks = classifier.extractor(folder / "cache").network.bottlenecks(pixels)
    logits = maps.head.logits(bottlenecks)
    for row, mapped in enumerate(maps.of(pixels, labels)):
        whole = mapped.places.sum() + maps.head.layers[0].biases[labels[row]]
        assert whole == pytest.approx(logits[row, labels[row]], abs=1e-4)


@pytest.mark.real
def test_explain_and_compare_import_no_tensorflow(flowers):
    folder, planted = flowers
    picture = folder / "pictures" / planted.twice[0][0]
    for command in (
        ["predict", "model", str(picture), "--explain", "maps"],
        ["compare", "model", "model"],
    ):
        done = subprocess.run([sys.executable, "-c", REFUSE, *command], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert [*(folder / "maps").iterdir()]
