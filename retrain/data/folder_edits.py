"""Change an image folder and lose nothing: every edit is written down before it begins, and can be taken back."""

import os
from collections.abc import Sequence

from retrain.data.edit_journal import Edit
from retrain.events import Emit, ignore

__all__ = ["FolderEdits"]


class FolderEdits:
    """The one editor of an image folder."""

    def __init__(
        self,
        root: str | os.PathLike[str],
        unlabelled: str | os.PathLike[str] | None = None,
        emit: Emit = ignore,
    ) -> None:
        raise NotImplementedError

    @property
    def unlabelled_prefix(self) -> str | None:
        """What the paths of unlabelled pictures begin with, without the / that follows: "../unlabelled"."""
        raise NotImplementedError

    @property
    def undoable(self) -> Edit | None:
        """What undo() takes back."""
        raise NotImplementedError

    @property
    def redoable(self) -> Edit | None:
        """What redo() does again."""
        raise NotImplementedError

    def add(self, class_name: str, pictures: Sequence[tuple[str, bytes]]) -> Edit:
        """Write pictures into a class; one that does not exist is made."""
        raise NotImplementedError

    def move(self, paths: Sequence[str], class_name: str) -> Edit:
        """Move pictures to a class; one that does not exist is made."""
        raise NotImplementedError

    def remove(self, paths: Sequence[str]) -> Edit:
        """Move pictures into `.trash`."""
        raise NotImplementedError

    def new_class(self, name: str) -> Edit:
        """Make a class without pictures."""
        raise NotImplementedError

    def remove_class(self, name: str) -> Edit:
        """Move a class with all that is in its folder into `.trash`."""
        raise NotImplementedError

    def rename_class(self, name: str, new_name: str) -> Edit:
        """Give a class another name."""
        raise NotImplementedError

    def merge_classes(self, names: Sequence[str], into: str) -> Edit:
        """Move all pictures of some classes to one, which may be new or one of them; the others go."""
        raise NotImplementedError

    def undo(self) -> Edit | None:
        """Take back the last edit; None if there is none."""
        raise NotImplementedError

    def redo(self) -> Edit | None:
        """Do the edit again that was taken back last; None if there is none."""
        raise NotImplementedError

    def close(self) -> None:
        """Let others edit the folder."""
        raise NotImplementedError
