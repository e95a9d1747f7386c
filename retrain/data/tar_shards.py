"""Read .tar shards in WebDataset's form as a folder of pictures.

Files of one sample follow each other and differ in what comes after the first dot of their names: 0007.jpg, 0007.cls.
(https://github.com/webdataset/webdataset, "The WebDataset Format".)
"""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from retrain.data.archive_copies import copied_archive
from retrain.data.folder_layout import composed, is_named_like_a_picture, set_of
from retrain.data.folder_walk import UNREADABLE, is_litter
from retrain.data.labelled_pictures import LabelledPictures, Sample
from retrain.data.remote_files import copies_folder, is_url, names_at, url_of
from retrain.data.tar_members import TarMember, member_bytes, tar_members
from retrain.errors import ImageFolderError, UnreadableImageError
from retrain.events import Emit, Warned
from retrain.paths import display_path
from retrain.text import counted, listing

__all__ = ["is_tar", "read_tar_shards", "shards_in"]

_LABEL_FIELDS = ("label", "class", "class_name", "cls")  # of a .json file, the first that is there
_MOST_LABEL_BYTES = 2**20
_MOST_NAMED = 3


def is_tar(path: str | os.PathLike[str]) -> bool:
    """Whether a path is that of an archive, by its name."""
    return os.fspath(path).endswith(".tar")


def shards_in(folder: str | os.PathLike[str]) -> list[str]:
    """The names of the archives in a folder, also by URL, that has nothing else; none if it has sub-folders.

    Raises OSError, MissingPackageError.
    """
    if is_url(folder):
        names = names_at(url_of(folder))
    else:
        with os.scandir(folder) as entries:
            names = {entry.name: entry.is_dir() for entry in entries}
    found = {name: is_folder for name, is_folder in names.items() if not is_litter(name)}
    return [] if any(found.values()) else sorted(filter(is_tar, found))


def read_tar_shards(root: str | os.PathLike[str], shards: Sequence[str], emit: Emit, is_part: bool) -> LabelledPictures:
    """The pictures in archives, with their classes.

    The class of a picture is what its .cls file says, or the `label`, `class`, `class_name` or `cls` of its .json file,
    or else the folder that it is in; train/cat/1.jpg belongs to the training set.

    Args:
        root: the folder of the archives.
        shards: their names.
        emit: told what is left out.
        is_part: whether there may be more pictures below the root.
    Raises ImageFolderError.
    """
    spelling = os.fspath(root)
    labelled: list[tuple[str, str, str | None]] = []  # path, class, set
    without: list[str] = []
    for shard in shards:
        try:
            for name, label in _labels(_here(os.path.join(spelling, shard))):
                if label:
                    labelled.append((f"{shard}/{name}", label, _set_in(name)))
                else:
                    without.append(f"{shard}/{name}")
        except (OSError, UnreadableImageError) as error:
            reason = str(error) if isinstance(error, UnreadableImageError) else f"{UNREADABLE}: {error.strerror}"
            raise ImageFolderError(
                f"{display_path(os.path.join(spelling, shard))}: {reason}; make the archive again, or move it away"
            ) from None
    if without:
        emit(
            Warned(
                f"{counted(len(without), 'picture', 'has/have')} no class, and will not be used: "
                f"{listing(map(display_path, without), _MOST_NAMED)}"
            )
        )
    names = tuple(sorted({label for _, label, _ in labelled}))
    if not names:
        raise ImageFolderError(
            f"no pictures with a class in {counted(len(shards), 'archive')} of {display_path(spelling)}: put them into "
            "folders, or a .cls or .json file beside each"
        )
    numbers = {name: number for number, name in enumerate(names)}
    samples = tuple(
        Sample(path, numbers[label], label, subset)
        for path, label, subset in sorted(labelled, key=lambda found: found[0])
    )
    return LabelledPictures(Path(root), names, samples, stray_files=tuple(without), spelling=spelling, is_part=is_part)


def _here(archive: str) -> str:
    """An archive on this machine: of one by URL, its copy. Raises ImageFolderError."""
    if not is_url(archive):
        return archive
    url = url_of(archive)
    try:
        return copied_archive(url).path
    except OSError as error:
        raise ImageFolderError(
            f"can't copy {url} to {display_path(copies_folder('archives'))}: {error.strerror or error}; check the "
            "address, and the space there, or name another place with XDG_CACHE_HOME"
        ) from error


def _labels(archive: str) -> Iterator[tuple[str, str]]:
    """The pictures of an archive, each with its class; "" for one without. Raises OSError, UnreadableImageError."""
    members = tar_members(archive)
    for name in members:
        base = name.rpartition("/")[2]
        if is_litter(base) or not is_named_like_a_picture(name):
            continue
        stem = name[: len(name) - len(base)] + base.partition(".")[0]
        label = ""
        if f"{stem}.cls" in members:
            label = _text(archive, members[f"{stem}.cls"]).decode("utf-8", "replace")
        elif f"{stem}.json" in members:
            label = _label_in(_text(archive, members[f"{stem}.json"]))
        label = composed(" ".join(label.split())) or composed(name.rpartition("/")[0].rpartition("/")[2])
        yield name, label


def _text(archive: str, member: TarMember) -> bytes:
    """The content of a small file; nothing of a large one."""
    return member_bytes(archive, member) if member.size <= _MOST_LABEL_BYTES else b""


def _label_in(content: bytes) -> str:
    """The class that a .json file names; "" if it names none."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return ""
    if isinstance(found, dict):
        found = next((found[field] for field in _LABEL_FIELDS if field in found), None)
    return str(found) if isinstance(found, str | int) and not isinstance(found, bool) else ""


def _set_in(name: str) -> str | None:
    """The set that the first of several folders names."""
    folders = name.split("/")[:-1]
    return set_of(folders[0]) if len(folders) > 1 else None
