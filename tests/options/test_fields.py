import pytest

from retrain.errors import UsageError
from retrain.options import (
    AugmentationOptions,
    BackboneOptions,
    EvaluationOptions,
    ImageOptions,
    SplitOptions,
    TrainingOptions,
)


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
        (ImageOptions, {"max_pixels": 0}, "--max-pixels 0: must be at least 1"),
        (BackboneOptions, {"input_size": 0}, "--input-size 0"),
        (BackboneOptions, {"input_range": "0..2"}, "--input-range 0..2"),
        (EvaluationOptions, {"test_batch_size": 0}, "--test-batch-size 0"),
        (TrainingOptions, {"l2": -1.0}, "--l2 -1.0: must be between 0"),
        (TrainingOptions, {"l1": float("nan")}, "--l1 nan"),
        (TrainingOptions, {"dropout": 1.0}, "--dropout 1.0: must be between 0 and 0.99"),
        (TrainingOptions, {"label_smoothing": -0.1}, "--label-smoothing -0.1"),
        (TrainingOptions, {"hidden_units": -1}, "--hidden-units -1"),
        (TrainingOptions, {"patience": 0}, "--patience 0: must be between 1"),
        (TrainingOptions, {"max_memory": -1}, "--max-memory -1: must be at least 0"),
        (AugmentationOptions, {"augment": 1001}, "--augment 1001: must be between 0 and 1,000"),
        (AugmentationOptions, {"augment": 1, "rotate": 181.0}, "--rotate 181.0: must be between 0 and 180"),
        (AugmentationOptions, {"augment": 1, "crop": 301.0}, "--crop 301.0"),
        (AugmentationOptions, {"augment": 1, "brightness": 101.0}, "--brightness 101.0"),
    ],
)
def test_values_out_of_range_are_refused_by_name(options, values, message):
    with pytest.raises(UsageError, match=message):
        options(**values)
