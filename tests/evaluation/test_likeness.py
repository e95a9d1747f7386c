"""How much pictures look alike to the network."""

import numpy as np

from retrain.evaluation import likeness, normalised
from retrain.evaluation.likeness import likeness_to


def test_unit_vectors_and_zeros():
    made = normalised(np.array([[3, 4], [0, 0]], np.float16))
    assert made.dtype == np.float32
    assert made.tolist() == [[np.float32(0.6), np.float32(0.8)], [0, 0]]


def test_likeness_is_the_cosine_with_the_nearest(monkeypatch):
    rng = np.random.default_rng(2)
    own, known = rng.normal(size=(30, 8)), rng.normal(size=(50, 8))
    monkeypatch.setattr(likeness, "_BLOCK", 170)  # several blocks
    lengths = np.linalg.norm(own, axis=1)[:, None] * np.linalg.norm(known, axis=1)
    np.testing.assert_allclose(likeness_to(own, known), (own @ known.T / lengths).max(axis=1), atol=1e-6)
    assert likeness_to(own, known[:0]).tolist() == [0] * 30
