import numpy as np
import pytest
from support.hearing import warnings_to

from retrain.errors import TrainingError
from retrain.events import ignore
from retrain.options import EvaluationOptions, RunOptions, SplitOptions, TrainingOptions
from retrain.pipeline.checks import check_sets


def warnings_of(counts, split, is_ready_made=False):
    """What is said of sets with so many pictures of each class: {"train": [8, 10], ...}."""
    members = {name: np.repeat(np.arange(len(numbers)), numbers).astype(np.int32) for name, numbers in counts.items()}
    said = []
    options = RunOptions(split=split)
    check_sets(["cat", "dog"], members, is_ready_made, options, warnings_to(said.append))
    return said


@pytest.mark.parametrize(
    "options",
    [
        RunOptions(training=TrainingOptions(patience=5)),
        RunOptions(evaluation=EvaluationOptions(calibrate=True)),
        RunOptions(evaluation=EvaluationOptions(reject=0.9)),
    ],
)
def test_a_split_without_validation_pictures_is_refused_if_an_option_needs_them(options):
    members = {"train": np.array([0, 1], np.int32), "validation": np.zeros(0, np.int32), "test": np.zeros(0, np.int32)}
    with pytest.raises(
        TrainingError, match=r"--(patience|calibrate|reject) needs validation pictures, and the split of this"
    ):
        check_sets(["cat", "dog"], members, False, options, ignore)


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
