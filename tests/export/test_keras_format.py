import json
import zipfile

import numpy as np
import pytest
from support.pictures import TINY_SIZE, draw_picture, resized_by_predict

from retrain.events import ignore
from retrain.export.formats import FORMATS
from retrain.export.stored_model import StoredModel
from retrain.model import Classifier

pytestmark = pytest.mark.network


@pytest.fixture(scope="module")
def written(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("keras")
    FORMATS["keras"].write(StoredModel(str(trained[0] / "model")), folder, ignore)
    return folder


def test_pictures_of_any_size_get_the_scores_of_predict_singly_and_together(written, trained):
    classifier = Classifier(trained[0] / "model")
    runtime = FORMATS["keras"].load(written)
    assert runtime.labels == classifier.labels
    for size in ((60, 40), (20, 60), (TINY_SIZE, TINY_SIZE), (7, 9)):
        pictures = np.stack([np.asarray(draw_picture(number, number % 3).resize(size)) for number in range(4)])
        small = [resized_by_predict(picture, TINY_SIZE, TINY_SIZE) for picture in pictures]
        together = runtime.answers("pictures", pictures)
        np.testing.assert_allclose(together, classifier.scores(np.stack(small)), atol=1e-6)
        singly = np.concatenate([runtime.answers("pictures", picture[np.newaxis]) for picture in pictures])
        np.testing.assert_allclose(singly, together, atol=1e-6)


def test_there_is_nothing_but_what_keras_has_and_the_labels(written):
    with zipfile.ZipFile(written / "model.keras") as archive:
        assert archive.testzip() is None
        assert archive.read("labels.txt").decode() == "cat\ndog\nowl\n"
        config = json.loads(archive.read("config.json"))
    kinds = {(layer["module"].partition(".")[0], layer["registered_name"]) for layer in config["config"]["layers"]}
    assert {(module, name) for module, name in kinds if module != "keras" or name == "Lambda"} == set()
