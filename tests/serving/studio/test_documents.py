import json

from retrain.report.live import (
    ClassChange,
    CopiesAcrossSets,
    CurveStep,
    LiveChanges,
    LiveClass,
    LiveFigure,
    LivePicture,
    LiveReport,
    Suspect,
)
from retrain.serving.studio.documents import figures_document
from retrain.serving.studio.parts import WorthALabel

NUMBERS = {"a/1": 1, "a/2": 2, "b/3": 3, "new/4": 4}
FIGURE = LiveFigure(2, 0.5, (0.1, 0.9), 3, "test set")
REPORT = LiveReport(
    version=2,
    labels=("A", "B"),
    classes=(LiveClass("A", "a", 1, 0, 1, 2, 1), LiveClass("B", "b", 0, 1, 0)),
    headline=FIGURE,
    history=(FIGURE,),
    curve=(CurveStep(0, 0.5, None), CurveStep(9, 1.0, 0.5)),
    confusion=((1, 1), (0, 0)),
    confused={(0, 1): ("a/2", "a/gone")},
    pictures=(
        LivePicture("a/1", "train", "A", "k", "A", 0.987, True),
        LivePicture("a/2", "test", "A", "k", "B", 0.6, True),
        LivePicture("a/gone", "test", "A", "k", "B", 0.6, True),
        LivePicture("b/3", "validation", "B", "k"),
    ),
    changes=LiveChanges("1 added", classes=(ClassChange("A", 1.5),), now_right=("a/1",), now_wrong=("a/gone", "a/2")),
    suspects=(Suspect("a/2", "A", "B", "looks like B"), Suspect("a/gone", "A", "B", "looks like B")),
    copies_across_sets=(
        CopiesAcrossSets(("a/1", "b/3"), ("train", "validation"), "they are one picture"),
        CopiesAcrossSets(("a/1", "a/gone"), ("train", "test"), "they are one picture"),
    ),
    skipped={"b/3": "a text", "gone": "a text"},
    timings={"total": 1.25},
)
WORTH = (WorthALabel("new/4", "between A and B", "A", 0.5), WorthALabel("new/gone", "", None, None))


def test_numbers_stand_for_paths_and_what_has_gone_is_left_out():
    content = figures_document(REPORT, WORTH, NUMBERS, None).content
    assert content["pictures"] == {"ids": [1, 2, 3], "sets": "tev", "answers": [0, 1, -1], "scores": [99, 60, -1]}
    assert content["confusion"] == [(0, 0, 1, []), (0, 1, 1, [2])]
    assert content["changes"] == {"sentence": "1 added", "classes": [("A", 1.5)], "now_right": [1], "now_wrong": [2]}
    assert content["queue"] == [
        {"kind": "suspect", "ids": [2], "why": "looks like B", "suggested": "B", "group": "a"},
        {"kind": "copies", "ids": [1, 3], "why": "they are one picture", "suggested": None},
    ]
    assert content["unlabelled"] == [(4, "between A and B", "A", 0.5)]
    assert content["skipped"] == {3: "a text"}
    assert "a/" not in json.dumps(content)


def test_the_queue_stays_until_pictures_were_looked_at_again():
    first = figures_document(REPORT, (), NUMBERS, None)
    second = figures_document(LiveReport(3, ("A", "B")), (), NUMBERS, first)
    assert (first.version, second.version) == (1, 2)
    assert second.content["queue"] == first.content["queue"]
    assert (first.content["looked"], second.content["looked"]) == (True, False)
    assert figures_document(LiveReport(3, suspects=()), (), NUMBERS, second).content["queue"] == []


def test_a_folder_without_a_model_says_why():
    content = figures_document(LiveReport(1, problem="one class only"), (), {}, None).content
    assert content["problem"] == "one class only"
    assert content["headline"] is content["changes"] is None
    json.dumps(content)
