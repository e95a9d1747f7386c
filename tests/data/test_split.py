import csv
import hashlib
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrain.data.groups import inseparable_units
from retrain.data.labelled_pictures import Sample
from retrain.data.split import SETS, assign_sets, check_class_sizes, original_set
from retrain.errors import ImageFolderError, UsageError
from retrain.options import SplitOptions


def keys_of(contents):
    digests = b"".join(hashlib.sha256(str(content).encode()).digest() for content in contents)
    return np.frombuffer(digests, np.uint8).reshape(-1, 32)


def split_of(paths, contents, labels=None, options=SplitOptions()):
    labels = labels or [0] * len(paths)
    samples = [Sample(path, label, path.split("/")[0]) for path, label in zip(paths, labels, strict=True)]
    return assign_sets(samples, keys_of(contents), options)


def test_shares_are_near_the_percentages():
    sets = split_of([f"c/{i}" for i in range(5000)], range(5000), options=SplitOptions(20, 10))
    assert sets.count("validation") == pytest.approx(1000, abs=120)
    assert sets.count("test") == pytest.approx(500, abs=90)


@given(st.integers(3, 60), st.integers(1, 40), st.floats(0, 45), st.floats(0, 45))
def test_adding_pictures_moves_no_other(n, more, validation, test):
    """But for classes so small that a set had to be filled."""
    options = SplitOptions(validation, test)
    many = split_of([f"c/{i}" for i in range(n + more)], range(n + more), options=options)
    few = split_of([f"c/{i}" for i in range(n)], range(n), options=options)
    by_hash = [set_by_hash(i, options) for i in range(n)]
    if set(SETS) <= set(by_hash):
        assert few == many[:n] == by_hash


def set_by_hash(content, options):
    fraction = int.from_bytes(hashlib.sha256(str(content).encode()).digest()[:8], "big") / 2**64 * 100
    if fraction < options.validation_percentage:
        return "validation"
    return "test" if fraction < options.validation_percentage + options.test_percentage else "train"


@given(st.lists(st.integers(0, 30), min_size=1, max_size=60))
def test_identical_pictures_are_in_one_set_whatever_their_name_and_label(contents):
    sets = split_of([f"{i % 3}/{i}" for i in range(len(contents))], contents, [i % 3 for i in range(len(contents))])
    seen = {}
    for content, set_ in zip(contents, sets, strict=True):
        assert seen.setdefault(content, set_) == set_


def test_renaming_and_relabelling_move_nothing():
    before = split_of([f"a/{i}" for i in range(200)], range(200))
    after = split_of([f"b/x{i}.jpg" for i in range(200)], range(200), [1] * 200)
    assert before == after


@given(st.integers(3, 12), st.integers(0, 10_000))
def test_a_class_with_three_pictures_has_one_in_every_set(n, start):
    contents = range(start, start + n)
    assert set(split_of([f"c/{i}" for i in contents], contents)) == set(SETS)


def test_sets_that_are_not_wanted_stay_empty():
    sets = split_of([f"c/{i}" for i in range(50)], range(50), options=SplitOptions(0, 0))
    assert set(sets) == {"train"}
    assert "test" not in split_of([f"c/{i}" for i in range(50)], range(50), options=SplitOptions(10, 0))


def test_too_few_pictures_for_all_sets_are_split_by_hash_alone():
    options = SplitOptions()
    assert split_of(["c/0", "c/1"], [0, 1]) == [set_by_hash(0, options), set_by_hash(1, options)]


@given(st.integers(2, 20), st.integers(0, 1000))
def test_groups_stay_together_in_all_classes(size, seed):
    paths = [f"{i % 2}/leaf{seed}_nohash_{i}.jpg" for i in range(size)] + [f"0/other{i}" for i in range(20)]
    sets = split_of(paths, range(len(paths)), [int(path[0]) for path in paths])
    assert len(set(sets[:size])) == 1


def test_a_picture_that_stands_in_two_groups_ties_them_together():
    for seed in range(30):
        paths = [f"0/a{seed}_nohash_1", f"0/a{seed}_nohash_2", f"0/b{seed}_nohash_1", f"0/b{seed}_nohash_2"]
        sets = split_of([*paths, *(f"0/{i}" for i in range(30))], [1, 2, 2, 3, *range(100, 130)])
        assert len(set(sets[:4])) == 1


