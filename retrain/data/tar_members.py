"""Files inside .tar archives, which a path may lead through: photos/shard-000.tar/cat/1.jpg."""

import errno
import functools
import os
import tarfile
import threading
from collections.abc import Iterator
from typing import NamedTuple

from retrain.errors import UnreadableImageError

__all__ = ["TarMember", "member_bytes", "split_at_tar", "tar_members", "tar_splits"]

_SUFFIX = ".tar"
_lock = threading.Lock()  # so that an archive is listed once, not by each thread


class TarMember(NamedTuple):
    """Where the content of a file lies in an archive."""

    start: int  # bytes
    size: int


def split_at_tar(path: str | os.PathLike[str]) -> tuple[str, str] | None:
    """The path of an archive, and the name in it, of a path that leads through one; None for other paths."""
    for archive, name in tar_splits(path):
        if os.path.isfile(archive):  # folders may be called like this, too
            return archive, name
    return None


def tar_splits(path: str | os.PathLike[str]) -> Iterator[tuple[str, str]]:
    """What may be an archive in a path, by its name, and what follows."""
    text = os.fspath(path)
    place = text.find(f"{_SUFFIX}/")
    while place >= 0:
        end = place + len(_SUFFIX)
        yield text[:end], text[end + 1 :]
        place = text.find(f"{_SUFFIX}/", end)


def tar_members(archive: str) -> dict[str, TarMember]:
    """The regular files in an archive, by their names; of those with the same name the last one, as tar extracts them.

    An archive that is cut short has those before the cut. Raises OSError, UnreadableImageError if it is no archive.
    """
    status = os.stat(archive)
    with _lock:
        return _listed(archive, (status.st_ino, status.st_size, status.st_mtime_ns))


@functools.lru_cache(64)
def _listed(archive: str, _version: tuple[int, ...]) -> dict[str, TarMember]:
    members: dict[str, TarMember] = {}
    try:
        with tarfile.open(archive, "r:") as tar:
            for member in tar:
                name = os.path.normpath(member.name)
                if member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not name.startswith(("/", "..")):
                    members[name] = TarMember(member.offset_data, member.size)
    except tarfile.TarError as error:
        if not members:
            raise UnreadableImageError(f"not a tar archive: {error}") from None
    return members


def member_bytes(archive: str, member: TarMember) -> bytes:
    """The content of a file in an archive. Raises OSError."""
    with open(archive, "rb") as file:
        content = os.pread(file.fileno(), member.size, member.start)
    if len(content) < member.size:
        raise OSError(errno.EIO, "the archive ends early")
    return content
