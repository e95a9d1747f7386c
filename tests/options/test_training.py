import dataclasses

import pytest

from retrain.errors import UsageError
from retrain.options import TrainingOptions


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"optimizer": "lbfgs", "dropout": 0.5}, "--dropout is for training in batches, and --optimizer lbfgs"),
        ({"optimizer": "lbfgs", "learning_rate": 0.1}, "--learning-rate is for training in batches"),
        ({"optimizer": "lbfgs", "batch_size": 10}, "--batch-size is for training in batches"),
        ({"epochs": 2, "steps": 4000}, "--steps and --epochs both say how long to train: leave one of them out"),
        ({"class_weight": "balanced", "sampling": "class-balanced"}, "would make up for small classes twice"),
        ({"class_weight": "a=2", "sampling": "class-balanced"}, "would have no effect, since that draws every class"),
        *(
            ({"class_weight": text}, f"--class-weight {text}: expected none, balanced, or each label once")
            for text in ("rare", "a=", "=2", "a=0", "a=-1", "a=nan", "a=1,a=2", "a=1,", "a=1e5", "")
        ),
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
        ({"class_weight": "a=2"}, {"sampling": "uniform"}),
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


def test_weights_of_labels():
    options = TrainingOptions(class_weight="big cat=2,x=y=0.5")
    assert options.weights_of(["dog", "x=y", "big cat"]) == [1.0, 0.5, 2.0]
    assert TrainingOptions().weights_of(["dog"]) is TrainingOptions(class_weight="balanced").weights_of(["dog"]) is None
    with pytest.raises(UsageError, match="--class-weight names big cat, and the labels are dog, x=y: name some"):
        options.weights_of(["dog", "x=y"])
