"""The options of a model that follows its folder."""

import dataclasses
from typing import ClassVar

from retrain.options.fields import Checked, option

__all__ = ["WatchOptions"]


@dataclasses.dataclass(frozen=True)
class WatchOptions(Checked):
    """How changes of a folder are noticed."""

    poll: float | None = option(
        None,
        "look for changes this often (default: the system tells of them; where it does not, as on network drives, "
        "every second)",
        metavar="SECONDS",
        common=True,
    )

    RANGES: ClassVar = {"poll": (0.05, 3600)}
