"""Look after a cache folder: what it holds, whether it is sound, what can go; import the original program's files."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrain.cache.artifacts import QUANTIZED_MODEL, artifact_files
from retrain.cache.fingerprint import fingerprint_of
from retrain.cache.folder import (
    CORRUPT_SUFFIX,
    check_owner,
    extractor_folders,
    name_of,
    owner_of,
    read_error,
    read_note,
    write_error,
    write_owner,
)
from retrain.cache.picture_index import PictureIndex
from retrain.cache.segments import DamagedSegmentError, ForeignSegmentError, Rows, read_segment
from retrain.cache.store import BottleneckCache
from retrain.data import LabelledPictures, hash_picture, read_image_folder
from retrain.errors import CacheError, UnreadableImageError
from retrain.events import Emit, Inspected, ignore
from retrain.paths import display_path
from retrain.text import counted

__all__ = [
    "ExtractorInfo",
    "ImportReport",
    "PruneReport",
    "VerifyReport",
    "extractors",
    "import_text_files",
    "prune",
    "recover",
    "verify",
]

# NAME.jpg.txt of 2015, NAME.jpg_inception_v3.txt of 2017, NAME.jpg_https~tfhub.dev~...~3.txt of 2018
_TEXT_FILE = re.compile(r"(?P<picture>.+\.(jpe?g|png|bmp|gif|webp|tiff?))(_(?P<module>.+))?\.txt", re.IGNORECASE)


@dataclass(frozen=True)
class ExtractorInfo:
    """One extractor's part of a cache."""

    name: str
    fingerprint: str
    folder: str
    rows: int
    bottleneck_size: int | None
    segments: int
    bytes: int  # on disk: segments, the quantised model, what exports need, and stopped fine-tunings
    set_aside: int  # damaged segments, renamed to *.corrupt
    warnings: tuple[str, ...]  # a line for each damaged file that is still in place
    oldest: float | None  # seconds since 1970, when the oldest segment was written
    newest: float | None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class VerifyReport:
    """What a check of every row found."""

    folder: str
    rows: int
    sound: int
    damage: tuple[str, ...]  # a line for every damaged segment
    set_aside: int  # damaged segments, renamed to *.corrupt


@dataclass(frozen=True)
class PruneReport:
    """Rows that no picture needs any more."""

    folder: str
    rows: int
    unneeded: int
    bytes: int  # that their vectors take on disk, about


@dataclass(frozen=True)
class ImportReport:
    """What was imported of the original program's files."""

    folders: tuple[str, ...]  # cache folders that got rows
    imported: int
    already_cached: int
    skipped: dict[str, str]  # path of a text file -> why it was left out


def extractors(cache_dir: str | os.PathLike[str]) -> list[BottleneckCache]:
    """Open all extractors' parts of a cache folder, sorted by folder. Raises CacheError if it is missing."""
    root = Path(cache_dir)
    if not root.is_dir():
        raise CacheError(f"no such cache folder: {display_path(root)}; name one with --cache-dir")
    caches = []
    for folder in extractor_folders(root):
        owner = owner_of(folder)
        if owner is None:
            raise CacheError(
                f"can't tell which extractor {display_path(folder)} belongs to: its extractor.json is damaged, and it "
                "has no sound segment; extract with its backbone again, or remove the folder"
            )
        caches.append(BottleneckCache(root, name_of(folder), owner, _description_in(folder), folder))
    return caches


def _description_in(folder: Path) -> dict[str, Any]:
    """What the note of a folder says about its extractor alone."""
    note = read_note(folder) or {}
    return {key: note[key] for key in note if key not in ("format", "fingerprint", "name")}


def info(cache: BottleneckCache) -> ExtractorInfo:
    """What an extractor's part holds; reads no row, and changes nothing."""
    statuses = [os.fstat(segment.handle) for segment in cache.segments]
    return ExtractorInfo(
        cache.name,
        cache.fingerprint,
        display_path(cache.folder),
        len(cache),
        cache.bottleneck_size,
        len(statuses),
        sum(status.st_size for status in [*statuses, *(path.stat() for path in artifact_files(cache.folder))]),
        _count_set_aside(cache.folder),
        tuple(cache.warnings),
        min((status.st_mtime for status in statuses), default=None),
        max((status.st_mtime for status in statuses), default=None),
    )


