"""Segment files of the bottleneck cache: one immutable HDF5 file of rows each.

Datasets, contiguous and uncompressed: key (n, 32) uint8, copy (n,) uint32, bottleneck (n, d) float32 (of activations
inside a network: float16), crc32 (n,) uint32. Attributes: format, fingerprint, index_crc32 (of the bytes of key, copy
and crc32 in this order).
"""

import io
import os
import weakref
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy import typing as npt
from numpy.typing import NDArray

from retrain.errors import CacheError
from retrain.image_folder import display_path

__all__ = [
    "ALIGNMENT",
    "Copies",
    "Keys",
    "Rows",
    "Segment",
    "Vectors",
    "bad_rows",
    "new_vectors",
    "read_segment",
    "row_checksums",
    "segment_image",
]

_FORMATS = {np.dtype(np.float32): 1, np.dtype(np.float16): 2}  # by the type of the vectors
KEY_BYTES = 32
ALIGNMENT = 64  # bytes; TensorFlow works in place on memory that begins at a multiple

Keys = NDArray[np.uint8]  # (n, 32)
Copies = NDArray[np.uint32]  # (n,)
Vectors = NDArray[np.floating[Any]]  # (n, d) float32 or float16


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
    is_suspect: bool  # keys, copies and checksums are not what was written: each row must be checked

    @property
    def nbytes(self) -> int:
        """What the vectors take."""
        return self.row_bytes * len(self.crcs)

    @property
    def row_bytes(self) -> int:
        """What one vector takes."""
        return int(self.dtype.itemsize) * self.length

    def read_row(self, row: int, vector: Vectors) -> bool:
        """Read the vector of a row into (length,) of its type; False where the file was cut short.

        By a plain read: pages of a mapped file would count as this process's memory, many times what was asked for,
        and a mapped file that is cut short ends the process.
        """
        return os.preadv(self.handle, [vector.data], self.offset + row * self.row_bytes) == self.row_bytes


def new_vectors(rows: int, length: int, dtype: npt.DTypeLike = np.float32) -> Vectors:
    """Room for vectors, (rows, length), not yet filled, which TensorFlow can use without copying it."""
    nbytes = np.dtype(dtype).itemsize * rows * length
    room = np.empty(nbytes + ALIGNMENT, np.uint8)
    start = -room.ctypes.data % ALIGNMENT
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
    """CRC-32 over all that finds rows: a row that is lost under a wrong key would otherwise go unnoticed."""
    return zlib.crc32(crcs.tobytes(), zlib.crc32(copies.tobytes(), zlib.crc32(keys.tobytes())))


def segment_image(rows: Rows, fingerprint: str) -> bytes:
    """The bytes of a segment file.

    HDF5 builds it in memory, so that a full disk is met by one plain write and not inside the library; the latest
    file format is chosen because its metadata carry checksums.
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

    Raises OSError, KeyError, ValueError, RuntimeError or TypeError where it is damaged.
    """
    with h5py.File(path, "r", locking=False) as file:
        newest = max(_FORMATS.values())
        if file.attrs["format"] > newest:
            raise CacheError(
                f"{display_path(path)} is of format {file.attrs['format']}, this program knows up to {newest}: "
                "use a newer version of retrain, or another --cache-dir"
            )
        if file.attrs["fingerprint"] != np.bytes_(fingerprint):
            raise ValueError("it belongs to another extractor")
        keys, copies, crcs = file["key"][:], file["copy"][:], file["crc32"][:]
        is_suspect = file.attrs["index_crc32"] != _index_checksum(keys, copies, crcs)
        dataset = file["bottleneck"]
        shape, offset, dtype = dataset.shape, dataset.id.get_offset(), dataset.dtype
    n = len(crcs)
    if keys.shape != (n, KEY_BYTES) or copies.shape != (n,) or len(shape) != 2 or shape[0] != n or n == 0:
        raise ValueError(f"its shapes don't fit: {keys.shape}, {copies.shape}, {shape}, {crcs.shape}")
    if dtype not in _FORMATS or offset is None:
        raise ValueError(f"its vectors are not contiguous float32 or float16: {dtype}")
    keys, copies = keys.astype(np.uint8, copy=False), copies.astype(np.uint32)
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    segment = Segment(path, keys, copies, crcs, int(shape[1]), dtype, offset, handle, bool(is_suspect))
    weakref.finalize(segment, os.close, handle)
    return segment


def bad_rows(segment: Segment, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Which of some rows of a segment don't fit their CRC-32."""
    vectors: Vectors = np.zeros((len(rows), segment.length), segment.dtype)
    for row, vector in zip(rows.tolist(), vectors, strict=True):
        segment.read_row(row, vector)  # what can't be read stays zero, which no checksum takes for right
    sums = row_checksums(segment.keys[rows], segment.copies[rows], vectors)
    bad: NDArray[np.int64] = rows[sums != segment.crcs[rows]]
    return bad
