import os
import pickle
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.torch_files import (
    EMPTY,
    dictionary,
    legacy_file,
    name_of,
    number,
    storage,
    tensor,
    text,
    weights_file,
)

from retrain.backbones.sources.torch_weights import read_torch_weights
from retrain.errors import BackboneError

ARRAYS = {
    "conv.weight": np.arange(24, dtype="<f4").reshape(2, 3, 2, 2),
    "turned.weight": np.arange(24, dtype="<f4").reshape(4, 6).T,
    "half": np.array([0.5, -2], "<f2"),
    "count": np.array([7], "<i8"),
    "scalar": np.array(3, "<i8"),
    "flags": np.array([True, False]),
}
SOUND = weights_file(ARRAYS)
BUFFER = np.arange(6, dtype="<f4")


def read(content: bytes, path: Path = Path("weights.pth"), **options) -> dict[str, np.ndarray]:
    path.write_bytes(content)
    return read_torch_weights(path, **options)


def of_one(body: bytes, **options) -> bytes:
    """A file whose only tensor is what the body describes; storage "s" has six numbers."""
    return legacy_file(dictionary({"w": body}), {"s": BUFFER}, **options)


def test_arrays_come_out_as_they_went_in():
    found = read(SOUND)
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)
        assert not found[name].flags.writeable


def test_tensors_may_share_a_storage():
    body = dictionary({"all": tensor("s", "Float", 6, [2, 3], [3, 1]), "last": tensor("s", "Float", 6, [2], [1], 4)})
    found = read(legacy_file(body, {"s": BUFFER}))
    assert np.array_equal(found["all"], BUFFER.reshape(2, 3))
    assert np.array_equal(found["last"], BUFFER[4:])


def test_digest_is_checked_before_anything_is_read():
    with pytest.raises(
        BackboneError, match=r"weights\.pth is damaged or another one: its SHA-256 is [0-9a-f]{64}, exp"
    ):
        read(SOUND, sha256="0" * 64)


@pytest.mark.parametrize("length", [*range(0, 400, 7), len(SOUND) - 1])
def test_file_that_is_cut_off_is_an_error(length):
    with pytest.raises(BackboneError, match=r"weights\.pth can't be used: it is cut off"):
        read(SOUND[:length])


@given(st.integers(0, len(SOUND) - 1), st.integers(1, 255))
def test_changed_byte_is_an_error_or_another_number(position, change):
    changed = bytearray(SOUND)
    changed[position] ^= change
    try:
        found = read(bytes(changed))
    except BackboneError:
        return
    assert sum(array.size for array in found.values()) <= len(SOUND)


