"""The whole report, quick and full, also where there is little to show."""

import dataclasses
import functools
import io

import numpy as np
import pytest
from support.judged import make_judged
from support.pictures import draw_picture
from support.runs import make_run

from retrain.data.picture_form import PictureForm
from retrain.model.head import Head, Layer
from retrain.options import ImageOptions
from retrain.report.builder import build_report
from retrain.report.contents import Absent, Figure, Finding
from retrain.report.heat_maps import HeatMaps
from retrain.report.page import render_report
from retrain.report.sources import Sources, Work
from retrain.report.thumbnails import PictureFiles


class Activations:
    is_mean = True

    def of(self, pixels):
        return np.repeat(pixels.mean(axis=3, keepdims=True), 16, axis=3).astype(np.float32)


@functools.cache
def picture_of(number, label):
    """A file, in bytes: to draw thousands would take longer than to report on them."""
    buffer = io.BytesIO()
    draw_picture(number, label).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def sources(tmp_path):
    """sources(pictures): with a file for each."""

    def make(pictures, **changes):
        for number, path in enumerate(pictures.paths):
            (tmp_path / path).parent.mkdir(exist_ok=True, parents=True)
            (tmp_path / path).write_bytes(picture_of(number % 10, int(pictures.labels[number]) % 10))
        files = PictureFiles(tmp_path, ImageOptions())
        return Sources(make_run(**changes), pictures, files, "retrain report model")

    return make


def work_of(pictures, told=lambda what, done, total: None):
    return Work(HeatMaps(Activations(), pictures.head, PictureForm(4, 4)), told)


def numbers_in(report):
    """All numbers of pictures that a report refers to."""
    for gallery in [] if isinstance(report.galleries, Absent) else report.galleries:
        yield from gallery.pictures
    for cell in [] if isinstance(report.confusion, Absent) else report.confusion.cells:
        yield from cell.pictures
    for found in report.findings:
        for group in [] if isinstance(found, Absent) else found.groups:
            yield from group.pictures
    for picture in report.pictures:
        yield from (neighbour.picture for neighbour in picture.neighbours)


@pytest.mark.parametrize("full", [False, True])
def test_every_part_is_there_and_every_picture_is_referred_to(sources, full):
    pictures = make_judged((30, 30, 30), noise=0.6)
    told = []
    report = build_report(sources(pictures), work_of(pictures, lambda *event: told.append(event)) if full else None)
    assert {*numbers_in(report)} == {*range(len(report.pictures))}
    assert report.is_full == full
    assert report.headline.accuracy.value == pictures.metrics.accuracy
    effort = report.headline.effort
    assert (effort.from_cache, effort.extracted, report.headline.pictures) == (80, 10, 90)
    assert isinstance(report.learning, Absent) != full
    assert isinstance(report.heat_maps, Absent) != full
    assert any(picture.heat_map for picture in report.pictures) == full
    assert isinstance(report.headline.cross_validated, Figure if full else Absent)
    named = [found.name for found in report.findings if isinstance(found, Finding)]
    if full:
        expected = "unreadable two-labels suspects leaks near-duplicates exact-copies outliers small-classes"
        assert named == expected.split()
        work = ["drawing heat maps", "comparing pictures", "training heads"]
        assert [*dict.fromkeys(what for what, *_ in told)] == work
        assert told[-1] == ("training heads", 25, 25)
    else:
        assert named == ["unreadable", "two-labels", "exact-copies", "small-classes"]
        assert report.findings[-1].command == "retrain report model"
    assert b"class0" in render_report(report)


