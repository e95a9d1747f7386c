"""Walk folders: which files may be pictures, and what is left out, and why. Every command walks this way."""

import copy
import os
import re
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from retrain.data.picture_file import Signature, what_else
from retrain.data.remote_files import list_remote
from retrain.model_files import GRAPH, HEAD, LABELS, RUN

__all__ = ["UNREADABLE", "FolderWalk", "Found", "RemoteWalk", "is_litter", "join", "picture_files"]

# What systems, file managers, network drives and archives leave behind, in lower case. Names that begin with a dot are
# litter, too: .DS_Store, .ipynb_checkpoints, ._IMG_1.jpg (AppleDouble).
_LITTER = frozenset(
    {
        *("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"),
        *("__macosx", "lost+found", "system volume information", "$recycle.bin", "recycler"),
        *("@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot"),
    }
)

# Folders that this program wrote are recognized by what is in them.
_MODEL_FILES = frozenset({RUN, LABELS, GRAPH, HEAD})  # two of them make a model folder
_EVALUATION_FILES = frozenset({"evaluation.json", "confusion_matrix.csv"})  # both make an evaluation's folder
_EXTRACTOR_NOTE = "extractor.json"
_INDEX_FOLDER, _INDEX_FILE = "pictures", re.compile(r"[0-9a-f]{16}\.npz|one_colour-\d+\.txt")

UNREADABLE = "can't be read"
_LEADS_UP = "a link to a folder above it, or to one that holds the classes: not followed"


# The path of a file, and None; or the path of something else, and why it is left out.
Found = tuple[str, str | None]

Identity = Hashable  # device and inode, or the path where there are no links


@dataclass(frozen=True)
class _Listing:
    """What is in a folder, without litter; all names sorted."""

    folders: list[str]  # including links to folders
    files: list[str]  # including broken links: reading them tells what is wrong
    problems: dict[str, str]  # name -> why it is neither


def is_litter(name: str) -> bool:
    """Whether a file or folder with this name is never a picture or a class."""
    return name[0] == "." or name.lower() in _LITTER


class FolderWalk:
    """A walk below one folder. Links are followed, but not in circles, nor to folders that are barred.

    Paths are relative to the top, with /; the top itself is "".

    Args:
        top: a folder.
        exclude: folders to leave out, if they lie below it. Folders that this program made are always left out.
    """

    def __init__(self, top: str | os.PathLike[str], exclude: Iterable[str | os.PathLike[str]] = ()) -> None:
        self.top = os.fspath(top)
        self.problems: dict[str, str] = {}  # path -> why the walk does not go there; filled by folders()
        self._listings: dict[str, _Listing] = {}  # of folders still to be walked
        self._excluded, self._barred = self._closed(exclude)

    def _closed(self, exclude: Iterable[str | os.PathLike[str]]) -> tuple[set[Identity], set[Identity]]:
        """Folders to leave out, and those that links must not lead to."""
        real = Path(os.path.realpath(self.top))
        excluded: set[Identity] = {_identity(folder) for folder in exclude if os.path.isdir(folder)}
        return excluded, {_identity(folder) for folder in (real, *real.parents)}

    def again(self) -> "FolderWalk":
        """A walk below the same folder that has not passed any."""
        return FolderWalk(self.top)

    def bar(self, folder: str) -> None:
        """Don't follow links to this folder, because it holds classes. Raises OSError."""
        self._barred.add(self._identify(folder))

    def folders(self, folder: str) -> list[str]:
        """Names of the sub-folders that may hold pictures, sorted. Raises OSError if the folder can't be listed."""
        names = []
        for name in self._listing(folder).folders:
            path = join(folder, name)
            if self._identify(path) in self._barred:
                self.problems[path] = _LEADS_UP
            elif not self._is_own(path):
                names.append(name)
        return names

    def files(self, folder: str) -> list[str]:
        """Names of all kinds of files in a folder, sorted. Raises OSError if it can't be listed."""
        listing = self._listing(folder)
        return sorted([*listing.files, *listing.problems])

    def below(self, start: str) -> Iterator[Found]:
        """All files at any depth below a sub-folder: first its own, then those of each folder in it, all sorted."""
        seen: set[Identity] = set()
        pending = [start]
        while pending:
            folder = pending.pop()
            try:
                identity, listing = self._identify(folder), self._listing(folder)
            except OSError as error:
                yield folder, f"{UNREADABLE}: {error.strerror}"
                continue
            if identity in self._barred and folder != start:
                yield folder, _LEADS_UP
            elif identity not in seen and (folder == start or not self._is_own(folder)):
                seen.add(identity)
                prefix = f"{folder}/"
                for name in listing.files:
                    yield prefix + name, None
                for name, problem in listing.problems.items():
                    yield prefix + name, problem
                pending += [join(folder, name) for name in reversed(listing.folders)]
            self._listings.pop(folder, None)

    def everything(self) -> Iterator[Found]:
        """All files below the top, each of its sub-folders walked for itself: two links to one folder are two."""
        listing = self._listing("")
        yield from ((name, None) for name in listing.files)
        yield from listing.problems.items()
        for name in self.folders(""):
            yield from self.below(name)
        yield from self.problems.items()

    def _identify(self, folder: str) -> Identity:
        """What tells a folder from all others. Raises OSError."""
        return _identity(self._place(folder))

    def _place(self, folder: str) -> str:
        return os.path.join(self.top, folder) if folder else self.top

    def _listing(self, folder: str) -> _Listing:
        if folder not in self._listings:
            self._listings[folder] = self._list(folder)
        return self._listings[folder]

    def _list(self, folder: str) -> _Listing:
        return _list(self._place(folder))

    def _is_own(self, folder: str) -> bool:
        """Whether this program made a folder (a model, a cache, an evaluation), or it is excluded."""
        try:
            if self._excluded and self._identify(folder) in self._excluded:
                return True
            listing = self._listing(folder)
            if len(_MODEL_FILES.intersection(listing.files)) > 1 or _EVALUATION_FILES.issubset(listing.files):
                return True
            if self._is_part_of_cache(folder):
                return True
            inner = [join(folder, name) for name in listing.folders]
            return bool(inner) and {"README.md"} >= {*listing.files} and all(map(self._is_part_of_cache, inner))
        except OSError:
            return False  # whoever walks it tells what is wrong

    def _is_part_of_cache(self, folder: str) -> bool:
        """Whether a folder is one of an extractor, or holds what the cache knows of pictures. Raises OSError."""
        listing = self._listing(folder)
        if os.path.basename(folder) == _INDEX_FOLDER and listing.files and not listing.folders:
            return all(map(_INDEX_FILE.fullmatch, listing.files))
        return _EXTRACTOR_NOTE in listing.files


