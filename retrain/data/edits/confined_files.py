"""Files below a folder, and nothing else: they are moved, never replaced, and no path or link leads out.

A path is opened folder by folder, each with O_NOFOLLOW, from a handle of the top that stays open; what is done then is
done to a name in the folder that was opened. So there is no time between a check and what it was for, in which a
folder could become a link to elsewhere.

No file is ever replaced: files are renamed with RENAME_NOREPLACE (renameat2(2)), which the kernel holds. Where a file
system can't do that (NFS), a link to the file is made, which fails if its name is taken, and the old name goes. Where
it has no links either, the name is looked up before. What lies on another disk is copied, flushed, given its name in
the same way, and then goes. A file goes for good in one way only: it is renamed to a hidden name, looked at, and
removed if it is the one that has a second name or copy by now; so one that replaced it meanwhile is kept.
"""

import contextlib
import errno
import itertools
import os
import stat
from collections.abc import Iterator

from retrain.errors import ImageFolderError
from retrain.files import rename_new
from retrain.paths import display_path

__all__ = ["ConfinedFiles", "distinct_names"]

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC  # a pipe of this name is not waited for
_BLOCK_BYTES = 2**20
_LONGEST_NAME = 255  # bytes, on all common file systems

# what renameat2() answers where RENAME_NOREPLACE is not known; what link() answers where there are no links
_NO_RENAME_NEW = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM)
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EMLINK, errno.EACCES)
_MISSING = (errno.ENOENT, errno.ENOTDIR)


