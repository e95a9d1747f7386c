"""The options of the report."""

import dataclasses
from typing import ClassVar

from retrain.errors import UsageError
from retrain.options.fields import Checked, option

__all__ = ["ReportOptions"]


@dataclasses.dataclass(frozen=True)
class ReportOptions(Checked):
    """What training leaves for people to look at."""

    report: str = option(
        "quick",
        "report.html: quick adds half a second at most; full also looks for near duplicates, labels that may be wrong "
        "and more, as retrain report does later; none leaves it out",
        choices=("none", "quick", "full"),
        common=True,
    )
    no_report: bool = option(False, "the same as --report none")
    projector: bool = option(
        False, "also write the bottlenecks to logs/projector, for TensorBoard's Embedding Projector"
    )

    RANGES: ClassVar = {}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.no_report and self.report == "full":
            raise UsageError("--no-report leaves out what --report full asks for: leave one of them out")

    @property
    def level(self) -> str:
        """none, quick or full."""
        return "none" if self.no_report else self.report
