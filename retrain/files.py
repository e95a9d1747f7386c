"""Files and folders that appear whole or not at all."""

import contextlib
import ctypes
import fcntl
import glob
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

__all__ = ["remove_abandoned", "replace_folder", "staging_folder", "tidy_up", "write_whole"]

_AT_FDCWD, _EXCHANGE = -100, 2  # of renameat2(2)

_ABANDONED_SECONDS = 60.0  # a temporary file younger than this may not be locked by its writer yet


def write_whole(path: str | os.PathLike[str], *data: bytes | memoryview) -> None:
    """Write a file through a temporary sibling, flushed to disk and put in place at once.

    Args:
        data: the parts of the file, one after the other.
    Raises OSError, with the temporary file removed and what was there before untouched.
    """
    path = Path(path)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name[:100]}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            with contextlib.suppress(OSError):  # some network disks have no locks
                fcntl.flock(file.fileno(), fcntl.LOCK_EX)  # tells remove_abandoned that somebody is at work
            os.fchmod(file.fileno(), 0o666 & ~_umask())
            file.writelines(data)
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
    """A temporary folder beside `final` (inside it, where that can't be renamed), removed at the end.

    Raises OSError where it can't be made.
    """
    parent = final if _must_stay(final) else final.parent
    parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{final.name}.", suffix=".tmp", dir=parent))
    handle = os.open(staging, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)  # tells tidy_up that somebody is at work
        os.chmod(staging, 0o777 & ~_umask())
        yield staging
    finally:
        os.close(handle)
        shutil.rmtree(staging, ignore_errors=True)


def replace_folder(staging: Path, final: Path, own: Iterable[str], last: str) -> None:
    """Put a complete folder in the place of `final`; of an older `final`, what is not ours is kept.

    Args:
        staging: from staging_folder(final); holds the complete new content.
        final: may exist.
        own: paths, relative to `final`, of the files there that the program wrote; they go.
        last: the file that makes the folder valid. Where entries must be replaced one by one, it goes first and comes
            back last.
    """
    _sync_tree(staging)
    if not final.exists():
        os.replace(staging, final)
    elif _must_stay(final):
        (final / last).unlink(missing_ok=True)
        _remove(final, own)
        for entry in sorted(staging.iterdir(), key=lambda entry: entry.name == last):
            _merge(entry, final / entry.name, overwrite=True)
        _sync_folder(final)
    else:
        old = Path(tempfile.mkdtemp(prefix=f".{final.name}.", suffix=".old", dir=final.parent))
        os.replace(staging, old)  # out of the reach of staging_folder's cleaning up
        _exchange(old, final)
        _remove(old, own)
        _merge(old, final)
    _sync_folder(final.parent)


def tidy_up(final: Path, own: Callable[[Path], Iterable[str]]) -> None:
    """Finish what a killed run left beside `final`: bring the user's files back, remove the program's own.

    Args:
        own: the paths, relative to a folder, of the files there that the program wrote.
    """
    # .old before .old.swap: what replace_folder was about to put in place before what was there
    for old in sorted(final.parent.glob(f".{glob.escape(final.name)}.*.old*")):
        if final.is_dir():
            _remove(old, own(old))
            _merge(old, final)
        else:
            os.replace(old, final)
    for place in (final.parent, final):
        for staging in place.glob(f".{glob.escape(final.name)}.*.tmp"):
            with contextlib.suppress(OSError), _handle(staging) as handle:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # OSError while its run goes on
                shutil.rmtree(staging)


@contextlib.contextmanager
def _handle(path: Path) -> Iterator[int]:
    handle = os.open(path, os.O_RDONLY)
    try:
        yield handle
    finally:
        os.close(handle)


def _must_stay(folder: Path) -> bool:
    """Whether a folder can't be renamed: a mount point such as a Docker volume, or where this process works."""
    here = os.path.realpath(os.curdir)
    return os.path.ismount(folder) or (here + os.sep).startswith(os.path.join(os.path.realpath(folder), ""))


def _exchange(one: Path, other: Path) -> None:
    """Swap two folders in one step (Linux 3.15); in three where the file system can't."""
    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is not None and not function(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _EXCHANGE):
        return
    spare = one.with_name(one.name + ".swap")
    os.replace(other, spare)
    os.replace(one, other)
    os.replace(spare, one)


def _remove(folder: Path, files: Iterable[str]) -> None:
    """Remove some files below a folder, and the folders that this leaves empty."""
    for name in files:
        (folder / name).unlink(missing_ok=True)
        for parent in Path(name).parents[:-1]:
            with contextlib.suppress(OSError):  # not empty: the user's files are in it
                (folder / parent).rmdir()


def _merge(source: Path, target: Path, overwrite: bool = False) -> None:
    """Move what is in source to target; where both have a file, the target's stays unless it is to be overwritten."""
    is_folder = source.is_dir() and not source.is_symlink()
    if not os.path.lexists(target) or (overwrite and not is_folder):
        os.replace(source, target)
    elif is_folder and target.is_dir():
        for entry in source.iterdir():
            _merge(entry, target / entry.name, overwrite)
        source.rmdir()
    elif is_folder:
        shutil.rmtree(source)
    else:
        source.unlink()


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
