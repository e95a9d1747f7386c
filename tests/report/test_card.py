"""The model card."""

import dataclasses
import json
import re

import pytest
from support.judged import make_judged
from support.runs import make_run

from retrain.report.card import model_card
from retrain.report.run import recipe_of, rejection_sentence

HOSTILE = ("<script>alert(1)</script>", "| a `b` |\n# c", "---", "\x1b[31mred\u202e")


@pytest.fixture
def pictures():
    return make_judged()


def card_of(pictures, run=None):
    metrics = {name: pictures.metrics_of(pictures.members(name)) for name in ("train", "validation", "test")}
    sizes = {name: len(pictures.members(name)) for name in metrics}
    run = run or make_run()
    return model_card("my model", metrics, recipe_of(run), sizes, rejection_sentence(run.record)).decode()


def front_of(card):
    """The front matter, whose every value is JSON."""
    front = card.split("---\n")[1]
    return {key: json.loads(value) for key, value in (line.split(": ", 1) for line in front.splitlines())}


def test_the_front_matter_is_what_hugging_face_reads(pictures):
    card = card_of(pictures)
    assert card.startswith("---\n")
    front = front_of(card)
    assert front["license"] == "apache-2.0"
    assert front["pipeline_tag"] == "image-classification"
    [model] = front["model-index"]
    assert model["results"][0]["metrics"] == [{"type": "accuracy", "value": round(pictures.metrics.accuracy, 4)}]
    run = dataclasses.replace(make_run(), licence="unknown: ask whoever published them")
    assert front_of(card_of(pictures, run))["license"] == "other"


def test_the_card_says_what_people_ask(pictures):
    card = card_of(pictures)
    headings = re.findall("^## (.*)$", card, re.M)
    assert headings == ["Intended use", "Data", "Figures", "Limits", "Licence", "How to repeat it"]
    assert "54 for training, 18 for validation, 18 for the test" in card
    assert "Of 18 test pictures" in card
    assert "    retrain train 'my pictures' --optimizer lbfgs" in card


def test_the_card_says_what_becomes_of_pictures_of_no_class(pictures):
    assert "one of these labels to every picture, also to one that shows none of them" in card_of(pictures)
    known = {"train": {"n": 50, "known": 50}, "validation": {"n": 20, "known": 19}, "test": {"n": 0, "known": 0}}
    rejection = {"known": known, "strangers": None}
    card = card_of(pictures, make_run(rejection=rejection))
    assert "to every picture" not in card
    assert (
        "it knows 95.0% of 20 validation pictures. How many pictures of no class it refuses was not measured." in card
    )
    known["test"] = {"n": 1, "known": 1}
    strangers = {"n": 1, "refused": 0, "auroc": 0.5}
    card = card_of(pictures, make_run(rejection=rejection | {"strangers": strangers}))
    assert "it knows 100.0% of 1 test picture, and refuses 0.0% of 1 picture of no class." in card


def test_the_card_says_where_pictures_come_from(pictures):
    assert "A folder of pictures, one sub-folder for each class: 54 for training" in card_of(pictures)
    run = make_run(manifest={"path": "/home/ada/labels.csv", "sha256": "00" * 32})
    assert "Pictures that a manifest lists: 54 for training" in card_of(pictures, run)


def test_without_a_test_set_the_figures_are_of_the_validation_pictures():
    assert "validation pictures" in card_of(make_judged(sets="train validation"))
    assert "no pictures were held out" in card_of(make_judged(sets="train"))


def test_labels_are_shown_as_text(pictures):
    hostile = dataclasses.replace(make_judged((20,) * 4), names=HOSTILE)
    card = card_of(hostile)
    assert "<script>" not in card
    assert "\x1b" not in card
    assert "\u202e" not in card
    assert re.findall("^(#+) ", card, re.M) == ["#", *["##"] * 6]
    table = [line for line in card.splitlines() if line.startswith("|")]
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 6 for line in table)
