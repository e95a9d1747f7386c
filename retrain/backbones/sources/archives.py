"""Unpack archives from strangers: only files and folders, within limits, whole or not at all."""

import bz2
import gzip
import lzma
import os
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from retrain.errors import BackboneError

__all__ = ["ArchiveLimits", "unpack"]

_BLOCK = 512  # bytes: the unit of tar
_COPY = 2**16
_LONGEST_NAME = 1000  # characters, folders included
_MOST_AT_ONCE = 2**20  # bytes in one read of tarfile: of a name or other metadata

_OPENERS: tuple[tuple[bytes, Callable[[Path], Any]], ...] = (
    (b"\x1f\x8b", gzip.open),
    (b"BZh", bz2.open),
    (b"\xfd7zXZ\x00", lzma.open),
)


@dataclass(frozen=True)
class ArchiveLimits:
    """What an archive may unpack to."""

    total_bytes: int = 8 * 2**30
    ratio: float = 50.0  # times its size: weights hardly shrink
    ratio_from_bytes: int = 64 * 2**20  # below this the ratio does not matter
    members: int = 10_000


class _Refused(Exception):
    """An archive that is refused; the message says why."""


class _Bounded:
    """A stream that can be read and sought forwards, up to a number of bytes."""

    def __init__(self, stream: IO[bytes], most: int) -> None:
        self._stream, self._most = stream, most

    def read(self, size: int = -1) -> bytes:
        """Some bytes. Raises _Refused past the bound."""
        if not 0 <= size <= _MOST_AT_ONCE:
            raise _Refused("it is damaged, or made to fill the memory")
        data = self._stream.read(size)
        if self._stream.tell() > self._most:
            raise _Refused(f"it unpacks to more than {self._most:,} bytes")
        return data

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place, not beyond the bound."""
        if whence != os.SEEK_SET or place > self._most:
            raise _Refused(f"it unpacks to more than {self._most:,} bytes")
        return self._stream.seek(place)

    def tell(self) -> int:
        """Where the stream is."""
        return self._stream.tell()


def unpack(archive: Path, folder: Path, limits: ArchiveLimits = ArchiveLimits()) -> None:
    """Unpack a tar archive, plain or compressed with gzip, bzip2 or xz, into a new folder.

    As with tarfile's filter "data", names that lead out of the folder are refused. So are links and devices, which no
    network has. An archive is whole only if both ends are there: that of the compression and that of tar.

    Raises BackboneError, with a reason for a sentence such as "X is refused: ...", and OSError if the disk is full.
    """
    os.mkdir(folder, 0o755)
    most = min(limits.total_bytes, max(limits.ratio_from_bytes, int(limits.ratio * archive.stat().st_size)))
    try:
        with _opened(archive) as stream:
            _unpack(_Bounded(stream, most), folder, limits)
    except _Refused as error:
        raise BackboneError(str(error)) from error
    except tarfile.ReadError as error:
        raise BackboneError(f"it is not a tar archive, or is cut off: {error}") from error
    except (FileExistsError, NotADirectoryError) as error:
        raise BackboneError("it holds a file and a folder with the same name") from error
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, ValueError, OverflowError, MemoryError) as error:
        raise BackboneError(f"it is cut off or damaged: {error}") from error
    except OSError as error:
        if error.errno is not None:  # the system's; those of gzip and bz2 have no number
            raise
        raise BackboneError(f"it is cut off or damaged: {error}") from error


def _opened(archive: Path) -> Any:
    with open(archive, "rb") as file:
        start = file.read(8)
    opener = next((opener for magic, opener in _OPENERS if start.startswith(magic)), None)
    return open(archive, "rb") if opener is None else opener(archive)


def _unpack(stream: _Bounded, folder: Path, limits: ArchiveLimits) -> None:
    end = 0
    with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r:") as tar:
        for number, member in enumerate(tar, 1):
            if number > limits.members:
                raise _Refused(f"it holds more than {limits.members:,} files")
            end = member.offset_data
            if member.isdir():
                os.makedirs(folder / _safe_name(member.name), 0o755, exist_ok=True)
            elif member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.issparse():
                end += -(-member.size // _BLOCK) * _BLOCK
                _write(stream, member, folder / _safe_name(member.name))
            else:
                raise _Refused(f"{member.name!r} in it is neither a file nor a folder")
    _check_end(stream, end)


def _write(stream: _Bounded, member: tarfile.TarInfo, path: Path) -> None:
    os.makedirs(path.parent, 0o755, exist_ok=True)
    stream.seek(member.offset_data)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    except FileExistsError:
        raise _Refused(f"{member.name!r} is in it twice") from None
    with os.fdopen(handle, "wb") as file:
        left = member.size
        while left:
            block = stream.read(min(left, _COPY))
            if not block:
                raise _Refused("it is cut off")
            file.write(block)
            left -= len(block)
        file.flush()
        os.fsync(file.fileno())


def _safe_name(name: str) -> str:
    """The path of a member below the folder."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise _Refused(f"{name[:100]!r} in it leads out of its folder")
    if len(name) > _LONGEST_NAME:
        raise _Refused(f"{name[:100]!r}... in it has a name that is too long")
    return "/".join(parts) or "."


def _check_end(stream: _Bounded, end: int) -> None:
    """Refuse an archive without tar's end mark or the end of its compression."""
    stream.seek(end)
    if stream.read(_BLOCK) != bytes(_BLOCK):
        raise _Refused("it is cut off: the mark of its end is missing")
    while stream.read(_COPY):
        pass
