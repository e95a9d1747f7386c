"""Bins of scores, and answers above a threshold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrain.evaluation.metrics import expected_calibration_error
from retrain.evaluation.reliability import answers_above, score_bins


@given(st.integers(0, 2**31), st.integers(1, 80))
def test_the_bins_are_those_of_the_calibration_error(seed, count):
    rng = np.random.default_rng(seed)
    top, right = 1 - rng.random(count), rng.random(count) < 0.6
    bins = score_bins(top, right)
    assert sum(b.count for b in bins) == count
    assert all(b.low < b.score <= b.high + 1e-12 for b in bins)
    error = sum(b.count / count * abs(b.right - b.score) for b in bins)
    assert error == pytest.approx(expected_calibration_error(top, right))


@given(st.integers(0, 2**31), st.integers(0, 60), st.integers(1, 5))
def test_answers_are_counted_at_every_threshold(seed, count, groups):
    rng = np.random.default_rng(seed)
    thresholds = np.arange(11) / 10
    top = rng.integers(1, 21, count) / 20  # some are thresholds themselves
    right, group = rng.random(count) < 0.6, rng.integers(0, groups, count).astype(np.int32)
    table = answers_above(thresholds, top, right, group)
    for number in range(len(table.answered)):
        own = group == number
        assert table.answered[number].tolist() == [int((own & (top >= t)).sum()) for t in thresholds]
        assert table.right[number].tolist() == [int((own & right & (top >= t)).sum()) for t in thresholds]
    assert len(table.answered) == (int(group.max()) + 1 if count else 0)
