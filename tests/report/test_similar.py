"""Nearest pictures, pairs that are near to each other, and likeness inside a class."""

import numpy as np
import pytest
from support.judged import keys_of

from retrain.evaluation import normalised
from retrain.report import similar
from retrain.report.similar import class_likeness, near_pairs, nearest


def cosines_of(vectors):
    unit = normalised(vectors)
    return unit @ unit.T


@pytest.fixture
def vectors():
    rng = np.random.default_rng(5)
    centres = rng.normal(size=(6, 40))
    return (centres[rng.integers(0, 6, 300)] + 0.5 * rng.normal(size=(300, 40))).astype(np.float32)


def test_near_pairs_are_the_nearest_of_each_picture(vectors):
    cosines = cosines_of(vectors)
    pairs = near_pairs(vectors, np.arange(300))
    found = {*zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)}
    assert len(found) == len(pairs.first)
    assert all(one < other for one, other in found)
    assert np.allclose(pairs.cosines, cosines[pairs.first, pairs.second], atol=1e-5)
    np.fill_diagonal(cosines, -2)
    best = cosines.argmax(axis=1)
    hits = sum(tuple(sorted(pair)) in found for pair in enumerate(best.tolist()))
    assert hits == 300  # 40 numbers are within the directions, so nothing is lost


def test_a_copy_leads_even_among_pictures_that_all_look_alike(vectors):
    rng = np.random.default_rng(6)
    alike = vectors + 5  # all cosines are high
    copy = alike[17] + 0.05 * rng.normal(size=40)
    pairs = near_pairs(np.vstack([alike, copy.astype(np.float32)]), np.arange(301))
    best = int(pairs.lead.argmax())
    assert (pairs.first[best], pairs.second[best]) == (17, 300)


def test_blocks_make_no_difference(vectors, monkeypatch):
    whole = near_pairs(vectors, np.arange(300))
    monkeypatch.setattr(similar, "_BLOCK_VALUES", 300 * 7)
    parts = near_pairs(vectors, np.arange(300))
    assert np.array_equal(whole.first, parts.first)
    assert np.array_equal(whole.second, parts.second)


def test_only_chosen_pictures_are_paired(vectors):
    chosen = np.arange(1, 300, 2)
    pairs = near_pairs(vectors, chosen)
    assert {*pairs.first.tolist(), *pairs.second.tolist()} <= {*chosen.tolist()}


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_few_pictures(vectors, count):
    pairs = near_pairs(vectors, np.arange(count))
    assert len(pairs.first) == count * (count - 1) // 2


def test_nearest_leaves_out_the_picture_and_its_copies(vectors):
    keys = keys_of(range(300)).copy()
    keys[40] = keys[7]
    among = np.arange(100)
    numbers, cosines = nearest(vectors, np.array([7, 250]), among, keys)
    expected = cosines_of(vectors)
    for row, number in enumerate((7, 250)):
        order = [n for n in np.argsort(-expected[number, :100], kind="stable").tolist() if n not in (7, 40) or row]
        assert numbers[row].tolist() == order[:3]
        assert np.allclose(cosines[row], expected[number, order[:3]], atol=1e-5)


def test_nearest_of_too_few():
    vectors = np.eye(3, dtype=np.float32)
    numbers, cosines = nearest(vectors, np.array([0]), np.array([0, 1]), keys_of(range(3)))
    assert numbers.tolist() == [[1, -1, -1]]
    assert cosines.tolist() == [[0, 0, 0]]


def test_likeness_is_low_for_a_stranger(vectors):
    rng = np.random.default_rng(7)
    own = (vectors[0] + 0.1 * rng.normal(size=(50, 40))).astype(np.float32)
    own[20] = rng.normal(size=40)
    likeness = class_likeness(own, np.arange(50), seed=0)
    assert likeness.argmin() == 20
    expected = cosines_of(own)
    np.fill_diagonal(expected, -2)
    assert np.allclose(likeness, np.sort(expected, axis=1)[:, -5:].mean(axis=1), atol=1e-5)


def test_large_classes_are_compared_with_a_part(vectors, monkeypatch):
    monkeypatch.setattr(similar, "_MOST_COMPARED", 20)
    likeness = class_likeness(vectors, np.arange(300), seed=0)
    assert likeness.shape == (300,)
    assert likeness.max() < 1 - 1e-6  # no picture is its own fellow


@pytest.mark.parametrize("count", [1, 2])
def test_likeness_of_very_small_classes(vectors, count):
    likeness = class_likeness(vectors, np.arange(count), seed=0)
    assert likeness.tolist() == pytest.approx([cosines_of(vectors)[0, 1]] * 2 if count == 2 else [0], abs=1e-6)
