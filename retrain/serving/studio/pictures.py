"""The pictures of the folder as the page knows them: by numbers that say nothing of paths, and what has changed."""

import base64
import hashlib
import os
import secrets
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retrain.data import is_litter, picture_files, read_image_folder
from retrain.errors import ImageFolderError
from retrain.paths import display_path

__all__ = ["FolderContent", "Picture", "PictureTable", "read_folder"]

_Signature = tuple[int, int, int, int]  # device, inode, time of the last change, size


@dataclass(frozen=True)
class Picture:
    """A file that may be a picture."""

    path: str  # relative to the folder, with /; of a picture without a label, as FolderEdits names it
    class_name: str | None  # None: it has no label yet
    signature: _Signature

    @property
    def version(self) -> str:
        """Changes with the content: eight characters for an address."""
        digest = hashlib.blake2b(repr(self.signature).encode(), digest_size=6).digest()
        return base64.urlsafe_b64encode(digest).decode()


@dataclass(frozen=True)
class FolderContent:
    """What lies in the folder at one time."""

    class_names: tuple[str, ...]  # sorted; also of classes without pictures
    pictures: tuple[Picture, ...]  # sorted by path
    problem: str | None = None  # why training can't tell the classes


def read_folder(
    root: str | os.PathLike[str],
    exclude: Iterable[str | os.PathLike[str]] = (),
    unlabelled: Iterable[tuple[str, str | os.PathLike[str]]] = (),
) -> FolderContent:
    """List a folder, also one that can't be trained on: an empty one, or one whose classes can't be told from sets.

    Args:
        exclude: folders that are not classes.
        unlabelled: pictures without a label: what they are called, and where they lie.
    Raises ImageFolderError if the folder can't be read.
    """
    root, problem = Path(root), None
    try:
        found = read_image_folder(root, exclude)
        names, labelled = {*found.class_names, *found.empty_folders}, [(s.path, s.class_name) for s in found.samples]
    except ImageFolderError as error:
        names, labelled = _sub_folders(root)
        problem = str(error) if labelled else None
    prefix = os.path.join(root, "")  # joining paths takes as long as reading their times
    pictures = [
        Picture(path, name, signature)
        for path, name in labelled
        if (signature := _signature(f"{prefix}{path}")) is not None
    ]
    pictures += [
        Picture(path, None, signature) for path, place in unlabelled if (signature := _signature(place)) is not None
    ]
    return FolderContent(tuple(sorted(names)), tuple(pictures), problem)


def _sub_folders(root: Path) -> tuple[set[str], list[tuple[str, str]]]:
    """The names of the folders in a folder, and the paths of the files in each. Raises ImageFolderError."""
    try:
        with os.scandir(root) as entries:
            names = {entry.name for entry in entries if not is_litter(entry.name) and entry.is_dir()}
        files = [(name, path) for name in sorted(names) for path, _ in picture_files([root / name])]
        return names, [(os.path.relpath(path, root), name) for name, path in files]
    except OSError as error:
        raise ImageFolderError(
            f"can't read the folder {display_path(error.filename or root)}: {error.strerror}; check its permissions"
        ) from error


def _signature(path: str | os.PathLike[str]) -> _Signature | None:
    """None if the file has gone."""
    try:
        status = os.stat(path)
    except OSError:
        try:
            status = os.lstat(path)  # a broken link is shown, as one
        except OSError:
            return None
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


class PictureTable:
    """Numbers for pictures, which they keep when they are moved. Any thread may use it."""

    def __init__(self) -> None:
        self.instance = secrets.token_hex(8)  # numbers mean nothing in another one
        self._lock = threading.Lock()
        self._numbers: dict[str, int] = {}  # by path
        self._pictures: dict[int, Picture] = {}
        self._class_names: tuple[str, ...] = ()
        self._problem: str | None = None
        self._next = 1
        self._sequence = 0  # of changes

    @property
    def sequence(self) -> int:
        """How many changes there were."""
        with self._lock:
            return self._sequence

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of all classes, sorted."""
        with self._lock:
            return self._class_names

    def get(self, number: int) -> Picture | None:
        """A picture, if it is still there."""
        with self._lock:
            return self._pictures.get(number)

    def numbers(self) -> Mapping[str, int]:
        """The numbers of all pictures, by path."""
        with self._lock:
            return self._numbers.copy()

    def replace(self, content: FolderContent) -> dict[str, Any] | None:
        """Take up what lies in the folder now.

        Returns: the change, for pages that know what was there before; None if nothing has changed.
        """
        with self._lock:
            now = {picture.path: picture for picture in content.pictures}
            gone = {path: number for path, number in self._numbers.items() if path not in now}
            numbers = self._numbers_of(content.pictures, gone)
            pictures = {numbers[path]: picture for path, picture in now.items()}
            changed = [number for number, picture in pictures.items() if self._pictures.get(number) != picture]
            lost = sorted(number for number in self._pictures if number not in pictures)
            if not (changed or lost) and (content.class_names, content.problem) == (self._class_names, self._problem):
                return None
            self._numbers, self._pictures = numbers, pictures
            self._class_names, self._problem = content.class_names, content.problem
            self._sequence += 1
            rows = _rows(self._class_names, [(number, pictures[number]) for number in sorted(changed)])
            return self._head() | {"gone": lost, "pictures": rows}

    def listing(self) -> dict[str, Any]:
        """Everything, as JSON."""
        with self._lock:
            return self._head() | {"pictures": _rows(self._class_names, self._pictures.items())}

    def _numbers_of(self, pictures: Sequence[Picture], gone: Mapping[str, int]) -> dict[str, int]:
        """A number for each path. A file that has a new path keeps the one that it had."""
        moved = {self._pictures[number].signature: number for number in gone.values()}
        numbers = {}
        for picture in pictures:
            number = self._numbers.get(picture.path)
            if number is None:
                number = moved.pop(picture.signature, None)
            if number is None:
                number, self._next = self._next, self._next + 1
            numbers[picture.path] = number
        return numbers

    def _head(self) -> dict[str, Any]:
        return {
            "instance": self.instance,
            "sequence": self._sequence,
            "classes": self._class_names,
            "problem": self._problem,
        }


def _rows(class_names: Sequence[str], pictures: Iterable[tuple[int, Picture]]) -> dict[str, Any]:
    """Columns rather than rows, for the names of columns would be most of the bytes.

    A class is its place in the list of classes, -1 for none. What a path has before the name of the class is left out.
    """
    places: dict[str | None, int] = {name: place for place, name in enumerate(class_names)}
    rows = [(number, places.get(picture.class_name, -1), picture) for number, picture in pictures]
    return {
        "ids": [number for number, _, _ in rows],
        "classes": [place for _, place, _ in rows],
        "names": [display_path(_short(picture)) for _, _, picture in rows],
        "versions": [picture.version for _, _, picture in rows],
    }


def _short(picture: Picture) -> str:
    head, _, rest = picture.path.partition("/")
    return rest if head == picture.class_name and rest else picture.path
