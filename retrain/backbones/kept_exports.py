"""What exports need of a backbone, kept beside its bottlenecks, so that a later run need not load the network.

A file is a line of JSON (what it is of, what made it, a checksum) and its content.
"""

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import retrain
from retrain._tensorflow import tf
from retrain.backbones.backbone import Backbone
from retrain.cache.folder import EXPORT_SUFFIX, check_owner, find_folder, write_owner
from retrain.errors import CacheError
from retrain.files import remove_abandoned, write_whole
from retrain.paths import display_path

__all__ = ["KeptExports", "kept_trunk"]

TRUNK = "graph"  # the name of the file that has the backbone's graph

_MOST_NOTE_BYTES = 2**24

FORMAT = 2  # of these files, and of what is in them: another one is made again

logger = logging.getLogger(__name__)


class KeptExports:
    """The files of a backbone in the cache.

    Args:
        backbone: in float32, as it is exported whatever computes the bottlenecks.
        cache_dir: the cache.
    """

    def __init__(self, backbone: Backbone, cache_dir: str | os.PathLike[str]) -> None:
        self._backbone = backbone
        self._folder = find_folder(Path(cache_dir), backbone.name, backbone.fingerprint)
        self.warnings: list[str] = []  # of damaged files

    def find(self, name: str) -> tuple[dict[str, Any], memoryview] | None:
        """A file's details and content; None where it is missing, damaged, or of another version or backbone."""
        path = self._folder / f"{name}{EXPORT_SUFFIX}"
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self.warnings.append(f"{display_path(path)} can't be read ({error.strerror}): it is made again")
            return None
        end = data.find(b"\n") + 1
        content = memoryview(data)[end:]
        try:
            note = json.loads(data[:end])
            if any(note[key] != value for key, value in self._origin().items()):
                return None
            is_sound = note["sha256"] == _digest(note["details"], [content])
        except (ValueError, KeyError, TypeError, RecursionError):
            is_sound = False
        if not is_sound:
            self.warnings.append(f"{display_path(path)} is damaged: it is made again, which takes some seconds")
            return None
        return note["details"], content

    def keep(self, name: str, details: dict[str, Any], content: Sequence[bytes | memoryview]) -> None:
        """Write a file for later runs; a cache that can't be written makes them slower, and is no error.

        Args:
            details: for JSON.
            content: parts, to be put together.
        """
        note = self._origin() | {"details": details, "sha256": _digest(details, content)}
        description = {"name": self._backbone.name} | self._backbone.description
        try:
            check_owner(self._folder, self._backbone.fingerprint)
            write_owner(self._folder, self._backbone.fingerprint, description)
            remove_abandoned(self._folder)
            write_whole(self._folder / f"{name}{EXPORT_SUFFIX}", json.dumps(note).encode() + b"\n", *content)
        except (OSError, CacheError) as error:
            logger.info("can't keep %s%s for later runs: %s", name, EXPORT_SUFFIX, error)

    def _origin(self) -> dict[str, Any]:
        """What must be the same for a file to be of use."""
        return {
            "format": FORMAT,
            "fingerprint": self._backbone.fingerprint,
            "retrain": retrain.__version__,
            "tensorflow": tf.__version__,
        }


def kept_trunk(cache_dir: str | os.PathLike[str], name: str, fingerprint: str) -> tuple[str, int] | None:
    """The graph that the cache holds of a backbone: its SHA-256 and its length; None where it has none.

    It is not read: whoever has the same graph finds out by the digest. Of whatever version it is, the backbone of this
    fingerprint was turned into it.
    """
    path = find_folder(Path(cache_dir), name, fingerprint) / f"{TRUNK}{EXPORT_SUFFIX}"
    try:
        with open(path, "rb") as file:
            line = file.readline(_MOST_NOTE_BYTES)
            length = os.fstat(file.fileno()).st_size - len(line)
        note = json.loads(line)
        return (str(note["details"]["digest"]), length) if note["fingerprint"] == fingerprint else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _digest(details: dict[str, Any], content: Sequence[bytes | memoryview]) -> str:
    digest = hashlib.sha256(json.dumps(details, sort_keys=True).encode())
    for part in content:
        digest.update(part)
    return digest.hexdigest()
