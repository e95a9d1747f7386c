import hashlib
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrain.data.folds import assign_folds, stable_folds
from retrain.data.labelled_pictures import Sample
from retrain.errors import ImageFolderError


def keys_of(contents):
    digests = b"".join(hashlib.sha256(str(content).encode()).digest() for content in contents)
    return np.frombuffer(digests, np.uint8).reshape(-1, 32)


def singles(counts):
    """Samples and keys of classes of so many different pictures."""
    samples = [Sample(f"c{label}/{i}", label, f"c{label}") for label, count in enumerate(counts) for i in range(count)]
    return samples, keys_of(sample.path for sample in samples)


def per_fold(samples, assigned, folds):
    """(classes, folds): pictures."""
    table = np.zeros((max(sample.label for sample in samples) + 1, folds), int)
    np.add.at(table, ([sample.label for sample in samples], assigned), 1)
    return table


SEEDS = st.integers(0, 2**31 - 1)
FOLDS = st.integers(2, 12)


@given(FOLDS.flatmap(lambda k: st.tuples(st.just(k), st.lists(st.integers(k, 60), min_size=1, max_size=6))), SEEDS)
def test_single_pictures_are_spread_to_within_one(case, seed):
    folds, counts = case
    samples, keys = singles(counts)
    assigned = assign_folds(samples, keys, folds, seed)
    assert assigned.dtype == np.int32
    table = per_fold(samples, assigned, folds)
    assert table.sum(axis=1).tolist() == counts
    assert (np.ptp(table, axis=1) <= 1).all()
    assert np.ptp(table.sum(axis=0)) <= 1


# pictures as (class, group or none, content): groups and copies tie pictures of one or of several classes together
PICTURES = st.lists(
    st.tuples(st.integers(0, 2), st.none() | st.integers(0, 8), st.integers(0, 60)), min_size=2, max_size=80
)


def tangled(pictures):
    samples = [
        Sample(f"c{label}/" + (f"{i}" if group is None else f"g{group}_nohash_{i}"), label, f"c{label}")
        for i, (label, group, _) in enumerate(pictures)
    ]
    samples += [Sample(f"c{label}/enough{i}", label, f"c{label}") for label in range(3) for i in range(12)]
    return samples, keys_of([content for _, _, content in pictures] + [sample.path for sample in samples[-36:]])


@given(PICTURES, FOLDS, SEEDS)
def test_copies_and_groups_stay_together(pictures, folds, seed):
    assigned = assign_folds(*tangled(pictures), folds, seed)
    assert set(assigned.tolist()) <= set(range(folds))
    groups, contents = defaultdict(set), defaultdict(set)
    for (_, group, content), fold in zip(pictures, assigned[:-36].tolist(), strict=True):
        contents[content].add(fold)
        if group is not None:
            groups[group].add(fold)
    assert {len(found) for found in [*groups.values(), *contents.values()]} == {1}


@given(PICTURES, FOLDS, SEEDS, st.randoms(use_true_random=False))
def test_the_order_of_the_samples_does_not_matter(pictures, folds, seed, random):
    samples, keys = tangled(pictures)
    order = list(range(len(samples)))
    random.shuffle(order)
    assigned = assign_folds(samples, keys, folds, seed)
    again = assign_folds([samples[number] for number in order], keys[order], folds, seed)
    assert again.tolist() == assigned[order].tolist()


@given(st.lists(st.integers(1, 12), min_size=5, max_size=60), st.integers(2, 5), SEEDS)
def test_groups_are_spread_to_within_the_largest(sizes, folds, seed):
    samples = [Sample(f"c/g{group}_nohash_{i}", 0, "c") for group, size in enumerate(sizes) for i in range(size)]
    table = per_fold(samples, assign_folds(samples, keys_of(range(len(samples))), folds, seed), folds)
    assert np.ptp(table) <= max(sizes)
    assert table.min() >= 1


