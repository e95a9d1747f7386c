"""Vectors for other programs: a row for each picture, as .npz, .parquet or .h5.

All have the columns path, label, set, key and vector, and say which network made the vectors. They are written some
thousand rows at a time, so that memory does not grow with the vectors.
"""

import contextlib
import importlib.util
import io
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from retrain.cache import VectorSource, chunks
from retrain.errors import MissingPackageError, OutputError, UsageError
from retrain.events import Emit, Reported, ignore
from retrain.files import check_writable, remove_abandoned, whole_file
from retrain.paths import display_path

__all__ = ["VectorTable", "check_vector_file", "write_vectors"]


@dataclass(frozen=True)
class VectorTable:
    """What such a file holds: n >= 1 pictures and the extractor of their vectors."""

    paths: Sequence[str]  # (n,) of the files, encodable as UTF-8
    labels: Sequence[str]  # (n,)
    sets: Sequence[str]  # (n,) train, validation or test
    keys: NDArray[np.uint8]  # (n, 32), SHA-256 of each file
    vectors: VectorSource  # (n, d) float32
    backbone: str  # the extractor's name
    fingerprint: str  # 64 hexadecimal digits

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def length(self) -> int:
        """Length of a vector."""
        return self.vectors.shape[1]

    @property
    def origin(self) -> dict[str, str]:
        """What made the vectors, by the names that files give it."""
        return {"backbone": self.backbone, "fingerprint": self.fingerprint}

    def texts(self) -> dict[str, Callable[[slice], Sequence[str]]]:
        """Every column of text: its name, and what gives its values of some rows."""
        return {
            "path": self.paths.__getitem__,
            "label": self.labels.__getitem__,
            "set": self.sets.__getitem__,
            "key": lambda rows: [key.tobytes().hex() for key in self.keys[rows]],
        }


def check_vector_file(path: str | os.PathLike[str]) -> None:
    """Refuse a file of vectors that can't be written, before any work is done; changes nothing.

    Raises UsageError for an unknown suffix, MissingPackageError, OutputError.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _WRITERS:
        found = f"the suffix {suffix}" if suffix else "no suffix"
        raise UsageError(f"--output {display_path(path)}: {found} where .npz, .parquet or .h5 is expected")
    if suffix == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise MissingPackageError(
            f"writing {display_path(path)} needs pyarrow: pip install 'retrain[parquet]', or give a .npz or .h5"
        )
    with _errors_named(path):
        check_writable(path)


def write_vectors(path: str | os.PathLike[str], table: VectorTable, emit: Emit = ignore) -> None:
    """Write a file in the form that its suffix says; it appears whole or not at all.

    Args:
        path: one that `check_vector_file` lets pass.
        emit: told, while vectors are written, of how many are.
    Raises OutputError, CacheError; what was there before is then untouched.
    """
    remove_abandoned(Path(path).parent, Path(path).name)  # of a killed run, which may be large
    with _errors_named(path), whole_file(path) as file:
        _WRITERS[Path(path).suffix.lower()](file, table, emit)


@contextlib.contextmanager
def _errors_named(path: str | os.PathLike[str]) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"can't write {display_path(path)}: {error.strerror or error}; give another --output"
        ) from error


def _parts(table: VectorTable, emit: Emit) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Yield rows and their vectors, some thousand at a time, and tell how far they are."""
    for rows in chunks(len(table)):
        yield rows, np.ascontiguousarray(table.vectors[rows], "<f4")
        emit(Reported("writing vectors", rows.stop, len(table)))


