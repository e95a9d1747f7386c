"""Read picture files: only regular files, and none beyond a bound; on disks, in archives, and by URL."""

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from retrain.data.archive_copies import known_copy
from retrain.data.remote_files import is_url, read_remote, remote_file, url_of
from retrain.data.tar_members import TarMember, member_bytes, split_at_tar, tar_members, tar_splits
from retrain.errors import UnreadableImageError
from retrain.machine import MemoryBudget
from retrain.options import DEFAULT_MAX_FILE_SIZE

__all__ = ["Signature", "hash_picture", "picture_bytes", "read_picture", "signature_of", "signed_bytes", "what_else"]

Signature = tuple[int, int, int, int]  # size in bytes, mtime in ns, ctime in ns, inode
_63_BITS = 2**63 - 1

_CHUNK = 2**20  # bytes

# Memory of all files that are held at once. A larger file is held alone.
_files = MemoryBudget(2**28)

_KINDS = {
    stat.S_IFDIR: "a folder, not a file",
    stat.S_IFIFO: "a named pipe, not a file",
    stat.S_IFSOCK: "a socket, not a file",
    stat.S_IFCHR: "a device, not a file",
    stat.S_IFBLK: "a device, not a file",
}


@contextmanager
def picture_bytes(path: str | os.PathLike[str], max_file_size: int = DEFAULT_MAX_FILE_SIZE) -> Iterator[bytes]:
    """The content of a picture file, for as long as it is needed. Threads wait if they would hold too much together.

    Args:
        max_file_size: MiB.
    Raises UnreadableImageError if the file can't be opened, is not a regular file, or is larger.
    """
    elsewhere = _elsewhere(path)
    if elsewhere is not None:
        with _files.hold(elsewhere.size):
            yield elsewhere.content(max_file_size)
        return
    with _regular_file(path) as (file, size):
        _check_size(size, max_file_size)
        with _files.hold(size):
            yield _content(file, size, max_file_size)


@contextmanager
def signed_bytes(path: str | os.PathLike[str], max_file_size: int) -> Iterator[tuple[bytes, Signature]]:
    """As `picture_bytes`, with what shows that the file is unchanged, from before it was read. Also raises OSError."""
    elsewhere = _elsewhere(path)
    if elsewhere is not None:
        with _files.hold(elsewhere.size):
            yield elsewhere.content(max_file_size), elsewhere.signature
        return
    signature = signature_of(path)
    with picture_bytes(path, max_file_size) as data:
        yield data, signature


def read_picture(path: str | os.PathLike[str], max_file_size: int = DEFAULT_MAX_FILE_SIZE) -> bytes:
    """The content of a picture file, for callers that read one at a time. Raises UnreadableImageError."""
    with picture_bytes(path, max_file_size) as data:
        return data


def hash_picture(path: str | os.PathLike[str]) -> bytes:
    """SHA-256 of a regular file of any size. Raises UnreadableImageError."""
    elsewhere = _elsewhere(path)
    if elsewhere is not None:
        return hashlib.sha256(elsewhere.content(elsewhere.size // 2**20 + 1)).digest()
    digest = hashlib.sha256()
    with _regular_file(path) as (file, _):
        while chunk := _read(file, _CHUNK):
            digest.update(chunk)
    return digest.digest()


def signature_of(path: str | os.PathLike[str]) -> Signature:
    """What shows that a file is unchanged. Raises OSError, UnreadableImageError."""
    elsewhere = _elsewhere(path)
    return _signature(os.stat(path)) if elsewhere is None else elsewhere.signature


def _signature(status: os.stat_result) -> Signature:
    times = (status.st_mtime_ns & _63_BITS, status.st_ctime_ns & _63_BITS)  # some disks have times and inodes beyond
    return (status.st_size, *times, status.st_ino & _63_BITS)


@dataclass(frozen=True)
class _Elsewhere:
    """A file that is no file of its own on a disk."""

    signature: Signature
    read: Callable[[], bytes]

    @property
    def size(self) -> int:
        """Bytes."""
        return self.signature[0]

    def content(self, max_file_size: int) -> bytes:
        """All of it. Raises UnreadableImageError."""
        _check_size(self.size, max_file_size)
        try:
            return self.read()
        except OSError as error:
            raise _unreadable(error) from None


def _elsewhere(path: str | os.PathLike[str]) -> _Elsewhere | None:
    """A file by URL, or in an archive; None for any other. Raises UnreadableImageError."""
    try:
        if is_url(path):
            return _remote(url_of(path))
        inside = split_at_tar(path)
        return None if inside is None else _inside(*inside, _signature(os.stat(inside[0])))
    except OSError as error:
        raise _unreadable(error) from None


def _remote(url: str) -> _Elsewhere:
    """A file by URL, or in an archive that is. Raises OSError, UnreadableImageError."""
    for archive, name in tar_splits(url):
        copy = known_copy(archive)
        if copy is not None:
            return _inside(copy.path, name, copy.facts.signature)
    facts = remote_file(url)
    return _Elsewhere(facts.signature, lambda: read_remote(url, facts))


def _inside(archive: str, name: str, signature: Signature) -> _Elsewhere:
    """A file in an archive with this signature. Raises OSError, UnreadableImageError."""
    member = _member(archive, name)
    return _Elsewhere((member.size, *signature[1:]), lambda: member_bytes(archive, member))


def _member(archive: str, name: str) -> TarMember:
    member = tar_members(archive).get(name)
    if member is None:
        raise FileNotFoundError(errno.ENOENT, "no such file in the archive")
    return member


@contextmanager
def _regular_file(path: str | os.PathLike[str]) -> Iterator[tuple[int, int]]:
    """An open regular file and its size in bytes."""
    try:
        _check_kind(os.stat(path))  # before it is opened: opening alone makes some devices act
        # if a FIFO or terminal has replaced the file, don't wait for its other end, nor take it over
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise _unreadable(error) from None
    try:
        status = os.fstat(file)
        _check_kind(status)
        yield file, status.st_size
    finally:
        os.close(file)


def what_else(mode: int) -> str | None:
    """What something is, by its st_mode, if it is not a regular file: "a named pipe, not a file"; None for a file."""
    return None if stat.S_ISREG(mode) else _KINDS.get(stat.S_IFMT(mode), "not a file")


def _check_kind(status: os.stat_result) -> None:
    kind = what_else(status.st_mode)
    if kind is not None:
        raise UnreadableImageError(kind)


def _check_size(size: int, max_file_size: int) -> None:
    if size > max_file_size * 2**20:
        raise UnreadableImageError(f"{-(-size // 2**20):,} MiB: larger than --max-file-size {max_file_size}")


def _content(file: int, size: int, max_file_size: int) -> bytes:
    """The whole file, which may be longer than its size says: it may grow, and some file systems say 0."""
    chunks, length = [], 0
    while chunk := _read(file, size + 1 - length if length <= size else _CHUNK):
        chunks.append(chunk)
        length += len(chunk)
        _check_size(length, max_file_size)
    return b"".join(chunks)


def _read(file: int, most: int) -> bytes:
    try:
        return os.read(file, most)
    except OSError as error:
        raise _unreadable(error) from None
    except MemoryError:
        raise UnreadableImageError("not enough memory to read the file") from None


def _unreadable(error: OSError) -> UnreadableImageError:
    return UnreadableImageError(f"can't be read: {error.strerror or error}")
