import dataclasses
import json
import math
import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrain.evaluation.metrics import (
    different,
    evaluate_logits,
    expected_calibration_error,
    is_imbalanced,
    outcomes_of,
    summarize,
    wilson_interval,
)

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
    assert metrics.most_confused() == [("cat", "dog", 1)]
    assert metrics.most_confused(10) == [("cat", "dog", 1), ("dog", "cat", 1), ("owl", "cat", 1)]


def wavy_case():
    """Logits and labels from a formula, so that other programs can be asked about the very same ones."""
    n, classes = 300, 7
    labels = (np.arange(n) * 5 % classes).astype(np.int32)
    logits = 2 * np.sin(np.arange(n * classes, dtype=np.float64).reshape(n, classes) * 1.7)
    logits[np.arange(n), labels] += 1.5
    return logits.astype(np.float32), labels


def test_figures_agree_with_scikit_learn():
    """Computed by scikit-learn 1.9.1 from wavy_case() and its softmax in float64.

    accuracy_score, log_loss, top_k_accuracy_score(k=...), precision_recall_fscore_support; the calibration error from
    calibration_curve(right, top_score, n_bins=15), weighted by the pictures in each bin.
    """
    metrics = evaluate_logits(*wavy_case(), "abcdefg")
    assert metrics.accuracy == pytest.approx(0.4166666666666667)
    assert metrics.cross_entropy == pytest.approx(1.6067609944717043)
    assert metrics.top_k_accuracy == pytest.approx({"2": 0.4866666666666667, "3": 0.63, "5": 0.97})
    assert metrics.expected_calibration_error == pytest.approx(0.24884139040583486)
    assert [c.precision for c in metrics.per_class] == pytest.approx(
        [0.45945945945, 0.44736842105, 0.43902439024, 0.30645161290, 0.43181818181, 0.45, 0.44736842105]
    )
    assert [c.recall for c in metrics.per_class] == pytest.approx(
        [0.39534883720, 0.39534883720, 0.42857142857, 0.44186046511, 0.44186046511, 0.41860465116, 0.39534883720]
    )
    assert [c.f1 for c in metrics.per_class] == pytest.approx(
        [0.425, 0.41975308641, 0.43373493975, 0.36190476190, 0.43678160919, 0.43373493975, 0.41975308641]
    )


@pytest.mark.parametrize("values", [1, 7, 100, 299 * 7, 300 * 7])
def test_chunks_change_nothing(values, monkeypatch):
    whole = evaluate_logits(*wavy_case(), "abcdefg")
    monkeypatch.setattr("retrain.evaluation.metrics._CHUNK_VALUES", values)
    assert evaluate_logits(*wavy_case(), "abcdefg") == whole


