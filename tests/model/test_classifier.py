"""Models of one label and of several."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from support.many_labels import reseal
from support.pictures import TINY_SIZE, draw_picture

from retrain.errors import ModelFolderError
from retrain.model.classifier import Classifier

PIXELS = np.random.default_rng(0).integers(0, 256, (3, TINY_SIZE, TINY_SIZE, 3)).astype(np.uint8)


@pytest.fixture
def model(many_labels):
    """A copy of a model whose pictures can have several labels."""
    return shutil.copytree(many_labels, Path("model"))


def test_a_picture_can_have_several_labels_or_none(many_labels):
    classifier = Classifier(many_labels)
    assert classifier.thresholds == classifier.head().exact_thresholds == classifier.description.thresholds
    for number in range(30):
        draw_picture(number, number % 3).save(f"{number}.png")
    found = [*classifier.predict([f"{number}.png" for number in range(30)])]
    assert {len(one.labels) for one in found} >= {0, 1, 2}
    for one in found:
        assert [*one.scores.values()] == sorted(one.scores.values(), reverse=True)
        assert (one.label, one.score) == next(iter(one.scores.items()))
        assert [*one.labels] == [label for label, score in one.scores.items() if score >= one.thresholds[label]]
        assert one.first_label == ([*one.labels] or [one.label])[0]
        assert one.thresholds == dict(zip(classifier.labels, classifier.thresholds, strict=True))
    assert any(abs(sum(one.scores.values()) - 1) > 0.1 for one in found)


def test_a_picture_that_can_not_be_read_has_no_labels(many_labels):
    Path("broken.png").write_bytes(b"no picture")
    [broken] = Classifier(many_labels).predict(["broken.png"])
    assert (broken.labels, broken.label) == ((), None)


def test_where_a_picture_has_one_label_that_is_the_most_likely(trained):
    classifier = Classifier(trained[0] / "model")
    [found] = classifier.predict([trained[0] / "pictures" / "cat" / "cat0.png"])
    assert found.labels == (found.label,) == ("cat",)
    assert (found.thresholds, classifier.thresholds) == (None, None)


def test_all_forms_of_a_model_of_many_labels_give_the_same_scores(model):
    scores = Classifier(model).scores(PIXELS)
    (model / "classifier.tflite").unlink()
    np.testing.assert_allclose(Classifier(model).scores(PIXELS), scores, rtol=0, atol=1e-5)


def test_thresholds_that_do_not_fit_each_other_are_refused(model):
    numbers = (model / "thresholds.txt").read_text().split()
    (model / "thresholds.txt").write_text("\n".join(numbers[::-1]))
    with pytest.raises(
        ModelFolderError, match=r"model/thresholds\.txt does not fit the model, whose run\.json has other"
    ):
        Classifier(model)
    reseal(model, thresholds=[*map(float, numbers[::-1])])
    with pytest.raises(ModelFolderError, match=r"head\.h5 in model does not fit run\.json, which has other thresholds"):
        Classifier(model).head()


@pytest.mark.parametrize("content", [b"0.5\nx\n0.5\n", b"", b"\xff\n", b"0.5 0.5 0.5\n", b"0.15\n0.985\n"])
def test_a_damaged_list_of_thresholds_is_told(model, content):
    (model / "thresholds.txt").write_bytes(content)
    with pytest.raises(ModelFolderError, match=r"model/thresholds\.txt"):
        Classifier(model)


def test_a_model_of_many_labels_without_its_thresholds_is_refused(model):
    (model / "thresholds.txt").unlink()
    with pytest.raises(ModelFolderError, match=r"can't read model/thresholds\.txt: No such file"):
        Classifier(model)