def test_a_copy_outside_its_group_goes_with_the_group():
    for seed in range(30):
        paths = [f"1/copy{seed}", f"0/a{seed}_nohash_1", f"0/a{seed}_nohash_2", *(f"0/{i}" for i in range(30))]
        sets = split_of(paths, [7, 7, 8, *range(100, 130)], [1, 0, 0] + [0] * 30)
        assert len(set(sets[:3])) == 1


def test_ready_made_sets_are_taken_as_they_are():
    samples = [
        Sample("train/c/a", 0, "c", "train"),
        Sample("val/c/a", 0, "c", "validation"),
        Sample("test/c/b", 0, "c", "test"),
    ]
    assert assign_sets(samples, keys_of([1, 1, 2]), SplitOptions()) == ["train", "validation", "test"]


def test_original_rule_gives_the_original_results(test_data):
    with (test_data / "reference" / "original-split.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 3600
    names = {"training": "train", "validation": "validation", "testing": "test"}
    wrong = [row for row in rows if original_set(row["path"], 10, 10) != names[row["set"]]]
    assert not wrong


def test_original_rule_is_an_option():
    samples = [Sample(f"daisy/{i}.jpg", 0, "daisy") for i in range(300)]
    sets = assign_sets(samples, keys_of(range(300)), SplitOptions(split="original"), "flower_photos")
    assert sets == [original_set(f"flower_photos/{sample.path}", 10, 10) for sample in samples]
    assert set(sets) == set(SETS)


def test_one_class_is_refused():
    with pytest.raises(ImageFolderError, match=r"only one class \(cat\)"):
        check_class_sizes(["cat"], [100])


def test_small_classes_are_refused_by_name():
    with pytest.raises(ImageFolderError, match=r"fewer than 3 pictures in class cat \(2\), owl \(0\)"):
        check_class_sizes(["cat", "dog", "owl"], [2, 50, 0])


@given(st.integers(1, 300))
def test_a_class_of_copies_of_one_picture_is_for_training(content):
    """However its hash falls: there must be something to train on."""
    sets = split_of(
        [*(f"a/{i}" for i in range(5)), *(f"b/{i}" for i in range(50))],
        [content] * 5 + list(range(1000, 1050)),
        [0] * 5 + [1] * 50,
    )
    assert set(sets[:5]) == {"train"}


def test_the_original_rule_joins_paths_as_the_original_does():
    samples = [Sample(f"daisy/{i}.jpg", 0, "daisy") for i in range(300)]
    options = SplitOptions(split="original")
    assert assign_sets(samples, keys_of(range(300)), options, "f") == assign_sets(
        samples, keys_of(range(300)), options, "f/"
    )


COUNTS = st.builds(
    lambda train, validation, test: SplitOptions(
        train_per_class=train, validation_per_class=validation, test_per_class=None if train else test
    ),
    st.none() | st.integers(1, 9),
    st.none() | st.integers(0, 9),
    st.integers(0, 9),
)


def counts_of(options):
    return {name: count for name in SETS if (count := getattr(options, f"{name}_per_class")) is not None}


@given(COUNTS, st.lists(st.integers(19, 40), min_size=1, max_size=3), st.integers(0, 1000))
def test_every_class_gives_the_number_that_was_asked_for(options, sizes, start):
    labels = [label for label, size in enumerate(sizes) for _ in range(size)]
    sets = split_of(
        [f"{label}/{i}" for i, label in enumerate(labels)], range(start, start + len(labels)), labels, options
    )
    held = Counter(zip(sets, labels, strict=True))
    for label in range(len(sizes)):
        for name, count in counts_of(options).items():
            assert held[name, label] == count
        for name in SETS:
            assert bool(held[name, label]) == options.wants(name)


@given(COUNTS, st.integers(19, 60), st.integers(0, 1000))
def test_numbers_take_validation_from_the_low_end_then_the_test_and_training_from_the_high_end(options, n, start):
    contents = range(start, start + n)
    sets = split_of([f"c/{i}" for i in contents], contents, options=options)
    fractions = [bytes(key[:8]) for key in keys_of(contents)]
    in_order = [set_ for _, set_ in sorted(zip(fractions, sets, strict=True))]
    assert in_order == sorted(in_order, key=["validation", "test", "train"].index)


@given(COUNTS, st.integers(19, 60), st.integers(0, 1000))
def test_with_numbers_a_picture_more_moves_two_others_at_most(options, n, start):
    contents = range(start, start + n + 1)
    many = split_of([f"c/{i}" for i in contents], contents, options=options)
    few = split_of([f"c/{i}" for i in contents[:-1]], contents[:-1], options=options)
    assert sum(before != after for before, after in zip(few, many, strict=False)) <= 2


@given(COUNTS, st.lists(st.integers(0, 60), min_size=60, max_size=120), st.permutations([0, 1, 2]))
def test_with_numbers_copies_stay_together_and_names_and_order_of_classes_decide_nothing(options, contents, order):
    # twenty pictures that no class shares, so that there are enough in each
    contents = [*contents, *range(100, 160)]
    labels = [i % 3 for i in range(len(contents))]
    sets = split_of([f"{label}/{i}" for i, label in enumerate(labels)], contents, labels, options)
    renamed = [order[label] for label in labels]
    paths = [f"{label}/other{i}" for i, label in enumerate(renamed)]
    assert split_of(paths[::-1], contents[::-1], renamed[::-1], options)[::-1] == sets
    seen = {}
    for content, set_ in zip(contents, sets, strict=True):
        assert seen.setdefault(content, set_) == set_
    held = Counter(zip(sets, labels, strict=True))
    for name, count in counts_of(options).items():
        assert all(held[name, label] <= count for label in range(3))


def test_groups_are_taken_whole_while_they_fit():
    paths = [f"c/leaf{i // 4}_nohash_{i}" for i in range(80)]
    sets = split_of(paths, range(80), options=SplitOptions(validation_per_class=10, test_per_class=7))
    assert (sets.count("validation"), sets.count("test")) == (8, 4)
    assert all(len(set(sets[i : i + 4])) == 1 for i in range(0, 80, 4))


def test_shares_give_way_to_numbers():
    options = SplitOptions(validation_percentage=90, train_per_class=8)
    sets = split_of([f"c/{i}" for i in range(10)], range(10), options=options)
    assert Counter(sets) == {"train": 8, "validation": 1, "test": 1}


def test_classes_with_too_few_pictures_for_the_numbers_are_refused_by_name():
    paths = [*(f"cat/{i}" for i in range(20)), *(f"dog/{i}" for i in range(30))]
    contents = [*(i % 15 for i in range(20)), *range(100, 130)]  # of cats, there are five copies
    options = SplitOptions(validation_per_class=5, test_per_class=10)
    message = (
        r"too few different pictures in class cat \(15\): --validation-per-class 5 and --test-per-class 10 take 15, "
        "and training needs at least one more; lower the numbers or add pictures"
    )
    with pytest.raises(ImageFolderError, match=message):
        split_of(paths, contents, [0] * 20 + [1] * 30, options)
    with pytest.raises(ImageFolderError, match="--train-per-class 30 take 30, and the test needs at least one more"):
        split_of(paths, contents, [0] * 20 + [1] * 30, SplitOptions(train_per_class=30))


def test_a_group_of_a_manifest_stays_together_as_one_of_file_names_does():
    samples = [Sample(f"cat/{n}.jpg", 0, "cat", group=f"cat{n // 4}") for n in range(400)]
    named = [Sample(f"cat/cat{n // 4}_nohash_{n}.jpg", 0, "cat") for n in range(400)]
    keys = np.random.default_rng(0).integers(0, 256, (400, 32)).astype(np.uint8)
    sets = assign_sets(samples, keys, SplitOptions())
    assert all(len({*sets[start : start + 4]}) == 1 for start in range(0, 400, 4))
    assert sets == assign_sets(named, keys, SplitOptions())
    assert {*sets} == {"train", "validation", "test"}


def test_a_picture_in_a_group_by_its_name_and_in_another_by_the_manifest_ties_both():
    samples = [
        Sample("c/a_nohash_1", 0, "c", group="p"),
        Sample("c/a_nohash_2", 0, "c"),
        Sample("c/x", 0, "c", group="p"),
    ]
    keys = np.arange(96, dtype=np.uint8).reshape(3, 32)
    assert len({*inseparable_units(samples, keys)}) == 1


def test_a_picture_whose_bytes_are_the_name_of_a_group_is_no_group():
    samples = [Sample(f"c/{n}", 0, "c", group=str(n // 2)) for n in range(6)]
    units = inseparable_units(samples, keys_of(range(6)))
    assert [units.index(unit) for unit in units] == [0, 0, 2, 2, 4, 4]


def test_the_original_rule_knows_no_groups():
    samples = [Sample("c/a", 0, "c", group="p")]
    with pytest.raises(UsageError, match=r"--split original .* would take the manifest's groups apart: leave it out"):
        assign_sets(samples, np.zeros((1, 32), np.uint8), SplitOptions(split="original"))
