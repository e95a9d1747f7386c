import numpy as np
import pytest

from retrain.options import TrainingOptions
from retrain.training.picture_weights import class_weights, draw_weights, picture_weights


def test_class_weights_have_a_mean_of_one_over_the_pictures():
    labels = np.array([0, 0, 0, 2], np.int32)
    weights = class_weights(labels, 4)
    assert weights.tolist() == pytest.approx([2 / 3, 0, 2, 0])
    assert weights[labels].mean() == pytest.approx(1)


@pytest.mark.parametrize(
    ("options", "shares"),
    [
        ({}, [1 / 6, 1 / 6, 1 / 6, 1 / 2]),
        ({"class_weight": "balanced"}, [1 / 6, 1 / 6, 1 / 6, 1 / 2]),
        ({"sampling": "uniform"}, [1 / 4] * 4),
    ],
)
def test_a_picture_s_share_is_that_of_a_random_batch(options, shares):
    options = TrainingOptions(**options).resolved(4)
    assert picture_weights(np.array([0, 0, 0, 2], np.int32), 3, options) == pytest.approx(shares)


@pytest.mark.parametrize("options", [{}, {"class_weight": "balanced"}, {"sampling": "uniform"}])
def test_a_weight_is_worth_as_many_pictures(options):
    """In the share of the loss, and in a batch, where the picture is drawn as often as one of weight 1."""
    options = TrainingOptions(**options).resolved(4)
    labels, weights = np.array([0, 0, 1, 1, 1], np.int32), np.array([1, 3, 2, 2, 3], np.float32)
    repeats = weights.astype(int)
    one_by_one = picture_weights(labels.repeat(repeats), 2, options)
    together = np.add.reduceat(one_by_one, np.cumsum(repeats) - repeats)
    assert picture_weights(labels, 2, options, weights) == pytest.approx(together)
    counts = np.bincount(labels)
    chances = 1 / (2 * counts[labels]) if options.sampling == "class-balanced" else np.full(5, 1 / 5)
    shares = chances * draw_weights(labels, weights, options)
    if options.class_weight == "balanced":
        shares *= class_weights(labels, 2, weights)[labels]
    assert shares == pytest.approx(together)
