"""Replace folders whole: at any moment, and after any kill, either the old or the new one is complete.

A new folder is filled beside its place; then the two change places in one step, and the user's files move over. A
folder that can't be renamed (a Docker volume, the folder that one works in) is filled from inside: the new content is
gathered in a folder in it, counts from the moment that this is named `.retrain.new`, is then linked into place file by
file, and `.retrain.new` goes.
"""

import contextlib
import errno
import fcntl
import os
import re
import shutil
import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from retrain.errors import RetrainError
from retrain.files import exchange, short_name, sync_folder, temporary_sibling, wait_for_lock

__all__ = [
    "Kind",
    "UnfinishedError",
    "check_replaceable",
    "complete_folder",
    "identity",
    "must_stay",
    "read_consistently",
    "replace_folder",
    "settled",
    "staging_folder",
    "tidy_up",
]

NEW = ".retrain.new"  # inside a folder: the complete content that it is about to have
_INSIDE = (
    ".retrain"  # what names of temporary folders inside begin with, whatever the folder is called where it is mounted
)

_GET_FLAGS = 0x80086601  # FS_IOC_GETFLAGS of ioctl(2)
_FROZEN = 0x10 | 0x20  # immutable, append-only

# Errors of an exchange that is impossible: mount points, folders of a Docker image's lower layer, file systems without
# exchange, folders of others in a sticky place.
_NO_EXCHANGE = {
    *(errno.EBUSY, errno.EXDEV, errno.EINVAL, errno.ENOSYS),
    *(errno.EOPNOTSUPP, errno.EPERM, errno.EACCES, errno.EROFS),
}

_PATIENCE = 1.0  # seconds to wait for another process before saying so
_TRIES = 20  # to read a folder that is replaced again and again

T = TypeVar("T")


@dataclass(frozen=True)
class Kind:
    """A kind of folder that the program makes; anything in it that is not its own is the user's."""

    own: Callable[[Path], Iterable[str]]  # paths, relative to a folder, of the files and empty folders that we wrote
    last: str  # the file that makes the folder valid


class UnfinishedError(OSError):
    """The new folder is complete and counts, but some of it could not be put into place."""


def _silent(_: str) -> None:
    """Say nothing."""


@contextlib.contextmanager
def staging_folder(final: Path, on_wait: Callable[[str], None] = _silent) -> Iterator[Path]:
    """A temporary folder beside `final` (inside it, if that can't be renamed), removed at the end.

    Args:
        on_wait: told of another process, which is putting something in place and is waited for.
    Raises OSError where it can't be made.
    """
    if not final.is_dir():
        final.parent.mkdir(parents=True, exist_ok=True)
    with _lock(final, on_wait):  # or tidy_up of another process could take the folder before it is locked
        staging = _temporary(final, must_stay(final), ".tmp")
        os.mkdir(staging)
        handle = os.open(staging, os.O_RDONLY)
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)  # tells tidy_up that this folder is in use
    try:
        yield staging
    finally:
        os.close(handle)
        shutil.rmtree(staging, ignore_errors=True)


def replace_folder(staging: Path, final: Path, kind: Kind, on_wait: Callable[[str], None] = _silent) -> None:
    """Put a complete folder in the place of `final`; the user's files in an older `final` are kept.

    Args:
        staging: from staging_folder(final); holds the complete new content.
        final: may exist.
        on_wait: told of another process that replaces the same folder just now, and is waited for.
    Raises OSError, with `final` as it was, and UnfinishedError, with the new content in force.
    """
    _sync_tree(staging)
    with _lock(final, on_wait):
        _tidy(final, kind)
        if not final.exists():
            os.rename(staging, final)
        elif staging.parent == final or not _swap(staging, final, kind):
            _fill(staging, final, kind)
        sync_folder(final.parent)


def tidy_up(final: Path, kind: Kind) -> None:
    """Finish what a killed run left: put the rest in place, bring the user's files back, remove what is incomplete."""
    if (final / NEW).is_dir() or any(_leftovers(final)):
        with settled(final, kind):
            pass