def _count_set_aside(folder: Path) -> int:
    return sum(1 for _ in folder.glob(f"segment-*.h5{CORRUPT_SUFFIX}"))


def verify(cache: BottleneckCache) -> VerifyReport:
    """Check every row against its CRC-32; changes nothing. Raises CacheError if a file can't be read."""
    sound = cache.check_all()
    folder = cache.folder
    return VerifyReport(display_path(folder), len(cache), sound, tuple(cache.warnings), _count_set_aside(folder))


def recover(cache_dir: str | os.PathLike[str]) -> dict[str, list[str]]:
    """Take back what was set aside but is sound, and rewrite notes that disagree with their segments.

    Returns: by folder, a line for each file that was taken back or written. Raises CacheError.
    """
    done: dict[str, list[str]] = {}
    for folder in extractor_folders(Path(cache_dir)):
        owner = owner_of(folder)
        try:
            rows = [] if owner is None else [*_recover_note(folder, owner), *_recover_segments(folder, owner)]
            done[display_path(folder)] = [*rows, *_recover_model(folder)]
        except OSError as error:
            raise write_error(folder, error) from error
    return done


def _recover_note(folder: Path, owner: str) -> list[str]:
    if check_owner(folder, owner):
        return []
    write_owner(folder, owner, {"name": name_of(folder)} | _description_in(folder))
    return [f"{display_path(folder)}/extractor.json is written anew: its segments are of {owner}"]


def _recover_segments(folder: Path, owner: str) -> list[str]:
    done = []
    for path in sorted(folder.glob(f"segment-*.h5{CORRUPT_SUFFIX}")):
        target = path.with_name(path.name.removesuffix(CORRUPT_SUFFIX))
        try:
            rows = len(read_segment(path, owner).crcs)
        except (DamagedSegmentError, ForeignSegmentError):
            continue
        except OSError as error:
            raise read_error(path, error) from error
        if not target.exists():
            path.rename(target)
            done.append(f"{display_path(target)} is taken back, with {counted(rows, 'row')}")
    return done


def _recover_model(folder: Path) -> list[str]:
    if QUANTIZED_MODEL.take_back(folder, read_note(folder) or {}):
        return [f"{QUANTIZED_MODEL.what} in {display_path(folder)} is taken back"]
    return []


def needed_keys(
    cache_dir: str | os.PathLike[str],
    folders: Sequence[LabelledPictures],
    emit: Emit = ignore,
) -> NDArray[np.uint8]:
    """The content keys of all files of image folders: (n, 32) uint8; unchanged files are not read again.

    Raises CacheError if a file can't be read, since its row might then be dropped.
    """
    keys: list[bytes] = []
    total = sum(sample.problem is None for folder in folders for sample in folder.samples)
    for folder in folders:
        lost = [sample for sample in folder.samples if sample.is_lost]
        if lost:
            raise CacheError(
                f"{display_path(folder.root / lost[0].path)} {lost[0].problem}; nothing was dropped, since its rows "
                "may be needed"
            )
        paths = [sample.path for sample in folder.samples if sample.problem is None]
        for path, key in zip(paths, PictureIndex(cache_dir, folder.root).current_keys(paths), strict=True):
            if not isinstance(key, bytes):
                reason = key.strerror if isinstance(key, OSError) else str(key).removeprefix("can't be read: ")
                raise CacheError(
                    f"can't read {display_path(folder.root / path)}: {reason}; nothing was dropped, since its "
                    "row may be needed"
                ) from key
            keys.append(key)
            emit(Inspected(len(keys), total))
    return np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 32)


def prune(cache: BottleneckCache, keys: NDArray[np.uint8], dry_run: bool) -> PruneReport:
    """Drop the rows that belong to none of (m, 32) keys, or only count them. Raises CacheError."""
    rows = len(cache)
    unneeded = int(cache.unneeded(keys).sum())
    if unneeded and not dry_run:
        cache.prune(keys)
    return PruneReport(
        display_path(cache.folder), rows, unneeded, unneeded * cache.dtype.itemsize * (cache.bottleneck_size or 0)
    )


