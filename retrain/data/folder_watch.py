"""Notice when something changes in a folder: by the system's notification, or by looking again and again."""

import os
import threading
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from retrain.data.folder_walk import FolderWalk, is_litter
from retrain.events import Emit, Noted, ignore
from retrain.paths import display_path

__all__ = ["FolderWatch"]

_QUIET_SECONDS = 0.2  # without a change: what was being copied or moved is complete
_PATIENCE_SECONDS = 3.0  # after which changes that go on and on are told all the same
_POLL_SECONDS = 1.0  # between looks where the system does not notify
_SHARE = 0.05  # of a core that looking may take, at most
_DOUBT_SECONDS = 10.0  # between looks that find out whether the system notifies at all
_STEP_SECONDS = 1.0  # between looks whether the folder itself is still there

Picture = frozenset[tuple[str, int, int, int]]  # of a folder: path, size, mtime in ns and inode of every file


class FolderWatch:
    """Watches an image folder until it is closed.

    Changes of hidden files and litter don't count, nor those in folders that this program wrote, such as a model. The
    folder may vanish and come back.

    Without the package watchfiles, and where the system can't notify, the folder is looked at about every second. Some
    file systems never notify of what other machines do (NFS, SMB, folders that a container shares with its host). So
    there is a look now and then in any case; if it finds what nobody told, looking goes on every second.

    Args:
        root: the folder.
        exclude: folders in it whose changes don't count.
        poll: seconds between looks, instead of notification.
        emit: told, once, why there is no notification. Called in another thread.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        exclude: Sequence[str | os.PathLike[str]] = (),
        poll: float | None = None,
        emit: Emit = ignore,
    ) -> None:
        self._root, self._exclude, self._emit = Path(root), exclude, emit
        self._poll = _POLL_SECONDS if poll is None else poll
        self._closed = threading.Event()
        self._condition = threading.Condition()
        self._changes = self._taken = 0
        self._last_change = 0.0
        self._looked: Picture | None = self._look()  # here, so that nothing is missed from now on
        run = self._listen if poll is None else self._keep_looking
        self._thread = threading.Thread(target=run, name="folder-watch", daemon=True)
        self._thread.start()

    def has_changed(self) -> bool:
        """Whether something changed since `wait` last returned True. Takes no time."""
        return self._changes > self._taken

    @property
    def is_closed(self) -> bool:
        """Whether nobody watches any more."""
        return self._closed.is_set()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for a change, and then until changes come to rest. False: time is over, or the watch was closed."""
        ends = None if seconds is None else time.monotonic() + seconds
        with self._condition:
            while not self.has_changed():
                left = None if ends is None else ends - time.monotonic()
                if self.is_closed or (left is not None and left <= 0):
                    return False
                self._condition.wait(left)
            until = time.monotonic() + _PATIENCE_SECONDS
            while not self.is_closed:
                now = time.monotonic()
                left = min(self._last_change + _QUIET_SECONDS, until) - now
                if left <= 0:
                    break
                self._condition.wait(left)
            self._taken = self._changes
        return not self.is_closed

    def close(self) -> None:
        """Stop watching. A thread in `wait` returns."""
        self._closed.set()
        with self._condition:
            self._condition.notify_all()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _note(self) -> None:
        with self._condition:
            self._changes += 1
            self._last_change = time.monotonic()
            self._condition.notify_all()

    # looking

    def _keep_looking(self) -> None:
        pause = self._poll
        while not self._closed.wait(pause):
            began = time.monotonic()
            found = self._look()
            if found != self._looked:
                self._looked = found
                self._note()
            pause = max(self._poll, (time.monotonic() - began) / _SHARE)

    def _look(self) -> Picture | None:
        """What is in the folder; None if it is not there, or can't be read."""
        try:
            return frozenset(self._files())
        except OSError:
            return None

    def _files(self) -> Iterator[tuple[str, int, int, int]]:
        for path, _ in FolderWalk(self._root, self._exclude).everything():
            try:
                status = os.stat(self._root / path)
            except OSError:
                yield path, -1, -1, -1  # it has just gone, or it is a broken link
            else:
                yield path, status.st_size, status.st_mtime_ns, status.st_ino

    # notification

    def _listen(self) -> None:
        """Wait for notification as long as that works; then look."""
        try:
            from watchfiles import watch
        except ImportError:
            self._keep_looking()
            return
        while not self.is_closed:
            identity = _identity(self._root)
            if identity is None:  # it has vanished, and may come back
                self._closed.wait(self._poll)
                if _identity(self._root) is not None:
                    self._note()
                continue
            try:
                real = os.path.realpath(self._root)
                told = watch(
                    real,
                    watch_filter=partial(self._counts, real),
                    debounce=100,  # ms
                    step=50,
                    stop_event=self._closed,
                    rust_timeout=int(1000 * _STEP_SECONDS),
                    yield_on_timeout=True,
                    raise_interrupt=False,
                    ignore_permission_denied=True,
                )
                if not self._heed(told, identity):
                    self._say(f"{display_path(self._root)} changes without notice from its file system")
                    break
            except (OSError, RuntimeError) as error:  # the package's own errors are RuntimeErrors
                if _identity(self._root) == identity:  # else it went in the middle of it
                    self._say(f"the system can't notify of changes in {display_path(self._root)} ({error})")
                    break
        if not self.is_closed:
            self._keep_looking()

    def _heed(self, told: Iterator[object], identity: tuple[int, int]) -> bool:
        """Take notifications until the folder goes, or is another one. False: there are changes without any."""
        self._note_if_other(self._look())  # what changed before the notification began
        is_known, is_doubted, due = True, False, time.monotonic() + _DOUBT_SECONDS
        for changes in told:
            if changes:
                is_known = is_doubted = False  # what the next look finds is no surprise
                self._note()
            elif is_doubted:  # a second ago there was a change, and no notification has come since
                return False
            if _identity(self._root) != identity:
                self._note()
                return True
            began = time.monotonic()
            if began >= due:
                is_doubted = self._note_if_other(self._look(), is_news=is_known) and is_known
                is_known = True
                due = time.monotonic() + max(_DOUBT_SECONDS, (time.monotonic() - began) / _SHARE)
        return True

    def _note_if_other(self, found: Picture | None, is_news: bool = True) -> bool:
        """Whether a look finds something else than the last; noted if nobody has told."""
        is_other = found != self._looked
        self._looked = found
        if is_other and is_news:
            self._note()
        return is_other

    def _counts(self, real: str, _: object, path: str) -> bool:
        """Whether the change of a path may concern pictures.

        Args:
            real: the folder, without links.
        """
        parts = Path(os.path.relpath(path, real)).parts
        if any(is_litter(part) for part in parts if part not in (os.curdir, os.pardir)):
            return False
        return not any(Path(path).is_relative_to(os.path.realpath(folder)) for folder in self._exclude)

    def _say(self, why: str) -> None:
        self._emit(Noted(f"{why}: looking every {self._poll:g} s"))


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(folder)
    except OSError:
        return None
    return status.st_dev, status.st_ino
