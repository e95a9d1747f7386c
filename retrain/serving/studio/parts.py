"""What the studio is made of, as it sees it: who edits the folder, and who trains on it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from retrain.data import Edit, PictureForm
from retrain.events import Emit
from retrain.model import Prediction
from retrain.options import ImageOptions
from retrain.report import LiveReport
from retrain.serving.studio.pictures import FolderContent

__all__ = ["Editor", "Model", "StudioParts", "WorthALabel"]


class Editor(Protocol):
    """Changes the folder. `retrain.data.FolderEdits` is one; it describes these methods."""

    @property
    def undoable(self) -> Edit | None: ...  # noqa: D102
    @property
    def redoable(self) -> Edit | None: ...  # noqa: D102
    def add(self, class_name: str, pictures: Sequence[tuple[str, bytes]]) -> Edit: ...  # noqa: D102
    def move(self, paths: Sequence[str], class_name: str) -> Edit: ...  # noqa: D102
    def remove(self, paths: Sequence[str]) -> Edit: ...  # noqa: D102
    def new_class(self, name: str) -> Edit: ...  # noqa: D102
    def remove_class(self, name: str) -> Edit: ...  # noqa: D102
    def rename_class(self, name: str, new_name: str) -> Edit: ...  # noqa: D102
    def merge_classes(self, names: Sequence[str], into: str) -> Edit: ...  # noqa: D102
    def undo(self) -> Edit | None: ...  # noqa: D102
    def redo(self) -> Edit | None: ...  # noqa: D102


@dataclass(frozen=True)
class WorthALabel:
    """A picture without a label that is worth one, and why."""

    path: str  # as Picture.path
    why: str
    answer: str | None  # the most likely label; None while there are none
    score: float | None  # of that, in [0, 1]


class Model(Protocol):
    """The model of the folder as it is. `retrain.pipeline.live.LiveModel` is one; it describes these methods."""

    def update(self) -> LiveReport: ...  # noqa: D102
    def look_closer(self) -> LiveReport: ...  # noqa: D102
    def classify(self, contents: Sequence[bytes]) -> Sequence[Prediction]: ...  # noqa: D102
    def save(self, model_dir: str) -> object: ...  # noqa: D102
    def load_network(self) -> None: ...  # noqa: D102

    def worth_a_label(self) -> Sequence[WorthALabel]:
        """Pictures without a label, those first whose label would help most; none if there are none."""


@dataclass(frozen=True)
class StudioParts:
    """What one studio works with."""

    root: Path  # the folder of pictures
    read: Callable[[], FolderContent]  # lists it. Raises ImageFolderError
    editor: Editor | None  # None: nothing may be changed
    model: Callable[[Emit, Callable[[], bool]], Model]  # makes it of where to tell its progress, and whether to stop
    images: ImageOptions
    depth: str = PictureForm.depth  # how pixels of more than 8 bits become 8
