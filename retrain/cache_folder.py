"""An extractor's folder in the cache, and the note in it that says whose it is: extractor.json."""

import errno
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from retrain.errors import CacheError
from retrain.files import write_whole
from retrain.image_folder import display_path

__all__ = ["EXPORT_SUFFIX", "check_owner", "find_folder", "note_paths", "read_notes", "write_error", "write_owner"]

NOTE = "extractor.json"
FORMAT = 1  # of the note
EXPORT_SUFFIX = ".export"  # of what is kept for the exports of a backbone


def find_folder(cache_dir: Path, name: str, fingerprint: str) -> Path:
    """The folder of a fingerprint, `NAME-FINGERPRINT8`; one that was made under another name of the same extractor."""
    folder = cache_dir / f"{name}-{fingerprint[:8]}"
    if not folder.exists():
        for other in sorted(cache_dir.glob(f"*-{fingerprint[:8]}")):
            if (_read_note(other) or {}).get("fingerprint") == fingerprint:
                return other
    return folder


def note_paths(cache_dir: Path) -> list[Path]:
    """The notes of all extractors, sorted; hidden folders are still being made."""
    return sorted(cache_dir.glob(f"[!.]*/{NOTE}"))


def read_notes(cache_dir: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The folders of all extractors, sorted, and their notes; a damaged one is empty."""
    for path in note_paths(cache_dir):
        yield path.parent, _read_note(path.parent) or {}


def check_owner(folder: Path, fingerprint: str) -> None:
    """Raises CacheError where the folder is of a newer format, or belongs to another fingerprint, or can't be read."""
    note = _read_note(folder)
    if note is None:
        return
    if note.get("format", 0) > FORMAT:
        raise CacheError(
            f"{display_path(folder)} is of format {note['format']}, this program knows up to {FORMAT}: "
            "use a newer version of retrain, or another --cache-dir"
        )
    if note.get("fingerprint") != fingerprint:
        raise CacheError(
            f"{display_path(folder)} belongs to another extractor ({note.get('fingerprint')}), "
            f"wanted {fingerprint}: use another --cache-dir"
        )


def write_owner(folder: Path, fingerprint: str, description: dict[str, Any]) -> None:
    """Make the folder and its note where they are missing, and try whether it can be written. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / NOTE).exists():
        with tempfile.TemporaryFile(dir=folder):
            return
    note = {"format": FORMAT, "fingerprint": fingerprint} | description
    write_whole(folder / NOTE, (json.dumps(note, indent=2) + "\n").encode())


def write_error(folder: Path, error: OSError) -> CacheError:
    """What to tell the user of a failed write."""
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


def _read_note(folder: Path) -> dict[str, Any] | None:
    """None where there is no note, or a damaged one: every segment carries the fingerprint, too. Raises CacheError."""
    try:
        note = json.loads((folder / NOTE).read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    except OSError as error:
        raise CacheError(
            f"can't read the bottleneck cache {display_path(folder)}: {os.strerror(error.errno or 0)}"
        ) from error
    return note if isinstance(note, dict) else None
