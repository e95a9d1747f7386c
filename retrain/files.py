"""Files that appear whole or not at all, and their digests."""

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

__all__ = [
    "check_writable",
    "digest_of_file",
    "remove_abandoned",
    "sync_folder",
    "temporary_sibling",
    "wait_for_lock",
    "write_whole",
]

_ABANDONED_SECONDS = 60.0  # a temporary file younger than this may not be locked by its writer yet
_LONGEST_NAME = 200  # bytes: file systems take 255, and temporary names add to it


def write_whole(path: str | os.PathLike[str], *data: bytes | memoryview) -> None:
    """Write a file through a temporary sibling that is flushed to disk and then takes its place in one step.

    Devices, pipes, and files that are mounts (`docker run -v FILE:FILE`) are written directly, since they can't be
    replaced.

    Args:
        data: the parts of the file, one after the other.
    Raises OSError; the temporary file is then removed, and what was there before is untouched.
    """
    path = Path(path)
    if _is_special(path):
        _write_into(path, data)
        return
    temporary = temporary_sibling(path, ".tmp")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)  # less what the umask takes away
    try:
        with os.fdopen(handle, "wb") as file:
            with contextlib.suppress(OSError):  # some network disks have no locks
                fcntl.flock(file.fileno(), fcntl.LOCK_EX)  # tells remove_abandoned that this file is being written
            file.writelines(data)
            file.flush()
            os.fsync(file.fileno())
            os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if not isinstance(error, OSError) or error.errno != errno.EBUSY:
            raise
        _write_into(path, data)
    sync_folder(path.parent)


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


def remove_abandoned(folder: Path) -> None:
    """Remove temporary files of write_whole whose writer was killed; those being written stay."""
    for path in folder.glob(".*.tmp"):
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


def _write_into(path: Path, data: tuple[bytes | memoryview, ...]) -> None:
    with open(path, "wb") as file:
        file.writelines(data)
        file.flush()
        with contextlib.suppress(OSError):  # pipes have nothing to flush to
            os.fsync(file.fileno())


def digest_of_file(path: Path, algorithm: str = "sha256") -> str:
    """A file's digest, in hexadecimal digits. Raises OSError."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