@contextlib.contextmanager
def settled(final: Path, kind: Kind, on_wait: Callable[[str], None] = _silent) -> Iterator[None]:
    """Finish what a killed run left, and keep others from replacing the folder meanwhile. Raises OSError."""
    if not final.parent.is_dir():
        yield
        return
    with _lock(final, on_wait):
        _tidy(final, kind)
        yield


def complete_folder(folder: Path) -> Path:
    """Where to read a folder: itself, or the folder in it that holds its new content until all of that is in place.

    Changes nothing.
    """
    return folder / NEW if (folder / NEW).is_dir() else folder


def read_consistently(folder: Path, kind: Kind, read: Callable[[Path], T]) -> T:
    """Read several files of a folder; if it is replaced meanwhile, read again, so that they never mix two models.

    Args:
        read: is given the folder to read from; may be called several times.
    Raises what `read` raises, unless the folder was replaced meanwhile.
    """
    for _ in range(_TRIES):
        before = identity(folder, kind)
        try:
            result = read(complete_folder(folder))
        except (OSError, RetrainError):
            if identity(folder, kind) == before:
                raise
        else:
            if identity(folder, kind) == before:
                return result
    return read(complete_folder(folder))


def identity(folder: Path, kind: Kind) -> tuple[int, ...]:
    """What tells a folder from the one that replaces it; empty if it is missing or incomplete."""
    place = complete_folder(folder)
    try:
        one, other = place.stat(), (place / kind.last).stat()
    except OSError:
        return ()
    return one.st_dev, one.st_ino, other.st_ino, other.st_mtime_ns, other.st_ctime_ns, other.st_size


def check_replaceable(final: Path, names: Iterable[str]) -> None:
    """Check that replace_folder can write a folder; changes nothing.

    Args:
        names: of files and folders that will be written in it.
    Raises OSError whose `filename` is what can't be written.
    """
    if final.is_symlink():  # where links are followed to their end already
        raise _error(errno.ELOOP, final)
    with contextlib.suppress(FileNotFoundError):
        final.stat()
    if final.is_dir():
        _check_entries(final, set(names))


def _check_entries(final: Path, names: set[str]) -> None:
    _check_not_frozen(final)
    try:
        trial = _temporary(final, True, ".tmp")
        os.mkdir(trial)
        os.rmdir(trial)
    except OSError as error:
        raise _error(error.errno or 0, final) from error
    for path in sorted(final.iterdir()):
        _check_not_frozen(path)  # the user's files move, too
    for name in sorted(names):
        for folder, folders, files in os.walk(final / name):
            _check_access(Path(folder), os.W_OK | os.X_OK)
            for entry in folders + files:
                _check_not_frozen(Path(folder, entry))
    for mount in _mounts_in(final):
        if mount != final and mount.relative_to(final).parts[0] in names:
            _check_access(mount, os.W_OK)


def must_stay(folder: Path) -> bool:
    """Whether a folder can't be renamed.

    That is a mount point such as a Docker volume, what holds one, where this process works, and what lies in a folder
    that can't be written.
    """
    if not folder.is_dir():
        return False
    folder = Path(os.path.realpath(folder))
    here = Path(os.path.realpath(os.curdir))
    return here.is_relative_to(folder) or bool(_mounts_in(folder)) or _only_inside(folder)


# putting in place


def _swap(staging: Path, final: Path, kind: Kind) -> bool:
    """Let two folders change places, and give the new one the user's files; False if that is impossible."""
    old = _temporary(final, False, ".old")
    os.rename(staging, old)  # a name of which tidy_up knows that it may hold the user's files
    try:
        exchange(old, final)
    except OSError as error:
        os.rename(old, staging)
        if error.errno in _NO_EXCHANGE:
            return False
        raise
    try:
        _bring_back(old, final, kind)
    except OSError as error:
        raise UnfinishedError(error.errno, error.strerror, error.filename) from error
    return True


