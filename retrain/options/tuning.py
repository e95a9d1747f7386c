"""The options of the search for the best head."""

import dataclasses
from typing import ClassVar

from retrain.errors import UsageError
from retrain.options.fields import Checked, option

__all__ = ["TuningOptions"]


@dataclasses.dataclass(frozen=True)
class TuningOptions(Checked):
    """The search for the best head, before it is trained."""

    tune: bool = option(
        False,
        "search for the best optimizer, learning rate and L2 penalty, by cross-validation on the training and "
        "validation pictures; other training options stay as they are",
        common=True,
    )
    tune_seconds: float = option(
        60.0, "time limit of the search; the best options found by then are used", metavar="SECONDS"
    )

    RANGES: ClassVar = {"tune_seconds": (0, None)}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tune_seconds != TuningOptions.tune_seconds and not self.tune:
            raise UsageError("--tune-seconds is the time for --tune: add --tune")
