"""Files and folders that appear whole or not at all."""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["remove_abandoned", "replace_folder", "staging_folder", "write_whole"]

_ABANDONED_SECONDS = 60.0  # a temporary file younger than this may not be locked by its writer yet


def write_whole(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file through a temporary sibling, flushed to disk and put in place at once.

    Raises OSError, with the temporary file removed and what was there before untouched.
    """
    path = Path(path)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name[:100]}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX)  # tells remove_abandoned that somebody is at work
            os.fchmod(file.fileno(), 0o666 & ~_umask())
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    _sync_folder(path.parent)


def remove_abandoned(folder: Path) -> None:
    """Remove temporary files of write_whole whose writer was killed; those that are being written stay."""
    for path in folder.glob(".*.tmp"):
        with contextlib.suppress(OSError), open(path, "rb") as file:
            if time.time() - os.fstat(file.fileno()).st_mtime > _ABANDONED_SECONDS:
                fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)  # OSError while its writer lives
                path.unlink()


@contextlib.contextmanager
def staging_folder(final: Path) -> Iterator[Path]:
    """A temporary folder beside `final` (inside it, where `final` is a mount point), removed at the end.

    Raises OSError where neither can be made.
    """
    parent = final if os.path.ismount(final) else final.parent
    parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{final.name}.", suffix=".tmp", dir=parent))
    try:
        os.chmod(staging, 0o777 & ~_umask())
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def replace_folder(staging: Path, final: Path, is_own: Callable[[str], bool]) -> None:
    """Put a complete folder in the place of `final`; of an older `final`, what is not ours is kept.

    Args:
        staging: from staging_folder(final); holds the complete new content.
        final: may exist.
        is_own: whether an entry at the top of the old folder is the program's own, and may go.
    """
    _sync_tree(staging)
    if os.path.ismount(final):  # such as a Docker volume: it can't be renamed, so its entries move one by one
        for entry in sorted(staging.iterdir()):
            _remove(final / entry.name)
            os.replace(entry, final / entry.name)
    elif final.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{final.name}.", suffix=".old", dir=final.parent))
        os.replace(final, old)
        os.replace(staging, final)
        for entry in old.iterdir():
            if not is_own(entry.name) and not (final / entry.name).exists():
                os.replace(entry, final / entry.name)
        shutil.rmtree(old)
    else:
        os.replace(staging, final)
    _sync_folder(final.parent)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _umask() -> int:
    """The process's umask; the only way to read it is to set it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb") as file:
                os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