@given(st.integers(1, 9), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_top_k_is_what_sorting_gives_ties_included(classes, n, seed):
    rng = np.random.default_rng(seed)
    logits = rng.integers(0, 4, (n, classes)).astype(np.float32)  # many ties
    labels = rng.integers(0, classes, n).astype(np.int32)
    order = np.argsort(-logits, axis=1, kind="stable")
    metrics = evaluate_logits(logits, labels, [str(number) for number in range(classes)])
    assert list(metrics.top_k_accuracy) == [str(k) for k in (2, 3, 5) if k < classes]
    for k, share in metrics.top_k_accuracy.items():
        assert share == pytest.approx((order[:, : int(k)] == labels[:, None]).any(axis=1).mean())
    assert metrics.accuracy == pytest.approx((order[:, 0] == labels).mean())


def test_calibration_error_is_the_mean_gap_of_the_bins():
    # (0.4, 0.4667]: two pictures, one right, mean score 0.45; (0.9333, 1]: three, all right, mean score 0.98
    scores, right = np.array([0.44, 0.46, 1.0, 0.98, 0.96]), np.array([True, False, True, True, True])
    assert expected_calibration_error(scores, right) == pytest.approx(2 / 5 * 0.05 + 3 / 5 * 0.02)


def test_bins_are_closed_above():
    # 0.2 = 3 / 15 is of the third bin, with 0.14; were it of the fourth, with 0.26, the gaps would be 0.86 and 0.23
    scores, right = np.array([0.14, 0.2, 0.26]), np.array([True, False, False])
    assert expected_calibration_error(scores, right) == pytest.approx((0.66 + 0.26) / 3)


def test_scores_that_are_probabilities_have_no_calibration_error():
    rng = np.random.default_rng(5)
    scores = rng.uniform(0.2, 1, 200_000)
    assert expected_calibration_error(scores, rng.random(200_000) < scores) < 0.01
    assert expected_calibration_error(scores, rng.random(200_000) < scores**2) > 0.1


def test_a_thousand_classes_need_little_memory_beside_the_logits():
    logits = np.random.default_rng(0).standard_normal((20_000, 1000), dtype=np.float32)
    names = [str(number) for number in range(1000)]
    tracemalloc.start()
    try:
        evaluate_logits(logits, np.arange(20_000, dtype=np.int32) % 1000, names)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < logits.nbytes


def test_no_pictures_divide_nothing_by_zero():
    metrics = evaluate_logits(np.zeros((0, 3), np.float32), np.zeros(0, np.int32), NAMES)
    assert metrics.n == 0
    assert metrics.accuracy is metrics.accuracy_interval is metrics.cross_entropy is None
    assert metrics.expected_calibration_error is None
    assert metrics.top_k_accuracy == {}
    assert metrics.confusion_matrix == ((0, 0, 0),) * 3
    assert metrics.per_class[0].recall is None
    assert metrics.most_confused() == []


def test_all_right_is_confused_nowhere():
    labels = np.array([0, 1, 2], np.int32)
    metrics = evaluate_logits(logits_for([0, 1, 2]), labels, NAMES)
    assert metrics.accuracy == 1
    assert metrics.most_confused() == []
    assert metrics.worst_classes() == []


def test_metrics_are_fit_for_json():
    for logits, labels in (wavy_case(), (np.zeros((0, 7), np.float32), np.zeros(0, np.int32))):
        metrics = evaluate_logits(logits, labels, "abcdefg").as_dict()
        assert json.loads(json.dumps(metrics))["top_k_accuracy"] == metrics["top_k_accuracy"]


def test_near_certainty_keeps_its_digits():
    """log(1 + exp(-20)) is 2.06e-9, which float32 can't tell from 0 when it is added to 1."""
    metrics = evaluate_logits(np.array([[20, 0]], np.float32), np.array([0], np.int32), NAMES[:2])
    assert metrics.cross_entropy == pytest.approx(math.log1p(math.exp(-20)), rel=1e-6)


def test_large_logits_do_not_overflow():
    logits = np.array([[1e4, -1e4], [-1e4, 1e4]], np.float32)
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


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 2)), max_size=30))
def test_copies_are_not_counted(rows):
    """Of equal content and label the first counts: the figures are those of the different pictures alone."""
    keys = np.array([[content] + [0] * 31 for content, _, _ in rows], np.uint8).reshape(-1, 32)
    labels = np.array([label for _, label, _ in rows], np.int32)
    outcomes = outcomes_of(logits_for([given for _, _, given in rows]), labels)
    first = sorted({(content, label): number for number, (content, label, _) in reversed([*enumerate(rows)])}.values())
    assert different(keys, labels).tolist() == first
    counted, alone = summarize(outcomes, labels, NAMES, keys), summarize(outcomes.select(first), labels[first], NAMES)
    assert counted == dataclasses.replace(alone, copies=len(rows) - len(first))


def test_every_class_counts_the_same_as_scikit_learn_has_it():
    """Also where a class has no pictures, or is given to none."""
    theirs = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(3)
    labels = rng.choice(6, 80, p=[0.6, 0.2, 0.1, 0.07, 0.03, 0]).astype(np.int32)
    logits = rng.normal(size=(80, 7)).astype(np.float32)
    logits[:, 5:] -= [3, 9]
    metrics = evaluate_logits(logits, labels, "abcdefg")
    given = logits.argmax(axis=1)
    assert metrics.macro_f1 == pytest.approx(theirs.f1_score(labels, given, average="macro"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # given labels that no picture has
        assert metrics.balanced_accuracy == pytest.approx(theirs.balanced_accuracy_score(labels, given))
    assert metrics.is_imbalanced


@pytest.mark.parametrize(("counts", "wanted"), [([3, 9], False), ([3, 10], True), ([0, 3, 9], False), ([], False)])
def test_a_folder_is_imbalanced_above_three_times_the_smallest_class(counts, wanted):
    assert is_imbalanced(counts) is wanted
