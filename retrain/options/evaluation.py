"""The options of calibration and of the final test."""

import dataclasses
from typing import ClassVar

from retrain.errors import UsageError
from retrain.options.fields import Checked, option

__all__ = ["EvaluationOptions"]


@dataclasses.dataclass(frozen=True)
class EvaluationOptions(Checked):
    """Calibration, the final test, and what is shown of it."""

    calibrate: bool = option(
        False,
        "divide the scores' logits by a temperature fitted on the validation pictures, so that scores are "
        "probabilities one can trust; labels and accuracy stay as they are",
    )
    test_batch_size: int = option(
        -1, "pictures drawn at random for the final test; -1: all of the test set", metavar="N"
    )
    print_misclassified: bool = option(False, "list the test pictures that got a wrong label")
    plots: bool = option(
        False,
        "draw how accuracy and cross-entropy of all pictures went (curves.png, curves.csv), and test pictures with the "
        "labels that they got (predictions.png)",
    )

    RANGES: ClassVar = {"test_batch_size": (-1, None)}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.test_batch_size == 0:
            raise UsageError("--test-batch-size 0: must be at least 1, or -1 for all test pictures")
