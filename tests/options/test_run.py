import dataclasses

import pytest

from retrain import options as config
from retrain.errors import UsageError
from retrain.options import RunOptions, SplitOptions, TrainingOptions


@pytest.mark.parametrize(
    ("options", "values", "message"),
    [
        (TrainingOptions, {"steps": 0}, "--steps 0: must be between 1 and"),
        (TrainingOptions, {"steps": -3}, "--steps -3"),
        (TrainingOptions, {"epochs": 0}, "--epochs 0: must be between 1e-06 and"),
        (TrainingOptions, {"batch_size": 0}, "--batch-size 0"),
        (TrainingOptions, {"learning_rate": 0.0}, "--learning-rate 0"),
        (TrainingOptions, {"learning_rate": float("nan")}, "--learning-rate nan"),
        (TrainingOptions, {"validation_batch_size": 0}, "--validation-batch-size 0"),
        (TrainingOptions, {"seed": -1}, "--seed -1"),
        (SplitOptions, {"validation_percentage": 91}, "--validation-percentage 91: must be between 0 and 90"),
        (SplitOptions, {"validation_percentage": 50, "test_percentage": 50}, "leave less than 5% for training"),
        (SplitOptions, {"split": "alphabet"}, "--split alphabet: not one of content, original"),
        (SplitOptions, {"train_per_class": 0}, "--train-per-class 0: must be between 1 and"),
        (SplitOptions, {"test_per_class": -1}, "--test-per-class -1: must be between 0 and"),
        (config.ImageOptions, {"max_pixels": 0}, "--max-pixels 0: must be at least 1"),
        (config.BackboneOptions, {"input_size": 0}, "--input-size 0"),
        (config.BackboneOptions, {"input_range": "0..2"}, "--input-range 0..2"),
        (config.EvaluationOptions, {"test_batch_size": 0}, "--test-batch-size 0"),
        (TrainingOptions, {"l2": -1.0}, "--l2 -1.0: must be between 0"),
        (TrainingOptions, {"l1": float("nan")}, "--l1 nan"),
        (TrainingOptions, {"dropout": 1.0}, "--dropout 1.0: must be between 0 and 0.99"),
        (TrainingOptions, {"label_smoothing": -0.1}, "--label-smoothing -0.1"),
        (TrainingOptions, {"hidden_units": -1}, "--hidden-units -1"),
        (TrainingOptions, {"patience": 0}, "--patience 0: must be between 1"),
        (TrainingOptions, {"max_memory": -1}, "--max-memory -1: must be at least 0"),
        (config.AugmentationOptions, {"augment": 1001}, "--augment 1001: must be between 0 and 1,000"),
        (config.AugmentationOptions, {"augment": 1, "rotate": 181.0}, "--rotate 181.0: must be between 0 and 180"),
        (config.AugmentationOptions, {"augment": 1, "crop": 301.0}, "--crop 301.0"),
        (config.AugmentationOptions, {"augment": 1, "brightness": 101.0}, "--brightness 101.0"),
    ],
)
def test_values_out_of_range_are_refused_by_name(options, values, message):
    with pytest.raises(UsageError, match=message):
        options(**values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"train_per_class": 9, "test_per_class": 9},
            "--train-per-class and --test-per-class: the other pictures must go",
        ),
        ({"train_per_class": 9, "split": "original"}, "--split original puts each picture where its path says"),
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


def test_time_for_a_search_that_is_not_asked_for_is_refused():
    with pytest.raises(UsageError, match="--tune-seconds is the time for --tune: give that, too"):
        config.TuningOptions(tune_seconds=30)


