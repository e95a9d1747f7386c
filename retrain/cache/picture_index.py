"""The content key that each picture file had when it was last read, so that unchanged files are not read again.

An entry counts as long as size, modification time, change time and inode of the file are the same. A file that changed
less than two seconds before it was read is not entered: a second change might leave the same times. An index that is
lost or damaged is built again.
"""

import contextlib
import hashlib
import io
import logging
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from retrain.data import Signature, hash_picture, is_url, signature_of
from retrain.errors import UnreadableImageError
from retrain.files import wait_for_lock, write_whole
from retrain.machine import cores
from retrain.paths import display_path

__all__ = ["PictureIndex"]

logger = logging.getLogger(__name__)

FORMAT = 1
_SETTLED_NS = 2_000_000_000

# what NumPy raises for a damaged .npz
_DAMAGE = (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, struct.error)


class PictureIndex:
    """The keys of the files of one image folder.

    Args:
        cache_dir: the cache folder; the index lies in its sub-folder `pictures`.
        root: the image folder.
    """

    def __init__(self, cache_dir: str | os.PathLike[str], root: str | os.PathLike[str]) -> None:
        top = os.fspath(root) if is_url(root) else os.path.realpath(root)
        place = hashlib.sha256(os.fsencode(top)).hexdigest()[:16]
        self.path = Path(cache_dir) / "pictures" / f"{place}.npz"
        self._root = Path(root)
        self.warning: str | None = None  # if it exists, but can't be read at the moment
        self._entries = self._load()
        self._new: dict[str, tuple[Signature, bytes]] = {}

    def key(self, path: str, signature: Signature) -> bytes | None:
        """The SHA-256 of an unchanged file, by its path relative to the image folder; None if it must be read."""
        entry = self._entries.get(path)
        return entry[1] if entry and entry[0] == signature else None

    def current_key(self, path: str) -> bytes:
        """The SHA-256 of a file, read only if it changed. Raises OSError, UnreadableImageError."""
        file = self._root / path
        return self.key(path, signature_of(file)) or hash_picture(file)

    def current_keys(self, paths: Sequence[str]) -> Iterator[bytes | OSError | UnreadableImageError]:
        """The SHA-256 of each file, in order, several read at once; the error of one that can't be read."""

        def key_of(path: str) -> bytes | OSError | UnreadableImageError:
            try:
                return self.current_key(path)
            except (OSError, UnreadableImageError) as error:
                return error

        with ThreadPoolExecutor(cores() + 1) as pool:
            yield from pool.map(key_of, paths)

    def enter(self, path: str, signature: Signature, key: bytes, read_at: int) -> None:
        """Enter the key of a file.

        Args:
            path: relative to the image folder.
            signature: taken before the file was read.
            key: SHA-256 of what was read.
            read_at: time.time_ns() before the signature was taken.
        """
        if read_at - max(signature[1], signature[2]) > _SETTLED_NS:
            self._new[path] = (signature, key)

    def save(self, present: Mapping[str, object] | None) -> None:
        """Write the index, with all files or those in `present` only, and what other processes entered meanwhile.

        If that fails, the next run reads more.
        """
        with self._alone() as is_changed:
            if is_changed:
                self._entries = self._load()
            if not self.warning:
                self._write(present)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[bool]:
        """Be the only process that writes the index, where the disk has locks; gives whether another one has."""
        handle = None
        with contextlib.suppress(OSError):
            if self._new:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path.parent, os.O_RDONLY | os.O_CLOEXEC)
            wait_for_lock(handle, lambda: None)
        try:
            yield self._loaded_from != _version(self.path)
        finally:
            if handle is not None:
                os.close(handle)

    def _write(self, present: Mapping[str, object] | None) -> None:
        entries = self._entries | self._new
        if present is not None:
            entries = {path: entry for path, entry in entries.items() if path in present}
        if entries == self._entries:
            return
        paths = "\0".join(entries).encode("utf-8", "surrogateescape")
        buffer = io.BytesIO()
        np.savez(
            buffer,
            format=np.array(FORMAT),
            paths=np.frombuffer(paths, np.uint8),
            signatures=np.array([signature for signature, _ in entries.values()], np.int64).reshape(-1, 4),
            keys=np.frombuffer(b"".join(key for _, key in entries.values()), np.uint8).reshape(-1, 32),
        )
        try:
            write_whole(self.path, buffer.getvalue())
            self._entries, self._new, self._loaded_from = entries, {}, _version(self.path)
        except OSError as error:
            logger.info("picture index not written: %s", error)

    def _load(self) -> dict[str, tuple[Signature, bytes]]:
        self._loaded_from = _version(self.path)
        try:
            data = self.path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            # the next run may be able to use it, so it is not overwritten
            self.warning = f"can't read {display_path(self.path)} ({error.strerror}): every picture is read"
            return {}
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                if file["format"] != FORMAT:
                    return {}
                paths = file["paths"].tobytes().decode("utf-8", "surrogateescape").split("\0")
                signatures, keys = file["signatures"].tolist(), file["keys"].tobytes()
        except _DAMAGE as error:
            logger.info("picture index not used: %s", error)
            return {}
        if len(signatures) != len(paths) or len(keys) != 32 * len(paths):
            return {}
        return {
            path: (tuple(signature), keys[32 * i : 32 * i + 32])
            for i, (path, signature) in enumerate(zip(paths, signatures, strict=True))
        }


def _version(path: Path) -> tuple[int, int] | None:
    """What tells a file from the one that takes its place; None if there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns
