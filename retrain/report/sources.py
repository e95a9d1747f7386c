"""What a report is made of, whether pictures have one label each or several; and the parts that both kinds share."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from retrain.report.contents import Absent, Picture
from retrain.report.findings import Copies, copies_of
from retrain.report.heat_maps import HeatMaps
from retrain.report.judged import Judged
from retrain.report.run import Run
from retrain.report.shelf import Shelf
from retrain.report.thumbnails import PictureFiles

__all__ = ["FEW", "QUICK_NEIGHBOURS", "Sources", "Work", "compare", "finish", "most_shown", "show_neighbours"]

FEW = 100  # pictures whose figures say too little alone
QUICK_NEIGHBOURS = 20_000  # training pictures that the quick report compares with

AnyJudged_co = TypeVar("AnyJudged_co", bound=Judged, covariant=True)


@dataclass(frozen=True)
class Sources(Generic[AnyJudged_co]):
    """What a report is made of."""

    run: Run
    pictures: AnyJudged_co
    files: PictureFiles
    command: str  # makes the full report; can be pasted
    notes: Sequence[str] = ()  # on what has changed since training


@dataclass(frozen=True)
class Work:
    """What the full report takes beside."""

    heat_maps: HeatMaps | Absent
    told: Callable[[str, int, int], None]  # called with what goes on, how much of it is done, and of how much

    @property
    def shown_heat_maps(self) -> str | Absent:
        """What is said of them."""
        return self.heat_maps.sentence if isinstance(self.heat_maps, HeatMaps) else self.heat_maps


def most_shown(work: Work | None) -> Mapping[str, int]:
    """How many pictures each gallery shows."""
    return {"mistakes": 36, "unsure": 24, "right": 30} if work else {"mistakes": 12, "unsure": 6, "right": 10}


def show_neighbours(
    sources: Sources[Judged], shelf: Shelf, numbers: Mapping[str, NDArray[np.int64]], work: Work | None
) -> list[int]:
    """Show the training pictures that are nearest to those of the galleries, unless there are too many to look at.

    Args:
        numbers: of each gallery's pictures, those to be shown first; they are on the shelf.
    Returns: the numbers of the pictures in the galleries.
    """
    most = most_shown(work)
    gallery = [number for name, chosen in numbers.items() for number in chosen[: most[name]].tolist()]
    if work or np.count_nonzero(sources.pictures.sets == "train") <= QUICK_NEIGHBOURS:
        shelf.add_neighbours(gallery)
    return gallery


def compare(sources: Sources[Judged], work: Work, shelf: Shelf, gallery: Sequence[int]) -> Copies:
    """Draw the heat maps of the galleries, and find pictures that show the same."""
    if isinstance(work.heat_maps, HeatMaps):
        work.told("drawing heat maps", 0, 1)
        shelf.add_heat_maps(gallery, work.heat_maps, sources.files)
    work.told("comparing pictures", 0, 1)
    copies = copies_of(sources.pictures, sources.files)
    work.told("comparing pictures", 1, 1)
    return copies


def finish(sources: Sources[Judged], shelf: Shelf, work: Work | None) -> tuple[Picture, ...]:
    """The pictures of the report, with thumbnails: as many as it has room or time for."""
    return shelf.finish(sources.files, 900, None) if work else shelf.finish(sources.files, 100, 0.2)
