import numpy as np
import pytest

from retrain.training.batches import draw, members_of

COUNTS = [2, 5, 40]
DRAWS = 30_000


@pytest.mark.parametrize("balanced", [True, False])
def test_batches_follow_their_law(balanced):
    """Chi-square against the law, at a level that a right sampler fails once in 100,000 seeds."""
    labels = np.repeat(np.arange(3), COUNTS).astype(np.int32)
    drawn = draw(members_of(np.arange(47), labels).as_tensors(), DRAWS, [1, 2], balanced).numpy()
    seen = np.bincount(drawn, minlength=47)
    share = np.repeat([1 / 3 / count for count in COUNTS], COUNTS) if balanced else np.full(47, 1 / 47)
    assert ((seen - DRAWS * share) ** 2 / (DRAWS * share)).sum() < 46 + 4.3 * np.sqrt(2 * 46) + 20


def test_only_chosen_pictures_and_classes_that_have_some_are_drawn():
    labels = np.array([4, 1, 4, 0, 1, 4], np.int32)
    chosen = np.array([5, 4, 0])
    for balanced in (True, False):
        drawn = draw(members_of(chosen, labels).as_tensors(), 1000, [0, 0], balanced).numpy()
        assert set(drawn.tolist()) == {0, 4, 5}


def test_the_same_seed_draws_the_same_and_another_another():
    members = members_of(np.arange(50), np.zeros(50, np.int32)).as_tensors()
    first, again, other = (draw(members, 100, [0, step]).numpy() for step in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