class ConfinedFiles:
    """Files below a folder, and below one more beside it.

    Paths are relative to the folder, with /. Those of the second folder begin with its prefix.

    Args:
        root: the folder.
        beside: prefix and path of the second folder.
    Raises OSError.
    """

    def __init__(self, root: str | os.PathLike[str], beside: tuple[str, str] | None = None) -> None:
        self._tops: dict[str, int] = {}
        try:
            self._tops[""] = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            if beside is not None:
                self._tops[beside[0]] = os.open(beside[1], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the folders."""
        while self._tops:
            os.close(self._tops.popitem()[1])

    def reaches(self, path: str) -> bool:
        """Whether a path lies below one of the folders."""
        try:
            self._located(path)
        except ImageFolderError:
            return False
        return True

    def status(self, path: str) -> os.stat_result | None:
        """What is at a path, links not followed; None if nothing is. Raises ImageFolderError, OSError."""
        try:
            with self._folder_of(path) as (folder, name):
                return os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def names(self, path: str) -> list[str]:
        """The names in a folder, sorted. Raises ImageFolderError, OSError."""
        with self._folder(path) as folder:
            return sorted(os.listdir(folder))

    def link_text(self, path: str) -> str:
        """What a link says. Raises ImageFolderError, OSError."""
        with self._folder_of(path) as (folder, name):
            return os.readlink(name, dir_fd=folder)

    def open(self, path: str) -> int:
        """Open a file to read and write it, and make it if it is missing. Raises ImageFolderError, OSError."""
        with self._folder_of(path) as (folder, name):
            handle = os.open(name, os.O_RDWR | os.O_CREAT | _FILE, 0o666, dir_fd=folder)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise OSError(errno.EINVAL, "it is not a regular file", name)
        return handle

    def make_folder(self, path: str) -> None:
        """Make a folder, and those above it, where they are missing. Raises ImageFolderError, OSError."""
        with self._folder(path, make=True):
            pass

    def remove_empty_folder(self, path: str) -> None:
        """Remove a folder if it is empty; whatever else it is stays. Raises ImageFolderError."""
        with contextlib.suppress(OSError), self._folder_of(path) as (folder, name):
            os.rmdir(name, dir_fd=folder)

    def write(self, path: str, content: bytes, mark: str) -> None:
        """Write a new file, flushed to disk. Raises ImageFolderError, OSError; FileExistsError if it is there.

        Args:
            mark: a hidden name that nothing else in its folder has.
        """
        with self._folder_of(path, make=True) as (folder, name):
            with _new_file(folder, mark) as handle:
                _write(handle, content)
            with _removed_on_error(folder, mark):
                _rename(folder, mark, folder, name)
            _sync(folder)

    def move(self, source: str, target: str, mark: str) -> None:
        """Move a file, a link or a folder to a place where nothing is. Folders above the target are made.

        Whenever this is cut off, the file is complete at one of the two places, or at both; settle() tidies up.

        Args:
            mark: a hidden name that nothing else has, for what is there for a moment.
        Raises ImageFolderError, OSError; FileExistsError if the target is there, FileNotFoundError if the source is
        not.
        """
        with self._folder_of(source) as (here, name), self._folder_of(target, make=True) as (there, new_name):
            try:
                rename_new(name, new_name, here, there)
            except OSError as error:
                if error.errno == errno.EXDEV:
                    _copy_over((here, name), (there, new_name), mark)
                elif error.errno in _NO_RENAME_NEW:
                    _link_over((here, name), (there, new_name), mark)
                else:
                    raise

    def respell(self, source: str, target: str) -> None:
        """Rename something whose two names the file system takes for the same. Raises ImageFolderError, OSError."""
        with self._folder_of(source) as (here, name), self._folder_of(target) as (there, new_name):
            os.rename(name, new_name, src_dir_fd=here, dst_dir_fd=there)

    def drop(self, path: str, twin: str, mark: str) -> None:
        """Remove a file whose content is at `twin`, too. Raises ImageFolderError, OSError if one of them changed."""
        with self._folder_of(path) as (here, name), self._folder_of(twin) as (there, other):
            _drop((here, name), os.stat(name, dir_fd=here, follow_symlinks=False), (there, other), mark)

    def discard(self, path: str) -> None:
        """Remove a file that was written a moment ago, if it is there. Raises ImageFolderError, OSError."""
        with contextlib.suppress(FileNotFoundError), self._folder_of(path) as (folder, name):
            os.unlink(name, dir_fd=folder)

    def settle(self, path: str, twin: str, mark: str) -> None:
        """Tidy up beside a file what a move between it and `twin`, which was cut off, has left under hidden names.

        Raises ImageFolderError, OSError.
        """
        try:
            with self._folder_of(path) as (folder, name):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(mark, dir_fd=folder)  # a copy that is not complete
                aside = _aside(mark)
                if _status(folder, aside) is None:
                    return
                with contextlib.suppress(FileNotFoundError), self._folder_of(twin) as (there, other):
                    if _is_same((folder, aside), (there, other)):
                        os.unlink(aside, dir_fd=folder)
                        return
                _put_back(folder, aside, name)
        except FileNotFoundError:
            return

    def is_same(self, one: str, other: str) -> bool:
        """Whether two paths are the same file, or files with the same content. Raises ImageFolderError, OSError."""
        with self._folder_of(one) as first, self._folder_of(other) as second:
            return _is_same(first, second)

    def sync(self, path: str) -> None:
        """Flush the names in a folder to disk, where that is possible. Raises ImageFolderError."""
        with contextlib.suppress(FileNotFoundError), self._folder(path) as folder:
            _sync(folder)

    @contextlib.contextmanager
    def _folder_of(self, path: str, make: bool = False) -> Iterator[tuple[int, str]]:
        """A handle of the folder that a path is in, and its name there."""
        above, _, name = path.rpartition("/")
        if not _is_name(name):
            raise self._refused(path)
        with self._folder(above, make) as folder:
            yield folder, name

    @contextlib.contextmanager
    def _folder(self, path: str, make: bool = False) -> Iterator[int]:
        """A handle of a folder."""
        top, parts = self._located(path)
        handle = os.open(".", _FOLDER, dir_fd=top)
        try:
            for end, part in enumerate(parts, 1):
                inner = self._opened(handle, part, make, "/".join(parts[:end]))
                os.close(handle)
                handle = inner
            yield handle
        finally:
            os.close(handle)

    def _opened(self, folder: int, name: str, make: bool, path: str) -> int:
        for is_made in (False, True):
            try:
                return os.open(name, _FOLDER, dir_fd=folder)
            except FileNotFoundError:
                if not make or is_made:
                    raise
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, dir_fd=folder)
            except OSError as error:
                if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                    raise
                status = _status(folder, name)
                what = "a link" if status is not None and stat.S_ISLNK(status.st_mode) else "not a folder"
                raise ImageFolderError(
                    f"{display_path(path)} is {what}: nothing is moved through it; move the pictures themselves into a "
                    "folder of their own"
                ) from None
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)

    def _located(self, folder: str) -> tuple[int, list[str]]:
        """The handle of the top that a folder is below, and the parts of its path from there."""
        for prefix, top in reversed(self._tops.items()):
            if folder == prefix:
                return top, []
            if not prefix or folder.startswith(f"{prefix}/"):
                parts = folder[len(prefix) + 1 if prefix else 0 :].split("/")
                if all(map(_is_name, parts)):
                    return top, parts
        raise self._refused(folder)

    def _refused(self, path: str) -> ImageFolderError:
        beside = " and ".join(display_path(prefix) for prefix in self._tops if prefix)
        return ImageFolderError(
            f"{display_path(path)} is neither in the folder nor in {beside or 'one of unlabelled pictures'}: "
            f"{'give a path below one of them' if beside else 'if it is among unlabelled pictures, give --unlabelled'}"
        )


def _is_name(part: str) -> bool:
    """Whether a part of a path can be the name of something in a folder."""
    try:
        os.fsencode(part)
    except UnicodeEncodeError:  # half a character
        return False
    return part not in ("", ".", "..") and "\0" not in part


def distinct_names(name: str, first: int = 1) -> Iterator[str]:
    """A file's name, then name-2, name-3 and so on; each short enough for a file system.

    Args:
        first: which of them is the first.
    """
    stem, suffix = os.path.splitext(name)
    if len(os.fsencode(suffix)) > _LONGEST_NAME // 2:
        stem, suffix = name, ""
    for number in itertools.count(first):
        end = suffix if number == 1 else f"-{number}{suffix}"
        room = _LONGEST_NAME - len(os.fsencode(end))
        while len(os.fsencode(stem)) > room:
            stem = stem[: max(room // 4, len(stem) - 1)]
        yield stem + end


_Entry = tuple[int, str]  # the handle of a folder, and a name in it


def _status(folder: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno in _MISSING:
            return None
        raise


def _sync(folder: int) -> None:
    with contextlib.suppress(OSError):  # a disk that can't flush folders
        os.fsync(folder)


def _aside(mark: str) -> str:
    """The name of a file that is about to go."""
    return f"{mark}.old"


@contextlib.contextmanager
def _new_file(folder: int, name: str) -> Iterator[int]:
    """A file to write, flushed at the end; it goes if that fails. One of this name is left from a try that failed."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)
    handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FILE, 0o666, dir_fd=folder)
    try:
        with _removed_on_error(folder, name):
            yield handle
            os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _removed_on_error(folder: int, name: str) -> Iterator[None]:
    """Remove a temporary file if something fails."""
    try:
        yield
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=folder)
        raise