def _write_npz(file: BinaryIO, table: VectorTable, emit: Emit) -> None:
    """Arrays that `numpy.load` reads without pickle. A text takes the room of its column's longest."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, text in table.origin.items():
            with _member(archive, name) as member:
                npy.write_array(member, np.array(text))
        for name, values in table.texts().items():
            width = max(1, *(max(map(len, values(rows))) for rows in chunks(len(table))))
            with _member(archive, name) as member:
                _write_header(member, (len(table),), f"<U{width}")
                for rows in chunks(len(table)):
                    member.write(np.array(values(rows), f"<U{width}").tobytes())
        with _member(archive, "vector") as member:
            _write_header(member, (len(table), table.length), "<f4")
            for _, vectors in _parts(table, emit):
                member.write(vectors.data.cast("B"))


def _member(archive: zipfile.ZipFile, name: str) -> Any:
    """An array of the archive, to write. It has no time, so that the same vectors give the same file."""
    return archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True)


def _write_header(member: Any, shape: tuple[int, ...], descr: str) -> None:
    npy.write_array_header_1_0(member, {"descr": descr, "fortran_order": False, "shape": shape})


def _write_h5(file: BinaryIO, table: VectorTable, emit: Emit) -> None:
    """Contiguous datasets. HDF5 only lays out the file, so that a full disk fails plain writes and not the library."""
    import h5py

    widths = {
        name: max(1, *(max(len(text.encode()) for text in values(rows)) for rows in chunks(len(table))))
        for name, values in table.texts().items()
    }
    frame = _Frame()
    with h5py.File(frame, "w") as layout:
        layout.attrs.update({name: np.bytes_(text) for name, text in table.origin.items()})
        places = {
            name: _laid_out(layout, name, (len(table),), h5py.string_dtype("utf-8", width))
            for name, width in widths.items()
        }
        places["vector"] = _laid_out(layout, "vector", (len(table), table.length), np.dtype("<f4"))
    frame.copy_to(file)
    for name, values in table.texts().items():
        file.seek(places[name])
        for rows in chunks(len(table)):
            file.write(np.array([text.encode() for text in values(rows)], f"S{widths[name]}").tobytes())
    file.seek(places["vector"])
    for _, vectors in _parts(table, emit):
        file.write(vectors.data.cast("B"))


class _Frame(io.RawIOBase):
    """A file that is almost empty: what HDF5 writes into it around the datasets, in memory."""

    def __init__(self) -> None:
        self._parts: list[tuple[int, bytes]] = []  # place and content, as they were written
        self._place = self._size = 0

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        self._place = place + (self._size if whence == os.SEEK_END else 0)
        return self._place

    def write(self, data: Any) -> int:
        self._parts.append((self._place, bytes(data)))
        self._place += len(data)
        self._size = max(self._size, self._place)
        return len(data)

    def truncate(self, size: int | None = None) -> int:
        self._size = self._place if size is None else size
        return self._size

    def copy_to(self, file: BinaryIO) -> None:
        """Write everything to a file, which gets the same size. Raises OSError."""
        file.truncate(self._size)
        for place, data in self._parts:
            file.seek(place)
            file.write(data)


def _laid_out(layout: Any, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """Make a dataset whose room is set aside and not filled; returns where in the file that is."""
    import h5py

    how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    how.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    how.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    how.set_obj_track_times(False)  # so that the same vectors give the same file
    kind = h5py.h5t.py_create(dtype, logical=True)
    made = h5py.h5d.create(layout.id, name.encode(), kind, h5py.h5s.create_simple(shape), how)
    return int(made.get_offset())


def _write_parquet(file: BinaryIO, table: VectorTable, emit: Emit) -> None:
    """Columns of text, and one of lists of the vectors' length. Vectors are not compressed: it would gain little."""
    import pyarrow
    from pyarrow import parquet

    texts = table.texts()
    schema = pyarrow.schema(
        [(name, pyarrow.string()) for name in texts] + [("vector", pyarrow.list_(pyarrow.float32(), table.length))],
        metadata=table.origin,
    )
    how: dict[str, Any] = {"use_dictionary": ["label", "set"], "compression": dict.fromkeys(texts, "zstd")}
    with parquet.ParquetWriter(file, schema, **how) as writer:
        for rows, vectors in _parts(table, emit):
            flat = pyarrow.array(vectors.reshape(-1))
            columns = [pyarrow.array(values(rows), pyarrow.string()) for values in texts.values()]
            lists = pyarrow.FixedSizeListArray.from_arrays(flat, table.length)
            writer.write_batch(pyarrow.record_batch([*columns, lists], schema=schema))


_WRITERS: dict[str, Callable[[BinaryIO, VectorTable, Emit], None]] = {
    ".npz": _write_npz,
    ".parquet": _write_parquet,
    ".h5": _write_h5,
}
