"""Files that appear whole or not at all, and their digests."""

import contextlib
import ctypes
import errno
import fcntl
import functools
import glob
import hashlib
import mmap
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

__all__ = [
    "FilePart",
    "blocks",
    "check_writable",
    "digest_of_file",
    "exchange",
    "remove_abandoned",
    "rename_new",
    "sync_folder",
    "temporary_sibling",
    "wait_for_lock",
    "whole_file",
    "write_whole",
]

_HERE, _NO_REPLACE, _EXCHANGE = -100, 1, 2  # of renameat2(2)

_ABANDONED_SECONDS = 60.0  # a temporary file younger than this may not be locked by its writer yet
_LONGEST_NAME = 200  # bytes: file systems take 255, and temporary names add to it
# Of a file, in memory at once. So few stay in the processor's cache, and copying takes no longer than with sendfile or
# copy_file_range, which slow down at places that are no multiples of a page.
_BLOCK_BYTES = 2**18


class FilePart:
    """A part of a file that stays in the file, however large it is. It can be cut like bytes.

    The file is held open, so that one which takes its name later does not matter.

    Args:
        path: a regular file.
    Raises OSError.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = path
        self._file = _OpenFile(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        self._start, self._length = 0, os.fstat(self._file.handle).st_size

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, part: slice) -> "FilePart":
        start, stop, _ = part.indices(self._length)
        other = FilePart.__new__(FilePart)
        vars(other).update(vars(self))
        other._start, other._length = self._start + start, max(0, stop - start)
        return other

    def __reduce__(self) -> tuple[Callable[..., "FilePart"], tuple[str, int, int]]:
        """What another process gets: it opens the file itself. Raises OSError there."""
        return _part_of, (os.path.abspath(self.path), self._start, self._length)

    def __bytes__(self) -> bytes:
        """Its content. Raises OSError."""
        return b"".join(self._blocks(self._length))

    @contextlib.contextmanager
    def mapped(self) -> Iterator[memoryview]:
        """Its content as memory, of which the system reads what is looked at. Raises OSError.

        Only for files that are replaced as a whole: whoever cuts one short meanwhile ends this process.
        """
        before = self._start % mmap.ALLOCATIONGRANULARITY
        start = self._start - before
        with (
            mmap.mmap(self._file.handle, before + self._length, access=mmap.ACCESS_READ, offset=start) as memory,
            memoryview(memory) as whole,
            whole[before:] as content,
        ):
            yield content

    def blocks(self) -> Iterator[bytes]:
        """Its content, in blocks. Raises OSError, also if the file was cut short since."""
        return self._blocks(_BLOCK_BYTES)

    def _blocks(self, size: int) -> Iterator[bytes]:
        place, end = self._start, self._start + self._length
        while place < end:
            block = os.pread(self._file.handle, min(size, end - place), place)
            if not block:
                raise OSError(errno.EIO, "it was cut short while it was read", os.fspath(self.path))
            yield block
            place += len(block)


def _part_of(path: str, start: int, length: int) -> FilePart:
    return FilePart(path)[start : start + length]


class _OpenFile:
    """A file that is closed when nothing refers to it any more."""

    def __init__(self, handle: int) -> None:
        self.handle = handle

    def __del__(self, close: Callable[[int], None] = os.close) -> None:  # at the end of a process `os` is gone
        close(self.handle)


def blocks(content: bytes | memoryview | FilePart) -> Iterator[bytes | memoryview]:
    """Content of any kind in blocks, for digests. Raises OSError."""
    if isinstance(content, FilePart):
        yield from content.blocks()
    else:
        yield content


def write_whole(path: str | os.PathLike[str], *data: bytes | memoryview | FilePart) -> None:
    """Write a file through a temporary sibling that is flushed to disk and then takes its place in one step.

    Devices, pipes, and files that are mounts (`docker run -v FILE:FILE`) are written directly, since they can't be
    replaced.

    Args:
        data: the parts of the file, one after the other.
    Raises OSError; the temporary file is then removed, and what was there before is untouched.
    """
    if _is_special(Path(path)):
        _write_into(Path(path), data)
        return
    with whole_file(path) as file:
        file.writelines(block for part in data for block in blocks(part))


@contextlib.contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """An empty file to write, and read, that takes its place as `write_whole`'s does when the block ends without error.

    For content that is too large for memory, or written out of order. A device or a pipe gets a copy at the end.

    Raises OSError, as `write_whole` does.
    """
    path = Path(path)
    temporary = temporary_sibling(path, ".tmp")
    handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)  # less what the umask takes away
    try:
        with os.fdopen(handle, "w+b") as file:
            with contextlib.suppress(OSError):  # some network disks have no locks
                fcntl.flock(file.fileno(), fcntl.LOCK_EX)  # tells remove_abandoned that this file is being written
            yield file
            file.flush()
            os.fsync(file.fileno())
            if _is_special(path) or not _replaced(temporary, path):
                _write_into(path, (FilePart(temporary),))
                os.unlink(temporary)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    sync_folder(path.parent)


def _replaced(temporary: Path, path: Path) -> bool:
    """Put a file in its place; whether that is possible: a mount can't be replaced. Raises OSError."""
    try:
        os.replace(temporary, path)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return False
    return True


