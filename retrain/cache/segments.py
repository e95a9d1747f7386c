"""Segment files of the bottleneck cache: one immutable HDF5 file of rows each.

Datasets, contiguous and uncompressed: key (n, 32) uint8, copy (n,) uint32, bottleneck (n, d) float32 (of activations
inside a network: float16), crc32 (n,) uint32. Attributes: format, fingerprint, index_crc32 (of the bytes of key, copy
and crc32 in this order).
"""

import contextlib
import io
import os
import weakref
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy import typing as npt
from numpy.typing import NDArray

from retrain.errors import CacheError
from retrain.paths import display_path

__all__ = [
    "Copies",
    "DamagedSegmentError",
    "ForeignSegmentError",
    "Keys",
    "Rows",
    "Segment",
    "Vectors",
    "check_rows",
    "fingerprint_in",
    "new_vectors",
    "read_segment",
    "row_checksums",
    "row_sums",
    "segment_image",
]

_FORMATS = {np.dtype(np.float32): 1, np.dtype(np.float16): 2}  # by the type of the vectors
KEY_BYTES = 32
# of each dataset, how many dimensions it has, and of what types it may be
_DATASETS: dict[str, tuple[int, tuple[np.dtype[Any], ...]]] = {
    "key": (2, (np.dtype(np.uint8),)),
    "copy": (1, (np.dtype("<u4"),)),
    "bottleneck": (2, (np.dtype(np.float32), np.dtype(np.float16))),
    "crc32": (1, (np.dtype("<u4"),)),
}
_ALIGNMENT = 64  # bytes: matrix products of memory that begins at a multiple are up to twice as fast

Keys = NDArray[np.uint8]  # (n, 32)
Copies = NDArray[np.uint32]  # (n,)
Vectors = NDArray[np.floating[Any]]  # (n, d) float32 or float16


# What h5py raises for a file that does not hold what was written.
_HDF5_ERRORS = (OSError, KeyError, ValueError, RuntimeError, TypeError, AttributeError, IndexError, OverflowError)


class DamagedSegmentError(Exception):
    """A file does not hold what was written to it; the message is the reason. Never for what may pass."""


class ForeignSegmentError(Exception):
    """A sound segment of another extractor."""

    def __init__(self, fingerprint: str) -> None:
        super().__init__(f"it belongs to another extractor ({fingerprint[:80]})")


@dataclass(frozen=True)
class Rows:
    """Rows to be written, or read and found sound."""

    keys: Keys  # (n, 32) uint8, SHA-256 of the picture files
    copies: Copies  # (n,) uint32, 0 for the picture itself
    vectors: Vectors  # (n, d) float32 or float16


@dataclass(frozen=True)
class Segment:
    """A segment, opened: it can be read as long as this lives, also when its file has been removed."""

    path: Path
    keys: Keys
    copies: Copies
    crcs: NDArray[np.uint32]
    length: int  # of the vectors
    dtype: np.dtype[Any]  # of the vectors: float32 or float16
    offset: int  # of the first vector, in bytes
    handle: int  # file descriptor
    is_suspect: bool  # keys, copies or checksums are not as they were written: each row must be checked

    @property
    def nbytes(self) -> int:
        """Bytes of all vectors."""
        return self.row_bytes * len(self.crcs)

    @property
    def row_bytes(self) -> int:
        """Bytes of one vector."""
        return int(self.dtype.itemsize) * self.length

    def read_row(self, row: int, vector: Vectors) -> bool:
        """Read the vector of a row into (length,) of its type; False if the file was cut short. Raises OSError.

        A plain read: the pages of a mapped file would count as this process's memory, many times what was asked for,
        and a mapped file that is cut short ends the process.
        """
        place = self.offset + row * self.row_bytes
        done = os.preadv(self.handle, [vector.data], place)
        return done == self.row_bytes or _read_into(self.handle, vector.data.cast("B")[done:], place + done)


def _read_into(handle: int, room: memoryview, place: int) -> bool:
    """Fill a buffer from a place in a file; False if the file ends before it is full. Raises OSError."""
    while room:  # a read may give less than was asked for
        done = os.preadv(handle, [room], place)
        if not done:
            return False
        room, place = room[done:], place + done
    return True


