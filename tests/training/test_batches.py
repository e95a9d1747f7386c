import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrain.cache.vectors import LabelledBottlenecks
from retrain.training import batches
from retrain.training.batches import Draws, RowCopier, members_of, read_batches
from retrain.training.random_streams import Stream

COUNTS = [2, 5, 40]
BATCH, STEPS = 100, 300


def draws_of(chosen, labels, batch_size=BATCH, seed=1, is_balanced=True, stream=Stream.TRAINING):
    return Draws(members_of(chosen, labels), batch_size, seed, stream, is_balanced)


@pytest.mark.parametrize("is_balanced", [True, False])
def test_batches_follow_their_law(is_balanced):
    """Chi-square against the law, at a level that a right sampler fails once in 100,000 seeds."""
    labels = np.repeat(np.arange(3), COUNTS).astype(np.int32)
    drawn = draws_of(np.arange(47), labels, is_balanced=is_balanced).pictures(range(STEPS))
    seen, all_draws = np.bincount(drawn.reshape(-1), minlength=47), BATCH * STEPS
    share = np.repeat([1 / 3 / count for count in COUNTS], COUNTS) if is_balanced else np.full(47, 1 / 47)
    assert ((seen - all_draws * share) ** 2 / (all_draws * share)).sum() < 46 + 4.3 * np.sqrt(2 * 46) + 20


@pytest.mark.parametrize("is_balanced", [True, False])
def test_every_random_number_has_its_place(is_balanced, monkeypatch):
    """The law itself, exactly: the whole range of each half, evenly spread, gives each picture its exact share."""
    grid = np.linspace(0, 2**32, 360, endpoint=False, dtype=np.uint64) + np.uint64(2**31 // 360)
    words = (grid[:, None] << np.uint64(32)) + grid[None]
    monkeypatch.setattr(batches, "random_words", lambda *args: words)
    labels = np.repeat(np.arange(3), [2, 5, 8]).astype(np.int32)
    drawn = draws_of(np.arange(15), labels, is_balanced=is_balanced).pictures(range(360))
    shares = np.bincount(drawn.reshape(-1)) / words.size
    wanted = np.repeat([1 / 3 / 2, 1 / 3 / 5, 1 / 3 / 8], [2, 5, 8]) if is_balanced else np.full(15, 1 / 15)
    assert shares == pytest.approx(wanted, rel=1e-12)


def test_only_chosen_pictures_and_classes_that_have_some_are_drawn():
    labels = np.array([4, 1, 4, 0, 1, 4], np.int32)
    chosen = np.array([5, 4, 0])
    for is_balanced in (True, False):
        drawn = draws_of(chosen, labels, is_balanced=is_balanced).pictures(range(10))
        assert set(drawn.reshape(-1).tolist()) == {0, 4, 5}


def test_steps_seeds_and_streams_draw_differently():
    labels = np.zeros(50, np.int32)
    first, again, other = (draws_of(np.arange(50), labels, seed=seed).pictures(range(2)) for seed in (0, 0, 1))
    held_out = draws_of(np.arange(50), labels, seed=0, stream=Stream.VALIDATION).pictures(range(2))
    assert np.array_equal(first, again)
    for one, another in ((first, other), (first, held_out), (first[0], first[1])):
        assert not np.array_equal(one, another)


class Files:
    """Vectors that are no array."""

    def __init__(self, vectors):
        self.vectors, self.shape = vectors, vectors.shape

    def __getitem__(self, numbers):
        return self.vectors[numbers]


@settings(max_examples=30, deadline=None)
@given(
    steps=st.integers(0, 40),
    first=st.integers(0, 5),
    batch_size=st.integers(1, 9),
    nbytes=st.integers(1, 400),
    words=st.integers(1, 200),
    in_memory=st.booleans(),
)
def test_batches_are_the_drawn_pictures_however_they_are_read(steps, first, batch_size, nbytes, words, in_memory):
    rng = np.random.default_rng(0)
    labels, vectors = rng.integers(0, 3, 20).astype(np.int32), rng.random((20, 3), np.float32)
    draws = draws_of(np.arange(20), labels, batch_size)
    steps = range(first, first + steps)
    wanted = draws.pictures(steps)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(batches, "_BYTES_AT_ONCE", nbytes)
        patched.setattr(batches, "_WORDS_AT_ONCE", words)
        data = LabelledBottlenecks(vectors if in_memory else Files(vectors), labels)
        read = [(batch.vectors.copy(), batch.labels) for batch in read_batches(data, draws, steps)]
    assert len(read) == len(wanted)
    for (found, own), numbers in zip(read, wanted, strict=True):
        assert np.array_equal(found, vectors[numbers])
        assert np.array_equal(own, labels[numbers])


def test_the_reading_thread_ends_with_the_reading():
    before = threading.active_count()
    data = LabelledBottlenecks(Files(np.zeros((5, 2), np.float32)), np.zeros(5, np.int32))
    reading = read_batches(data, draws_of(np.arange(5), data.labels), range(1000))
    next(reading)
    assert threading.active_count() == before + 1
    reading.close()
    assert threading.active_count() == before


def test_rows_are_copied_into_the_same_room():
    vectors = np.arange(12, dtype=np.float32).reshape(6, 2)
    copy = RowCopier(vectors, 3)
    first = copy(np.array([5, 0, 5]))
    assert np.array_equal(first, vectors[[5, 0, 5]])
    second = copy(np.array([1]))
    assert np.array_equal(second, vectors[[1]])
    assert np.shares_memory(first, second)
    assert not np.shares_memory(first, vectors)