def test_copies_and_distortions_need_each_other():
    with pytest.raises(UsageError, match=r"--augment 10 makes copies.*add a distortion, such as --flip or --rotate 10"):
        config.AugmentationOptions(augment=10)
    with pytest.raises(UsageError, match=r"--flip is for distorted copies, and there are none.*--augment 10"):
        config.AugmentationOptions(flip=True)
    with pytest.raises(UsageError, match=r"--augment-seed is for distorted copies"):
        config.AugmentationOptions(augment_seed=3)
    both = config.AugmentationOptions(augment=10, flip=True, rotate=5.0)
    assert both.distortions() == {"flip": True, "rotate": 5.0}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"optimizer": "lbfgs", "dropout": 0.5}, "--dropout is for training in batches, and --optimizer lbfgs"),
        ({"optimizer": "lbfgs", "learning_rate": 0.1}, "--learning-rate is for training in batches"),
        ({"optimizer": "lbfgs", "batch_size": 10}, "--batch-size is for training in batches"),
        ({"epochs": 2, "steps": 4000}, "--steps and --epochs both say how long to train: leave one of them out"),
        ({"class_weight": "balanced", "sampling": "class-balanced"}, "would make up for small classes twice"),
    ],
)
def test_training_options_that_do_not_go_together_are_refused(values, message):
    with pytest.raises(UsageError, match=message):
        TrainingOptions(**values)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"optimizer": "adam"}, {"learning_rate": 0.001, "l2": 0.0, "batch_size": 100}),
        ({"optimizer": "lbfgs"}, {"learning_rate": None, "l2": 0.02, "batch_size": None}),
        ({"optimizer": "lbfgs", "l2": 0.0}, {"l2": 0.0}),
        ({"class_weight": "balanced"}, {"sampling": "uniform"}),
        ({"epochs": 3}, {"epochs": 3, "steps": 2}),
        ({"epochs": 1.1, "batch_size": 5}, {"steps": 11}),
        ({"epochs": 1.11, "batch_size": 5}, {"steps": 12}),
        ({"epochs": 0.001}, {"steps": 1}),
        ({"epochs": 7, "optimizer": "lbfgs"}, {"steps": 7}),
        ({"learning_rate": 0.5, "batch_size": 7, "sampling": "uniform"}, {"learning_rate": 0.5, "batch_size": 7}),
    ],
)
def test_defaults_that_depend_on_other_options_are_filled_in(values, expected):
    resolved = TrainingOptions(**values).resolved(pictures=50)
    assert {name: getattr(resolved, name) for name in expected} == expected


def test_steps_that_are_filled_in_stay():
    options = TrainingOptions(epochs=3, batch_size=10).with_steps(50)
    assert (options.steps, options.epochs, options.batch_size) == (15, 3, 10)
    assert options.resolved(100_000).steps == dataclasses.replace(options, seed=1).steps == 15
    assert options.resolved(50) == TrainingOptions(epochs=3, batch_size=10).resolved(50)


def test_passes_over_the_pictures():
    assert TrainingOptions().passes(10, 250) == 4
    assert TrainingOptions(batch_size=5).passes(10, 250) == 0.2
    assert TrainingOptions(optimizer="lbfgs").passes(10, 250) == 10


def test_defaults_are_those_of_the_original_program():
    flat = RunOptions(training=TrainingOptions().resolved(pictures=50)).as_dict()
    assert flat["steps"] == 4000
    assert (flat["optimizer"], flat["sampling"], flat["l2"]) == ("gradient-descent", "class-balanced", 0)
    assert flat["batch_size"] == 100
    assert flat["learning_rate"] == 0.01
    assert flat["eval_step_interval"] == 10
    assert flat["validation_percentage"] == flat["test_percentage"] == 10
    assert flat["backbone"] is None  # Inception v3, wherever it can be had


def test_every_option_has_a_help_and_only_one_class_owns_it():
    classes = [getattr(config, name) for name in config.__all__ if name.endswith("Options")]
    owners: dict[str, str] = {}
    for options in classes:
        for field in dataclasses.fields(options):
            if dataclasses.is_dataclass(field.default):
                continue
            assert field.metadata["help"], field.name
            assert field.name not in owners, (field.name, owners.get(field.name), options)
            owners[field.name] = options.__name__