def new_vectors(rows: int, length: int, dtype: npt.DTypeLike = np.float32) -> Vectors:
    """An empty array for vectors, (rows, length), that begins where matrix products are fastest."""
    nbytes = np.dtype(dtype).itemsize * rows * length
    room = np.empty(nbytes + _ALIGNMENT, np.uint8)
    start = -room.ctypes.data % _ALIGNMENT
    vectors: Vectors = room[start : start + nbytes].view(dtype).reshape(rows, length)
    return vectors


def row_checksums(keys: Keys, copies: Copies, vectors: Vectors) -> NDArray[np.uint32]:
    """CRC-32 (zlib's) of each row: the 32 bytes of its key, its copy number, its vector, all little-endian."""
    vectors = _little_endian(vectors)
    heads = np.concatenate([keys, copies.astype("<u4").view(np.uint8).reshape(-1, 4)], axis=1)
    sums = (
        zlib.crc32(vector, zlib.crc32(head)) for head, vector in zip(np.ascontiguousarray(heads), vectors, strict=True)
    )
    return np.fromiter(sums, np.uint32, len(keys))


def _little_endian(vectors: Vectors) -> Vectors:
    return np.ascontiguousarray(vectors, vectors.dtype.newbyteorder("<"))


def _index_checksum(keys: Keys, copies: Copies, crcs: NDArray[np.uint32]) -> int:
    """CRC-32 of all that rows are found by: otherwise a row lost under a damaged key would go unnoticed."""
    return zlib.crc32(crcs.tobytes(), zlib.crc32(copies.tobytes(), zlib.crc32(keys.tobytes())))


def segment_image(rows: Rows, fingerprint: str) -> bytes:
    """The bytes of a segment file.

    HDF5 builds it in memory, so that a full disk fails one plain write and not the library. The latest file format is
    chosen because its metadata have checksums.
    """
    image = io.BytesIO()
    with h5py.File(image, "w", libver="latest") as file:
        file.attrs["format"] = _FORMATS[rows.vectors.dtype]
        # of fixed length: HDF5 keeps other strings in a heap without checksums, and damage there can hang its reader
        file.attrs["fingerprint"] = np.bytes_(fingerprint)
        file["key"] = np.ascontiguousarray(rows.keys, np.uint8)
        file["copy"] = rows.copies.astype("<u4")
        file["bottleneck"] = _little_endian(rows.vectors)
        file["crc32"] = row_checksums(rows.keys, rows.copies, rows.vectors)
        file.attrs["index_crc32"] = _index_checksum(file["key"][:], file["copy"][:], file["crc32"][:])
    return image.getvalue()


def read_segment(path: Path, fingerprint: str) -> Segment:
    """Open a segment: its keys and checksums in memory, its vectors left in the file.

    Raises DamagedSegmentError; ForeignSegmentError; CacheError for a newer format; OSError if the system can't read it,
    which says nothing about what the file holds.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with _opened(handle) as file:
            if (owner := _fingerprint_of(file, path)) != fingerprint:
                raise ForeignSegmentError(owner)
            index_crc32 = file.attrs["index_crc32"]
            places = {name: _place_of(file, name, os.fstat(handle).st_size) for name in _DATASETS}
        keys, copies, crcs = (_read_array(handle, *places[name]) for name in ("key", "copy", "crc32"))
        (n, length), dtype, offset = places["bottleneck"]
        if keys.shape != (n, KEY_BYTES) or copies.shape != (n,) or crcs.shape != (n,) or not n or not length:
            raise DamagedSegmentError(f"its shapes don't fit: {keys.shape}, {copies.shape}, {crcs.shape}, {n, length}")
        is_suspect = bool(index_crc32 != _index_checksum(keys, copies, crcs))
    except BaseException:
        os.close(handle)
        raise
    segment = Segment(path, keys, copies, crcs, length, dtype, offset, handle, is_suspect)
    weakref.finalize(segment, os.close, handle)
    return segment


def fingerprint_in(path: Path) -> str | None:
    """The fingerprint of a segment file; None if it is damaged. Raises CacheError (a newer format), OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with _opened(handle) as file:
            return _fingerprint_of(file, path)
    except DamagedSegmentError:
        return None
    finally:
        os.close(handle)


