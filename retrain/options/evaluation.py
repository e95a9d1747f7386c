"""The options of what follows training: calibration, pictures of no class, and the final test."""

import dataclasses
from typing import ClassVar

from retrain.errors import UsageError
from retrain.options.fields import Checked, option

__all__ = ["EvaluationOptions"]


@dataclasses.dataclass(frozen=True)
class EvaluationOptions(Checked):
    """Calibration, pictures of no class, the final test, and what is shown of its results."""

    calibrate: bool = option(
        False,
        "fit a temperature on the validation pictures, so that scores are probabilities that you can trust; labels and "
        "accuracy stay the same",
    )
    reject: float | None = option(
        None,
        "have the model tell pictures of none of its classes, which get the answer unknown, and keep this share of "
        "validation pictures known, as in 0.95",
        metavar="SHARE",
        common=True,
    )
    test_batch_size: int = option(
        -1, "pictures drawn at random for the final test; -1: the whole test set", metavar="N"
    )
    print_misclassified: bool = option(False, "list the test pictures that got a wrong label")
    plots: bool = option(
        False,
        "plot accuracy and cross-entropy during training (curves.png, curves.csv), and test pictures with their "
        "predicted labels (predictions.png)",
        common=True,
    )

    RANGES: ClassVar = {"reject": (0.5, 0.9999), "test_batch_size": (-1, None)}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.test_batch_size == 0:
            raise UsageError("--test-batch-size 0: must be at least 1, or -1 for all test pictures")
