import numpy as np
from support.hearing import warnings_to

from retrain.options import RunOptions, SplitOptions
from retrain.pipeline.checks import check_sets


def warnings_of(counts, split, is_ready_made=False):
    """What is said of sets with so many pictures of each class: {"train": [8, 10], ...}."""
    members = {name: np.repeat(np.arange(len(numbers)), numbers).astype(np.int32) for name, numbers in counts.items()}
    said = []
    options = RunOptions(split=split)
    check_sets(["cat", "dog"], members, is_ready_made, options, warnings_to(said.append))
    return said


def test_numbers_that_groups_of_pictures_do_not_come_to_are_warned_of():
    split = SplitOptions(train_per_class=10, validation_per_class=3)
    counts = {"train": [8, 10], "validation": [0, 0], "test": [12, 7]}
    assert warnings_of(counts, split) == [
        "fewer train pictures than --train-per-class 10 in class cat (8): pictures that belong together, copies and "
        "_nohash_ groups, are not taken apart",
        "fewer validation pictures than --validation-per-class 3 in class cat (0), dog (0): pictures that belong "
        "together, copies and _nohash_ groups, are not taken apart",
    ]
    assert warnings_of(counts, split, is_ready_made=True) == []
    assert warnings_of({"train": [10, 10], "validation": [3, 3], "test": [1, 1]}, split) == []


def test_a_class_that_is_missing_in_a_set_is_warned_of():
    counts = {"train": [8, 9], "validation": [0, 2], "test": [1, 0]}
    assert warnings_of(counts, SplitOptions()) == [
        "no validation pictures of class cat",
        "no test pictures of class dog",
    ]