class _Source(io.RawIOBase):
    """What HDF5 reads a file through, to tell an error of the system from damage."""

    def __init__(self, handle: int) -> None:
        self._handle, self._place = handle, 0
        self.failure: OSError | None = None

    def readinto(self, buffer: Any) -> int:
        room = memoryview(buffer).cast("B")
        try:
            if not _read_into(self._handle, room, self._place):
                raise EOFError("the file ends early")
        except OSError as error:
            self.failure = error
            raise
        self._place += len(room)
        return len(room)

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: os.fstat(self._handle).st_size}[whence]
        self._place = start + place
        return self._place

    def tell(self) -> int:
        return self._place

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


@contextlib.contextmanager
def _opened(handle: int) -> Iterator[h5py.File]:
    """An HDF5 file, open during the block. Raises DamagedSegmentError; OSError if the system can't read it."""
    source = _Source(handle)
    try:
        with h5py.File(source, "r") as file:
            yield file
    except (*_HDF5_ERRORS, EOFError) as error:
        if source.failure is not None:
            raise source.failure from error
        raise DamagedSegmentError(" ".join(str(error).split()) or type(error).__name__) from error


def _fingerprint_of(file: h5py.File, path: Path) -> str:
    """The fingerprint that a segment carries. Raises CacheError for a newer format."""
    newest, found = max(_FORMATS.values()), int(file.attrs["format"])
    if found > newest:
        raise CacheError(
            f"{display_path(path)} is of format {found}, this program knows up to {newest}: "
            "use a newer version of retrain, or another --cache-dir"
        )
    return bytes(file.attrs["fingerprint"]).decode("ascii")


_Place = tuple[tuple[int, ...], np.dtype[Any], int]  # shape, type, where in the file


def _place_of(file: h5py.File, name: str, size: int) -> _Place:
    """Where the numbers of a dataset are. Raises DamagedSegmentError if they can't be as they were written."""
    dataset = file[name]
    place: _Place = tuple(map(int, dataset.shape)), dataset.dtype, dataset.id.get_offset()
    shape, dtype, offset = place
    dimensions, types = _DATASETS[name]
    nbytes = dtype.itemsize * int(np.prod(shape, dtype=object))
    if dataset.chunks or offset is None or len(shape) != dimensions or dtype not in types or offset + nbytes > size:
        raise DamagedSegmentError(f"its {name} is not as it was written: {shape} of {dtype}")
    return place


def _read_array(handle: int, shape: tuple[int, ...], dtype: np.dtype[Any], offset: int) -> NDArray[Any]:
    array = np.empty(shape, dtype)
    if not _read_into(handle, array.data.cast("B") if array.size else memoryview(b""), offset):
        raise DamagedSegmentError("the file ends early")
    return array


def check_rows(segment: Segment, rows: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.uint64]]:
    """Which of (m,) rows of a segment don't match their CRC-32, and their `row_sums`. Raises OSError."""
    vectors: Vectors = np.zeros((len(rows), segment.length), segment.dtype)
    for row, vector in zip(rows.tolist(), vectors, strict=True):
        segment.read_row(row, vector)  # what is missing at the end stays zero, and fails its checksum
    sums = row_checksums(segment.keys[rows], segment.copies[rows], vectors)
    return sums != segment.crcs[rows], row_sums(vectors)


def row_sums(vectors: Vectors) -> NDArray[np.uint64]:
    """A number for each of (n, d) vectors, to see later that it has not changed: the sum of its words, modulo 2**64.

    It costs a fifteenth of a CRC-32. It sees any single word that changed, but not words that changed places.
    """
    row_bytes = vectors.shape[1] * vectors.dtype.itemsize
    word = next(size for size in (8, 4, 2) if row_bytes % size == 0)
    sums: NDArray[np.uint64] = vectors.view(f"u{word}").sum(axis=1, dtype=np.uint64)
    return sums
