"""Plan an edit of an image folder: which files get which places, so that nothing is overwritten."""

import errno
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from retrain.data.edits.confined_files import ConfinedFiles, distinct_names
from retrain.data.edits.edit_journal import Edit, Move
from retrain.data.edits.edit_names import check_new_class, folded, picture_name
from retrain.data.folder_layout import ClassFolder, Layout, composed, find_classes
from retrain.data.folder_walk import FolderWalk, is_litter, join
from retrain.errors import ImageFolderError
from retrain.events import ignore
from retrain.paths import display_path
from retrain.text import counted, listing

__all__ = ["TRASH", "EditPlan", "FolderClasses"]

TRASH = ".trash"
_NO_CLASS = "no class"
_MOST_NAMED = 3  # classes in the text of an edit, paths in a message


@dataclass(frozen=True)
class FolderClasses:
    """The classes of an image folder as it is now, with and without pictures.

    Args:
        layout: of the folder.
        unlabelled: the folder of unlabelled pictures, relative to the image folder; None if there is none.
    """

    layout: Layout
    unlabelled: str | None

    @classmethod
    def read(cls, root: str, unlabelled: str | None) -> "FolderClasses":
        """Those of a folder. Raises ImageFolderError, OSError."""
        exclude = [os.path.join(root, unlabelled)] if unlabelled is not None else []
        return cls(find_classes(FolderWalk(root, exclude), display_path(root), ignore), unlabelled)

    @cached_property
    def places(self) -> dict[str, str | None]:
        """The folders that classes are in -> the set of each, or None."""
        return {os.path.dirname(folder.path): folder.subset for folder in self.layout.classes} or {"": None}

    @property
    def home(self) -> str:
        """The place for pictures that are in no set yet: that of the training set, if there are sets."""
        return next((place for place, subset in self.places.items() if subset == "train"), next(iter(self.places)))

    def keeps(self, after: "FolderClasses") -> bool:
        """Whether classes are only in places, later, where there are some now."""
        return {os.path.dirname(folder.path) for folder in after.layout.classes} <= self.places.keys()

    def named(self, name: str) -> list[ClassFolder]:
        """The folders of a class: one in each set, or in each Unicode form."""
        return self._by_name.get(composed(name), [])

    def above(self, path: str) -> ClassFolder | None:
        """The class folder that a path is in."""
        ends = (place for place, letter in enumerate(path) if letter == "/")
        return next((self._by_path[path[:end]] for end in ends if path[:end] in self._by_path), None)

    def is_unlabelled(self, path: str) -> bool:
        """Whether a path is in the folder of unlabelled pictures."""
        return self.unlabelled is not None and path.startswith(f"{self.unlabelled}/")

    def is_beside(self, path: str) -> bool:
        """Whether a file lies beside class folders."""
        return path in self._strays

    @cached_property
    def _by_path(self) -> dict[str, ClassFolder]:
        return {folder.path: folder for folder in self.layout.classes}

    @cached_property
    def _by_name(self) -> dict[str, list[ClassFolder]]:
        found: dict[str, list[ClassFolder]] = {}
        for folder in self.layout.classes:
            found.setdefault(folder.name, []).append(folder)
        return found

    @cached_property
    def _strays(self) -> frozenset[str]:
        return frozenset(self.layout.stray_files)


