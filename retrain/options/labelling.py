"""The options of the search for pictures to label."""

import dataclasses
from typing import ClassVar

from retrain.options.fields import Checked, option

__all__ = ["LabellingOptions"]


@dataclasses.dataclass(frozen=True)
class LabellingOptions(Checked):
    """Which unlabelled pictures are named."""

    count: int = option(20, "name this many pictures", metavar="N", common=True)

    RANGES: ClassVar = {"count": (1, 2**31 - 1)}
