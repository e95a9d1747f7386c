"""The exports in a model folder: which files are the program's own, so that they go when the model is replaced."""

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from retrain.folders import Kind
from retrain.json_fields import parse_json
from retrain.model_files import EXPORT_RECORD, EXPORTS

__all__ = ["EXPORT", "files_of_exports"]

# What `folders` leaves beside a folder when it is killed: a folder in the making, and a lock
_LEFTOVER = re.compile(r"\..+\.(tmp|old|lock)")


def _own_files(folder: Path) -> list[str]:
    """List what the program wrote into the folder of one export, as its export.json says; empty if there is no list."""
    try:
        paths = [PurePosixPath(name) for name in parse_json((folder / EXPORT_RECORD).read_bytes())["files"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [str(path) for path in paths if path.parts and not path.is_absolute() and ".." not in path.parts]


EXPORT = Kind(_own_files, EXPORT_RECORD)


def files_of_exports(model_folder: Path) -> Iterator[str]:
    """What the program wrote below exports/ in a model folder, relative to that; also what killed exports left."""
    top = model_folder / EXPORTS
    try:
        names = sorted(os.listdir(top))
    except OSError:
        return
    for name in names:
        place = top / name
        if not _LEFTOVER.fullmatch(name):
            yield from (f"{EXPORTS}/{name}/{path}" for path in _own_files(place))
        elif place.is_file():
            yield f"{EXPORTS}/{name}"
        else:
            yield from (path.relative_to(model_folder).as_posix() for path in place.rglob("*") if path.is_file())