class EditPlan:
    """The plan of one edit. Each method plans one kind of it, and raises ImageFolderError or OSError.

    Args:
        files: of the folder.
        classes: in it.
        number: of the edit.
    """

    def __init__(self, files: ConfinedFiles, classes: FolderClasses, number: int) -> None:
        self.classes = classes
        self._files, self._number = files, number
        self._moves: list[Move] = []
        self._made: dict[str, None] = {}
        self._folder_of: dict[tuple[str, str], str] = {}  # class and place -> folder
        self._there: set[str] = {""}  # folders that exist, or are made
        self._taken: set[str] = set()  # paths that are targets, folded
        self._next: dict[str, int] = {}  # folded path -> which of the names like it to try first

    def add(self, class_name: str, names: Sequence[str]) -> Edit:
        """Add files, whose contents the sources of the moves will have."""
        if not names:
            raise ImageFolderError("no pictures are given to add; give at least one")
        folder = self._class_folder(class_name, self.classes.home)
        for name in map(picture_name, names):
            target = self._free(join(folder, name))
            self._moves.append(Move(self._trashed(target), target))
        return self._edit("add", f"Added {self._count()} to {_named([class_name])}")

    def move(self, paths: Sequence[str], class_name: str) -> Edit:
        """Move pictures to a class."""
        sources: set[str | None] = set()
        for path, is_link in self._pictures(paths):
            folder, rest, place = self._place_of(path)
            if folder is None or folder.name != composed(class_name):
                target = self._free(join(self._class_folder(class_name, place), rest))
                if is_link:
                    self._check_link(path, target)
                self._moves.append(Move(path, target))
                sources.add(folder.name if folder else None)
        if not self._moves:
            raise ImageFolderError(f"nothing to move: all of these pictures are in {display_path(class_name)} already")
        if sources == {None}:
            return self._edit("move", f"Labelled {self._count()} as {_named([class_name])}")
        return self._edit("move", f"Moved {self._count()} from {_of(sources)} to {_named([class_name])}")

    def remove(self, paths: Sequence[str]) -> Edit:
        """Move pictures to the trash."""
        sources: set[str | None] = set()
        for path, _ in self._pictures(paths):
            folder, _, _ = self._place_of(path)
            sources.add(folder.name if folder else None)
            self._moves.append(Move(path, self._trashed(path)))
        return self._edit("remove", f"Removed {self._count()} from {_of(sources)}")

    def new_class(self, name: str) -> Edit:
        """Make an empty class."""
        if self.classes.named(name):
            raise ImageFolderError(f"there is a class {display_path(name)} already; give another name")
        self._need(self._class_folder(name, self.classes.home))
        return self._edit("new_class", f"Made the class {_named([name])}")

    def remove_class(self, name: str) -> Edit:
        """Move a class to the trash as a whole."""
        for folder in self._folders(name):
            self._moves.append(Move(folder.path, self._trashed(folder.path)))
        return self._edit("remove_class", f"Removed the class {_named([name])}")

    def rename_class(self, name: str, new_name: str) -> Edit:
        """Give the folders of a class another name."""
        text = f"Renamed {_named([name])} to {_named([new_name])}"
        folders = self._folders(name)
        if self.classes.named(new_name):
            raise ImageFolderError(
                f"there is a class {display_path(new_name)} already; give another name, or merge the two"
            )
        places = {os.path.dirname(folder.path) for folder in folders}
        if len(places) < len(folders):  # in one set there is one for each Unicode form
            self._merge(folders, new_name)
            return self._edit("rename", text)
        new = self._checked_name(new_name, besides=name)
        for folder in folders:
            target = join(os.path.dirname(folder.path), new)
            if folded(target) != folded(folder.path):
                self._check_unused(target)
            self._moves.append(Move(folder.path, target))
        return self._edit("rename", text)

    def merge_classes(self, names: Sequence[str], into: str) -> Edit:
        """Move the files of some classes to one, and what is left of their folders to the trash."""
        others = list(dict.fromkeys(composed(name) for name in names if composed(name) != composed(into)))
        if not others:
            raise ImageFolderError("there is nothing to merge: give at least two classes")
        self._merge([folder for name in others for folder in self._folders(name)], into)
        return self._edit("merge", f"Merged {_named(others)} into {_named([into])}")

    def _merge(self, folders: Iterable[ClassFolder], into: str) -> None:
        for folder in folders:
            target = self._class_folder(into, os.path.dirname(folder.path))
            self._need(target)
            for path, is_link in self._files_below(folder.path):
                new = self._free(join(target, path[len(folder.path) + 1 :]))
                if is_link:
                    self._check_link(path, new)
                self._moves.append(Move(path, new))
            self._moves.append(Move(folder.path, self._trashed(folder.path)))

    def _edit(self, kind: str, text: str) -> Edit:
        return Edit(self._number, kind, text, tuple(self._moves), tuple(self._made))

    def _count(self) -> str:
        return counted(len(self._moves), "picture")

    # classes

    def _folders(self, name: str) -> list[ClassFolder]:
        """The folders of a class that there is."""
        folders = self.classes.named(name)
        if not folders:
            raise ImageFolderError(f"there is no class {display_path(name)}; it was removed or renamed meanwhile")
        return folders

    def _class_folder(self, name: str, place: str) -> str:
        """The folder of a class in a place, which may have to be made."""
        if (name, place) not in self._folder_of:
            self._folder_of[name, place] = self._found_class_folder(name, place)
        return self._folder_of[name, place]

    def _found_class_folder(self, name: str, place: str) -> str:
        folders = self.classes.named(name)
        here = [folder.path for folder in folders if os.path.dirname(folder.path) == place]
        if here:
            return here[0]
        if folders:
            return join(place, os.path.basename(folders[0].path))  # as it is spelled in another set
        path = join(place, self._checked_name(name))
        self._check_unused(path)
        return path

    def _checked_name(self, name: str, besides: str | None = None) -> str:
        """A name for a new class, or one for `besides`, which is a class."""
        new = check_new_class(name)
        for folder in self.classes.layout.classes:
            if folded(folder.name) == folded(new) and folder.name != (besides and composed(besides)):
                raise ImageFolderError(
                    f"there is a class {display_path(folder.name)}, and {display_path(new)} differs from it in "
                    "upper and lower case only, which many systems do not tell apart: use that class, or another name"
                )
        return new

    def _check_unused(self, path: str) -> None:
        if self._files.status(path) is not None:
            raise ImageFolderError(
                f"{display_path(path)} is there already and is not a class; move it away, or give another name"
            )

    # pictures

    def _pictures(self, paths: Sequence[str]) -> Iterator[tuple[str, bool]]:
        """Paths of pictures, each once and checked, and whether it is a link."""
        if not paths:
            raise ImageFolderError("no pictures are given; give at least one")
        for path in dict.fromkeys(paths):
            status = self._files.status(path)
            if status is None:
                raise ImageFolderError(f"{display_path(path)} is not there any more; it was moved or removed meanwhile")
            if stat.S_ISDIR(status.st_mode):
                raise ImageFolderError(f"{display_path(path)} is a folder; give pictures")
            yield path, stat.S_ISLNK(status.st_mode)

    def _place_of(self, path: str) -> tuple[ClassFolder | None, str, str]:
        """The class folder of a picture, or None; its path in there; the place that a class folder for it is in."""
        inside = path
        if self.classes.is_unlabelled(path):
            inside = path[len(self.classes.unlabelled or "") + 1 :]
        if any(map(is_litter, inside.split("/"))):
            raise ImageFolderError(f"{display_path(path)} is hidden, or a file of the system; it is not a picture")
        if inside != path:
            return None, os.path.basename(path), self.classes.home
        folder = self.classes.above(path)
        if folder is not None:
            return folder, path[len(folder.path) + 1 :], os.path.dirname(folder.path)
        place, _, name = path.rpartition("/")
        if not self.classes.is_beside(path):
            raise ImageFolderError(
                f"{display_path(path)} is in no class, nor beside the classes; give paths of pictures of the folder"
            )
        return None, name, place if place in self.classes.places else self.classes.home

    def _files_below(self, folder: str) -> Iterator[tuple[str, bool]]:
        """All files in a class folder, at any depth, as they would be trained on; and whether each is a link."""
        pending = [folder]
        while pending:
            current = pending.pop()
            for name in self._files.names(current):
                path = join(current, name)
                status = None if is_litter(name) else self._files.status(path)
                if status is not None and stat.S_ISDIR(status.st_mode):
                    pending.append(path)
                elif status is not None:
                    yield path, stat.S_ISLNK(status.st_mode)

    def _check_link(self, source: str, target: str) -> None:
        """Refuse to move a link whose text would mean something else in its new place."""
        text = self._files.link_text(source)
        before, after = (os.path.normpath(os.path.join(os.path.dirname(path), text)) for path in (source, target))
        if before != after:
            raise ImageFolderError(
                f"{display_path(source)} is a link to {display_path(text)}, which would lead elsewhere from "
                f"{display_path(os.path.dirname(target))}; put the picture itself there, or a link with a full path"
            )

    # places

    def _trashed(self, path: str) -> str:
        """The place in the trash for something; two files that are in the same place never were there at once."""
        if self.classes.is_unlabelled(path):
            unlabelled = self.classes.unlabelled or ""
            path = join(os.path.basename(unlabelled), path[len(unlabelled) + 1 :])
        return self._free(f"{TRASH}/{self._number}/{path}")

    def _free(self, path: str) -> str:
        """A path that nothing has, and that no move has as its target, like this one; folders above it will be made."""
        folder, name = os.path.split(path)
        is_new = not self._need(folder)
        start = self._next.get(folded(path), 1)
        for number, candidate in enumerate(distinct_names(name, start), start):
            new = join(folder, candidate)
            if folded(new) not in self._taken and (is_new or self._files.status(new) is None):
                self._taken.add(folded(new))
                self._next[folded(path)] = number + 1
                return new
        raise OSError(errno.EEXIST, os.strerror(errno.EEXIST), path)

    def _need(self, folder: str) -> bool:
        """Have a folder made if it is missing; whether it is there."""
        if folder not in self._there:
            self._need(os.path.dirname(folder))
            status = self._files.status(folder)
            self._there.add(folder)
            if status is None:
                self._made[folder] = None
        return folder not in self._made


def _of(sources: Iterable[str | None]) -> str:
    """Where pictures come from."""
    return _named(sorted(source or _NO_CLASS for source in sources))


def _named(names: Sequence[str]) -> str:
    return listing(map(display_path, names), _MOST_NAMED)
