import numpy as np
import pytest
from support.judged import keys_of

from retrain.model.head import Head, Layer
from retrain.report.contents import Absent
from retrain.report.judged_labels import JudgedLabels
from retrain.report.label_figures import co_occurrence_of, label_calibration_of, label_curves_of, label_rows

# bottlenecks are logits; each row: what a picture has, and what the model says of it
PICTURES = [
    ([1, 1, 0], [3.0, 2.0, -4.0]),  # right
    ([1, 0, 0], [2.0, -3.0, 1.0]),  # sky wrongly
    ([0, 1, 0], [-2.0, -1.0, -3.0]),  # rose missed
    ([0, 0, 0], [-5.0, -4.0, -6.0]),  # right: nothing
]


def judged(sets="test test test test", pictures=PICTURES):
    has, logits = (np.array(column) for column in zip(*pictures, strict=True))
    label_sets, numbers = np.unique(has.astype(bool), axis=0, return_inverse=True)
    head = Head((Layer(np.eye(3, dtype=np.float32), np.zeros(3, np.float32)),), np.full(3, 0.5, np.float32))
    return JudgedLabels(
        ("leaf", "rose", "sky"),
        [f"{number}.png" for number in range(len(has))],
        np.array(sets.split()),
        numbers.reshape(-1).astype(np.int32),
        keys_of(range(len(has))),
        logits.astype(np.float32),
        head,
        label_sets=label_sets,
    )


def test_co_occurrence_tells_what_is_given_wrongly_beside_a_label():
    found = co_occurrence_of(judged())
    assert found.totals == (2, 2, 0)
    assert [(pair.given, pair.having) for pair in found.rows[0]] == [(2, 2), (1, 1), (1, 0)]
    assert [pair.wrong for pair in found.rows[0]] == [0, 0, 0.5]
    assert found.worst == (("leaf", "sky", 1),)


def test_a_row_has_a_label_s_pictures_in_each_set():
    rows = label_rows(judged("train test validation test"))
    assert [(row.train, row.validation, row.test) for row in rows] == [(1, 0, 1), (1, 1, 0), (0, 0, 0)]
    assert [row.note for row in rows] == ["Only 1 training picture", "Only 1 training picture", "No training pictures"]


def test_a_curve_has_the_place_of_its_threshold():
    curves = {curve.label: curve for curve in label_curves_of(judged())}
    assert [*curves] == ["leaf", "rose"]
    assert curves["rose"].points == ((0.5, 1.0), (1.0, 1.0), (1.0, pytest.approx(2 / 3)), (1.0, 0.5))
    assert curves["rose"].chosen == (0.5, 1.0)


def test_calibration_counts_labels():
    found = label_calibration_of(judged(), None)
    assert found.n == 4
    assert sum(one.count for one in found.bins) == 12
    assert "they have 1.00" in found.sentence
    assert label_calibration_of(judged(), 2.0).error_before is not None


def test_without_shown_pictures_figures_say_why():
    unseen = judged("train train train train")
    for found in (co_occurrence_of(unseen), label_calibration_of(unseen, None)):
        assert isinstance(found, Absent)
    assert label_curves_of(unseen) == ()


def test_a_picture_is_called_by_all_its_labels():
    pictures = judged()
    assert [pictures.label_of(number) for number in range(4)] == ["leaf|rose", "leaf", "rose", "no label"]
    [answer] = pictures.answers_of(1)
    assert answer.label == "leaf|sky"
    scores = 1 / (1 + np.exp(-np.array([2.0, -3.0, 1.0])))
    assert answer.score == pytest.approx(scores[0] * (1 - scores[1]) * scores[2])
    assert pictures.best_labels([0, 1]).tolist() == [0, 0]
    assert pictures.figure_of(np.arange(4)).value == 1.0
    assert pictures.figure_of(np.array([3])) is None
