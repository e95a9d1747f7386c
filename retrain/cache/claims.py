"""Which pictures this process is extracting, so that others on the same cache take different ones.

An aid only: a claim is a POSIX lock on one byte of a file in the cache folder, at a place that the picture's key gives.
The kernel drops it when its process ends, however that happens. Where locks don't work, every picture is free to all,
and the worst that follows is work done twice.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterable
from pathlib import Path

__all__ = ["Claims"]

_PLACES = 2**62


class Claims:
    """The claims of one process on one extractor's pictures.

    Args:
        folder: the extractor's folder in the cache.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / ".claims"
        self._handle: int | None = None
        self._works = True

    def take(self, key: bytes) -> bool:
        """Claim a picture by its 32 byte key; False where another process is at it."""
        if not self._works:
            return True
        try:
            if self._handle is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            fcntl.lockf(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _place(key))
        except BlockingIOError:
            return False
        except OSError:  # a read-only cache, or a file system without locks
            self._works = False
        return True

    def release(self, keys: Iterable[bytes]) -> None:
        """Give up claims, once the rows are written."""
        if self._handle is not None:
            for key in keys:
                with contextlib.suppress(OSError):  # it goes when this process ends
                    fcntl.lockf(self._handle, fcntl.LOCK_UN, 1, _place(key))

    def ignore(self) -> None:
        """From now on every picture is free."""
        self._works = False

    def close(self) -> None:
        """Give up all claims and the file; threads that still come get none."""
        self.ignore()
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def _place(key: bytes) -> int:
    """Where in the file a picture's byte is."""
    return int.from_bytes(key[:8], "big") % _PLACES
