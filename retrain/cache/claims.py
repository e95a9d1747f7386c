"""Claims on the pictures that this process is extracting, so that others with the same cache take different ones.

A claim is a POSIX lock on one byte of a file in the cache folder, whose place comes from the picture's key. The kernel
drops it when the process ends, in whatever way. If locks don't work, every picture is free to all, and at worst work is
done twice.
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
        """Claim a picture by its 32-byte key; False if another process has it."""
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
        """Give up claims, when the rows are written."""
        if self._handle is not None:
            for key in keys:
                with contextlib.suppress(OSError):  # they end with this process
                    fcntl.lockf(self._handle, fcntl.LOCK_UN, 1, _place(key))

    def ignore(self) -> None:
        """Treat every picture as free from now on."""
        self._works = False

    def close(self) -> None:
        """Give up all claims and close the file; threads that ask later are free to take any picture."""
        self.ignore()
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def _place(key: bytes) -> int:
    """The place of a picture's byte in the file."""
    return int.from_bytes(key[:8], "big") % _PLACES
