"""Read a folder with one sub-folder of pictures per class."""

import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from retrain.data.folder_layout import ClassFolder, Layout, composed, find_classes, is_named_like_a_picture
from retrain.data.folder_walk import FolderWalk, Found, RemoteWalk
from retrain.data.labelled_pictures import LabelledPictures, Sample
from retrain.data.remote_files import is_url, url_of
from retrain.errors import ImageFolderError
from retrain.events import Emit, Warned, ignore
from retrain.paths import display_path
from retrain.text import counted, listing

__all__ = ["composed", "read_image_folder"]

_MOST_NAMED = 3  # of paths, in a message


def read_image_folder(
    root: str | os.PathLike[str],
    exclude: Iterable[str | os.PathLike[str]] = (),
    emit: Emit = ignore,
    known: Collection[str] = (),
) -> LabelledPictures:
    """Find the classes and the files of each, at any depth below the class folder.

    If all sub-folders are named like sets (train/, val/, test/ ...), the classes are the folders inside them; if one
    folder wraps the others, they are inside that. Folders whose names differ only in their Unicode form are one class.
    Litter is left out, and so are this program's models, caches and evaluations.

    Args:
        root: the image folder.
        exclude: folders that are not classes, if they lie in it: the cache, the model.
        emit: told what is taken otherwise than it may look, and what is left out.
        known: names that are always classes.
    Raises ImageFolderError if the folder is missing, if it or a class folder can't be read, if no sub-folder has a
    file, or if folders may be sets or classes.
    """
    spelling, root = os.fspath(root), Path(root)
    walk = _walk(root, exclude)
    try:
        layout = find_classes(walk, display_path(root), emit, known)
        for folder in layout.classes:
            walk.folders(folder.path)  # an unreadable class is an error, not a file to skip
    except OSError as error:
        raise ImageFolderError(
            f"can't read the folder {display_path(error.filename)}: {error.strerror}; check its permissions"
        ) from error
    _check_names(layout.classes, root, emit)
    files: dict[str, list[tuple[ClassFolder, list[Found]]]] = {folder.name: [] for folder in layout.classes}
    for folder in layout.classes:
        found = list(walk.below(folder.path))
        if found:
            files[folder.name].append((folder, found))
    class_names = tuple(sorted(name for name, found in files.items() if found))
    if not class_names:
        raise _without_pictures(root, layout)
    signatures = walk.signatures if isinstance(walk, RemoteWalk) else {}
    samples = sorted(
        (
            Sample(path, label, name, folder.subset, problem, signature=signatures.get(path))
            for label, name in enumerate(class_names)
            for folder, found in files[name]
            for path, problem in found
        ),
        key=lambda sample: sample.path,
    )
    problems = walk.problems | {sample.path: sample.problem for sample in samples if sample.problem}
    _tell_what_is_left_out(problems, layout.stray_files, emit)
    empty = tuple(sorted(name for name, found in files.items() if not found))
    return LabelledPictures(root, class_names, tuple(samples), empty, layout.stray_files, spelling)


def _walk(root: Path, exclude: Iterable[str | os.PathLike[str]]) -> FolderWalk:
    """A walk below a folder, here or by URL. Raises ImageFolderError, MissingPackageError."""
    if not is_url(root):
        _check_root(root)
        return FolderWalk(root, exclude)
    url = url_of(root)
    if url.startswith(("http://", "https://")):
        raise ImageFolderError(f"{url} can't be listed as a folder: download the pictures first, and give their folder")
    try:
        walk = RemoteWalk(url)
    except OSError as error:
        raise ImageFolderError(
            f"can't list {url}: {error.strerror or error}; check the address, and what you may read there"
        ) from error
    if not walk.signatures:
        raise ImageFolderError(f"no files below {url}; give a folder with one sub-folder of pictures per class")
    return walk


def _check_root(root: Path) -> None:
    if not root.exists():
        raise ImageFolderError(
            f"no such image folder: {display_path(root)}; give a folder with one sub-folder of pictures per class, "
            "or a manifest"
        )
    if not root.is_dir():
        raise ImageFolderError(
            f"image folder {display_path(root)} is a file; give a folder with one sub-folder of pictures per class"
        )


def _without_pictures(root: Path, layout: Layout) -> ImageFolderError:
    strays = len(layout.stray_files)
    hint = ""
    if strays:
        first = layout.stray_files[0]
        where = "the folder itself" if all("/" not in path for path in layout.stray_files) else "no folder of a class"
        hint = f" ({counted(strays, 'file', 'lies/lie')} in {where}, {display_path(first)} for one)"
    return ImageFolderError(
        f"no pictures in the sub-folders of {display_path(root)}{hint}; make one sub-folder per class and put its "
        "pictures there"
    )


def _tell_what_is_left_out(problems: dict[str, str], stray_files: Sequence[str], emit: Emit) -> None:
    by_problem: dict[str, list[str]] = defaultdict(list)
    for path, problem in problems.items():
        by_problem[problem].append(path)
    for problem, paths in by_problem.items():
        emit(Warned(f"left out {listing(map(display_path, paths), _MOST_NAMED)}: {problem}"))
    strays = [path for path in stray_files if is_named_like_a_picture(path)]
    if strays:
        emit(
            Warned(
                f"{counted(len(strays), 'picture', 'lies/lie')} beside the class folders, in no class, and will not be "
                f"used: {listing(map(display_path, strays), _MOST_NAMED)}"
            )
        )


def _check_names(classes: Sequence[ClassFolder], root: Path, emit: Emit) -> None:
    """Refuse names that can't be labels, and warn of names that differ only in their Unicode form."""
    spellings: dict[tuple[str, str | None], list[str]] = defaultdict(list)
    for folder in classes:
        _check_class_name(folder.path, root)
        spellings[folder.name, folder.subset].append(folder.path)
    for (name, _), paths in spellings.items():
        if len(paths) > 1 and len({os.path.dirname(path) for path in paths}) == 1:
            emit(
                Warned(
                    f"{len(paths)} folders in {display_path(root)} are named {name}, in different Unicode forms: "
                    "they are treated as one class"
                )
            )


def _check_class_name(path: str, root: Path) -> None:
    where, name = display_path(root / path), os.path.basename(path)
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
