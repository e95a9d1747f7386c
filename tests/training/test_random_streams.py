import numpy as np
import pytest

from retrain.training.random_streams import Stream, generator, random_halves, random_words


@pytest.mark.parametrize("count", [1, 4, 7])
def test_a_step_s_words_are_the_same_however_many_steps_are_drawn_at_once(count):
    whole = random_words(3, Stream.TRAINING, range(20), count)
    parts = [random_words(3, Stream.TRAINING, steps, count) for steps in (range(1), range(1, 12), range(12, 20))]
    assert whole.shape == (20, count)
    assert np.array_equal(whole, np.concatenate(parts))
    assert len(np.unique(whole)) == whole.size


def test_seeds_and_streams_share_no_word():
    sequences = [random_words(seed, stream, range(50), 8) for seed in (0, 1, 2**31 - 1) for stream in Stream]
    assert len(np.unique(sequences)) == len(sequences) * 400


def test_words_are_the_raw_numbers_of_philox_which_numpy_keeps():
    philox = np.random.Philox(key=5 | int(Stream.VALIDATION) << 64)
    assert np.array_equal(random_words(5, Stream.VALIDATION, range(3), 4).reshape(-1), philox.random_raw(12))


def test_halves_differ_from_step_to_step_and_are_even():
    one, again, other = (random_halves(1, Stream.DROPOUT, step, 50_001) for step in (7, 7, 8))
    assert one.shape == (50_001,)
    assert np.array_equal(one, again)
    assert (one == other).mean() < 0.001
    # a uniform distribution's mean, within five standard errors
    assert one.mean() == pytest.approx((2**16 - 1) / 2, abs=5 * 2**16 / np.sqrt(12 * len(one)))


def test_what_is_drawn_once_depends_on_seed_and_purpose():
    draws = [generator(seed, stream).random() for seed in (0, 1) for stream in (Stream.WEIGHTS, Stream.TRAINING)]
    assert len(set(draws)) == 4
    assert generator(1, Stream.WEIGHTS).random() == generator(1, Stream.WEIGHTS).random()