def _fill(staging: Path, final: Path, kind: Kind) -> None:
    """Replace the files of a folder that must stay where it is."""
    if staging.parent != final:
        inside = _temporary(final, True, ".tmp")
        try:
            os.rename(staging, inside)
        except OSError:  # another file system, or another mount of the same
            try:
                _copy_tree(staging, inside)
            except BaseException:
                shutil.rmtree(inside, ignore_errors=True)
                raise
        staging = inside
    os.rename(staging, final / NEW)  # from now on it counts
    sync_folder(final)
    try:
        _finish(final, kind)
    except OSError as error:
        raise UnfinishedError(error.errno, error.strerror, error.filename) from error


def _finish(final: Path, kind: Kind) -> None:
    """Put what .retrain.new holds in place; can be begun again after a kill at any point.

    The file that makes a folder valid is the last to go and the last to come, so that whoever knows nothing of
    .retrain.new never takes the files of two for one.
    """
    new = final / NEW
    _remove(final, sorted(kind.own(final), key=lambda name: name == kind.last))
    for folder, _, files in os.walk(new):
        target = final / os.path.relpath(folder, new)
        target.mkdir(exist_ok=True)
        for name in files:
            if Path(folder, name) != new / kind.last:
                _place(Path(folder, name), target / name)
        sync_folder(target)
    _place(new / kind.last, final / kind.last)
    sync_folder(final)
    done = _temporary(final, True, ".tmp")
    os.rename(new, done)
    shutil.rmtree(done, ignore_errors=True)


def _place(source: Path, target: Path) -> None:
    """Link a file to `target` too, in the place of any other file."""
    try:
        target.unlink(missing_ok=True)
        os.link(source, target)
    except OSError:  # a mount of its own; a file system, or a folder on another one, that has no links
        _copy_file(source, target)


def _tidy(final: Path, kind: Kind) -> None:
    if (final / NEW).is_dir():
        _finish(final, kind)
    for left in sorted(_leftovers(final)):
        if left.suffix == ".tmp":
            with contextlib.suppress(OSError), _handle(left) as handle:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # OSError while its run goes on
                shutil.rmtree(left)
        # .old before .old.swap, of earlier versions: what was about to be put in place before what was there
        elif final.is_dir():
            _bring_back(left, final, kind)
        else:
            os.rename(left, final)


def _bring_back(old: Path, final: Path, kind: Kind) -> None:
    """Move the user's files from the folder that was replaced to the new one, and remove the old one."""
    _remove(old, kind.own(old))
    _merge(old, final)


def _remove(folder: Path, names: Iterable[str]) -> None:
    """Remove some files below a folder, the folders that this leaves empty, and empty folders among `names`."""
    for name in names:
        if any((folder / parent).is_symlink() for parent in Path(name).parents[:-1]):
            continue  # what lies elsewhere is not of this folder
        try:
            (folder / name).unlink(missing_ok=True)
        except IsADirectoryError:
            with contextlib.suppress(OSError):
                (folder / name).rmdir()
        except OSError as error:
            if error.errno not in (errno.EBUSY, errno.ENOTDIR):  # a mount of its own; a file where a folder was
                raise
        for parent in Path(name).parents[:-1]:
            with contextlib.suppress(OSError):  # not empty: the user's files are in it
                (folder / parent).rmdir()


def _merge(source: Path, target: Path) -> None:
    """Move what is in source to target; if both have a file, the target's stays."""
    is_folder = source.is_dir() and not source.is_symlink()
    if not os.path.lexists(target):
        os.rename(source, target)
    elif is_folder and target.is_dir():
        for entry in source.iterdir():
            _merge(entry, target / entry.name)
        source.rmdir()
    elif is_folder:
        shutil.rmtree(source)
    else:
        source.unlink()


# names and places


def _temporary(final: Path, inside: bool, suffix: str) -> Path:
    return temporary_sibling(final / _INSIDE[1:], suffix) if inside else temporary_sibling(final, suffix)


def _leftovers(final: Path) -> Iterator[Path]:
    """Temporary folders of runs that were killed, or are still going on, beside a folder and inside it."""
    name = re.escape(short_name(final))
    beside = rf"\.{name}\.[^.]+\.(tmp|old|old\.swap)"
    inside = rf"\.({name}|{re.escape(_INSIDE[1:])})\.[^.]+\.tmp"  # the folder's own name in earlier versions
    for place, pattern in ((final.parent, beside), (final, inside)):
        with contextlib.suppress(OSError):
            yield from (place / entry for entry in os.listdir(place) if re.fullmatch(pattern, entry))


