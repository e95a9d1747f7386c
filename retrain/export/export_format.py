"""What every format of an export can do, and what its runtime can."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from retrain.events import Emit
from retrain.export.stored_model import StoredModel

__all__ = ["ExportFormat", "Facts", "Pictures", "Runtime", "Takes"]

# What an input takes. file: the bytes of picture files; picture: (n, height, width, 3) uint8, RGB, of any size;
# pixels: the same at the model's size.
Takes = Literal["file", "picture", "pixels"]

Pictures = Sequence[bytes] | NDArray[np.uint8]


class Runtime(Protocol):
    """An export, loaded by a foreign runtime as its clients load it."""

    @property
    def labels(self) -> Sequence[str]:
        """The labels that travel with the file, in the order of the scores."""

    @property
    def thresholds(self) -> Sequence[float] | None:
        """The thresholds that travel with it, in the same order; None if a picture has one label."""

    @property
    def inputs(self) -> Mapping[str, Takes]:
        """The ways in, by name; the one that most clients use comes first."""

    def answers(self, name: str, pictures: Pictures) -> NDArray[np.float32]:
        """Scores of some pictures in one call, or as the runtime can; behind them `known`, if the export tells it.

        Args:
            name: of the input.
            pictures: a sequence of bytes for `file`, else (n, height, width, 3) uint8.
        Returns: (n, classes) float32 in [0, 1], or (n, classes + 1). Raises what the runtime raises.
        """


@dataclass(frozen=True)
class Facts:
    """What is to know of a format before anything is written."""

    name: str  # on the command line
    file: str  # or folder, that is written
    loaded_by: str  # the runtime
    takes: str  # its main input, in a few words
    packages: tuple[str, ...] = ()  # to import, to write it and to check it
    extra: str = ""  # of `pip install retrain[...]`, that has them
    is_rounded: bool = False  # whether weights or activations have fewer bits, so that accuracy counts, not scores
    scores_alone: tuple[str, ...] = ()  # inputs from which it gives no `known`, even if the model tells it
    template: str = ""  # of its README.md, export/templates/TEMPLATE.md; by default the format's name


class ExportFormat(Protocol):
    """One format. `formats.FORMATS` lists them; export/templates/ has the README.md of its folder.

    Both methods run in a process of their own, each in another: only what they return, and events, come back.
    """

    @property
    def facts(self) -> Facts:
        """What is to know of it."""

    def write(self, model: StoredModel, folder: Path, emit: Emit, /) -> None:
        """Write the file into a folder, which is empty.

        Args:
            emit: told how the work goes on.
        Raises ExportError if there can be no such file of this model, OSError, or what a converter raises.
        """

    def load(self, folder: Path) -> Runtime:
        """Load what an export's folder holds, by the foreign runtime alone.

        labels.txt is beside it and, for several labels, thresholds.txt.
        """
