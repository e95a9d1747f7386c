"""The options of cross-validation."""

import dataclasses
from typing import ClassVar

from retrain.options.fields import Checked, option

__all__ = ["CrossValidationOptions"]


@dataclasses.dataclass(frozen=True)
class CrossValidationOptions(Checked):
    """Cross-validation: each picture is tested by a head that was trained without it."""

    folds: int = option(10, "number of folds; each is the test set once", metavar="K", common=True)

    RANGES: ClassVar = {"folds": (2, 10_000)}
