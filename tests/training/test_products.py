import threading

import numpy as np
import pytest
import threadpoolctl
from hypothesis import given, settings
from hypothesis import strategies as st

from retrain.training import products
from retrain.training.products import Products, rows_at_once


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 5),
    inner=st.integers(1, 7),
    columns=st.integers(1, 40),
    small=st.sampled_from([1, 60, 10**6]),
    large=st.sampled_from([1, 200, 10**9]),
    threads=st.integers(1, 5),
    is_transposed=st.booleans(),
)
def test_products_are_the_same_in_parts_and_on_threads(rows, inner, columns, small, large, threads, is_transposed):
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(rows, inner)), rng.normal(size=(columns, inner)).T
    right = right if is_transposed else np.ascontiguousarray(right)
    out = np.full((rows, columns), np.nan)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(products, "_SMALL", small)
        patched.setattr(products, "_LARGE", large)
        patched.setattr(products, "cores", lambda: threads)
        with Products() as multiplier:
            multiplier.multiply(left, right, out)
    assert out == pytest.approx(left @ right, abs=1e-12)


def counts():
    return [library["num_threads"] for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"]


def test_outside_its_context_nothing_is_left_of_it():
    """Neither threads, nor the limit to the libraries' threads."""
    before, threads = counts(), threading.active_count()
    room = np.empty((200, 300), np.float32)
    with Products() as multiplier:
        assert set(counts()) == {1}
        multiplier.multiply(np.ones((200, 600), np.float32), np.ones((600, 300), np.float32), room)
    assert (room == 600).all()
    assert counts() == before
    assert threading.active_count() == threads


@pytest.mark.filterwarnings("error")
def test_products_on_other_threads_do_not_warn_of_what_is_found_later(monkeypatch):
    monkeypatch.setattr(products, "_LARGE", 1)
    monkeypatch.setattr(products, "cores", lambda: 2)
    large, room = np.full((2, 2), 1e30, np.float32), np.empty((2, 2), np.float32)
    with np.errstate(over="ignore"), Products() as multiplier:
        multiplier.multiply(large, large, room)
    assert np.isinf(room).all()


@pytest.mark.parametrize(
    ("widths", "rows", "at_once"),
    [
        ((2048, 5), 10**6, 390),
        ((2048, 5), 100, 100),
        ((2048, 1000), 10**6, 4096),
        ((24, 3), 10**6, 4096),
        ((5, 2), 0, 1),
    ],
)
def test_thin_layers_take_few_rows_at_once(widths, rows, at_once):
    assert rows_at_once(widths, rows) == at_once
