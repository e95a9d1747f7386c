"""Find the classes of an image folder: its sub-folders, those of a wrapping folder, or those of each set."""

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

from retrain.data.folder_walk import FolderWalk, join
from retrain.errors import ImageFolderError
from retrain.events import Emit, Warned
from retrain.text import listing

__all__ = ["ClassFolder", "Layout", "composed", "find_classes", "is_named_like_a_picture", "set_of"]

# Names of the folders of a ready-made split, in any case: train, Training, training_set, TestData, val-images.
_SET_NAME = re.compile(
    "(train|training|val|valid|validation|dev|test|testing)"
    "([ _.-]?(set|data|dataset|images?|imgs?|pics|pictures|photos|split|folder))*",
    re.IGNORECASE,
)
_WITH_HEAD = re.compile(f"(.+[ _.-])({_SET_NAME.pattern})", re.IGNORECASE)  # seg_train
_SETS = {"train": "train", "val": "validation", "dev": "validation", "test": "test"}  # first letters -> set

_MOST_WRAPPINGS = 5  # one inside the other; links may nest them endlessly

_PICTURE_SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".j2k", ".jxl", ".png", ".gif", ".webp", ".avif", ".heic", ".heif"),
        *(".bmp", ".dib", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".ico", ".psd", ".tga"),
    }
)


@dataclass(frozen=True)
class ClassFolder:
    """A folder with the pictures of one class."""

    path: str  # relative to the image folder, with /
    subset: str | None  # "train", "validation" or "test", if it lies in the folder of a set

    @cached_property
    def name(self) -> str:
        """The name of the class."""
        return composed(os.path.basename(self.path))

    @cached_property
    def depth(self) -> int:
        """The number of folders above it, up to the image folder."""
        return self.path.count("/")


@dataclass(frozen=True)
class Layout:
    """The layout of an image folder."""

    classes: tuple[ClassFolder, ...]
    stray_files: tuple[str, ...]  # paths of files beside the class folders


def composed(name: str) -> str:
    """A name in Unicode's composed form (NFC). macOS stores é as e and an accent; other systems keep it as given."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def is_named_like_a_picture(path: str) -> bool:
    """Whether a file's suffix is that of a picture."""
    return os.path.splitext(path)[1].lower() in _PICTURE_SUFFIXES


def find_classes(
    walk: FolderWalk,
    where: str,
    emit: Emit,
    known: Collection[str] = (),
) -> Layout:
    """Tell classes from sets, and from folders that only wrap others.

    A folder that has no other beside it, and holds no pictures but at least two folders (or another wrapping folder),
    wraps the classes or the sets: its folders are taken, with a warning. A folder that repeats the files of those
    beside it, as in some archives, is left out, with a warning.

    Args:
        walk: of the image folder.
        where: the image folder, for messages.
        known: names that are always classes.
    Raises ImageFolderError if folders may be sets or classes, OSError if one can't be listed.
    """
    known = frozenset(map(composed, known))
    top = _unwrapped(walk, "", known)
    if top:
        emit(Warned(f"taking the classes from {where}/{top}, the only folder there"))
    names = _without_copy(walk, top, where, emit, known)
    sets = _sets_of([name for name in names if composed(name) not in known])
    place = f"{where}/{top}" if top else where
    if sets and len(sets) == len(names) and "train" in sets.values() and len({*sets.values()}) > 1:
        parents = _set_folders(walk, top, sets, known)
    else:
        _refuse_ambiguity(walk, top, names, sets, place)
        parents = {top: None}
    classes = [
        ClassFolder(join(parent, name), subset)
        for parent, subset in parents.items()
        for name in (names if parent == top else walk.folders(parent))
    ]
    levels = {parent[:end] for parent in parents for end in _levels(parent)}
    strays = tuple(join(level, name) for level in sorted(levels) for name in walk.files(level))
    return Layout(tuple(classes), strays)


def _unwrapped(walk: FolderWalk, folder: str, known: Collection[str], elsewhere: Collection[str] = ()) -> str:
    """A folder, or the one inside it that holds the classes or sets.

    Args:
        elsewhere: names that are classes in other sets.
    """
    while True:
        walk.bar(folder)
        names = walk.folders(folder)
        if len(names) != 1 or composed(names[0]) in known or names[0] in elsewhere:
            return folder
        inner = join(folder, names[0])
        own = os.path.basename(folder)
        is_repeated = names[0].lower() == own.lower() or (set_of(own) or "") == set_of(names[0])
        is_known = any(composed(name) in known for name in walk.folders(inner))
        if not is_repeated and not is_known and not _leads_to_classes(walk, inner):
            return folder
        folder = inner