def _write(handle: int, content: bytes | memoryview) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(handle, rest) :]


def _rename(here: int, name: str, there: int, new_name: str) -> None:
    """Rename a file of ours to a name that is free. Raises OSError."""
    try:
        rename_new(name, new_name, here, there)
    except OSError as error:
        if error.errno not in _NO_RENAME_NEW:
            raise
        _checked_rename((here, name), (there, new_name))


def _checked_rename(source: _Entry, target: _Entry) -> None:
    """Rename where nothing better is at hand: another program could take the name in this moment. Raises OSError."""
    if _status(*target) is not None:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target[1])
    os.rename(source[1], target[1], src_dir_fd=source[0], dst_dir_fd=target[0])


def _link_over(source: _Entry, target: _Entry, mark: str) -> None:
    """Move a file by a second name."""
    (here, name), (there, new_name) = source, target
    before = os.stat(name, dir_fd=here, follow_symlinks=False)
    try:
        if stat.S_ISDIR(before.st_mode):
            raise OSError(errno.EPERM, os.strerror(errno.EPERM), name)
        os.link(name, new_name, src_dir_fd=here, dst_dir_fd=there, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _checked_rename(source, target)
        return
    _sync(there)
    _drop_or_undo(source, before, target, mark)


def _copy_over(source: _Entry, target: _Entry, mark: str) -> None:
    """Move a file or a link to another disk."""
    (here, name), (there, new_name) = source, target
    before = os.stat(name, dir_fd=here, follow_symlinks=False)
    if stat.S_ISLNK(before.st_mode):
        os.symlink(os.readlink(name, dir_fd=here), new_name, dir_fd=there)
    elif not stat.S_ISREG(before.st_mode):
        raise OSError(errno.EXDEV, "it is on another disk, or on a read-only layer of a container's image", name)
    else:
        before = _copy(source, (there, mark))
        with _removed_on_error(there, mark):
            if _version(os.stat(name, dir_fd=here, follow_symlinks=False)) != _version(before):
                raise OSError(errno.ESTALE, "it was changed while it was moved", name)
            _rename(there, mark, there, new_name)
    _sync(there)
    _drop_or_undo(source, before, target, mark)


def _copy(source: _Entry, target: _Entry) -> os.stat_result:
    """Copy a regular file with its times and permissions; its status before that."""
    reader = os.open(source[1], os.O_RDONLY | _FILE, dir_fd=source[0])
    try:
        before = os.fstat(reader)
        with _new_file(*target) as writer:
            while block := os.read(reader, _BLOCK_BYTES):
                _write(writer, block)
            with contextlib.suppress(OSError):  # file systems without times or permissions
                os.utime(writer, ns=(before.st_atime_ns, before.st_mtime_ns))
                os.fchmod(writer, before.st_mode & 0o777)
        return before
    finally:
        os.close(reader)


def _drop_or_undo(source: _Entry, before: os.stat_result, twin: _Entry, mark: str) -> None:
    """Remove a file that has its twin; if that fails, remove the twin. Raises OSError."""
    try:
        _drop(source, before, twin, mark)
    except OSError:
        with contextlib.suppress(OSError):
            if _is_same(source, twin):
                _drop(twin, os.stat(twin[1], dir_fd=twin[0], follow_symlinks=False), source, mark)
        raise


def _drop(source: _Entry, before: os.stat_result, twin: _Entry, mark: str) -> None:
    """Remove a file that has another name or a copy; not if it is another file by now, or if its twin went, too.

    A file system that does not tell upper from lower case may know both names for one file: then the twin goes as soon
    as the file is renamed, and comes back with it.
    """
    (here, name), aside = source, _aside(mark)
    _checked_rename(source, (here, aside))
    status = _status(here, aside)
    if status is None or _version(status) != _version(before) or _status(*twin) is None:
        _put_back(here, aside, name)
        raise OSError(errno.ESTALE, f"it was changed while it was moved; what it was before is {twin[1]}", name)
    try:
        os.unlink(aside, dir_fd=here)
    except OSError:
        _put_back(here, aside, name)
        raise


def _put_back(folder: int, aside: str, name: str) -> None:
    """Give a file its name back, or one like it if another has that by now."""
    for candidate in distinct_names(name):
        try:
            _rename(folder, aside, folder, candidate)
        except FileExistsError:
            continue
        return


def _version(status: os.stat_result) -> tuple[int, int, int, int]:
    """What shows that a file is the same, with the same content. Renaming changes its ctime, and not these."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _is_same(one: _Entry, other: _Entry) -> bool:
    """Whether two names are of the same file, or of files with the same content."""
    first, second = _status(*one), _status(*other)
    if first is None or second is None or stat.S_IFMT(first.st_mode) != stat.S_IFMT(second.st_mode):
        return False
    if (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino):
        return True
    if stat.S_ISLNK(first.st_mode):
        return os.readlink(one[1], dir_fd=one[0]) == os.readlink(other[1], dir_fd=other[0])
    if not stat.S_ISREG(first.st_mode) or first.st_size != second.st_size:
        return False
    return _has_same_content(one, other)


def _has_same_content(one: _Entry, other: _Entry) -> bool:
    handles = []
    try:
        for folder, name in (one, other):
            handles.append(os.open(name, os.O_RDONLY | _FILE, dir_fd=folder))
        while True:
            first, second = (os.read(handle, _BLOCK_BYTES) for handle in handles)
            if first != second:
                return False
            if not first:
                return True
    finally:
        for handle in handles:
            os.close(handle)
