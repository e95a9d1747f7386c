"""McNemar's test."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrain.evaluation.comparison import mcnemar_p_value


@pytest.fixture(scope="module")
def binomtest():
    """SciPy's; the import takes a second, and each process of tests imports this file."""
    from scipy.stats import binomtest

    return binomtest


@given(st.integers(0, 300), st.integers(0, 300))
def test_it_is_the_two_sided_binomial_test(binomtest, one, other):
    expected = binomtest(one, one + other).pvalue if one + other else 1.0
    assert mcnemar_p_value(one, other) == pytest.approx(expected, abs=1e-9)
    assert mcnemar_p_value(other, one) == mcnemar_p_value(one, other)


def test_large_counts_are_no_trouble(binomtest):
    assert mcnemar_p_value(5000, 5200) == pytest.approx(binomtest(5000, 10200).pvalue, rel=1e-6)
    assert 0 <= mcnemar_p_value(0, 100_000) < 1e-300