def _leads_to_classes(walk: FolderWalk, folder: str) -> bool:
    """Whether a folder, or the only one in it, and so on, looks like a folder of classes."""
    for _ in range(_MOST_WRAPPINGS):
        names = walk.folders(folder)
        if len(names) != 1 or any(map(is_named_like_a_picture, walk.files(folder))):
            break
        folder = join(folder, names[0])
    return _holds_classes(walk, folder)


def _holds_classes(walk: FolderWalk, folder: str) -> bool:
    """Whether a folder looks like a folder of classes: two or more folders, and no picture beside them."""
    return len(walk.folders(folder)) > 1 and not any(map(is_named_like_a_picture, walk.files(folder)))


def _without_copy(walk: FolderWalk, top: str, where: str, emit: Emit, known: Collection[str]) -> list[str]:
    """The folders of a place, without one that repeats all the others.

    Raises ImageFolderError if its files differ.
    """
    names = walk.folders(top)
    for name in names:
        inner = join(top, name)
        if composed(name) in known or len(walk.folders(inner)) != len(names) - 1 or not _holds_classes(walk, inner):
            continue
        others = [other for other in names if other != name]
        if walk.folders(inner) != others:
            continue
        if _files_of(walk, top, others) != _files_of(walk, inner, others):
            raise ImageFolderError(
                f"can't tell what {where}/{inner} is: its folders are named like those beside it ({listing(others)}), "
                "but their files are not the same; give one of the two places, or move the other away"
            )
        emit(
            Warned(
                f"{where}/{inner} holds files of the same names as the folders beside it: left out, as a copy of them"
            )
        )
        return others
    return names


def _files_of(walk: FolderWalk, place: str, names: Sequence[str]) -> set[str]:
    """The files in some folders of a place; their paths are relative to the place."""
    fresh = walk.again()  # a walk forgets the folders that it has passed, and the main walk still needs these
    return {path[len(join(place, "")) :] for name in names for path, _ in fresh.below(join(place, name))}


def set_of(name: str) -> str | None:
    """The set that a name stands for ("validation" for val), or None."""
    if not _SET_NAME.fullmatch(name):
        return None
    return next(meaning for start, meaning in _SETS.items() if name.lower().startswith(start))


def _sets_of(names: Sequence[str]) -> dict[str, str]:
    """Folder -> set, of folders named like sets, also after a common start (seg_train, seg_test)."""
    sets = {name: meaning for name in names if (meaning := set_of(name))}
    by_start: dict[str, dict[str, str]] = defaultdict(dict)
    for name in names:
        match = _WITH_HEAD.fullmatch(name)
        if match and name not in sets:
            by_start[match[1]][name] = str(set_of(match[2]))
    for found in by_start.values():
        if len({*found.values()}) > 1:  # one alone is a class: steam_train
            sets |= found
    return sets


def _set_folders(walk: FolderWalk, top: str, sets: dict[str, str], known: Collection[str]) -> dict[str, str | None]:
    """The folder with a set's classes -> the set."""
    for name in sets:
        walk.bar(join(top, name))
    inside = {name: walk.folders(join(top, name)) for name in sets}
    classes = {inner for names in inside.values() if len(names) > 1 for inner in names}
    return {_unwrapped(walk, join(top, name), known, classes): subset for name, subset in sets.items()}


def _refuse_ambiguity(walk: FolderWalk, top: str, names: Sequence[str], sets: dict[str, str], where: str) -> None:
    """Refuse folders that may be sets or classes. A single one that may be a class passes."""
    others = [name for name in names if name not in sets]
    alone = len(sets) == 1 and others and any(_holds_classes(walk, join(top, name)) for name in sets)
    if len(sets) < 2 and not alone:
        return
    are, them = ("are named like sets", "them") if len(sets) > 1 else ("is named like a set", "it")
    if others:
        found = f"{listing(sets)} {are}, but {listing(others)} {'lie' if len(others) > 1 else 'lies'} beside {them}"
        remedy = f"move {'the others' if len(others) > 1 else 'the other'} away"
    else:
        found = f"{listing(sets)} {are}, but a training set or a second set is missing"
        remedy = "rename them, or add what is missing"
    raise ImageFolderError(
        f"can't tell sets from classes in {where}: {found}; if these are sets, {remedy}; if they are classes, give "
        "the folders other names (--labels-file can give them any label)"
    )


def _levels(folder: str) -> list[int]:
    """Where a folder's path, and the paths of those above it, end in it."""
    return [0, *(match.start() for match in re.finditer("/", folder)), len(folder)]
