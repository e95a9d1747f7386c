"""An extractor's folder in the cache, and its note, extractor.json, which says whose it is."""

import contextlib
import errno
import json
import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeGuard

from retrain.cache.segments import fingerprint_in
from retrain.errors import CacheError
from retrain.files import wait_for_lock, write_whole
from retrain.paths import display_path

__all__ = [
    "CORRUPT_SUFFIX",
    "check_owner",
    "extractor_folders",
    "find_folder",
    "folder_name",
    "name_of",
    "only_process",
    "owner_of",
    "read_error",
    "read_note",
    "read_notes",
    "write_error",
    "write_owner",
]

NOTE = "extractor.json"
FORMAT = 1  # of the note
CORRUPT_SUFFIX = ".corrupt"  # of a damaged file that was set aside

_NAME = re.compile(r"[\w-][\w.-]*")
_LONGEST_NAME = 200  # bytes; a file name has 255
_FINGERPRINT = re.compile("[0-9a-f]{64}")


def folder_name(name: str, fingerprint: str) -> str:
    """The name of an extractor's folder, `NAME-FINGERPRINT8`.

    Raises CacheError for a name or a fingerprint that could lead out of the cache: both may come from files of others.
    """
    if not _is_name(name):
        raise CacheError(
            f"an extractor can't be called {str(name)[:80]!r}, since its folder in the cache has that name: expected "
            f"letters, digits, '_', '-' and '.' (not first), {_LONGEST_NAME} bytes at most; rename the "
            "backbone"
        )
    if not _is_fingerprint(fingerprint):
        raise CacheError(
            f"the extractor {name} has the fingerprint {str(fingerprint)[:80]!r}: expected 64 hexadecimal digits; its "
            "source is damaged"
        )
    return f"{name}-{fingerprint[:8]}"


def find_folder(cache_dir: Path, name: str, fingerprint: str) -> Path:
    """The folder of a fingerprint, `NAME-FINGERPRINT8`, or the one made under another name of the same extractor.

    Raises CacheError for a name that a folder can't have, and if a folder can't be read.
    """
    folder = cache_dir / folder_name(name, fingerprint)
    if not folder.exists():
        for other in sorted(cache_dir.glob(f"[!.]*-{fingerprint[:8]}")):
            if owner_of(other) == fingerprint:
                return other
    return folder


def extractor_folders(cache_dir: Path) -> list[Path]:
    """The folders of all extractors, sorted: those with a note or segments. Hidden folders are still being made."""
    found = (path.parent for pattern in (NOTE, "segment-*.h5") for path in cache_dir.glob(f"[!.]*/{pattern}"))
    return sorted(set(found))


