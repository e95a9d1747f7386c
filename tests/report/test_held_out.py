"""Heads that never saw the pictures they judge."""

import dataclasses

import numpy as np
import pytest
from support.judged import make_judged

from retrain.evaluation.label_errors import find_label_errors
from retrain.options import TrainingOptions
from retrain.report.contents import LearningPoint
from retrain.report.held_out import _folds, _sentence, train_held_out

OPTIONS = TrainingOptions(optimizer="lbfgs", steps=30)


def quiet(done, total):
    pass


@pytest.fixture(scope="module")
def pictures():
    return make_judged((30, 25, 20))


@pytest.fixture(scope="module")
def held_out(pictures):
    told = []
    found = train_held_out(pictures, OPTIONS, pictures.keys, lambda done, total: told.append((done, total)))
    assert told == [(number, 25) for number in range(1, 26)]
    return found


def test_every_picture_is_scored_once(held_out, pictures):
    numbers = np.concatenate([numbers for numbers, _ in held_out.scores()])
    assert sorted(numbers.tolist()) == [*range(75)]
    scores = np.concatenate([scores for _, scores in held_out.scores()])
    assert scores.shape == (75, 3)
    assert np.allclose(scores.sum(axis=1), 1)
    assert len(held_out.heads) == 5


def test_statistics_are_of_all_pictures(held_out):
    assert (held_out.statistics.folds, held_out.statistics.n) == (5, 75)
    assert held_out.statistics.accuracy.mean > 0.9


def test_the_learning_curve_ends_with_all_training_pictures(held_out):
    points = held_out.learning.points
    assert [point.share for point in points] == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert [point.pictures for point in points] == [12, 24, 36, 48, 60]
    assert points[-1].accuracy == held_out.statistics.accuracy.mean
    assert all(low <= point.accuracy <= high for point in points for low, high in [point.interval])
    assert held_out.learning.n == 75


def test_a_swapped_label_is_the_first_suspect(pictures):
    labels = pictures.labels.copy()
    labels[[3, 60]] = labels[[60, 3]]
    swapped = dataclasses.replace(pictures, labels=labels)
    found = train_held_out(swapped, OPTIONS, swapped.keys, quiet)
    assert {*find_label_errors(found.scores, labels).numbers[:2].tolist()} == {3, 60}


def test_groups_stay_in_one_fold(pictures):
    groups = pictures.keys.copy()
    groups[1::2][:10] = groups[0]
    found = train_held_out(pictures, OPTIONS, groups, quiet)
    assert len({*found.folds[1::2][:10].tolist(), int(found.folds[0])}) == 1


def test_a_class_with_one_picture_is_left_out():
    pictures = make_judged((20, 20, 1))
    found = train_held_out(pictures, OPTIONS, pictures.keys, quiet)
    assert found.folds[40] == -1
    assert found.statistics.n == 40


@pytest.mark.parametrize("counts", [(1, 1), (20, 1), (1, 1, 1)])
def test_too_few_pictures_for_any_head(counts):
    pictures = make_judged(counts)
    assert train_held_out(pictures, OPTIONS, pictures.keys, quiet) is None


def test_two_pictures_of_a_class_make_two_folds():
    pictures = make_judged((20, 2))
    found = train_held_out(pictures, OPTIONS, pictures.keys, quiet)
    assert len(found.heads) == 2


def test_patience_needs_no_validation_pictures_here(pictures):
    options = TrainingOptions(steps=50, patience=10)
    assert train_held_out(pictures, options, pictures.keys, quiet).statistics.n == 75


def points_of(*accuracies):
    return [LearningPoint((n + 1) / 5, 100 * (n + 1), value, (0, 1)) for n, value in enumerate(accuracies)]


def test_the_sentence_tells_the_gain():
    assert "may add about 10.0 percentage points" in _sentence(
        points_of(0.5, 0.6, *(0.7 + 0.1 * np.log2([1, 4 / 3, 5 / 3])))
    )
    assert "would help little" in _sentence(points_of(0.5, 0.8, 0.9, 0.9, 0.9))
    assert "would help little" in _sentence(points_of(0.5, 0.8, 0.9, 0.8, 0.7))
    assert "about 1.0 percentage points" in _sentence(
        points_of(0.2, 0.4, 0.6, 0.8, 0.99)
    )  # no more than there is room for
    assert "too few" in _sentence([LearningPoint(1, 2, 0.5, (0, 1))] * 3)


def test_groups_of_a_manifest_are_in_one_fold(pictures):
    grouped = dataclasses.replace(pictures, groups=[str(number // 5) for number in range(len(pictures))])
    folds = _folds(grouped, pictures.keys, 0)
    assert all(len({*folds[start : start + 5].tolist()}) == 1 for start in range(0, len(pictures), 5))


def test_heads_count_labels_as_the_model_s_own_does(pictures, held_out):
    options = dataclasses.replace(OPTIONS, class_weight="class2=100")
    found = train_held_out(pictures, options, pictures.keys, quiet)
    means = [np.concatenate([part for _, part in heads.scores()]).mean(axis=0)[2] for heads in (held_out, found)]
    assert means[1] > means[0] + 0.01