def _only_inside(folder: Path) -> bool:
    """Whether a folder can have no sibling that everyone who sees the folder sees too."""
    folder = Path(os.path.realpath(folder))
    is_mounted = os.path.ismount(folder) or folder in _mounts_in(folder)
    return folder.is_dir() and (is_mounted or not os.access(folder.parent, os.W_OK | os.X_OK))


def _mounts_in(folder: Path) -> list[Path]:
    """The mount points at a folder and below it; also those of the same disk, which os.path.ismount doesn't see."""
    try:
        lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
    except OSError:  # the exchange will fail, and tell
        return []
    points = (re.sub(rb"\\(\d{3})", lambda code: bytes([int(code[1], 8)]), line.split(b" ")[4]) for line in lines)
    return [path for path in map(Path, map(os.fsdecode, points)) if path.is_relative_to(folder)]


# one at a time


@contextlib.contextmanager
def _lock(final: Path, on_wait: Callable[[str], None]) -> Iterator[None]:
    """Be the only process that puts something in the place of a folder; the lock ends with its holder.

    It is a file beside the folder, or in it, which goes when it is released.
    """
    path = final / f"{_INSIDE}.lock" if _only_inside(final) else final.with_name(f".{short_name(final)}.lock")
    handle = _open_lock(path)
    try:
        _acquire(handle, on_wait)
        while not _is_at(handle, path):  # its holder removed it
            os.close(handle)
            handle = _open_lock(path)
            _acquire(handle, on_wait)
        with contextlib.suppress(OSError):
            os.truncate(handle, 0)
            os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                os.unlink(path)
    finally:
        os.close(handle)


def _open_lock(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except PermissionError:  # another user's
        if not path.exists():
            raise
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW)


def _acquire(handle: int, on_wait: Callable[[str], None]) -> None:
    def tell() -> None:
        on_wait(os.pread(handle, 200, 0).decode(errors="replace") or "another process")

    wait_for_lock(handle, tell, _PATIENCE)


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


# small things


@contextlib.contextmanager
def _handle(path: Path) -> Iterator[int]:
    handle = os.open(path, os.O_RDONLY)
    try:
        yield handle
    finally:
        os.close(handle)


def _check_not_frozen(path: Path) -> None:
    """Raise OSError for a file or folder that nobody may change (chattr +i, +a)."""
    flags = 0
    if not path.is_symlink() and (path.is_dir() or path.is_file()):
        with contextlib.suppress(OSError), _handle(path) as handle:  # file systems without such marks
            [flags] = struct.unpack("l", fcntl.ioctl(handle, _GET_FLAGS, bytes(struct.calcsize("l"))))
    if flags & _FROZEN:
        raise OSError(errno.EPERM, "immutable (lsattr shows it, chattr -i or -a ends it)", os.fspath(path))


def _check_access(path: Path, mode: int) -> None:
    if not os.access(path, mode):
        raise _error(errno.EROFS if os.statvfs(path).f_flag & os.ST_RDONLY else errno.EACCES, path)


def _error(code: int, path: Path) -> OSError:
    return OSError(code, os.strerror(code), os.fspath(path))


def _copy_tree(source: Path, target: Path) -> None:
    """Copy a folder, flushed to disk."""
    for folder, _, files in os.walk(source):
        copy = target / os.path.relpath(folder, source)
        copy.mkdir()
        for name in files:
            _copy_file(Path(folder, name), copy / name)
        sync_folder(copy)


def _copy_file(source: Path, target: Path) -> None:
    with open(source, "rb") as data, open(target, "wb") as file:
        shutil.copyfileobj(data, file)
        file.flush()
        os.fsync(file.fileno())


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_dir():
            sync_folder(path)
        elif path.is_file():
            with open(path, "rb") as file:
                os.fsync(file.fileno())
    sync_folder(folder)
