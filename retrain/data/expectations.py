"""What label a picture should get, by the folder that it lies in."""

import os
from collections.abc import Sequence
from pathlib import PurePath

from retrain.data.folder_walk import picture_files
from retrain.errors import ImageFolderError
from retrain.model.folder import ModelDescription
from retrain.paths import display_path
from retrain.text import listing

__all__ = ["expected_labels"]


def expected_labels(places: Sequence[str], model: ModelDescription) -> dict[str, str | None]:
    """Path of every file -> the label that its folder stands for, None where no folder does, in the order given.

    That is the nearest folder above the file, up to the place that was given, that is named like a label of the model
    or like a class folder of its training; of a file that was given itself, the folder that it lies in.

    Args:
        places: folders and files.
    Raises ImageFolderError for a place that is not there, and where there are files, none of them in such a folder.
    """
    for place in places:
        if not os.path.exists(place):
            raise ImageFolderError(f"no such file or folder: {display_path(place)}; give pictures, or folders of them")
    above = {
        path: _folders_above(path, place)
        for place in places
        for path, problem in picture_files([place])
        if problem is None
    }
    numbers = model.numbers_of(name for names in above.values() for name in names)
    found = {
        path: next((model.labels[numbers[name]] for name in names if name in numbers), None)
        for path, names in above.items()
    }
    if found and not any(found.values()):
        raise ImageFolderError(
            f"no picture in {listing(map(display_path, places))} is in a folder that is named like a class of the "
            f"model ({listing(model.labels)}): give a folder with one sub-folder of pictures per "
            "class"
        )
    return found


def _folders_above(path: str, place: str) -> list[str]:
    """Names of folders, the nearest first."""
    top = place if os.path.isdir(place) else os.path.dirname(path) or "."
    inner = PurePath(os.path.relpath(path, top)).parent.parts
    return [*reversed(inner), os.path.basename(os.path.abspath(top))]
