from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score

from retrain.evaluation.multi_label import (
    LabelOutcomes,
    average_precisions,
    best_thresholds,
    logistic,
    precision_recall,
    summarize_labels,
)
from retrain.evaluation.summary import joined, main_figure, mean_figures, summarize

NAMES = ("leaf", "rose", "sky")


def random_outcomes(seed, n=40, classes=3, ties=False):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (n, classes))
    if ties:
        logits = np.round(logits)
    has = rng.random((n, classes)) < 0.4
    return LabelOutcomes(logits.astype(np.float32), has, np.float32([0.3, 0.5, 0.8][:classes]))


def metrics_of(found, **more):
    return summarize_labels(found, np.zeros(len(found.has), np.int32), NAMES, **more)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_average_precision_and_f1_are_scikit_learn_s(seed, ties):
    outcomes = random_outcomes(seed, ties=ties)
    found, logits, has = metrics_of(outcomes), outcomes.logits, outcomes.has
    wanted = [average_precision_score(has[:, label], logits[:, label]) for label in range(3) if has[:, label].any()]
    assert found.mean_average_precision == pytest.approx(np.mean(wanted))
    for average in ("micro", "macro"):
        wanted = f1_score(has, outcomes.given, average=average, zero_division=0)
        assert getattr(found, f"{average}_f1") == pytest.approx(wanted)
    assert found.exact_match == pytest.approx((outcomes.given == has).all(axis=1).mean())


@pytest.mark.parametrize("ties", [False, True])
def test_the_influence_of_a_picture_is_the_derivative_by_its_weight(ties):
    outcomes = random_outcomes(3, 12, ties=ties)
    logits, has = outcomes.logits, outcomes.has
    found = average_precisions(logits, has)

    def mean(weights):
        return np.mean([average_precision_score(has[:, k], logits[:, k], sample_weight=weights) for k in range(3)])

    step = 1e-6
    for picture, influence in enumerate(found.influences):
        change = step * np.eye(12)[picture]
        assert influence == pytest.approx((mean(1 + change) - mean(1 - change)) / (2 * step), abs=1e-8)


def test_the_interval_is_that_of_the_bootstrap():
    outcomes = random_outcomes(1, 400)
    low, high = metrics_of(outcomes).mean_average_precision_interval
    rng = np.random.default_rng(0)
    means = []
    for _ in range(200):
        chosen = rng.integers(0, 400, 400)
        means.append(np.nanmean(average_precisions(outcomes.logits[chosen], outcomes.has[chosen]).values))
    assert (high - low) / 2 / 1.96 == pytest.approx(np.std(means), rel=0.2)


def test_figures_of_a_known_case():
    """Two pictures: one has leaf and rose and is given leaf and sky, one has nothing and is given nothing."""
    logits = np.float32([[2, -1, 3], [-4, -5, -6]])
    found = metrics_of(LabelOutcomes(logits, np.array([[1, 1, 0], [0, 0, 0]], bool), np.full(3, 0.5, np.float32)))
    assert found.co_occurrence == ((1, 0, 1), (1, 0, 1), (0, 0, 0))
    assert found.together == ((1, 1, 0), (1, 1, 0), (0, 0, 0))
    assert [(row.n, row.precision, row.recall, row.f1, row.average_precision) for row in found.per_label] == [
        *((1, 1.0, 1.0, 1.0, 1.0), (1, None, 0.0, 0.0, 1.0), (0, 0.0, None, 0.0, None))
    ]
    assert (found.exact_match, found.micro_f1, found.macro_f1) == (0.5, 0.5, pytest.approx(1 / 3))
    nats = np.log1p(np.exp([-2, 1, 3, -4, -5, -6])).sum() / 2
    assert found.cross_entropy == pytest.approx(nats)


def test_the_score_of_a_picture_is_that_of_all_its_decisions():
    outcomes = LabelOutcomes(np.float32([[2, -1, 3]]), np.ones((1, 3), bool), np.full(3, 0.5, np.float32))
    p = logistic(outcomes.logits)[0]
    assert outcomes.certainties == pytest.approx([p[0] * (1 - p[1]) * p[2]])
    assert outcomes.losses == pytest.approx([-np.log(p).sum()])