def import_text_files(
    text_dir: str | os.PathLike[str],
    image_dir: str | os.PathLike[str],
    cache_dir: str | os.PathLike[str],
) -> ImportReport:
    """Take over the bottleneck files of the original program, for the pictures of a folder.

    The files of each module become an extractor, `original_MODULE`. Files that are cut short, hold anything but finite
    numbers, or belong to no picture of the folder are left out and reported.

    Args:
        text_dir: the original's --bottleneck_dir.
        image_dir: its --image_dir, or a copy; pictures are found by class folder and name.
        cache_dir: gets the rows.
    Raises CacheError, ImageFolderError.
    """
    pictures = _pictures_by_name(read_image_folder(image_dir))
    if not Path(text_dir).is_dir():
        raise CacheError(f"no such folder of bottleneck files: {display_path(text_dir)}")
    skipped: dict[str, str] = {}
    found: dict[str, dict[bytes, tuple[str, NDArray[np.float32]]]] = defaultdict(dict)
    for name, path in _text_files(Path(text_dir)):
        match = _TEXT_FILE.fullmatch(path.name)
        if match is None:
            skipped[name] = "not named like a bottleneck file of the original program"
            continue
        picture = pictures.get((path.parent.name, match["picture"]))
        vector = _parse(path)
        if picture is None:
            skipped[name] = f"no picture {path.parent.name}/{match['picture']} in {display_path(image_dir)}"
        elif isinstance(vector, str):
            skipped[name] = vector
        else:
            try:
                key = hash_picture(picture)
            except UnreadableImageError as error:
                skipped[name] = f"its picture: {error}"
                continue
            found[match["module"] or "unnamed"][key] = (name, vector)
    reports = [_store(module, rows, cache_dir, skipped) for module, rows in sorted(found.items())]
    return ImportReport(
        tuple(folder for folder, _, _ in reports),
        sum(imported for _, imported, _ in reports),
        sum(already for _, _, already in reports),
        skipped,
    )


def _pictures_by_name(folder: LabelledPictures) -> dict[tuple[str, str], Path]:
    """(class name, file name) -> picture."""
    return {
        (folder.class_names[sample.label], sample.path.rpartition("/")[2]): folder.root / sample.path
        for sample in folder.samples
        if sample.problem is None
    }


def _text_files(root: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(root.rglob("*")):
        if path.is_file():
            yield display_path(path.relative_to(root)), path


def _parse(path: Path) -> NDArray[np.float32] | str:
    """The vector in a file of comma-separated numbers, or what is wrong with the file."""
    try:
        vector = np.array([float(number) for number in path.read_text("utf-8").split(",")], np.float32)
    except (ValueError, OSError) as error:
        return f"not comma-separated numbers: {error}"
    return vector if np.isfinite(vector).all() else "holds values that are not finite"


def _store(
    module: str,
    found: dict[bytes, tuple[str, NDArray[np.float32]]],
    cache_dir: str | os.PathLike[str],
    skipped: dict[str, str],
) -> tuple[str, int, int]:
    """Write the vectors of one module. Returns the cache folder, how many were new, how many were there already."""
    length = Counter(len(vector) for _, vector in found.values()).most_common(1)[0][0]
    for key, (name, vector) in list(found.items()):
        if len(vector) != length:
            skipped[name] = f"cut short: {counted(len(vector), 'number')} where most files have {length:,}"
            del found[key]
    name = "original_" + re.sub(r"[^\w.-]+", "_", module.split("~", 2)[-1])[-60:]  # without https~tfhub.dev~
    description = {"imported": module, "bottleneck_size": length}
    cache = BottleneckCache(cache_dir, name, fingerprint_of(description), description)
    keys = np.frombuffer(b"".join(found), np.uint8).reshape(-1, 32)
    new = cache.find(keys) < 0
    vectors = np.stack([vector for _, vector in found.values()])
    cache.add(Rows(keys[new], np.zeros(int(new.sum()), np.uint32), vectors[new]))
    return display_path(cache.folder), int(new.sum()), int((~new).sum())
