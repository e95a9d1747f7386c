"""A folder with one sub-folder of pictures per class: its class names (the labels) and its samples."""

import dataclasses
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from retrain.errors import ImageFolderError
from retrain.text import counted, shown

__all__ = ["ImageFolder", "Sample", "display_path", "read_image_folder", "utf8_path"]

# Names of folders that hold a ready-made split, and the set that each means.
SUBSETS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}

# What file managers and network drives leave behind.
_LITTER = {"thumbs.db", "desktop.ini", "@eadir", "__macosx"}


@dataclass(frozen=True)
class Sample:
    """One file below a class folder; whether it is a picture shows when it is read."""

    path: str  # relative to the image folder, with /
    label: int  # index into class_names
    subset: str | None = None  # "train", "validation" or "test", where the folders say so

    @property
    def class_folder(self) -> str:
        """Name of the folder that makes the class."""
        return self.path.split("/")[1 if self.subset else 0]


@dataclass(frozen=True)
class ImageFolder:
    """What a folder of labelled pictures holds."""

    root: Path
    class_names: tuple[str, ...]  # sorted by name
    samples: tuple[Sample, ...]  # sorted by path
    empty_folders: tuple[str, ...]  # sub-folders without a file: no classes
    stray_files: tuple[str, ...]  # files beside the class folders: in no class
    is_part: bool = False  # the folder has more samples than these

    @property
    def has_subsets(self) -> bool:
        """Whether the folder comes with a split of its own (train/, validation/, test/)."""
        return any(sample.subset for sample in self.samples)

    def part(self, numbers: Iterable[int]) -> "ImageFolder":
        """The same with some of its samples only."""
        return dataclasses.replace(self, samples=tuple(self.samples[number] for number in numbers), is_part=True)

    def counts(self) -> list[int]:
        """Files per class, in the order of class_names."""
        counts = [0] * len(self.class_names)
        for sample in self.samples:
            counts[sample.label] += 1
        return counts


def display_path(path: str | os.PathLike[str]) -> str:
    """A path for messages: as utf8_path() has it, and control characters, which a terminal would obey, as \\xNN."""
    return shown(utf8_path(path))


def utf8_path(path: str | os.PathLike[str]) -> str:
    """A path for files and JSON: as it is, but for bytes that are no UTF-8, which become \\xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def read_image_folder(root: str | os.PathLike[str], exclude: Iterable[str | os.PathLike[str]] = ()) -> ImageFolder:
    """Find the classes and the files of each, at any depth below the class folder.

    Args:
        root: the image folder.
        exclude: folders that are no classes, should they lie in it: the cache, the model.

    Where all sub-folders are named like sets (train/, val/, test/ ...), the classes are the folders inside them.

    Raises ImageFolderError where the folder is missing, unreadable, or has no file in any sub-folder.
    """
    root = Path(root)
    if not root.exists():
        raise ImageFolderError(
            f"no such image folder: {display_path(root)}; give a folder with one sub-folder of pictures per class"
        )
    if not root.is_dir():
        raise ImageFolderError(
            f"image folder {display_path(root)} is a file; give a folder with one sub-folder of pictures per class"
        )
    excluded = {os.path.realpath(folder) for folder in exclude}
    folders, stray_files = _list(root)
    folders = [name for name in folders if os.path.realpath(root / name) not in excluded]
    files: dict[str, list[tuple[str, str | None]]] = {}  # class name -> (relative path, subset)
    if _are_subsets(folders):
        for subset_folder in folders:
            class_folders, strays = _list(root / subset_folder)
            stray_files += [f"{subset_folder}/{name}" for name in strays]
            for name in class_folders:
                found = _files_below(root, f"{subset_folder}/{name}")
                files.setdefault(name, []).extend((path, SUBSETS[subset_folder.lower()]) for path in found)
    else:
        for name in folders:
            files[name] = [(path, None) for path in _files_below(root, name)]

    class_names = tuple(sorted(name for name, found in files.items() if found))
    if not class_names:
        hint = f" ({counted(len(stray_files), 'file', 'lies/lie')} in the folder itself)" if stray_files else ""
        raise ImageFolderError(
            f"no pictures in the sub-folders of {display_path(root)}{hint}; "
            "make one sub-folder per class and put its pictures there"
        )
    for name in class_names:
        _check_class_name(name, root)
    samples = sorted(
        (Sample(path, label, subset) for label, name in enumerate(class_names) for path, subset in files[name]),
        key=lambda sample: sample.path,
    )
    empty = tuple(sorted(name for name, found in files.items() if not found))
    return ImageFolder(root, class_names, tuple(samples), empty, tuple(stray_files))


def _are_subsets(folders: list[str]) -> bool:
    """Whether the sub-folders are sets: all named so, with training pictures and at least one other set."""
    sets = {SUBSETS.get(name.lower()) for name in folders}
    return None not in sets and "train" in sets and len(sets) > 1


def _check_class_name(name: str, root: Path) -> None:
    where = display_path(root / name)
    if "\n" in name or "\r" in name:
        raise ImageFolderError(
            f"class folder {where!r} has a line break in its name, which labels.txt can't hold: rename it"
        )
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ImageFolderError(
            f"class folder {where} has a name that is not UTF-8, which labels.txt can't hold: rename it"
        ) from None


def _is_litter(name: str) -> bool:
    return name.startswith(".") or name.lower() in _LITTER


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted((entry for entry in entries if not _is_litter(entry.name)), key=lambda e: e.name)
    except OSError as error:
        raise ImageFolderError(
            f"can't read the folder {display_path(folder)}: {error.strerror}; check its permissions"
        ) from error


def _list(folder: Path) -> tuple[list[str], list[str]]:
    """Names of the sub-folders and of the files of a folder, sorted."""
    entries = _scan(folder)
    folders = [entry.name for entry in entries if _is_folder(entry)]
    return folders, [entry.name for entry in entries if not _is_folder(entry)]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder or a link to one; a link that leads nowhere is a file that can't be read."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _files_below(root: Path, start: str) -> Iterator[str]:
    """Paths, relative to root, of all files at any depth below root/start; links are followed, loops are not."""
    seen: set[tuple[int, int]] = set()
    pending = [start]
    while pending:
        folder = pending.pop()
        status = os.stat(root / folder)
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        for entry in _scan(root / folder):
            if _is_folder(entry):
                pending.append(f"{folder}/{entry.name}")
            else:
                yield f"{folder}/{entry.name}"
