"""Confusion matrix, classes, thresholds, calibration."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.judged import Shown, make_judged

from retrain.report.contents import Absent
from retrain.report.figures import calibration_of, chained, class_rows, confusion_of, thresholds_of


@pytest.fixture(scope="module")
def pictures():
    return make_judged((40, 40, 40, 40), noise=0.6)


@pytest.fixture(scope="module")
def untested():
    return make_judged(sets="train")


def test_the_matrix_is_that_of_the_metrics_in_another_order(pictures):
    shown = Shown()
    confusion = confusion_of(pictures, shown)
    names = [*pictures.names]
    expected = np.array(pictures.metrics.confusion_matrix)
    matrix = np.zeros_like(expected)
    for cell in confusion.cells:
        true, given_ = (names.index(confusion.labels[number]) for number in (cell.true, cell.given))
        matrix[true, given_] = cell.count
        assert cell.share == cell.count / expected[true].sum()
        assert {(pictures.labels[n], pictures.given[n, 0]) for n in cell.pictures} == {(true, given_)}
    assert np.array_equal(matrix, expected)
    assert sum(confusion.totals) == confusion.n == len(pictures.shown)
    assert confusion.set == "test"
    counts = [pair.count for pair in confusion.pairs]
    assert counts == sorted(counts, reverse=True)
    assert sum(counts) == (~pictures.is_right[pictures.shown]).sum()


def test_mistakes_are_put_on_the_page_before_right_ones(pictures):
    shown = Shown()
    confusion_of(pictures, shown)
    right = [bool(pictures.is_right[number]) for number in shown]
    assert right == sorted(right)


def test_many_classes_have_no_matrix_but_pairs():
    confusion = confusion_of(make_judged((5,) * 60, size=8, noise=0.6), Shown())
    assert not confusion.shows_matrix
    assert len(confusion.labels) == 60
    assert 0 < len(confusion.pairs) <= 50


@given(st.integers(0, 2**31), st.integers(2, 9))
def test_the_order_has_every_label_once(seed, classes):
    matrix = np.random.default_rng(seed).integers(0, 3, (classes, classes))
    assert sorted(chained(matrix).tolist()) == [*range(classes)]


def test_labels_that_are_confused_stand_together():
    matrix = np.eye(6, dtype=np.int64) * 10
    for one, other in ((0, 3), (3, 5), (1, 4)):
        matrix[one, other] = matrix[other, one] = 2 + one
    order = chained(matrix).tolist()
    assert all(abs(order.index(a) - order.index(b)) == 1 for a, b in ((0, 3), (3, 5), (1, 4)))


def test_without_mistakes_the_order_stays():
    assert chained(np.eye(4, dtype=np.int64)).tolist() == [0, 1, 2, 3]


def test_rows_of_classes(pictures):
    rows = class_rows(pictures)
    assert [row.label for row in rows] == [*pictures.names]
    assert all((row.train, row.validation, row.test) == (24, 8, 8) for row in rows)
    assert [row.recall for row in rows] == [c.recall for c in pictures.metrics.per_class]
    assert all(row.note == "" for row in rows)
    few = class_rows(make_judged((5, 30)))
    assert few[0].note == "Only 3 training pictures"


def test_thresholds(pictures):
    found = thresholds_of(pictures)
    shown = pictures.shown
    top, right = pictures.scores[shown, 0], pictures.is_right[shown]
    for place in (0, 37, 90):
        at = top >= found.thresholds[place]
        assert found.answered[place] == at.sum()
        assert found.right[place] == (at & right).sum()
        assert sum(own.answered[place] for own in found.per_class) == at.sum()
    assert found.answered[0] == found.n == len(shown)
    place = found.thresholds.index(found.suggested)
    assert found.right[place] >= 0.95 * found.answered[place] > 0
    assert all(found.right[p] < 0.95 * found.answered[p] for p in range(place))
    assert f"{found.suggested:.2f}" in found.sentence


def test_no_threshold_where_all_is_right_or_nothing():
    sure = thresholds_of(make_judged(noise=0.01))
    assert (sure.suggested, sure.sentence) == (
        None,
        "At least 95% of all answers are right, so none needs to be left out.",
    )
    pictures = make_judged(noise=0.01)
    wrong = thresholds_of(dataclasses.replace(pictures, labels=(pictures.labels + 1) % 3))
    assert wrong.suggested is None
    assert wrong.sentence.startswith("There is no score")


def test_calibration_before_and_after(pictures):
    plain = calibration_of(pictures, None)
    assert (plain.before, plain.error_before, plain.temperature) == (None, None, None)
    assert plain.error == pytest.approx(pictures.metrics.expected_calibration_error)
    tempered = dataclasses.replace(pictures, head=pictures.head.tempered(2.0))
    after = calibration_of(tempered, 2.0)
    assert after.error_before == pytest.approx(plain.error, abs=1e-5)
    assert [b.count for b in after.before] == [b.count for b in plain.bins]
    assert "--calibrate" not in after.sentence


def test_the_sentence_says_which_way_scores_are_wrong():
    pictures = make_judged(noise=0.9)
    hot = dataclasses.replace(pictures, head=pictures.head.tempered(0.05))
    assert "too sure" in calibration_of(hot, None).sentence
    cold = dataclasses.replace(make_judged(noise=0.01), head=pictures.head.tempered(20))
    assert "not sure enough" in calibration_of(cold, None).sentence


def test_without_held_out_pictures_every_part_says_so(untested):
    for part in (confusion_of(untested, Shown()), thresholds_of(untested), calibration_of(untested, None)):
        assert isinstance(part, Absent)
        assert part.reason.startswith("There are no test or validation pictures")
