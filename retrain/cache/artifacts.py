"""What an extractor's folder holds beside its bottlenecks: files that took time to make, kept under a checksum.

An artifact is one file: a line of JSON (whose it is, what made it, details, a checksum), then its content. Foreign
programs want some files as they are: of these, the folder's note has the digest.
"""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from retrain.cache.folder import CORRUPT_SUFFIX, check_owner, find_folder, write_owner
from retrain.errors import CacheError
from retrain.files import FilePart, blocks, digest_of_file, remove_abandoned, write_whole
from retrain.paths import display_path

__all__ = ["CHECKPOINTS", "QUANTIZED_MODEL", "Artifacts", "NotedFiles", "artifact_files", "read_details"]

CHECKPOINTS = "fine_tuning-*.npz"  # names of the files that a stopped fine-tuning goes on from

FORMAT = 2  # of artifacts, and of what is in them; one of another format is made again
_SUFFIX = ".export"  # of artifacts
_MOST_NOTE_BYTES = 2**24

logger = logging.getLogger(__name__)

Content = TypeVar("Content", memoryview, FilePart)


class Artifacts:
    """The artifacts of one extractor.

    Args:
        cache_dir: the cache.
        name, fingerprint, description: of the extractor.
        made_by: versions and the like; an artifact that something else made is of no use.
    """

    def __init__(
        self,
        cache_dir: str | os.PathLike[str],
        name: str,
        fingerprint: str,
        description: dict[str, Any],
        made_by: Mapping[str, Any],
    ) -> None:
        self._folder = find_folder(Path(cache_dir), name, fingerprint)
        self._fingerprint, self._description = fingerprint, {"name": name} | description
        self._origin = {"format": FORMAT, "fingerprint": fingerprint} | dict(made_by)
        self.warnings: list[str] = []  # about damaged files

    def find(self, name: str) -> tuple[dict[str, Any], memoryview] | None:
        """An artifact's details and content; None if it is missing, damaged, or of another origin."""
        return self._checked(name, lambda content: memoryview(bytes(content)))

    def find_file(self, name: str) -> tuple[dict[str, Any], FilePart] | None:
        """As `find`, with the content left in its file. All of it is read and checked, but not held in memory."""
        return self._checked(name, lambda content: content)

    def _checked(self, name: str, take: Callable[[FilePart], Content]) -> tuple[dict[str, Any], Content] | None:
        path = self._folder / f"{name}{_SUFFIX}"
        try:
            line, content = _opened(path)
            note = json.loads(line)
            if any(note[key] != value for key, value in self._origin.items()):
                return None
            taken = take(content)
            if note["sha256"] == _digest(note["details"], [taken]):
                return note["details"], taken
        except FileNotFoundError:
            return None
        except OSError as error:
            self.warnings.append(f"{display_path(path)} can't be read ({error.strerror}): it is made again")
            return None
        except (ValueError, KeyError, TypeError, RecursionError):
            pass  # not what `keep` writes
        self.warnings.append(f"{display_path(path)} is damaged: it is made again, which takes some seconds")
        return None

    def keep(self, name: str, details: dict[str, Any], content: Sequence[bytes | memoryview | FilePart]) -> None:
        """Keep an artifact for later runs. If the cache can't be written they are slower; that is no error.

        Args:
            details: for JSON.
            content: parts, to be put together.
        """
        note = self._origin | {"details": details, "sha256": _digest(details, content)}
        try:
            check_owner(self._folder, self._fingerprint)
            write_owner(self._folder, self._fingerprint, self._description)
            remove_abandoned(self._folder)
            write_whole(self._folder / f"{name}{_SUFFIX}", json.dumps(note).encode() + b"\n", *content)
        except (OSError, CacheError) as error:
            logger.info("can't keep %s%s for later runs: %s", name, _SUFFIX, error)


def _opened(path: Path) -> tuple[bytes, FilePart]:
    """An artifact's first line, and the rest. Raises OSError."""
    whole, line = FilePart(path), b""
    for block in whole[:_MOST_NOTE_BYTES].blocks():
        end = block.find(b"\n") + 1
        line += block[: end or None]
        if end:
            break
    return line, whole[len(line) :]


def read_details(folder: Path, fingerprint: str, name: str) -> tuple[dict[str, Any], int] | None:
    """An artifact's details and the length of its content, unchecked; None if there is none of this fingerprint.

    The content is not read, and may be of any version.
    """
    try:
        line, content = _opened(folder / f"{name}{_SUFFIX}")
        note = json.loads(line)
        return (dict(note["details"]), len(content)) if note["fingerprint"] == fingerprint else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _digest(details: dict[str, Any], content: Sequence[bytes | memoryview | FilePart]) -> str:
    digest = hashlib.sha256(json.dumps(details, sort_keys=True).encode())
    for part in content:
        for block in blocks(part):
            digest.update(block)
    return digest.hexdigest()


@dataclass(frozen=True)
class NotedFiles:
    """Files that count only with the digest that the note of their folder has."""

    what: str  # as messages call them
    field: str  # of the note: their digest
    names: tuple[str, ...]  # with the first the others count

    def are_in(self, folder: Path) -> bool:
        """Whether a folder seems to have them."""
        return (folder / self.names[0]).exists()

    def digest(self, folder: Path, suffix: str = "") -> str:
        """SHA-256 of their digests; empty if one is missing. Raises OSError.

        Args:
            suffix: that they have behind their names.
        """
        digest = hashlib.sha256()
        for name in self.names:
            try:
                digest.update(bytes.fromhex(digest_of_file(folder / f"{name}{suffix}")))
            except FileNotFoundError:
                return ""
        return digest.hexdigest()

    def set_aside(self, folder: Path) -> str:
        """Rename them, since they are damaged; what came of it, in words."""
        done = f"set aside as *{CORRUPT_SUFFIX}"
        for name in self.names:
            try:
                os.replace(folder / name, folder / f"{name}{CORRUPT_SUFFIX}")
            except FileNotFoundError:
                continue
            except OSError as error:
                done = f"can't be set aside ({error.strerror})"
        return done

    def take_back(self, folder: Path, note: Mapping[str, Any]) -> bool:
        """Take back what was set aside, if it is what the note tells of; whether it is. Raises OSError."""
        digest = note.get(self.field)
        if not digest or any((folder / name).exists() for name in self.names):
            return False
        if self.digest(folder, CORRUPT_SUFFIX) != digest:
            return False
        for name in reversed(self.names):
            (folder / f"{name}{CORRUPT_SUFFIX}").rename(folder / name)
        return True


# OpenVINO's form of a backbone in int8: the graph, the numbers
QUANTIZED_MODEL = NotedFiles("the quantised model", "quantized_model", ("int8.xml", "int8.bin"))


def artifact_files(folder: Path) -> list[Path]:
    """All files that an extractor's folder holds beside its segments and its note."""
    noted = [path for path in map(folder.joinpath, QUANTIZED_MODEL.names) if path.exists()]
    return [*noted, *folder.glob(f"*{_SUFFIX}"), *folder.glob(CHECKPOINTS)]
