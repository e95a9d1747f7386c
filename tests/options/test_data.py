import pytest

from retrain.errors import UsageError
from retrain.options import SplitOptions


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"train_per_class": 9, "test_per_class": 9},
            "--train-per-class and --test-per-class leave no set for the other pictures",
        ),
        ({"train_per_class": 9, "split": "original"}, "--split original assigns each picture by its path alone"),
        (
            {"validation_per_class": 9, "validation_percentage": 20},
            "--validation-percentage 20 has no effect with --validation-per-class: leave one of them out",
        ),
        ({"test_per_class": 9, "test_percentage": 20}, "--test-percentage 20 has no effect with --test-per-class"),
        ({"train_per_class": 9, "test_percentage": 20}, "--test-percentage 20 has no effect with --train-per-class"),
    ],
)
def test_numbers_of_pictures_that_do_not_go_with_other_options_are_refused(values, message):
    with pytest.raises(UsageError, match=message):
        SplitOptions(**values)


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ({}, ["train", "validation", "test"]),
        ({"validation_percentage": 0, "test_percentage": 0}, ["train"]),
        ({"validation_per_class": 0, "test_per_class": 3}, ["train", "test"]),
        ({"validation_percentage": 0, "train_per_class": 3}, ["train", "test"]),
        ({"validation_percentage": 90, "test_per_class": 3}, ["train", "validation", "test"]),
    ],
)
def test_a_set_without_a_share_or_a_number_is_not_wanted(values, wanted):
    assert [name for name in ("train", "validation", "test") if SplitOptions(**values).wants(name)] == wanted