def test_without_pictures_or_labels_there_are_no_figures():
    nothing = LabelOutcomes(np.zeros((0, 3), np.float32), np.zeros((0, 3), bool), np.full(3, 0.5, np.float32))
    found = metrics_of(nothing)
    assert (found.n, found.mean_average_precision, found.exact_match) == (0, None, None)
    bare = LabelOutcomes(np.full((2, 3), -1, np.float32), np.zeros((2, 3), bool), np.full(3, 0.5, np.float32))
    found = metrics_of(bare)
    assert (found.mean_average_precision, found.macro_f1, found.exact_match) == (None, None, 1.0)
    assert found.worst_labels() == []


def test_copies_count_once():
    outcomes = random_outcomes(0, 4)
    keys = np.zeros((4, 32), np.uint8)
    keys[2:] = 1
    found = metrics_of(outcomes, keys=keys)
    assert (found.n, found.copies) == (2, 2)
    assert found == replace(metrics_of(outcomes.select(np.array([0, 2]))), copies=2)


@given(st.integers(0, 99), st.booleans())
def test_the_f1_of_a_threshold_is_within_a_standard_error_of_the_best(seed, ties):
    outcomes = random_outcomes(seed, 15, ties=ties)
    scores, has = logistic(outcomes.logits), outcomes.has
    chosen = best_thresholds(scores, has)

    def f1_of(label, threshold):
        """F1, and its standard error, by leaving out picture after picture."""
        given = scores[:, label] >= threshold
        right, total = (given & has[:, label]).sum(), given.sum() + has[:, label].sum()
        own = 2.0 * (given & has[:, label]) - 2 * right / total * (given * 1.0 + has[:, label])
        return 2 * right / total, np.sqrt((own**2).sum()) / total

    for label in np.flatnonzero(has.any(axis=0)):
        found = {threshold: f1_of(label, threshold) for threshold in np.unique(scores[:, label])}
        best = max(f1 for f1, _ in found.values())
        least = min(best - pair[1] for pair in found.values() if pair[0] == best)
        assert f1_of(label, chosen[label])[0] >= least - 1e-9


def test_many_pictures_move_a_threshold_where_it_matters():
    """Half of the pictures with scores from 0.2 on have the label: 0.5 misses most of them."""
    scores = np.linspace(0, 0.6, 3000)[:, None]
    has = scores >= 0.2
    assert best_thresholds(scores, has) == pytest.approx([0.2], abs=0.01)
    few = np.arange(0, 3000, 400)
    assert best_thresholds(scores[few], has[few])[0] > 0.2


def test_any_threshold_between_two_scores_is_the_middle_or_a_half():
    scores = np.array([[0.9, 0.3, 0.9, 0.2], [0.1, 0.1, 0.7, 0.4]])
    has = np.array([[1, 1, 1, 0], [0, 0, 0, 0]], bool)
    assert best_thresholds(scores, has) == pytest.approx([0.5, 0.2, 0.8, 0.5])
    assert best_thresholds(np.zeros((0, 2)), np.zeros((0, 2), bool)).tolist() == [0.5, 0.5]


def test_a_curve_has_what_each_threshold_brings():
    curve = precision_recall(np.array([0.2, 0.9, 0.2, 0.4]), np.array([1, 1, 0, 0], bool))
    assert curve.thresholds.tolist() == [0.9, 0.4, 0.2]
    assert (curve.right.tolist(), curve.given.tolist(), curve.positives) == ([1, 1, 2], [1, 2, 4], 2)


def test_outcomes_of_labels_are_summed_up_as_such():
    outcomes = random_outcomes(0)
    labels = np.arange(40, dtype=np.int32)
    found = summarize(outcomes, labels, NAMES)
    assert main_figure(found) == ("mAP", found.mean_average_precision)
    assert mean_figures(outcomes, labels) == pytest.approx((found.exact_match, found.cross_entropy))
    parts = [outcomes.select(np.arange(15)), outcomes.select(np.arange(15, 40))]
    assert summarize(joined(parts), labels, NAMES) == found


def test_thresholds_may_differ_by_picture():
    outcomes = random_outcomes(0, 6)
    thresholds = np.full((6, 3), 0.5, np.float32)
    thresholds[3:] = 0.1
    given = outcomes.with_thresholds(thresholds).given
    assert (given[:3] == (outcomes.logits[:3] >= 0)).all()
    assert (given[3:] == (logistic(outcomes.logits[3:]) >= np.float32(0.1))).all()
    assert (outcomes.with_thresholds(thresholds).select(np.array([4])).given == given[4]).all()
