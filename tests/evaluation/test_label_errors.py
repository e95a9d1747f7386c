"""Label errors by confident learning."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrain.evaluation.label_errors import find_label_errors, find_wrong_labels


def whole(scores):
    return lambda: iter([(np.arange(len(scores)), scores)])


def scores_of(truth, rng, classes=4, sure=6.0):
    logits = rng.normal(size=(len(truth), classes))
    logits[np.arange(len(truth)), truth] += sure
    powers = np.exp(logits)
    return powers / powers.sum(axis=1, keepdims=True)


def by_hand(scores, labels):
    """As the paper says it, picture by picture."""
    classes = scores.shape[1]
    thresholds = [scores[labels == c, c].mean() if (labels == c).any() else np.inf for c in range(classes)]
    found = []
    for number, row in enumerate(scores):
        sure = [c for c in range(classes) if row[c] >= thresholds[c]]
        if not sure:
            continue
        suggested = max(sure, key=lambda c: row[c])
        own = labels[number]
        if suggested != own:
            margin = row[own] - max(row[c] for c in range(classes) if c != own)
            found.append((margin, number, suggested))
    return [(number, suggested) for _, number, suggested in sorted(found)]


@given(st.integers(0, 2**31), st.integers(1, 60), st.integers(2, 5))
def test_the_suspects_are_those_of_the_paper(seed, count, classes):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count).astype(np.int32)
    scores = scores_of(rng.integers(0, classes, count), rng, classes, 1.0)
    found = find_label_errors(whole(scores), labels)
    assert list(zip(found.numbers.tolist(), found.suggested.tolist(), strict=True)) == by_hand(scores, labels)
    assert np.array_equal(found.own_scores, scores[found.numbers, labels[found.numbers]])
    assert np.array_equal(found.scores, scores[found.numbers, found.suggested])


def test_swapped_labels_come_first():
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 4, 400)
    labels = truth.astype(np.int32)
    swapped = rng.choice(400, 8, replace=False)
    labels[swapped] = (labels[swapped] + 1) % 4
    found = find_label_errors(whole(scores_of(truth, rng)), labels)
    assert {*found.numbers[:8].tolist()} == {*swapped.tolist()}
    assert np.array_equal(found.suggested[:8], truth[found.numbers[:8]])


def test_parts_give_what_the_whole_gives():
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 4, 100).astype(np.int32)
    scores = scores_of(rng.integers(0, 4, 100), rng, 4, 1.0)
    order = rng.permutation(100)
    parts = [(numbers, scores[numbers]) for numbers in np.split(order, [7, 50])]
    one, other = find_label_errors(whole(scores), labels), find_label_errors(lambda: iter(parts), labels)
    assert np.array_equal(one.numbers, other.numbers)
    assert len(one.numbers) > 0


def test_a_class_without_pictures_is_never_suggested():
    scores = np.array([[0.1, 0.9], [0.2, 0.8]])
    assert len(find_label_errors(whole(scores), np.zeros(2, np.int32)).numbers) == 0


@pytest.mark.parametrize("parts", [[], [(np.zeros(0, np.int64), np.zeros((0, 3)))]])
def test_no_pictures_have_no_suspects(parts):
    assert len(find_label_errors(lambda: iter(parts), np.zeros(0, np.int32)).numbers) == 0


def test_of_several_labels_each_is_a_question_of_its_own():
    """A label that a sure picture lacks comes first, then one that it should not have; hard pictures are none."""
    has = np.array([[1, 0], [1, 1], [1, 0], [0, 1], [0, 0], [0, 1], [0, 0]], bool)
    scores = np.array([[0.9, 0.1], [0.8, 0.9], [0.2, 0.1], [0.1, 0.8], [0.99, 0.2], [0.2, 0.7], [0.1, 0.3]])
    found = find_wrong_labels(scores, has)
    assert [(one.number, one.label, one.has, one.score) for one in found] == [(4, 0, False, 0.99), (2, 0, True, 0.2)]
    assert find_wrong_labels(scores[:0], has[:0]) == ()
