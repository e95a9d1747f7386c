import numpy as np
import pytest

from retrain.training.parameters import Parameters, initial_head, pieces


@pytest.mark.parametrize("hidden", [0, 5])
def test_a_head_goes_to_parameters_and_back(hidden):
    head = initial_head(7, 3, 1, hidden)
    parameters = Parameters.of(head)
    assert parameters.flat.size == Parameters.size(parameters.widths)
    for one, other in zip(parameters.head().layers, head.layers, strict=True):
        assert np.array_equal(one.weights, other.weights)
        assert np.array_equal(one.biases, other.biases)
        assert one.weights.flags.c_contiguous
        assert one.weights.dtype == one.biases.dtype == np.float32


def test_a_head_s_copy_stays_when_the_parameters_move():
    parameters = Parameters.of(initial_head(4, 2, 0))
    head = parameters.head()
    before = head.layers[0].weights.copy()
    parameters.flat += 1
    assert np.array_equal(head.layers[0].weights, before)
    assert np.array_equal(parameters.layers[0].weights, before.T + 1)


def test_parameters_may_be_the_first_part_of_a_longer_vector():
    head, flat = initial_head(4, 2, 0, 3), np.full(40, 7, np.float32)
    parameters = Parameters.of(head, flat)
    assert np.shares_memory(parameters.flat, flat)
    assert (flat[parameters.flat.size :] == 7).all()
    assert np.array_equal(
        Parameters(parameters.widths, flat[: parameters.flat.size]).head().layers[0].weights, head.layers[0].weights
    )


def test_weights_start_small_and_biases_at_zero():
    head = initial_head(2048, 5, 0)
    assert head.layers[0].weights.std() == pytest.approx(0.001 * 0.88, rel=0.02)  # a normal cut off at two deviations
    assert 0.0019 < np.abs(head.layers[0].weights).max() <= 0.002
    assert not head.layers[0].biases.any()


def test_a_hidden_layer_starts_as_glorot_and_bengio_have_it():
    hidden, top = initial_head(300, 5, 0, 200).layers
    limit = np.sqrt(6 / 500)
    assert 0.99 * limit < np.abs(hidden.weights).max() <= limit
    assert hidden.weights.std() == pytest.approx(limit / np.sqrt(3), rel=0.02)
    assert np.abs(top.weights).max() <= 0.002


def test_seeds_start_differently():
    first, again, other = (initial_head(6, 3, seed).layers[0].weights for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("size", [0, 1, 2**15, 2**15 + 1, 10**5])
def test_pieces_cover_everything_once(size):
    covered = np.zeros(size, int)
    for piece in pieces(size):
        covered[piece] += 1
    assert (covered == 1).all()
