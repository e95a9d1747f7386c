import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrain.evaluation import evaluate_logits, softmax, wilson_interval

NAMES = ("cat", "dog", "owl")


def logits_for(given_labels, classes=3):
    logits = np.zeros((len(given_labels), classes), np.float32)
    logits[np.arange(len(given_labels)), given_labels] = 5
    return logits


def test_figures_of_a_known_case():
    labels = np.array([0, 0, 0, 1, 1, 2], np.int32)
    metrics = evaluate_logits(logits_for([0, 0, 1, 1, 0, 0]), labels, NAMES)
    assert metrics.n == 6
    assert metrics.accuracy == pytest.approx(3 / 6)
    assert metrics.confusion_matrix == ((2, 1, 0), (1, 1, 0), (1, 0, 0))
    cat, dog, owl = metrics.per_class
    assert (cat.n, cat.precision, cat.recall) == (3, pytest.approx(2 / 4), pytest.approx(2 / 3))
    assert cat.f1 == pytest.approx(2 * 0.5 * (2 / 3) / (0.5 + 2 / 3))
    assert (dog.precision, dog.recall) == (pytest.approx(1 / 2), pytest.approx(1 / 2))
    assert (owl.precision, owl.recall, owl.f1) == (None, 0.0, 0.0)
    right, wrong = -math.log(math.exp(5) / (math.exp(5) + 2)), -math.log(1 / (math.exp(5) + 2))
    assert metrics.cross_entropy == pytest.approx((3 * right + 3 * wrong) / 6)
    assert [c.label for c in metrics.worst_classes()] == ["owl", "dog", "cat"]
    assert metrics.most_confused() in {("cat", "dog", 1), ("dog", "cat", 1), ("owl", "cat", 1)}


def test_no_pictures_divide_nothing_by_zero():
    metrics = evaluate_logits(np.zeros((0, 3), np.float32), np.zeros(0, np.int32), NAMES)
    assert metrics.n == 0
    assert metrics.accuracy is metrics.accuracy_interval is metrics.cross_entropy is None
    assert metrics.per_class[0].recall is None
    assert metrics.most_confused() is None


def test_all_right_is_confused_nowhere():
    labels = np.array([0, 1, 2], np.int32)
    metrics = evaluate_logits(logits_for([0, 1, 2]), labels, NAMES)
    assert metrics.accuracy == 1
    assert metrics.most_confused() is None
    assert metrics.worst_classes() == []


def test_large_logits_do_not_overflow():
    logits = np.array([[1e4, -1e4], [-1e4, 1e4]], np.float32)
    assert softmax(logits).tolist() == [[1, 0], [0, 1]]
    assert evaluate_logits(logits, np.array([0, 0], np.int32), NAMES[:2]).cross_entropy == pytest.approx(1e4)


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [
        # Newcombe, Statistics in Medicine 17 (1998), table I, method 3: 81/263, 15/148, 0/20, 1/29
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_gives_published_values(right, n, low, high):
    assert wilson_interval(right, n) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_holds_the_share_and_stays_within_0_and_1(case):
    right, n = case
    low, high = wilson_interval(right, n)
    assert 0 <= low <= right / n <= high <= 1
