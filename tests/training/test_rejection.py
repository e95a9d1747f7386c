import dataclasses

import numpy as np
import pytest

from retrain.cache.vectors import LabelledBottlenecks
from retrain.training.rejection import fewest_for, fit_rejection

SIZE, CLASSES = 30, 3


def pictures(n, seed=0, centres=None, noise=0.3):
    """Vectors around the means of their classes, and their labels."""
    rng = np.random.default_rng(seed)
    if centres is None:
        centres = np.random.default_rng(99).random((CLASSES, SIZE)) * 3
    labels = rng.integers(0, len(centres), n).astype(np.int32)
    labels[: len(centres)] = range(len(centres))
    stretched = rng.normal(0, noise, (n, SIZE)) * np.linspace(0.1, 3, SIZE)
    return LabelledBottlenecks((centres[labels] + stretched).astype(np.float32), labels)


def sets(n, shares=(0.6, 0.2)):
    numbers = np.random.default_rng(1).permutation(np.arange(CLASSES, n))
    train, validation, test = np.split(numbers, [int(shares[0] * n), int(sum(shares) * n)])
    return {"train": np.sort(np.concatenate([np.arange(CLASSES), train])), "validation": validation, "test": test}


@pytest.mark.parametrize("share", [0.5, 0.9, 0.95])
def test_the_share_of_pictures_that_was_asked_for_is_known(share):
    data, members = pictures(3000), sets(3000)
    found = fit_rejection(data, members, CLASSES, share)
    assert found.has_enough
    assert {name: n for name, (n, _) in found.known.items()} == {name: len(own) for name, own in members.items()}
    n, known = found.known["validation"]
    assert share <= known / n <= share + 0.01
    n, known = found.known["test"]
    assert known / n == pytest.approx(share, abs=0.04)
    new = found.rejection.known(pictures(2000, seed=5).vectors)
    assert (new >= 0.5).mean() == pytest.approx(share, abs=0.04)


def test_pictures_of_other_classes_are_farther_away_than_by_plain_distances():
    data, members = pictures(600), sets(600)
    strangers = pictures(600, seed=7, centres=np.random.default_rng(98).random((CLASSES, SIZE)) * 3).vectors
    rejection = fit_rejection(data, members, CLASSES, 0.95).rejection
    refused = (rejection.known(strangers) < 0.5).mean()
    plain = dataclasses.replace(rejection, directions=np.zeros_like(rejection.directions))
    threshold = np.quantile(plain.distances(data.vectors[members["validation"]]), 0.95)
    assert refused > (plain.distances(strangers) > threshold).mean() + 0.1
    assert refused > 0.9


def test_the_distance_is_mahalanobis_by_a_shrunk_covariance():
    from sklearn.covariance import ledoit_wolf

    data, members = pictures(300), sets(300)
    rejection = fit_rejection(data, members, CLASSES, 0.95).rejection
    train, labels = data.vectors[members["train"]].astype(np.float64), data.labels[members["train"]]
    unit = train / np.linalg.norm(train, axis=1, keepdims=True)
    means = np.stack([unit[labels == label].mean(axis=0) for label in range(CLASSES)])
    covariance, _ = ledoit_wolf(unit - means[labels], assume_centered=True)
    tested = data.vectors / np.linalg.norm(data.vectors, axis=1, keepdims=True)
    gaps = tested[:, np.newaxis] - means
    expected = np.einsum("ncd,de,nce->nc", gaps, np.linalg.inv(covariance), gaps).min(axis=1)
    # in units of the smallest variance
    assert rejection.distances(data.vectors) == pytest.approx(expected * np.linalg.eigvalsh(covariance)[0], rel=1e-3)


def test_few_validation_pictures_are_told_and_all_kept():
    assert [fewest_for(share) for share in (0.5, 0.9, 0.95, 0.99)] == [1, 9, 19, 99]
    data = pictures(200)
    numbers = np.arange(200)
    for count, is_enough in ((18, False), (19, True)):
        members = {"train": numbers[:100], "validation": numbers[100 : 100 + count], "test": numbers[150:]}
        found = fit_rejection(data, members, CLASSES, 0.95)
        assert found.has_enough is is_enough
        assert found.known["validation"] == (count, count)


def test_pictures_that_are_all_alike_give_a_rejection_that_can_be_computed_with():
    labels = np.repeat(np.arange(CLASSES), 4).astype(np.int32)
    data = LabelledBottlenecks(np.eye(SIZE, dtype=np.float32)[labels], labels)
    members = {"train": np.arange(12), "validation": np.arange(12), "test": np.arange(0)}
    found = fit_rejection(data, members, CLASSES, 0.9)
    assert np.isfinite(found.rejection.directions).all()
    assert found.known == {"train": (12, 12), "validation": (12, 12), "test": (0, 0)}
    assert found.rejection.known(np.eye(SIZE, dtype=np.float32)[-1:])[0, 0] < 0.01
