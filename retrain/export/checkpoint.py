"""A checkpoint of variables, as TensorFlow reads it.

Values lie one after the other in data files, the shards. The index is a table of texts, sorted: the name of a variable
-> where its values are. It has the form of LevelDB's tables (tensorflow/core/util/tensor_bundle/tensor_bundle.h,
tensorflow/core/lib/io/format.h, github.com/google/leveldb/blob/main/doc/table_format.md).
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrain.files import FilePart, write_whole
from retrain.tensorflow_formats import FLOAT, STRING, BundleEntry, BundleHeader, masked_crc32c, varint

__all__ = ["Variable", "write_checkpoint"]

_RESTART_INTERVAL = 16  # texts; the first of so many is stored whole, the others without what they share with the last
_UNCOMPRESSED = b"\0"  # behind each block
_FOOTER_BYTES = 40  # room for two places in the file
_MAGIC = 0xDB4775248B80FB57
_BUNDLE_VERSION = 1


@dataclass(frozen=True)
class Variable:
    """The values of a variable."""

    name: str
    dtype: int  # as TensorFlow numbers types
    shape: tuple[int, ...]
    content: bytes | memoryview | FilePart  # as it stands in a data file
    crc32c: int  # masked

    @classmethod
    def of_array(cls, name: str, array: NDArray[np.float32]) -> "Variable":
        """A variable of float32."""
        content = array.astype("<f4").tobytes()
        return cls(name, FLOAT, array.shape, content, masked_crc32c(content))

    @classmethod
    def of_texts(cls, name: str, texts: Sequence[bytes], shape: tuple[int, ...]) -> "Variable":
        """A variable of texts: their lengths, a checksum of the lengths, then the texts.

        Both checksums are of the lengths as 32-bit numbers, not as they are written.
        """
        lengths = b"".join(len(text).to_bytes(4, "little") for text in texts)
        checksum = masked_crc32c(lengths).to_bytes(4, "little")
        content = b"".join([*(varint(len(text)) for text in texts), checksum, *texts])
        return cls(name, STRING, shape, content, masked_crc32c(b"".join([lengths, checksum, *texts])))


def write_checkpoint(prefix: str | os.PathLike[str], shards: Sequence[Sequence[Variable]]) -> list[str]:
    """Write PREFIX.index and a data file for each shard, in a folder that exists.

    Returns the names of the data files. Raises OSError.
    """
    header = BundleHeader(num_shards=len(shards))
    header.version.producer = _BUNDLE_VERSION
    table, names = {b"": header.SerializeToString()}, []
    for number, variables in enumerate(shards):
        offset = 0
        for variable in variables:
            size = len(variable.content)
            entry = BundleEntry(dtype=variable.dtype, shard_id=number, offset=offset, size=size, crc32c=variable.crc32c)
            for length in variable.shape:
                entry.shape.dim.add(size=length)
            entry.shape.SetInParent()  # also if it has no dimension
            table[variable.name.encode()] = entry.SerializeToString()
            offset += size
        names.append(f"{Path(prefix).name}.data-{number:05}-of-{len(shards):05}")
        write_whole(Path(prefix).with_name(names[-1]), *(variable.content for variable in variables))
    write_whole(f"{os.fspath(prefix)}.index", _table_file(table))
    return names


def _table_file(table: dict[bytes, bytes]) -> bytes:
    """A table with one block of entries, however many they are: readers take blocks of any size."""
    data = bytearray()

    def append(entries: Sequence[tuple[bytes, bytes]]) -> bytes:
        """Append a block; returns its place, in two numbers."""
        block = _block(entries)
        place = varint(len(data)) + varint(len(block))
        checksum = masked_crc32c(block + _UNCOMPRESSED)
        data.extend(block + _UNCOMPRESSED + checksum.to_bytes(4, "little"))
        return place

    entries = append(sorted(table.items()))
    more = append([])  # nothing of the table as a whole
    blocks = append([(max(table), entries)])
    data.extend((more + blocks).ljust(_FOOTER_BYTES, b"\0") + _MAGIC.to_bytes(8, "little"))
    return bytes(data)


def _block(entries: Sequence[tuple[bytes, bytes]]) -> bytes:
    data, restarts, last = bytearray(), [0], b""
    for number, (key, value) in enumerate(entries):
        shared = next((place for place, pair in enumerate(zip(last, key, strict=False)) if len({*pair}) > 1), len(last))
        if number % _RESTART_INTERVAL == 0:
            shared = 0
            restarts[number // _RESTART_INTERVAL :] = [len(data)]
        data += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        last = key
    return bytes(data) + b"".join(number.to_bytes(4, "little") for number in [*restarts, len(restarts)])
