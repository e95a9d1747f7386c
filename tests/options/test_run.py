import dataclasses

from retrain import options
from retrain.options import RunOptions, TrainingOptions


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
    classes = [getattr(options, name) for name in options.__all__ if name.endswith("Options")]
    owners: dict[str, str] = {}
    for stage in classes:
        for field in dataclasses.fields(stage):
            if dataclasses.is_dataclass(field.default):
                continue
            assert field.metadata["help"], field.name
            if stage is options.ServingOptions:  # a server is no run, whose options must all be different
                continue
            assert field.name not in owners, (field.name, owners.get(field.name), stage)
            owners[field.name] = stage.__name__
