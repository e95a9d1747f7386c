import numpy as np
import pytest

from retrain.evaluation import auroc


def test_the_area_is_the_share_of_pairs_in_the_right_order():
    rng = np.random.default_rng(0)
    known, strangers = rng.integers(0, 20, 70).astype(np.float32), rng.integers(5, 25, 40).astype(np.float32)
    pairs = strangers[:, np.newaxis] - known
    assert auroc(known, strangers) == pytest.approx(((pairs > 0) + (pairs == 0) / 2).mean())
    assert auroc(known, known) == pytest.approx(0.5)
    assert auroc(np.zeros(3), np.ones(1)) == 1.0
