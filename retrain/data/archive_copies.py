"""Archives by URL: each has a copy on this machine, in which its files are found and read.

To find the files in an archive one must pass through all of it, so that a copy costs no more than a list does.
"""

import hashlib
import os
import threading
from typing import NamedTuple

from retrain.data.remote_files import RemoteFile, copies_folder, copy_remote, is_remote_file, remote_file

__all__ = ["ArchiveCopy", "copied_archive", "known_copy"]

_lock = threading.Lock()  # so that an archive is fetched once, not by each thread
_known: dict[str, "ArchiveCopy | None"] = {}  # by URL, what this process found; None: it is no file


class ArchiveCopy(NamedTuple):
    """An archive on a server, and its copy here."""

    facts: RemoteFile  # what the server says of it
    path: str  # of the copy


def copied_archive(url: str) -> ArchiveCopy:
    """The archive as the server has it now; fetched if its copy is of another version. Raises OSError."""
    facts = remote_file(url)
    above = copies_folder("archives")
    version = hashlib.sha256(repr((url, facts)).encode()).hexdigest()[:32]
    copy = ArchiveCopy(facts, str(above / f"{version}.tar"))
    with _lock:
        if not _is_whole(copy):
            above.mkdir(parents=True, exist_ok=True)
            copy_remote(url, facts, copy.path)
        _known[url] = copy
    return copy


def known_copy(url: str) -> ArchiveCopy | None:
    """The archive as this process found it first; None if there is a folder of this name. Raises OSError."""
    if url not in _known:
        if is_remote_file(url):
            copied_archive(url)
        else:
            _known[url] = None
    copy = _known[url]
    return copy if copy is None or _is_whole(copy) else copied_archive(url)


def _is_whole(copy: ArchiveCopy) -> bool:
    """Whether the copy is there: people empty folders of caches."""
    try:
        return os.stat(copy.path).st_size == copy.facts.size
    except FileNotFoundError:
        return False
