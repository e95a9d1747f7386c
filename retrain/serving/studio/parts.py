"""What the studio is made of, as it sees it: who edits the folder, and who trains on it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from retrain.events import Emit
from retrain.options import ImageOptions
from retrain.serving.studio.pictures import FolderContent

__all__ = ["Change", "Editor", "Model", "Parts"]


class Change(Protocol):
    """An edit of the folder."""

    @property
    def text(self) -> str:
        """What it did: "Moved 3 pictures from tulips to roses"."""


class Editor(Protocol):
    """Changes the folder. `retrain.data.FolderEdits` is one, and its methods are described there."""

    @property
    def undoable(self) -> Change | None: ...  # noqa: D102
    @property
    def redoable(self) -> Change | None: ...  # noqa: D102
    def add(self, class_name: str, pictures: Sequence[tuple[str, bytes]]) -> Change: ...  # noqa: D102
    def move(self, paths: Sequence[str], class_name: str) -> Change: ...  # noqa: D102
    def remove(self, paths: Sequence[str]) -> Change: ...  # noqa: D102
    def rename_class(self, name: str, new_name: str) -> Change: ...  # noqa: D102
    def merge_classes(self, names: Sequence[str], into: str) -> Change: ...  # noqa: D102
    def undo(self) -> Change | None: ...  # noqa: D102
    def redo(self) -> Change | None: ...  # noqa: D102


class Model(Protocol):
    """The model of the folder as it is. `retrain.pipeline.live.LiveModel` is one, and its methods are described there."""

    def update(self) -> Any: ...  # noqa: D102
    def classify(self, contents: Sequence[bytes]) -> Sequence[Any]: ...  # noqa: D102
    def save(self, model_dir: str) -> Any: ...  # noqa: D102


@dataclass(frozen=True)
class Parts:
    """What one studio works with."""

    root: Path  # the folder of pictures
    read: Callable[[], FolderContent]  # lists it. Raises ImageFolderError
    editor: Editor | None  # None: nothing may be changed
    model: Callable[[Emit, Callable[[], bool]], Model]  # makes it of where to tell its progress, and whether to stop
    images: ImageOptions