def test_the_sentence_is_in_plain_words(sources):
    pictures = make_judged((60, 60, 60), noise=0.6)
    right = int(pictures.is_right[pictures.shown].sum())
    sentence = build_report(sources(pictures)).headline.sentence
    assert sentence.startswith(f"About {round(10 * right / 36)} of 10 test pictures get the right label. class")
    assert sentence.endswith(("time).", "times)."))
    sure = build_report(sources(make_judged(noise=0.01)))
    assert sure.headline.sentence == "All of 18 test pictures got the right label."
    wrong = make_judged(noise=0.01)
    wrong = dataclasses.replace(wrong, labels=(wrong.labels + 1) % 3)
    assert build_report(sources(wrong)).headline.sentence == "None of 18 test pictures got the right label."


def test_enough_test_pictures_need_no_cross_validation(sources):
    pictures = make_judged((120, 120), "train test")
    headline = build_report(sources(pictures)).headline
    assert (headline.cross_validated, headline.notes) == (None, ())


def test_what_becomes_of_pictures_of_no_class_is_beside_the_figures(sources):
    known = {name: {"n": 20, "known": 19} for name in ("train", "validation", "test")}
    rejection = {"known": known, "strangers": {"n": 30, "refused": 27, "auroc": 0.97}}
    found = sources(make_judged((120, 120), "train test"))
    run = dataclasses.replace(found.run, record=found.run.record | {"rejection": rejection})
    [note] = build_report(dataclasses.replace(found, run=run)).headline.notes
    assert note.endswith("it knows 95.0% of 20 test pictures, and refuses 90.0% of 30 pictures of no class.")


EMPTY = {
    "no validation pictures": ((10, 10), "train train test"),
    "no held-out pictures": ((10, 10), "train"),
    "no test pictures": ((10, 10), "train validation"),
    "one test picture of each class": ((2, 2), "train test"),
    "a class of one picture": ((20, 20, 1), "train test validation"),
    "two pictures": ((1, 1), "train"),
    "only test pictures": ((5, 5), "test"),
}


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("case", [*EMPTY])
def test_a_report_of_little(sources, case, full):
    counts, sets = EMPTY[case]
    pictures = make_judged(counts, sets)
    report = build_report(sources(pictures), work_of(pictures) if full else None)
    assert {*numbers_in(report)} == {*range(len(report.pictures))}
    assert len(report.classes) == len(counts)
    assert render_report(report).startswith(b"<!")
    if case == "no test pictures":
        assert report.headline.set == "validation"
        assert report.headline.notes[0].startswith("There is no test set")
    if case == "no held-out pictures":
        assert report.headline.sentence == "The model was not tested."
        assert isinstance(report.confusion, Absent)


def test_a_thousand_classes_stay_under_ten_megabytes(sources):
    pictures = make_judged((3,) * 1000, "train validation test", size=32, noise=0.25)
    report = build_report(sources(pictures))
    assert len(report.classes) == 1000
    assert not report.confusion.shows_matrix
    assert len(render_report(report)) < 10_000_000


def test_heads_with_a_hidden_layer_have_estimated_maps(sources):
    pictures = make_judged((5, 5, 5), "train test")
    rng = np.random.default_rng(0)
    first = Layer(rng.normal(size=(16, 8)).astype("f"), np.zeros(8, "f"))
    head = Head((first, Layer(rng.normal(size=(8, 3)).astype("f"), np.zeros(3, "f"))))
    hidden = dataclasses.replace(pictures, head=head)
    report = build_report(sources(hidden), work_of(hidden))
    assert "gradient times activation" in report.heat_maps
    assert any(picture.heat_map for picture in report.pictures)


def test_why_there_are_no_heat_maps(sources):
    pictures = make_judged((5, 5, 5), "train test")
    work = dataclasses.replace(work_of(pictures), heat_maps=Absent("There are no heat maps: no network."))
    report = build_report(sources(pictures), work)
    assert report.heat_maps.reason == "There are no heat maps: no network."


def test_calibrated_models_show_both(sources):
    pictures = make_judged()
    tempered = dataclasses.replace(pictures, head=pictures.head.tempered(1.7))
    assert build_report(sources(tempered, temperature=1.7)).calibration.temperature == 1.7
