import numpy as np
import pytest

from retrain.training.layers import Dropout, Layers, logits_of
from retrain.training.parameters import Parameters, initial_head
from retrain.training.products import Products


@pytest.mark.parametrize("hidden", [0, 5])
def test_logits_are_those_of_the_head(hidden):
    head = initial_head(7, 3, 1, hidden)
    vectors = np.random.default_rng(0).normal(0, 1, (9, 7)).astype(np.float32)
    parameters = Parameters.of(head)
    wanted = head.logits(vectors).T
    with Products() as products:
        assert logits_of(parameters, vectors, products) == pytest.approx(wanted, abs=1e-6)
        assert Layers(parameters, products, 9).forward(vectors) == pytest.approx(wanted, abs=1e-6)


def test_dropout_drops_its_share_evenly_and_independently():
    dropout = Dropout(0.3, 1, (500,), 1000)
    [kept] = dropout.kept(2)
    dropped = ~kept.reshape(1000, 500)
    assert dropped.mean() == pytest.approx(0.3, abs=0.003)
    assert dropout.scale == pytest.approx(1 / 0.7, rel=1e-4)
    assert dropped.mean(axis=0).std() == pytest.approx(np.sqrt(0.21 / 1000), rel=0.15)
    assert dropped.mean(axis=1).std() == pytest.approx(np.sqrt(0.21 / 500), rel=0.15)
    for part, n in ((dropped[:60], 500), (dropped[:, :60].T, 1000)):
        correlations = np.corrcoef(part)[np.triu_indices(60, 1)]
        assert correlations.std() == pytest.approx(1 / np.sqrt(n), rel=0.15)
        assert abs(correlations.mean()) < 5 / np.sqrt(n * len(correlations))
    assert not np.array_equal(kept, dropout.kept(3)[0])


def test_dropout_is_at_every_layer_s_input_and_leaves_the_batch_as_it_was():
    parameters = Parameters.of(initial_head(50, 3, 0, 20))
    vectors = np.random.default_rng(0).normal(0, 1, (4, 50)).astype(np.float32)
    before, dropout = vectors.copy(), Dropout(0.5, 1, (50, 20), 4)
    with Products() as products:
        found = Layers(parameters, products, 4, dropout).forward(vectors, 9)
    (first, _), (second, _) = parameters.layers
    kept = dropout.kept(9)
    below = first @ (2 * vectors * kept[0].reshape(4, 50)).T
    above = second @ (2 * np.maximum(below, 0) * kept[1].reshape(20, 4))
    assert found == pytest.approx(above, abs=1e-5)
    assert np.array_equal(vectors, before)


@pytest.mark.parametrize(("share", "dropped"), [(1e-6, 0.0), (0.99, 0.99)])
def test_very_small_and_large_shares_are_dropped(share, dropped):
    dropout = Dropout(share, 0, (1000,), 100)
    [kept] = dropout.kept(0)
    assert 1 - kept.mean() == pytest.approx(dropped, abs=0.002)
    assert kept.mean() * dropout.scale == pytest.approx(1, rel=0.05)
