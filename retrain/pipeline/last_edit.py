"""`retrain studio FOLDER --undo`: take back the last change of an image folder."""

import contextlib
import os

from retrain.data import Edit, FolderEdits
from retrain.events import Emit, ignore

__all__ = ["take_back_last_edit"]


def take_back_last_edit(
    image_dir: str | os.PathLike[str],
    unlabelled: str | os.PathLike[str] | None = None,
    emit: Emit = ignore,
) -> Edit | None:
    """Take back the last edit of a folder, also after a crash; None if there is none.

    Args:
        unlabelled: the folder of unlabelled pictures, if the edit was of some of these.
        emit: told of an edit that was cut off, and how it was finished.
    Raises ImageFolderError if files were changed since so that it can't be taken back, or if the folder is being
    edited; OutputError if it can't be written.
    """
    with contextlib.closing(FolderEdits(image_dir, unlabelled, emit)) as edits:
        return edits.undo()
