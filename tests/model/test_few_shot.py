"""A classifier that is solved for from a few examples."""

import numpy as np
import pytest

from retrain.model.few_shot import FewShotClassifier


def examples(*counts, length=12):
    rng = np.random.default_rng(7)
    labels = np.repeat(np.arange(len(counts)), counts)
    return (np.eye(length)[labels] + 0.4 * rng.normal(size=(len(labels), length)) + 1).astype(np.float32), labels


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("counts", [(5, 5, 5), (2, 9, 1)])
def test_it_is_ridge_regression_on_centred_unit_vectors(counts):
    linear_model = pytest.importorskip("sklearn.linear_model")
    vectors, labels = examples(*counts)
    weights = 1 / (len(counts) * np.bincount(labels)[labels])
    mean = weights @ unit(vectors)
    ridge = linear_model.Ridge(alpha=0.5, fit_intercept=False)
    ridge.fit(unit(unit(vectors) - mean), np.eye(3)[labels] - 1 / 3, sample_weight=len(labels) * weights)
    others, _ = examples(4, 4, 4)
    wanted = ridge.predict(unit(unit(others) - mean)) + 1 / 3
    found = FewShotClassifier(vectors, labels).similarities(others)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    np.testing.assert_allclose(found.sum(axis=1), 1)


def test_examples_are_most_similar_to_their_own_class_and_length_does_not_count():
    vectors, labels = examples(1, 1, 1, 1)
    classifier = FewShotClassifier(vectors, labels)
    found = classifier.similarities(7 * vectors)
    assert (found.argmax(axis=1) == labels).all()
    np.testing.assert_allclose(found, classifier.similarities(vectors), atol=1e-6)
    assert classifier.similarities(vectors[:0]).shape == (0, 4)


def test_a_class_with_more_examples_is_not_preferred():
    vectors, labels = examples(1, 1)
    more, numbers = np.concatenate([vectors, vectors[[1] * 20]]), np.concatenate([labels, [1] * 20])
    between = (unit(vectors).mean(axis=0))[None]
    [few], [many] = (FewShotClassifier(*both).similarities(between) for both in [(vectors, labels), (more, numbers)])
    np.testing.assert_allclose(few, [0.5, 0.5], atol=0.01)
    assert many[0] == pytest.approx(0.5, abs=0.1)
