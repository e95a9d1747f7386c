"""The order in which labels help most."""

import numpy as np
import pytest

from retrain.evaluation import labelling, labelling_order, normalised

UNSURE, SURE = [0.5, 0.5], [1.0, 0.0]


def kinds(*counts, length=8, spread=0.1):
    """So many pictures around each of some directions, the most typical one of each first; and their kinds."""
    rng = np.random.default_rng(3)
    noise = [np.concatenate([np.zeros((1, length)), spread * rng.normal(size=(n - 1, length))]) for n in counts]
    vectors = np.concatenate([np.eye(length)[kind] + part for kind, part in enumerate(noise)])
    return vectors.astype(np.float32), np.repeat(np.arange(len(counts)), counts)


def test_with_nothing_labelled_the_first_are_typical_of_the_largest_kinds():
    vectors, kind = kinds(12, 30, 20)
    order = labelling_order(np.zeros((62, 0)), vectors, vectors[:0])
    assert kind[order.numbers[:3]].tolist() == [1, 2, 0]
    assert sorted(order.numbers.tolist()) == [*range(62)]
    assert order.likeness.tolist() == [0] * 62 == order.margins.tolist()


def test_each_choice_adds_most_to_those_before_it():
    """Against the sum itself, computed anew for every candidate."""
    rng = np.random.default_rng(4)
    vectors, known = rng.normal(size=(40, 6)), rng.normal(size=(3, 6))
    scores = rng.dirichlet(np.ones(4), 40)
    order = labelling_order(scores, vectors, known, most=10)
    best = np.sort(scores, axis=1)
    np.testing.assert_allclose(order.margins, best[:, -1] - best[:, -2])
    unit, chosen = normalised(vectors), [normalised(known)]
    for number in order.numbers[:10]:
        totals = [
            (1 - order.margins) @ np.maximum((unit @ np.concatenate([*chosen, unit[[i]]]).T).max(axis=1), 0)
            for i in range(40)
        ]
        assert totals[number] == pytest.approx(max(totals), abs=1e-5)
        chosen.append(unit[[number]])


def test_pictures_that_the_classifier_is_unsure_of_come_first():
    vectors, kind = kinds(20, 20)
    scores = np.where(kind[:, None] == 0, SURE, UNSURE)
    order = labelling_order(scores, vectors, np.zeros((0, 8), np.float32), most=3)
    assert (kind[order.numbers[:3]] == 1).all()
    order = labelling_order(scores[::-1], vectors, np.zeros((0, 8), np.float32), most=3)
    assert (kind[order.numbers[:3]] == 0).all()


def test_what_is_labelled_is_not_asked_for_again():
    vectors, kind = kinds(20, 10)
    order = labelling_order(np.full((30, 2), 0.5), vectors, 3 * vectors[:1])
    assert kind[order.numbers[0]] == 1
    assert order.numbers[-1] == 0  # a copy of a labelled picture is the last of all
    assert order.likeness[0] == pytest.approx(1)


def test_of_equal_pictures_one_is_chosen_and_the_others_come_last():
    vectors, _ = kinds(10, 10, spread=0.2)
    vectors[5:10] = vectors[0]
    order = labelling_order(np.full((20, 2), 0.5), vectors, np.zeros((0, 8)))
    assert np.isin(order.numbers[-5:], [0, *range(5, 10)]).all()


def test_each_picture_of_the_sample_is_stood_for_once():
    vectors, _ = kinds(12, 30, 20)
    order = labelling_order(np.zeros((62, 0)), vectors, vectors[:0], most=3)
    assert order.stands_for[order.numbers[:3]].tolist() == [30, 20, 12]
    assert order.stands_for.sum() == 62


def test_of_many_pictures_a_sample_stands_for_all(monkeypatch):
    monkeypatch.setattr(labelling, "_MOST_HEARD", 90)
    monkeypatch.setattr(labelling, "_MOST_ALONE", 60)
    vectors, kind = kinds(300, 100, 50)
    order = labelling_order(np.zeros((450, 0)), vectors, vectors[:0], most=3)
    assert kind[order.numbers[:3]].tolist() == [0, 1, 2]
    assert sorted(order.numbers.tolist()) == [*range(450)]
    assert order.stands_for.sum() == pytest.approx(450, abs=3)


@pytest.mark.parametrize("count", [0, 1])
def test_few_pictures(count):
    order = labelling_order(np.full((count, 3), 1 / 3), np.ones((count, 4)), np.zeros((0, 4)))
    assert order.numbers.tolist() == [*range(count)]


@pytest.mark.parametrize("spread", [0.02, 0.3])
def test_what_a_copy_is_depends_on_how_alike_the_pictures_are(spread):
    """As some networks make vectors that are all much alike."""
    vectors, _ = kinds(20, 20, spread=spread)
    known = vectors[1:3].copy()
    known[0] += spread / 8 * normalised(np.random.default_rng(1).normal(size=(1, 8)))[0]
    order = labelling_order(np.full((40, 2), 0.5), vectors, known)
    assert np.flatnonzero(order.is_copy).tolist() == [1, 2]
    assert sorted(order.numbers[-2:].tolist()) == [1, 2]
