"""What is said of a change: what is better, and whether that may be chance."""

import dataclasses

import numpy as np
import pytest
from support.judged import make_judged

from retrain.report.live import Answers, changes_between, live_report, untrained_report


def answers_of(judged, answers, how):
    numbers = judged.members("test")
    return Answers(numbers, np.asarray(answers), np.full(len(judged), 0.5), how)


def reports(before, after, judged=None, how=("test set", "test set")):
    """Two reports of the same pictures; wrong answers are those at these places of the test set."""
    judged = judged or make_judged()
    found = None
    for version, (wrong, way) in enumerate(zip((before, after), how, strict=True), 1):
        answers = judged.labels.astype(np.int64).copy()
        places = judged.members("test")[list(wrong)]
        answers[places] = (answers[places] + 1) % 3
        found = live_report(version, judged, answers_of(judged, answers, way), ("a", "b", "c"), found)
    return found


def test_figures_and_cells_are_those_of_the_tested_pictures():
    judged = make_judged()
    report = reports([], [0, 1], judged)
    wrong = [judged.paths[number] for number in judged.members("test")[:2]]
    assert report.headline.pictures == len(judged.members("test")) == 18
    assert report.headline.accuracy == 16 / 18
    assert report.confused == {(0, 1): tuple(wrong)}
    assert report.confusion == ((4, 2, 0), (0, 6, 0), (0, 0, 6))
    assert [(found.folder, found.tested, found.right, found.recall) for found in report.classes] == [
        ("a", 6, 4, 4 / 6),
        ("b", 6, 6, 1.0),
        ("c", 6, 6, 1.0),
    ]
    assert sum(picture.is_tested for picture in report.pictures) == 18
    assert [figure.accuracy for figure in report.history] == [1.0, 16 / 18]


@pytest.mark.parametrize(
    ("before", "after", "sentence", "is_chance"),
    [
        ([], [], "every tested picture gets the same answer as before, right or wrong", True),
        ([0, 1, 2], [2, 3], "2 pictures now right, 1 now wrong (may be chance)", True),
        ([0], [], "class0 +16.7 points; 1 picture now right (may be chance)", True),
        ([], range(10), "class0 -100.0 points, class1 -66.7 points; 10 pictures now wrong", False),
    ],
)
def test_the_sentence_says_what_is_better_and_whether_it_may_be_chance(before, after, sentence, is_chance):
    changes = reports(before, after).changes
    assert sentence in changes.sentence
    assert changes.may_be_chance is is_chance
    assert (len(changes.now_right), len(changes.now_wrong)) == (
        len({*before} - {*after}),
        len({*after} - {*before}),
    )


def test_pictures_are_known_by_their_content_wherever_they_are():
    before = reports([], [])
    pictures = list(before.pictures)
    pictures[0] = dataclasses.replace(pictures[0], path="class1/moved.png", label="class1")
    gone = pictures.pop(3)
    pictures.append(dataclasses.replace(gone, path="class2/new.png", key="ab"))
    changes = changes_between(before, dataclasses.replace(before, pictures=tuple(pictures)))
    assert (changes.added, changes.removed, changes.relabelled) == (1, 1, 1)
    assert changes.sentence.startswith("1 added, 1 removed, 1 relabelled; ")


def test_a_relabelled_picture_says_nothing_about_which_model_is_better():
    before = reports([], [])
    tested = next(number for number, picture in enumerate(before.pictures) if picture.is_tested)
    pictures = list(before.pictures)
    pictures[tested] = dataclasses.replace(pictures[tested], label="class2")
    changes = changes_between(before, dataclasses.replace(before, pictures=tuple(pictures)))
    assert (changes.now_right, changes.now_wrong) == ((), ())


def test_figures_that_are_measured_in_different_ways_are_not_compared():
    changes = reports([], [0], how=("cross-validated in 5 folds", "test set")).changes
    assert changes.sentence == "now measured otherwise (test set)"
    assert (changes.is_comparable, changes.classes, changes.now_wrong) == (False, (), ())


def test_the_document_has_no_list_of_all_pictures():
    found = reports([], [0]).as_dict()
    assert found["pictures"] == 90
    assert found["accuracy"]["how"] == "test set"
    assert found["changes"]["now_wrong"] == ["class0/4.png"]
    assert found["changes"]["may_be_chance"] is True
    assert untrained_report(3, "no such folder", None, None).as_dict()["accuracy"] is None
