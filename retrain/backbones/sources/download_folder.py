"""Where downloads are kept: a folder of the user, into which nobody else can put anything."""

import atexit
import contextlib
import grp
import hashlib
import os
import pwd
import shutil
import stat
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from retrain.backbones.sources.listener import tell
from retrain.errors import BackboneError
from retrain.files import digest_of_file, wait_for_lock
from retrain.paths import display_path

__all__ = ["check_own", "digest_of_tree", "download_folder", "is_own", "locked", "make_folder"]


def download_folder(name: str, write: bool = True) -> Path:
    """The folder `name` for downloads: below XDG_CACHE_HOME/retrain, by default ~/.cache/retrain.

    It is made for its user alone. If it can't be made, as in a home that is missing or read-only, a temporary folder
    takes its place, which goes when the process ends, and a warning says so.

    Args:
        write: whether something will be put there; if not, the folder may be missing.
    Raises BackboneError if it belongs to another user, or others may write to it.
    """
    root = _cache_home() / "retrain"
    folder = root / name
    if write:
        try:
            if not root.is_absolute():
                raise OSError("you have no home folder")
            make_folder(folder)
            if os.access(folder, os.W_OK | os.X_OK):
                check_own(root)
                check_own(folder)
                return folder
            reason = "no permission to write"
        except OSError as error:
            reason = error.strerror or str(error)
        return _temporary_folder(str(root), reason) / name
    for place in (root, folder):
        if place.exists():
            check_own(place)
    return folder


def make_folder(folder: Path, mode: int = 0o700) -> None:
    """Make a folder and its parents, by default for the user alone. Raises OSError."""
    for place in reversed((folder, *folder.parents)):
        with contextlib.suppress(FileExistsError):
            if not place.is_dir():
                os.mkdir(place, mode)


def is_own(path: Path) -> bool:
    """Whether a file or folder is the user's or the system's, and no other user may write to it."""
    status = os.stat(path)
    if status.st_uid not in (os.geteuid(), 0) or status.st_mode & stat.S_IWOTH:
        return False
    return not status.st_mode & stat.S_IWGRP or _is_private_group(status.st_gid)


def _is_private_group(number: int) -> bool:
    """Whether a group has only this user; many systems give each user one, and let it write by their umask."""
    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(number)
    except KeyError:
        return False
    return user.pw_gid == number and group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}


def check_own(folder: Path) -> None:
    """Raise BackboneError if another user may put something into a folder, which we would then run."""
    if is_own(folder):
        return
    status = os.stat(folder)
    if status.st_uid not in (os.geteuid(), 0):
        found, remedy = f"belongs to another user (number {status.st_uid})", "use"
    else:
        found, remedy = "can be written by other users", f"run: chmod go-w {display_path(folder)}; or use"
    raise BackboneError(
        f"the folder of downloads {display_path(folder)} {found}, who could put their own network there: {remedy} "
        "another folder (XDG_CACHE_HOME, KERAS_HOME, TFHUB_CACHE_DIR)"
    )


@contextlib.contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Be the only process that works on a path; wait for another one, and say so. The lock ends with its holder.

    Args:
        path: what is worked on; the lock is a file beside it, which stays.
        what: what it is, for the message.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    handle = os.open(path.with_name(path.name + ".retrain.lock"), flags, 0o600)
    try:
        wait_for_lock(handle, lambda: tell().wait(f"another process is downloading {what}: waiting for it"))
        yield
    finally:
        os.close(handle)


def digest_of_tree(folder: Path) -> str:
    """SHA-256 of the names and contents of all files below a folder.

    Raises OSError, and BackboneError if one is not a regular file of the user.
    """
    digest = hashlib.sha256()
    for root, folders, names in os.walk(folder):
        folders.sort()
        check_own(Path(root))
        for name in sorted(names):
            path = Path(root, name)
            if not stat.S_ISREG(path.lstat().st_mode) or not is_own(path):
                raise BackboneError(
                    f"{display_path(path)} is a link, or another user may write to it, and so put a network of "
                    f"theirs there: remove {display_path(folder)}, and it is downloaded again"
                )
            digest.update(os.fsencode(path.relative_to(folder)) + b"\0" + digest_of_file(path).encode())
    return digest.hexdigest()


def _cache_home() -> Path:
    given = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(given):  # the specification has others ignored
        return Path(given)
    return Path(os.path.expanduser("~"), ".cache")  # not absolute where there is no home


@cache
def _temporary_folder(wanted: str, reason: str) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="retrain-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    tell().warn(
        f"downloads can't be kept in {display_path(wanted)} ({reason}): they are for this run alone; set "
        "XDG_CACHE_HOME to a folder that can be written"
    )
    return folder