def rename_new(source: str, target: str, source_folder: int, target_folder: int) -> None:
    """Rename something to a name that is free, in one step (Linux 3.15).

    Args:
        source_folder: a handle of the folder that `source` is in; likewise for the target.
    Raises OSError, with EEXIST if the name is taken; with ENOSYS if the system has no such step, and with EINVAL or
    another number if the file system has none.
    """
    _renameat2((source_folder, source), (target_folder, target), _NO_REPLACE)


def exchange(one: Path, other: Path) -> None:
    """Swap two files or folders in one step. Raises OSError as rename_new does."""
    _renameat2((_HERE, one), (_HERE, other), _EXCHANGE)


_Place = tuple[int, str | os.PathLike[str]]  # a path, and a handle of the folder that it is relative to


def _renameat2(source: _Place, target: _Place, flags: int) -> None:
    sys.audit("os.rename", source[1], target[1], source[0], target[0])  # as os.rename does
    function = getattr(_c_library(), "renameat2", None)
    if function is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), os.fspath(target[1]))
    if function(source[0], os.fsencode(source[1]), target[0], os.fsencode(target[1]), flags):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), os.fspath(target[1]))


@functools.cache
def _c_library() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)  # takes ten times as long as a call


def check_writable(path: str | os.PathLike[str]) -> None:
    """Check that write_whole can write a file; changes nothing. Raises OSError."""
    path = Path(path)
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISDIR(path.stat().st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if _is_special(path):
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))
        return
    temporary = temporary_sibling(path, ".tmp")
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    os.unlink(temporary)


def remove_abandoned(folder: Path, name: str = "") -> None:
    """Remove temporary files of write_whole whose writer was killed; those being written stay.

    Args:
        name: of the file that they were to become; by default, of any.
    """
    of_file = f"{glob.escape(short_name(Path(name)))}.{'[0-9a-f]' * 16}" if name else "*"
    for path in folder.glob(f".{of_file}.tmp"):
        with contextlib.suppress(OSError), open(path, "rb") as file:
            if time.time() - os.fstat(file.fileno()).st_mtime > _ABANDONED_SECONDS:
                fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)  # OSError while its writer lives
                path.unlink()


def temporary_sibling(path: Path, suffix: str) -> Path:
    """A new hidden name beside a file or folder: `.NAME.RANDOM` and the suffix."""
    return path.with_name(f".{short_name(path)}.{os.urandom(8).hex()}{suffix}")


def short_name(path: Path) -> str:
    """A name for use in a longer one: one that is too long is cut, and stays unique."""
    name = os.fsencode(path.name)
    if len(name) <= _LONGEST_NAME:
        return path.name
    return name[: _LONGEST_NAME // 2].decode("utf-8", "ignore") + hashlib.sha256(name).hexdigest()[:16]


def wait_for_lock(handle: int, on_wait: Callable[[], None], patience: float = 0.0) -> None:
    """Lock an open file or folder for this process; the lock ends with it. Disks without locks do without.

    Args:
        on_wait: called once if another process still has the lock after `patience` seconds.
    """
    until = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= until:
                break
            time.sleep(0.02)
        except OSError:  # some network disks have no locks
            return
    on_wait()
    fcntl.flock(handle, fcntl.LOCK_EX)


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to disk, if its file system can do that."""
    with contextlib.suppress(OSError):  # a folder that can't be listed, a disk that can't flush folders
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _is_special(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _write_into(path: Path, data: tuple[bytes | memoryview | FilePart, ...]) -> None:
    with open(path, "wb") as file:
        file.writelines(block for part in data for block in blocks(part))
        file.flush()
        with contextlib.suppress(OSError):  # pipes have nothing to flush to
            os.fsync(file.fileno())


def digest_of_file(path: Path, algorithm: str = "sha256") -> str:
    """A file's digest, in hexadecimal digits. Raises OSError."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