class RemoteWalk(FolderWalk):
    """A walk below a URL. All is listed at once, which takes a request for every thousand files or so.

    Raises OSError if the server can't be asked; MissingPackageError.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.signatures: dict[str, Signature] = {}  # path -> what shows that the file is unchanged
        self._tree: dict[str, tuple[set[str], list[str]]] = {"": (set(), [])}  # folder -> folders and files in it
        for path, facts in list_remote(url).items():
            if not any(map(is_litter, path.split("/"))):
                self.signatures[path] = facts.signature
                folder, _, name = path.rpartition("/")
                self._folder(folder)[1].append(name)

    def again(self) -> FolderWalk:
        """A walk below the same URL that has not passed any folder."""
        walk = copy.copy(self)
        walk._listings, walk._barred, walk.problems = {}, set(), {}
        return walk

    def _folder(self, path: str) -> tuple[set[str], list[str]]:
        if path not in self._tree:
            self._tree[path] = set(), []
            above, _, name = path.rpartition("/")
            self._folder(above)[0].add(name)
        return self._tree[path]

    def _closed(self, _exclude: Iterable[str | os.PathLike[str]]) -> tuple[set[Identity], set[Identity]]:
        return set(), set()

    def _identify(self, folder: str) -> Identity:
        return folder

    def _list(self, folder: str) -> _Listing:
        folders, files = self._tree[folder]
        return _Listing(sorted(folders), sorted(files), {})


def picture_files(places: Iterable[str | os.PathLike[str]]) -> Iterator[Found]:
    """The files of a list of files and folders: a file as it is given, and all files at any depth of a folder.

    Folders that can't be read, and things that are not regular files, come with the problem.
    """
    for place in places:
        if not os.path.isdir(place):
            yield os.fspath(place), None
            continue
        try:
            for path, problem in FolderWalk(place).everything():
                yield os.path.join(place, path), problem
        except OSError as error:
            yield os.fspath(place), f"{UNREADABLE}: {error.strerror}"


def join(folder: str, name: str) -> str:
    """The path of a name in a folder. Both paths are relative to the top, which is ""."""
    return f"{folder}/{name}" if folder else name


def _identity(folder: str | os.PathLike[str]) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def _list(folder: str) -> _Listing:
    """List a folder. Its entries come with their kinds; only links are looked up. Raises OSError with its name."""
    folders: list[str] = []
    files: list[str] = []
    problems: dict[str, str] = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if is_litter(entry.name):
                    continue
                try:
                    if entry.is_file():
                        files.append(entry.name)
                    elif entry.is_dir():
                        folders.append(entry.name)
                    elif kind := what_else(entry.stat().st_mode):
                        problems[entry.name] = kind
                except OSError:
                    files.append(entry.name)
    except OSError as error:
        error.filename = folder
        raise
    return _Listing(sorted(folders), sorted(files), dict(sorted(problems.items())))