class Hostile:
    """What a pickle can do to whoever loads it."""

    def __reduce__(self):
        return os.mkdir, ("attacked",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("content", [Hostile(), {"w": Hostile()}, [Hostile()]], ids=["alone", "entry", "list"])
def test_hostile_pickle_does_nothing(content, protocol):
    harm = pickle.dumps(content, protocol)
    sound = [pickle.dumps(part, protocol=2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    for before in range(len(sound) + 1):  # wherever in the file it stands
        with pytest.raises(BackboneError, match=r"weights\.pth can't be used"):
            read(b"".join(sound[:before]) + harm)
    assert not Path("attacked").exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("builtins", "eval"),
        ("torch", "load"),
        ("torch", "FloatStorage.__init__"),
        ("torch.storage", "_load_from_bytes"),
        ("torch._utils", "_rebuild_parameter"),
        ("collections", "OrderedDict.fromkeys"),
        ("collections", "namedtuple"),
        ("os\u00e9", "system"),
    ],
)
def test_other_names_are_refused(module, name):
    with pytest.raises(BackboneError, match=r"it asks for .*, which is no part of weights"):
        read(of_one(name_of(module, name) + pickle.EMPTY_TUPLE + pickle.REDUCE))


WIDE = storage("s", "Float", 6)
REBUILD = name_of("torch._utils", "_rebuild_tensor_v2")
NESTED = pickle.EMPTY_TUPLE + (pickle.BINPUT + b"\x00" + pickle.BINGET + b"\x00" + pickle.TUPLE2) * 60


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (tensor("s", "Float", 6, [2, 4], [4, 1]), "reaches beyond its storage"),
        (tensor("s", "Float", 6, [2**30], [0]), "reaches beyond its storage"),
        (tensor("s", "Float", 6, [2**30] * 8, [0] * 8), "reaches beyond its storage"),
        (tensor("s", "Float", 6, [0], [1]), "is empty or reaches"),
        (tensor("s", "Float", 6, [2], [1], 5), "reaches beyond its storage"),
        (tensor("s", "Float", 6, [2], [-1], 5), "a tensor that is described in another way"),
        (tensor("s", "Float", 6, [2], [1], -2), "a tensor that is described in another way"),
        (tensor("s", "Float", 6, [2, 3], [1]), "a tensor that is described in another way"),
        (tensor("s", "Float", 6, [1] * 9, [1] * 9), "a tensor that is described in another way"),
        (tensor("s", "Float", 2**31 - 1, [2], [1]), "a storage that is described in another way"),
        (tensor("s", "Float", -1, [2], [1]), "a storage that is described in another way"),
        (tensor("s", "Float", 7, [2], [1]), "it is cut off"),
        (tensor("s", "Half", 6, [2], [1]), "bytes follow its last storage"),
        (tensor("t", "Float", 6, [2], [1]), "its list of storages is not that of its tensors"),
        (tensor("s", "Float", 6, [2], [1]) + tensor("s", "Half", 6, [2], [1]), "describes a storage in two ways"),
        (WIDE, "other things than a dictionary of tensors"),
        (number(3), "other things than a dictionary of tensors"),
        (pickle.NONE + pickle.LONG_BINPUT + b"\xff" * 4, "other things than"),
        (pickle.BINGET + b"\x07", "takes what is not there"),
        (pickle.BINUNICODE + b"\xff" * 4, "it is cut off"),
        (pickle.BINUNICODE + b"\x01\x00\x00\x00\xff", "a text that is not UTF-8"),
        (b"\x8d" + b"\xff" * 8, "the opcode b'.x8d'"),
        (b"\x96" + b"\xff" * 8, "the opcode b'.x96'"),
        (pickle.TUPLE * 3, "takes what is not there"),
        (pickle.MARK, "takes what is not there|no dictionary|not come out even"),
        (number(1) + number(2) + pickle.REDUCE, "it calls what is no function"),
        (EMPTY + number(2) + pickle.REDUCE, "it calls what is no function"),
        (REBUILD + number(2) + pickle.REDUCE, "it calls what is no function"),
        (REBUILD + pickle.EMPTY_TUPLE + pickle.REDUCE, "a tensor that is described in another way"),
        (name_of("collections", "OrderedDict") + number(1) + pickle.TUPLE1 + pickle.REDUCE, "in an unusual way"),
        (number(1) + pickle.EMPTY_DICT + pickle.BUILD, "it changes what is no dictionary"),
        (number(1) + pickle.MARK + number(1) + pickle.APPENDS, "it appends to what is no list"),
        (EMPTY + NESTED + number(1) + pickle.SETITEM, "a name that is no text"),
        (EMPTY + pickle.TUPLE1 * 200_000 + number(1) + pickle.SETITEM, "takes what is not there|puts an entry"),
        (EMPTY + number(1) + pickle.TUPLE1 * 200_000 + number(1) + pickle.SETITEM, "a name that is no text"),
        (number(1) * 300_000, "description is too long"),
        (text("storage") + pickle.BINPERSID, "a storage that is described in another way"),
        (pickle.PROTO + b"\x04", "not of protocol 2"),
    ],
)
def test_odd_description_is_an_error_at_once(body, complaint):
    started = time.monotonic()
    with pytest.raises(BackboneError, match=complaint):
        read(of_one(body))
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "it is cut off"),
        (b"PK\x03\x04 and so on", "in PyTorch's newer format, a zip archive"),
        (b"\x89HDF\r\n\x1a\n", "the opcode"),
        (of_one(b"", magic=5), "does not begin as a file of PyTorch"),
        (of_one(b"", protocol=1002), "of another protocol than 1001"),
        (of_one(b"", little_endian=False), "not written on a little-endian machine"),
        (SOUND + b"x", "1 bytes follow its last storage"),
        (legacy_file(number(3), {}), "other things than a dictionary of tensors"),
        (legacy_file(number(3) + number(4), {}), "does not come out even"),
        (
            of_one(tensor("s", "Float", 6, [6], [1])).replace(struct.pack("<q", 6), struct.pack("<q", 5)),
            "another length",
        ),
    ],
)
def test_other_files_are_errors(content, complaint):
    with pytest.raises(
        BackboneError, match=rf"weights\.pth can't be used: .*{complaint}.*; expected a state dictionary"
    ):
        read(content)


def test_size_of_the_file_is_bounded():
    with open("weights.pth", "wb") as file:
        file.truncate(2**30 + 1)
    with pytest.raises(
        BackboneError, match=r"weights\.pth has 1073741825 bytes, more than the 1073741824 that are read"
    ):
        read_torch_weights("weights.pth")


def test_file_that_can_not_be_read_is_an_error():
    with pytest.raises(BackboneError, match=r"can't read the weights file nowhere\.pth: No such file"):
        read_torch_weights("nowhere.pth")