def read_notes(cache_dir: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The folders of all extractors, sorted, and their notes; a damaged one is empty."""
    for path in sorted(cache_dir.glob(f"[!.]*/{NOTE}")):
        yield path.parent, read_note(path.parent) or {}


def name_of(folder: Path) -> str:
    """The name of a folder's extractor: from its note, or else from the folder's name."""
    name = (read_note(folder) or {}).get("name")
    return name if _is_name(name) else re.sub(r"-[0-9a-f]{8}$", "", folder.name)


def owner_of(folder: Path) -> str | None:
    """The fingerprint of the extractor that a folder belongs to; None if nothing tells.

    The note counts if a segment agrees, or if there are no segments. A note that disagrees with all segments is wrong,
    since theirs is under a checksum. Raises CacheError if something can't be read.
    """
    noted = (read_note(folder) or {}).get("fingerprint")
    counts = _segment_owners(folder, noted)
    candidates = [*counts, noted] if _is_fingerprint(noted) else [*counts]
    # the folder's name has the first digits; a file that was copied to the wrong place does not match it
    return max(candidates, key=lambda fingerprint: (_fits(folder, fingerprint), counts[fingerprint]), default=None)


def check_owner(folder: Path, fingerprint: str) -> bool:
    """Whether a folder's note says that it belongs to a fingerprint; False if it is missing or wrong.

    Raises CacheError if the folder has a newer format, belongs to another fingerprint, or can't be read.
    """
    note = read_note(folder)
    if note is None:
        return False
    if note.get("format", 0) > FORMAT:
        raise CacheError(
            f"{display_path(folder)} is of format {note['format']}, this program knows up to {FORMAT}: "
            "use a newer version of retrain, or another --cache-dir"
        )
    noted = note.get("fingerprint")
    if noted == fingerprint:
        return True
    counts = _segment_owners(folder, fingerprint)
    # without segments, a note that does not match the folder's name either is damaged
    if fingerprint not in counts and (counts or (_is_fingerprint(noted) and _fits(folder, noted))):
        raise CacheError(
            f"{display_path(folder)} belongs to another extractor ({noted}), wanted {fingerprint}: use another "
            f"--cache-dir, or remove its {NOTE} if you know that it is damaged"
        )
    return False


def write_owner(folder: Path, fingerprint: str, description: dict[str, Any]) -> None:
    """Make the folder, and its note if that is missing or wrong, and make sure that the folder can be written.

    Call check_owner first. Raises OSError; CacheError if the note can't be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wanted = json.loads(json.dumps({"format": FORMAT, "fingerprint": fingerprint} | description))
    found = read_note(folder) or {}
    if _is_name(found.get("name")):
        wanted["name"] = found["name"]  # an extractor may have several names; the first stays
    if all(found.get(key) == value for key, value in wanted.items()):
        with tempfile.TemporaryFile(dir=folder):
            return
    write_whole(folder / NOTE, (json.dumps(wanted, indent=2) + "\n").encode())


@contextlib.contextmanager
def only_process(cache_dir: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Be the only process that makes something for this cache, where the disk has locks.

    Args:
        cache_dir: made if it is missing. One that can't be opened has no lock.
        on_wait: called if another process must be waited for.
    """
    handle = None
    with contextlib.suppress(OSError):
        cache_dir.mkdir(parents=True, exist_ok=True)
        handle = os.open(cache_dir, os.O_RDONLY)
        wait_for_lock(handle, on_wait)
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)


def read_error(path: Path, error: OSError) -> CacheError:
    """The error for a failed read, which says nothing about what the file holds."""
    if isinstance(error, PermissionError):
        remedy = "check its permissions"
    elif error.errno == errno.EIO:
        remedy = "run again; if it stays so, check the disk"
    else:
        remedy = "run again"
    return CacheError(f"can't read {display_path(path)}: {os.strerror(error.errno or 0)}; {remedy}")


def write_error(folder: Path, error: OSError) -> CacheError:
    """The error for a failed write."""
    where = display_path(folder)
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return CacheError(
            f"no space left for the bottleneck cache in {where} ({error.strerror}); what is cached stays valid: "
            "make room and run the same command again"
        )
    return CacheError(
        f"can't write the bottleneck cache in {where}: {error.strerror}; check its permissions or use "
        "another --cache-dir"
    )


def read_note(folder: Path) -> dict[str, Any] | None:
    """An extractor's note, whose format is a number; None if it is missing or damaged. Raises CacheError."""
    try:
        note = json.loads((folder / NOTE).read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
        return None
    except OSError as error:
        raise CacheError(
            f"can't read the bottleneck cache {display_path(folder)}: {os.strerror(error.errno or 0)}"
        ) from error
    return note if isinstance(note, dict) and type(note.get("format", 0)) is int else None


def _segment_owners(folder: Path, sought: object) -> Counter[str]:
    """How many segments, also those set aside, have each fingerprint; stops at the first that has `sought`."""
    counts: Counter[str] = Counter()
    for path in sorted(folder.glob("segment-*.h5")) + sorted(folder.glob(f"segment-*.h5{CORRUPT_SUFFIX}")):
        try:
            found = fingerprint_in(path)
        except FileNotFoundError:  # merged meanwhile
            continue
        except OSError as error:
            raise read_error(path, error) from error
        if found is not None:
            counts[found] += 1
        if found == sought:
            break
    return counts


def _is_name(name: object) -> TypeGuard[str]:
    return isinstance(name, str) and bool(_NAME.fullmatch(name)) and len(os.fsencode(name)) <= _LONGEST_NAME


def _is_fingerprint(text: object) -> TypeGuard[str]:
    return isinstance(text, str) and bool(_FINGERPRINT.fullmatch(text))


def _fits(folder: Path, fingerprint: str) -> bool:
    """Whether a folder's name is that of a fingerprint."""
    return folder.name.endswith(f"-{fingerprint[:8]}")
