import dataclasses

import numpy as np
import pytest
from support.rejections import some_rejection

from retrain.model.rejection import Limit, Rejection


def test_the_distance_is_that_of_its_definition():
    rng = np.random.default_rng(0)
    centres, directions = rng.random((3, 8)), 0.9 * np.linalg.qr(rng.normal(size=(8, 2)))[0]
    vectors = rng.random((9000, 8), np.float32)  # more than a chunk
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    differences = unit[:, None] - centres
    expected = (differences**2).sum(axis=2) - ((differences @ directions) ** 2).sum(axis=2)
    rejection = Rejection.of_centres(centres, directions, 0.5, 0.1)
    assert rejection.distances(vectors) == pytest.approx(expected.min(axis=1), abs=1e-5)
    assert rejection.distances(vectors[:0]).shape == (0,)


def test_how_long_a_bottleneck_is_does_not_count():
    vectors = np.random.default_rng(1).random((50, 8), np.float32)
    rejection = some_rejection(8, 3)
    for factor in (1e-6, 1e6):
        assert rejection.distances(vectors * np.float32(factor)) == pytest.approx(
            rejection.distances(vectors), abs=1e-5
        )


def test_known_is_half_at_the_threshold_and_falls_with_the_distance():
    vectors, rejection = np.random.default_rng(1).random((50, 8), np.float32), some_rejection(8, 3)
    distances, known = rejection.distances(vectors), rejection.known(vectors)
    assert known.shape == (50, 1)
    assert np.array_equal(known[:, 0] >= 0.5, distances <= rejection.limit.threshold)
    assert 0 < (known >= 0.5).mean() < 1
    assert np.array_equal(np.argsort(-known[:, 0], kind="stable"), np.argsort(distances, kind="stable"))
    at = dataclasses.replace(rejection, limit=Limit(float(distances[0]), 0.1))
    assert at.known(vectors)[0, 0] == 0.5


def test_a_picture_far_away_is_unknown_without_a_warning():
    rejection = dataclasses.replace(some_rejection(8, 3), limit=Limit(0.1, 1e-6))
    vectors = np.random.default_rng(1).random((50, 8), np.float32)
    assert np.isfinite(rejection.known(vectors)).all()
    assert 0 <= rejection.known(np.zeros((1, 8), np.float32))[0, 0] < 0.5  # a bottleneck of zeros is like no class


def test_the_distance_comes_back_from_known():
    vectors, rejection = np.random.default_rng(1).random((50, 8), np.float32), some_rejection(8, 3)
    known, limit = rejection.known(vectors).astype(np.float32), rejection.limit
    back = [limit.distance(float(value)) for value in known[:, 0]]
    assert back == pytest.approx(rejection.distances(vectors), abs=1e-4)
    assert limit.distance(0.0) > limit.threshold > limit.distance(1.0)
    assert np.isfinite([limit.distance(0.0), limit.distance(1.0)]).all()
