import dataclasses

import pytest

from retrain import options
from retrain.errors import UsageError
from retrain.options import EvaluationOptions, LabelOptions, RunOptions, SplitOptions, TrainingOptions


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


def test_several_labels_are_drawn_uniformly():
    options = RunOptions(labels=LabelOptions(multi_label=True))
    assert options.settled().training.resolved(100).sampling == "uniform"
    assert RunOptions().settled() == RunOptions()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"split": SplitOptions(train_per_class=5)}, "a picture would count in several classes; leave them out"),
        ({"evaluation": EvaluationOptions(reject=0.9)}, "where a picture can have several labels, one without"),
        ({"training": TrainingOptions(sampling="class-balanced")}, "a picture would be drawn for one of its labels"),
    ],
)
def test_what_is_for_one_label_is_refused_with_several(values, message):
    with pytest.raises(UsageError, match=f"--multi-label with .*: {message}"):
        RunOptions(labels=LabelOptions(multi_label=True), **values)


@pytest.mark.parametrize("share", [0.49, 1.0, float("nan")])
def test_a_share_to_keep_is_in_its_range(share):
    with pytest.raises(UsageError, match=r"--reject .*: must be between 0\.5 and 0\.9999"):
        EvaluationOptions(reject=share)


def test_scores_cannot_be_called_known_where_there_is_such_an_output():
    assert RunOptions(final_tensor_name="known").final_tensor_name == "known"
    with pytest.raises(UsageError, match="--final-tensor-name Known: the graph has another tensor of that name"):
        RunOptions(final_tensor_name="Known", evaluation=EvaluationOptions(reject=0.9))