def test_a_rare_class_is_spread_although_its_pictures_lie_with_many_of_another():
    """Four groups of twenty cats and a dog, and 120 cats: without shares, the dogs would count for nothing."""
    samples = [Sample(f"cat/g{group}_nohash_{i}", 0, "cat") for group in range(4) for i in range(20)]
    samples += [Sample(f"dog/g{group}_nohash_x", 1, "dog") for group in range(4)]
    samples += [Sample(f"cat/{i}", 0, "cat") for i in range(120)]
    table = per_fold(samples, assign_folds(samples, keys_of(range(len(samples))), 4, 0), 4)
    assert table.tolist() == [[50] * 4, [1] * 4]


def test_the_seed_decides():
    samples, keys = singles([40, 40])
    first = assign_folds(samples, keys, 5, 1)
    assert first.tolist() == assign_folds(samples, keys, 5, 1).tolist()
    others = [assign_folds(samples, keys, 5, seed) for seed in range(2, 30)]
    # pictures of the same fold in both are a fifth or so, as by chance
    assert np.mean([(first == other).mean() for other in others]) == pytest.approx(1 / 5, abs=0.06)
    assert len({tuple(other.tolist()) for other in others}) == len(others)


def test_no_fold_is_always_the_large_one():
    samples, keys = singles([11])
    large = Counter(np.bincount(assign_folds(samples, keys, 5, seed)).argmax() for seed in range(100))
    assert set(large) == set(range(5))


def test_ready_made_sets_mean_nothing():
    samples, keys = singles([20, 20])
    sets = ["train", "validation", "test"]
    marked = [Sample(f"{sets[i % 3]}/{s.path}", s.label, s.class_name, sets[i % 3]) for i, s in enumerate(samples)]
    assert assign_folds(marked, keys, 5, 3).tolist() == assign_folds(samples, keys, 5, 3).tolist()


def test_classes_with_too_few_pictures_are_named():
    samples, keys = singles([4, 5, 2])
    with pytest.raises(
        ImageFolderError, match=r"fewer than 5 different pictures in class c0 \(4\), c2 \(2\) .* lower --folds or add"
    ):
        assign_folds(samples, keys, 5, 0)


def test_copies_and_groups_count_once_and_sets_are_no_classes():
    copies = [Sample(f"train/owl/{i}", 0, "owl", "train") for i in range(10)]
    group = [Sample(f"test/cat/a_nohash_{i}", 1, "cat", "test") for i in range(10)]
    with pytest.raises(ImageFolderError, match=r"fewer than 2 different pictures in class owl \(1\), cat \(1\)"):
        assign_folds([*copies, *group], keys_of([0] * 10 + list(range(1, 11))), 2, 0)


def test_groups_of_a_manifest_are_in_one_fold():
    samples = [Sample(f"cat/{n}", 0, "cat", group=str(n // 3)) for n in range(30)]
    folds = assign_folds(samples, np.random.default_rng(0).integers(0, 256, (30, 32)).astype(np.uint8), 5, 0)
    assert np.bincount(folds).tolist() == [6] * 5
    assert all(len({*folds[start : start + 3].tolist()}) == 1 for start in range(0, 30, 3))


@given(st.lists(st.integers(2, 30), min_size=2, max_size=6), st.integers(0, 5), st.integers(0, 10**6))
def test_stable_folds_leave_every_other_picture_where_it_is(counts, label, number):
    samples, keys = singles(counts)
    before = stable_folds(samples, keys, 5)
    assert set(before.tolist()) <= {*range(5)}
    assert all(
        len({*row}) > 1
        for row in ([f for s, f in zip(samples, before, strict=True) if s.label == c] for c in range(len(counts)))
    )
    number %= len(samples)
    relabelled = list(samples)
    relabelled[number] = Sample("new", label % len(counts), "new")
    after = stable_folds(relabelled, keys, 5)
    moved = np.flatnonzero(before != after)
    # at most the pictures that keep a small class from falling into one fold
    assert len(moved) <= 3


def test_a_class_of_one_picture_and_its_copies_is_in_no_fold():
    samples, keys = singles([4, 4])
    samples += [Sample(f"c2/{number}", 2, "c2") for number in range(3)]
    folds = stable_folds(samples, np.concatenate([keys, keys_of(["same"] * 3)]), 5)
    assert (folds[-3:] == -1).all()
    assert (folds[:8] >= 0).all()
