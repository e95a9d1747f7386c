"""The check of exports, of a classifier that answers for its own export."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.pictures import TINY_SIZE, draw_picture

from retrain.data.decoding import decode_image
from retrain.data.picture_form import PictureForm
from retrain.errors import ExportError
from retrain.events import ignore
from retrain.export.check import Accuracy, check_accuracy, check_export
from retrain.export.export_format import Facts
from retrain.export.sample_pictures import KnownPicture, SamplePicture, SamplePictures, _labels_of, find_pictures
from retrain.model import Classifier

FACTS = Facts("strange", "it", "nothing", "nothing")


class Echo:
    """An export that says what the classifier says."""

    seconds = 0.5

    def __init__(self, classifier, takes="pixels"):
        self._classifier, self.labels, self.inputs = classifier, classifier.labels, {"in": takes}
        self.thresholds = classifier.thresholds

    def answers(self, name, pictures):
        pixels = [self._pixels(picture) for picture in pictures]
        return self._classifier.answers(np.stack(pixels)), 0.01

    def _pixels(self, picture):
        if self.inputs["in"] == "file":
            return decode_image(picture, PictureForm(TINY_SIZE, TINY_SIZE))
        if self.inputs["in"] == "picture":
            return np.asarray(Image.fromarray(picture).resize((TINY_SIZE, TINY_SIZE), Image.Resampling.BILINEAR))
        return picture


@pytest.fixture(scope="module")
def classifier(trained):
    return Classifier(trained[0] / "model")


@pytest.fixture(scope="module")
def pictures(classifier):
    return find_pictures(classifier, None)


@pytest.mark.parametrize("takes", ["file", "picture", "pixels"])
def test_an_export_that_answers_as_predict_passes(takes, classifier, pictures):
    found = check_export(FACTS, Echo(classifier, takes), classifier, pictures, ignore)
    assert (found.pictures, found.accuracy, found.load_seconds) == (20, (), 0.5)
    assert found.largest_difference < 1e-6
    assert found.pictures_per_second == pytest.approx(100)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.5])
def test_a_wrong_score_is_told_with_its_picture(value, classifier, pictures):
    class Wrong(Echo):
        def answers(self, name, given):
            scores, seconds = super().answers(name, given)
            if np.array_equal(given[0], decode_image(pictures.compared[3].data, PictureForm(TINY_SIZE, TINY_SIZE))):
                scores[0] = value
            return scores, seconds

    with pytest.raises(ExportError, match=r"where 0\.001 is allowed: of .*") as caught:
        check_export(FACTS, Wrong(classifier), classifier, pictures, ignore)
    assert pictures.compared[3].path in str(caught.value)


def test_scores_of_another_shape_are_refused(classifier, pictures):
    class Flat(Echo):
        def answers(self, name, given):
            return super().answers(name, given)[0].ravel(), 0.01

    with pytest.raises(ExportError, match=r"gives \(3,\) for 1 picture, expected \(1, 3\)"):
        check_export(FACTS, Flat(classifier), classifier, pictures, ignore)


@pytest.fixture(scope="module")
def knowing(rejecting):
    """A classifier that tells pictures of no class."""
    return Classifier(rejecting[0] / "model")


def of_columns(change):
    """An export that answers as the classifier does, but for a change of its answers, (n, classes + 1)."""

    class Changed(Echo):
        def answers(self, name, given):
            answers, seconds = super().answers(name, given)
            return change(answers.copy()), seconds

    return Changed


def with_known(answers, values):
    answers[:, -1:] = values
    return answers


@pytest.mark.parametrize(
    "change", [lambda known: 1 - known, lambda known: known + 0.011, lambda known: np.full_like(known, np.nan)]
)
def test_another_known_is_told(change, knowing, pictures):
    assert check_export(FACTS, Echo(knowing), knowing, pictures, ignore).largest_difference < 1e-6
    wrong = of_columns(lambda answers: with_known(answers, change(answers[:, -1:])))(knowing)
    with pytest.raises(
        ExportError, match=r"gives values of known that differ from those of retrain predict, by .* of .*"
    ):
        check_export(FACTS, wrong, knowing, pictures, ignore)


def test_known_may_be_missing_only_where_that_is_said(knowing, pictures):
    without = of_columns(lambda answers: answers[:, :-1])(knowing)
    with pytest.raises(ExportError, match=r"gives \(1, 3\) for 1 picture, expected \(1, 4\)"):
        check_export(FACTS, without, knowing, pictures, ignore)
    check_export(dataclasses.replace(FACTS, scores_alone=("in",)), without, knowing, pictures, ignore)


def test_a_form_in_fewer_bits_must_know_about_the_same_pictures(knowing, pictures):
    facts = dataclasses.replace(FACTS, is_rounded=True)
    rough = of_columns(lambda answers: with_known(answers, np.round(answers[:, -1:], 1)))(knowing)
    check_export(facts, rough, knowing, pictures, ignore)
    for value in (0, np.nan):
        lost = of_columns(lambda answers, value=value: with_known(answers, value))(knowing)
        with pytest.raises(
            ExportError, match=r"gives values of known that differ from those of retrain predict by .* on average"
        ):
            check_export(facts, lost, knowing, pictures, ignore)


def test_every_input_is_checked(classifier, pictures):
    class TwoWays(Echo):
        def __init__(self, *args):
            super().__init__(*args)
            self.inputs = {"in": "pixels", "other": "pixels"}

        def answers(self, name, given):
            scores, seconds = super().answers(name, given)
            return (scores if name == "in" else scores[:, ::-1]), seconds

    with pytest.raises(ExportError, match="scores that differ from those of retrain predict"):
        check_export(FACTS, TwoWays(classifier), classifier, pictures, ignore)


def test_a_form_in_fewer_bits_may_differ_but_not_in_a_batch(classifier, pictures):
    class Rough(Echo):
        def answers(self, name, given):
            scores, seconds = super().answers(name, given)
            return np.round(scores, 1), seconds

    class Leaking(Rough):
        def answers(self, name, given):
            scores, seconds = super().answers(name, given)
            return (scores if len(given) == 1 else scores[::-1]), seconds

    facts = dataclasses.replace(FACTS, is_rounded=True)
    found = check_export(facts, Rough(classifier), classifier, pictures, ignore)
    assert 0.01 < found.largest_difference < 0.06
    assert {one.set for one in found.accuracy} == {"validation", "test"}
    assert all(one.n for one in found.accuracy)
    with pytest.raises(ExportError, match="differ from its own without the others"):
        check_export(facts, Leaking(classifier), classifier, pictures, ignore)


def test_accuracy_counts_pictures_that_can_be_read(classifier, tmp_path):
    folder = tmp_path / "given"
    for label, name in enumerate(classifier.labels):
        (folder / name).mkdir(parents=True)
        draw_picture(1, label).save(folder / name / "1.png")
    (folder / "cat" / "broken.png").write_bytes(b"no picture")
    draw_picture(2, 0).save(folder / "loose.png")
    found = find_pictures(classifier, folder)
    assert len(found.compared) == 4 + 2  # all are square: a half that is wide, and one that is high
    assert sorted(picture.labels for picture in found.judged["given"]) == [("cat",), ("cat",), ("dog",), ("owl",)]
    checked = check_export(dataclasses.replace(FACTS, is_rounded=True), Echo(classifier), classifier, found, ignore)
    assert checked.accuracy == (Accuracy("given", 3, 3, 3),)


@pytest.fixture(scope="module")
def of_many(many_labels):
    """A classifier whose pictures can have several labels."""
    return Classifier(many_labels)


@pytest.mark.parametrize(
    "change", [lambda found: found[::-1], lambda found: None, lambda found: (*found[:2], np.nextafter(found[2], 1))]
)
def test_other_thresholds_are_found(change, of_many, pictures):
    echo = Echo(of_many)
    assert check_export(FACTS, echo, of_many, pictures, ignore).pictures == 20
    echo.thresholds = change(of_many.thresholds)
    with pytest.raises(ExportError, match=r"strange has other thresholds than the model: .*, expected 0\.15, 0\.985"):
        check_export(FACTS, echo, of_many, pictures, ignore)


def test_thresholds_of_a_model_of_one_label_are_found(classifier, pictures):
    echo = Echo(classifier)
    echo.thresholds = (0.5, 0.5, 0.5)
    with pytest.raises(ExportError, match=r"other thresholds than the model: 0\.5, 0\.5, 0\.5, expected none"):
        check_export(FACTS, echo, classifier, pictures, ignore)


def test_softmax_in_place_of_the_logistic_function_is_found(of_many, pictures):
    class Softmax(Echo):
        def answers(self, name, given):
            scores, seconds = super().answers(name, given)
            odds = scores / (1 - scores)  # e to the power of logits
            return odds / odds.sum(axis=1, keepdims=True), seconds

    with pytest.raises(ExportError, match="scores that differ from those of retrain predict"):
        check_export(FACTS, Softmax(of_many), of_many, pictures, ignore)


def test_of_many_labels_a_picture_counts_as_right_with_all_of_them(of_many, pictures):
    paths = [picture.path for picture in pictures.compared if Path(picture.path).exists()]  # halves are in no file
    right = [KnownPicture(found.path, "test", found.labels) for found in of_many.predict(paths)]
    counts = {len(picture.labels) for picture in right}
    assert counts >= {0, 1, 2}
    wrong = [KnownPicture(picture.path, "validation", ("cat", "dog", "owl")) for picture in right]
    known = dataclasses.replace(pictures, judged={"test": right, "validation": wrong})
    facts = dataclasses.replace(FACTS, is_rounded=True)
    checked = check_export(facts, Echo(of_many), of_many, known, ignore)
    three = sum(len(picture.labels) == 3 for picture in right)
    assert checked.accuracy == (Accuracy("test", 18, 18, 18), Accuracy("validation", 18, three, three))


def test_folders_do_not_say_all_labels_of_a_picture(of_many, trained):
    assert find_pictures(of_many, trained[0] / "pictures").judged == {}


def test_labels_of_the_training_pictures_are_told_apart(of_many):
    held_out = [picture.labels for known in find_pictures(of_many, None).judged.values() for picture in known]
    assert {*held_out} == {("cat",), ("dog",), ("owl",)}
    assert _labels_of("cat|owl", of_many) == ("cat", "owl")
    assert _labels_of("", of_many) == ()


def accuracy(n, correct, before):
    return [
        Accuracy("validation", n // 2, correct // 2, before // 2),
        Accuracy("test", n // 2, correct // 2, before // 2),
    ]


def test_a_loss_over_what_is_allowed_is_an_error_with_both_sets():
    assert check_accuracy(FACTS, accuracy(1000, 900, 910), 1) == ()
    with pytest.raises(
        ExportError, match=r"loses 1\.2 points .* \(validation: 90\.0%, in float32 91\.2%, n=500; test: "
    ):
        check_accuracy(FACTS, accuracy(1000, 900, 912), 1)
    assert check_accuracy(FACTS, accuracy(1000, 900, 912), 2) == ()
    assert check_accuracy(FACTS, accuracy(1000, 920, 900), 0) == ()
    with pytest.raises(ExportError, match="and 0 are allowed"):
        check_accuracy(FACTS, accuracy(1000, 900, 902), 0)


def test_with_too_few_pictures_one_may_be_lost_and_that_is_said():
    [note] = check_accuracy(FACTS, [Accuracy("test", 20, 15, 16)], 1)
    assert note == "20 pictures are too few to tell a loss of 1 points of strange"
    with pytest.raises(ExportError, match=r"loses 10\.0 points"):
        check_accuracy(FACTS, [Accuracy("test", 20, 14, 16)], 1)
    [note] = check_accuracy(FACTS, [], 1)
    assert "give --pictures DIR with a sub-folder for each class" in note


def test_test_pictures_come_first_and_from_all_classes(classifier, pictures):
    sets = classifier.sets()
    tested = sum(name == "test" for name in sets.values())
    names = [Path(picture.path).parts for picture in pictures.compared]
    assert 0 < tested < 20
    assert {part for parts in names[:tested] for part in parts} >= {*classifier.labels}
    assert {*pictures.judged} == {"validation", "test"}
    assert len(pictures.training) == sum(name == "train" for name in sets.values())
    assert isinstance(pictures, SamplePictures)
    assert all(isinstance(picture, SamplePicture) for picture in pictures.compared)
    assert all(isinstance(picture, KnownPicture) for picture in pictures.judged["test"])
