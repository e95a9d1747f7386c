"""Files of vectors, read by the libraries that others read them with."""

import errno
import os

import h5py
import numpy as np
import pytest

from retrain.errors import MissingPackageError, OutputError, UsageError
from retrain.events import Reported
from retrain.export import vector_file
from retrain.export.vector_file import VectorTable, check_vector_file, write_vectors

RNG = np.random.default_rng(5)
PATHS = ["cat/a.jpg", "cat/ä 日本\U0001f431.jpg", "dog/caf\\xe9.png", "dog/" + "long" * 40]
TABLE = VectorTable(
    paths=PATHS,
    labels=["cat", "cat", "Hündin", "Hündin"],
    sets=["train", "test", "validation", "train"],
    keys=RNG.integers(0, 256, (4, 32)).astype(np.uint8),
    vectors=RNG.normal(size=(4, 5)).astype(np.float32),
    backbone="tiny",
    fingerprint="c0" * 32,
)
TEXTS = {"path": PATHS, "label": TABLE.labels, "set": TABLE.sets, "key": [key.tobytes().hex() for key in TABLE.keys]}
ORIGIN = {"backbone": "tiny", "fingerprint": "c0" * 32}


def read_npz(path):
    with np.load(path, allow_pickle=False) as file:
        columns = {name: file[name] for name in file.files}
    origin = {name: str(columns.pop(name)) for name in ORIGIN}
    return {name: columns[name].tolist() for name in TEXTS}, columns["vector"], origin


def read_h5(path):
    with h5py.File(path) as file:
        texts = {name: file[name].asstr()[:].tolist() for name in TEXTS}
        assert file["vector"].chunks is None
        return texts, file["vector"][:], {name: text.decode() for name, text in file.attrs.items()}


def read_parquet(path):
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(path)
    assert table.schema.field("vector").type.list_size == TABLE.length
    vectors = np.array(table["vector"].to_pylist(), np.float32)
    origin = {name.decode(): text.decode() for name, text in table.schema.metadata.items()}
    return {name: table[name].to_pylist() for name in TEXTS}, vectors, origin


READERS = {".npz": read_npz, ".h5": read_h5, ".parquet": read_parquet}


@pytest.fixture(params=[*READERS])
def place(request, tmp_path):
    """A file of each form."""
    if request.param == ".parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'retrain[parquet]'")
    return tmp_path / f"vectors{request.param}"


def test_a_file_holds_what_was_given(place, monkeypatch):
    monkeypatch.setattr("retrain.cache.vectors._CHUNK_ROWS", 3)  # so that there are two parts
    told = []
    write_vectors(place, TABLE, told.append)
    texts, vectors, origin = READERS[place.suffix](place)
    assert texts == TEXTS
    assert (vectors.dtype, vectors.tolist()) == (np.float32, TABLE.vectors.tolist())
    assert origin == ORIGIN
    assert told == [Reported("writing vectors", 3, 4), Reported("writing vectors", 4, 4)]
    assert os.listdir() == [place.name]


def test_the_same_vectors_give_the_same_file(place):
    written = []
    for _ in range(2):
        write_vectors(place, TABLE)
        written.append(place.read_bytes())
    assert written[0] == written[1]


class Failing:
    """Vectors that can't be read after the first part."""

    shape = (4, 5)

    def __init__(self, error):
        self.error = error

    def __getitem__(self, rows):
        if rows.start:
            raise self.error
        return TABLE.vectors[rows]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError()])
def test_an_interruption_leaves_what_was_there(place, monkeypatch, error):
    monkeypatch.setattr("retrain.cache.vectors._CHUNK_ROWS", 2)
    place.write_bytes(b"old")
    with pytest.raises(type(error)):
        write_vectors(place, VectorTable(**{**vars(TABLE), "vectors": Failing(error)}))
    assert place.read_bytes() == b"old"
    assert os.listdir() == [place.name]


@pytest.mark.parametrize("room", [0, 300, 5000, 70_000])
def test_a_full_disk_is_one_clear_line_and_leaves_what_was_there(place, monkeypatch, room):
    """Wherever it fills up: in the layout, in a column, in the vectors."""
    place.write_bytes(b"old")
    inner = os.fdopen

    def limited(handle, *args):
        return Limited(inner(handle, *args), room)

    monkeypatch.setattr("retrain.files.os.fdopen", limited)
    monkeypatch.setattr("retrain.cache.vectors._CHUNK_ROWS", 1)
    large = VectorTable(**{**vars(TABLE), "vectors": np.ones((4, 50_000), np.float32)})
    with pytest.raises(OutputError, match=r"can't write .*vectors.*No space left on device; give another --output"):
        write_vectors(place, large)
    assert place.read_bytes() == b"old"
    assert os.listdir() == [place.name]


class Limited:
    """A file on a disk with so many bytes left."""

    def __init__(self, file, room):
        self.file, self.room = file, room

    def write(self, data):
        self.room -= memoryview(data).nbytes
        if self.room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.file.write(data)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()

    def __getattr__(self, name):
        return getattr(self.file, name)


@pytest.mark.parametrize(("name", "found"), [("v.csv", "the suffix .csv"), ("npz", "no suffix"), (".h5", "no suffix")])
def test_another_suffix_is_refused(name, found):
    with pytest.raises(UsageError, match=rf"--output {name}: {found} where .npz, .parquet or .h5 is expected"):
        check_vector_file(name)


def test_parquet_without_pyarrow_says_what_to_install(monkeypatch):
    monkeypatch.setattr(vector_file.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"v\.parquet needs pyarrow: pip install 'retrain\[parquet\]'"):
        check_vector_file("v.parquet")


def test_a_place_that_can_not_be_written_is_refused_before_any_work(tmp_path):
    with pytest.raises(OutputError, match=r"can't write no/v.npz: No such file or directory; give another --output"):
        check_vector_file("no/v.npz")
    (tmp_path / "v.h5").mkdir()
    with pytest.raises(OutputError, match=r"can't write v.h5: Is a directory"):
        check_vector_file("v.h5")
