import dataclasses
import json
import math

import numpy as np
import pytest

from retrain.evaluation.fold_statistics import summarize_folds
from retrain.evaluation.metrics import evaluate_logits

NAMES = ("cat", "dog", "owl")


def fold(given, labels):
    """Metrics of pictures of these labels that were given those."""
    return evaluate_logits(5 * np.eye(3, dtype=np.float32)[given], np.array(labels, np.int32), NAMES)


def figures(accuracies, losses=None, n=20):
    """Metrics of n pictures with these figures."""
    plain = fold([0] * n, [0] * n)
    losses = losses or [0.5 + 0.1 * number for number in range(len(accuracies))]
    return [
        dataclasses.replace(plain, accuracy=accuracy, cross_entropy=loss)
        for accuracy, loss in zip(accuracies, losses, strict=True)
    ]


def test_figures_of_a_known_case():
    """scipy.stats.t.interval(0.95, 4, loc=0.85, scale=0.0790569 * sqrt(1 / 5 + 1 / 4)), SciPy 1.17.1.

    (0.7518, 0.9482) without the correction.
    """
    found = summarize_folds(figures([0.80, 0.90, 0.85, 0.95, 0.75]), [80] * 5)
    assert (found.folds, found.n) == (5, 100)
    assert found.accuracy.mean == pytest.approx(0.85)
    assert found.accuracy.standard_deviation == pytest.approx(0.07905694150420946)
    assert found.accuracy.interval == pytest.approx((0.7027567628891832, 0.9972432371108167))
    assert found.cross_entropy.mean == pytest.approx(0.7)
    assert found.cross_entropy.standard_deviation == pytest.approx(math.sqrt(0.025))


def test_the_correction_goes_with_the_number_of_training_pictures():
    folds = figures([0.8, 0.85, 0.9])
    widths = [np.diff(summarize_folds(folds, [size] * 3).cross_entropy.interval)[0] for size in (40, 20, 10**9)]
    assert widths[0] / widths[2] == pytest.approx(math.sqrt((1 / 3 + 20 / 40) / (1 / 3)))
    assert widths[1] / widths[2] == pytest.approx(math.sqrt((1 / 3 + 20 / 20) / (1 / 3)))


def test_intervals_hold_the_truth_as_often_as_they_say():
    """Results of folds with the correlation that the formula takes them to have."""
    rng = np.random.default_rng(0)
    common, own = rng.normal(0, math.sqrt(0.2), (2000, 1)), rng.normal(0, math.sqrt(0.8), (2000, 5))
    held = 0
    for losses in 10 + common + own:  # of correlation 0.2 = 20 / (20 + 80)
        low, high = summarize_folds(figures([0.5] * 5, losses.tolist()), [80] * 5).cross_entropy.interval
        held += low <= 10 <= high
    assert held / 2000 == pytest.approx(0.95, abs=0.015)


def test_intervals_stay_where_figures_can_be():
    found = summarize_folds(figures([1.0, 0.4], [0.01, 2.0]), [20, 20])
    assert found.accuracy.interval == (0, 1)
    assert found.cross_entropy.interval[0] == 0
    assert found.cross_entropy.interval[1] > 2


def test_recall_of_every_class():
    first = fold([0, 0, 1, 1], [0, 0, 0, 1])  # cat 2 of 3, dog 1 of 1, no owl
    second = fold([0, 1, 2], [0, 0, 2])  # cat 1 of 2, no dog, owl 1 of 1
    cat, dog, owl = summarize_folds([first, second], [5, 5]).per_class
    assert [found.label for found in (cat, dog, owl)] == list(NAMES)
    assert [found.n for found in (cat, dog, owl)] == [5, 1, 1]
    assert cat.mean == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert cat.standard_deviation == pytest.approx((2 / 3 - 1 / 2) / math.sqrt(2))
    assert (dog.mean, dog.standard_deviation) == (1, None)
    assert (owl.mean, owl.standard_deviation) == (1, None)


def test_a_class_without_pictures_has_no_recall():
    owl = summarize_folds([fold([0], [0]), fold([1], [1])], [1, 1]).per_class[2]
    assert (owl.n, owl.mean, owl.standard_deviation) == (0, None, None)


def test_they_are_fit_for_json():
    found = json.loads(json.dumps(summarize_folds([fold([0, 1], [0, 0]), fold([1, 2], [1, 0])], [2, 2]).as_dict()))
    assert set(found) == {"folds", "n", "accuracy", "cross_entropy", "per_class"}
    assert set(found["accuracy"]) == {"mean", "standard_deviation", "interval"}
    assert found["accuracy"]["mean"] == 0.5
    assert found["per_class"][0] == {"label": "cat", "n": 3, "mean": 0.25, "standard_deviation": math.sqrt(0.125)}


def test_one_fold_has_no_spread():
    with pytest.raises(ValueError, match="1 folds, 1 of them with pictures: two or more are needed"):
        summarize_folds([fold([0], [0])], [4])


def test_folds_without_pictures_are_an_error():
    with pytest.raises(ValueError, match="2 folds, 1 of them with pictures"):
        summarize_folds([fold([0], [0]), fold([], [])], [4, 4])
