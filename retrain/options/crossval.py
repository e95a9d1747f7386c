"""The options of cross-validation."""

import dataclasses
from typing import ClassVar

from retrain.options.fields import Checked, option

__all__ = ["CrossValidationOptions"]


@dataclasses.dataclass(frozen=True)
class CrossValidationOptions(Checked):
    """Cross-validation: every picture tested by a head that was trained without it."""

    folds: int = option(10, "parts of the pictures, each of which is tested in turn", metavar="K")

    RANGES: ClassVar = {"folds": (2, 10_000)}
