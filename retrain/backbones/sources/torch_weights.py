"""Weights out of PyTorch's legacy files, without PyTorch and without running what a file says.

Such a file (`torch.save` before version 1.6) is five pickles, one after the other (a magic number, the version of the
protocol, the machine's types, the state dictionary, the keys of its storages), then the numbers of each storage. A
pickle is a program. The machine here that runs it knows only the opcodes that these files are made of, and of Python's
objects only an empty dictionary, a tensor, and the types of storages; all else is refused before it does anything.
"""

import hashlib
import os
import pickle
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrain.errors import BackboneError
from retrain.paths import display_path

__all__ = ["read_torch_weights"]

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001

# The largest file that is read, and the most of it that may be pickles: for a network of 300 arrays they take 50 KB.
_MOST_BYTES = 2**30
_MOST_PICKLE_BYTES = 2**20

_DTYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "?",
}

# Opcodes that push a number or the name of a memo entry, and how it is written.
_NUMBERS = {pickle.BININT: "<i", pickle.BININT1: "<B", pickle.BININT2: "<H"}
_PUTS = {pickle.BINPUT: "<B", pickle.LONG_BINPUT: "<I"}
_GETS = {pickle.BINGET: "<B", pickle.LONG_BINGET: "<I"}
_CONSTANTS: dict[bytes, Any] = {pickle.NONE: None, pickle.NEWTRUE: True, pickle.NEWFALSE: False}
_TUPLES = {pickle.EMPTY_TUPLE: 0, pickle.TUPLE1: 1, pickle.TUPLE2: 2, pickle.TUPLE3: 3}


class _Damage(Exception):
    """What is wrong with a file."""


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: str
    count: int


@dataclass(frozen=True)
class _Tensor:
    """A view of a storage: where it begins, its shape and its strides, in numbers."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_torch_weights(path: str | os.PathLike[str], sha256: str | None = None) -> dict[str, NDArray[Any]]:
    """The arrays of a state dictionary, by name, in its order. They can't be written to.

    Args:
        path: a file in PyTorch's legacy format.
        sha256: the digest that the file must have, hexadecimal; left out: any.
    Raises BackboneError where it can't be read, has another digest, or is anything else than arrays.
    """
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > _MOST_BYTES:
                raise BackboneError(
                    f"the weights file {display_path(path)} has {size} bytes, more than the {_MOST_BYTES} that are "
                    "read: give the weights of the network that is named"
                )
            data = file.read(_MOST_BYTES)
    except OSError as error:
        raise BackboneError(f"can't read the weights file {display_path(path)}: {error.strerror}") from error
    found = hashlib.sha256(data).hexdigest() if sha256 else None
    if found != sha256:
        raise BackboneError(
            f"the weights file {display_path(path)} is damaged or another one: its SHA-256 is {found}, "
            f"expected {sha256}; install or copy it again"
        )
    try:
        return _read(memoryview(data))
    except _Damage as damage:
        raise BackboneError(
            f"the weights file {display_path(path)} can't be used: {damage}; expected a state dictionary in PyTorch's "
            "legacy format: torch.save(model.state_dict(), FILE, _use_new_zipfile_serialization=False)"
        ) from damage


def _read(data: memoryview) -> dict[str, NDArray[Any]]:
    if bytes(data[:4]) == b"PK\x03\x04":
        raise _Damage("it is in PyTorch's newer format, a zip archive")
    machine = _Machine(data[:_MOST_PICKLE_BYTES])
    if machine.run() != _MAGIC:
        raise _Damage("it does not begin as a file of PyTorch")
    if machine.run() != _PROTOCOL:
        raise _Damage(f"it is of another protocol than {_PROTOCOL}")
    types = machine.run()
    if not isinstance(types, dict) or types.get("little_endian") is not True:
        raise _Damage("it was not written on a little-endian machine")
    tensors, keys = machine.run(), machine.run()
    if not isinstance(tensors, dict) or not all(isinstance(tensor, _Tensor) for tensor in tensors.values()):
        raise _Damage("it holds other things than a dictionary of tensors")
    storages = _read_storages(data[machine.position :], keys, machine.storages)
    return {name: _view(tensor, storages[tensor.storage.key]) for name, tensor in tensors.items()}


def _read_storages(data: memoryview, keys: Any, declared: dict[str, _Storage]) -> dict[str, NDArray[Any]]:
    """The numbers of all storages: for each, the count in eight bytes, then the numbers."""
    if not isinstance(keys, list) or len(keys) != len(declared) or {*map(_text, keys)} != declared.keys():
        raise _Damage("its list of storages is not that of its tensors")
    found, position = {}, 0
    for key in keys:
        storage = declared[key]
        start = position + 8
        position = start + storage.count * np.dtype(storage.dtype).itemsize
        if position > len(data):
            raise _Damage("it is cut off")
        if int.from_bytes(data[start - 8 : start], "little") != storage.count:
            raise _Damage("a storage has another length than its tensor says")
        found[key] = np.frombuffer(data[start:position], storage.dtype)
    if position != len(data):
        raise _Damage(f"{len(data) - position} bytes follow its last storage")
    return found


def _view(tensor: _Tensor, storage: NDArray[Any]) -> NDArray[Any]:
    """The array of a tensor, which must lie within its storage."""
    size, last = 1, tensor.offset
    for length, stride in zip(tensor.shape, tensor.strides, strict=True):
        size, last = size * length, last + (length - 1) * stride
    if size == 0 or size > len(storage) or last >= len(storage):
        raise _Damage("a tensor is empty or reaches beyond its storage")
    strides = [stride * storage.itemsize for stride in tensor.strides]
    return np.lib.stride_tricks.as_strided(storage[tensor.offset :], tensor.shape, strides, writeable=False)


class _Machine:
    """Runs one pickle after the other. Raises _Damage."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self.position = 0
        self.storages: dict[str, _Storage] = {}  # of all tensors so far
        self._stack: list[Any] = []
        self._marks: list[int] = []  # heights of the stack
        self._memo: dict[int, Any] = {}

    def run(self) -> Any:
        """Run the pickle that begins here, and return what it makes."""
        self._stack, self._marks, self._memo = [], [], {}
        while (code := self._take(1)) != pickle.STOP:
            if code in _NUMBERS:
                self._stack.append(self._number(_NUMBERS[code]))
            elif code in _PUTS:
                self._memo[self._number(_PUTS[code])] = self._top()
            elif code in _GETS:
                self._get(self._number(_GETS[code]))
            elif code in _CONSTANTS:
                self._stack.append(_CONSTANTS[code])
            elif code in _TUPLES:
                self._stack.append(tuple([self._pop() for _ in range(_TUPLES[code])][::-1]))
            elif code in _STEPS:
                _STEPS[code](self)
            else:
                raise _Damage(f"it has the opcode {code!r}, which no weights need")
        result = self._pop()
        if self._stack or self._marks:
            raise _Damage("one of its pickles does not come out even")
        return result

    def _take(self, count: int) -> bytes:
        part = self._data[self.position : self.position + count]
        if len(part) < count:
            raise _Damage("it is cut off, or its description is too long")
        self.position += count
        return bytes(part)

    def _number(self, form: str) -> int:
        [number] = struct.unpack(form, self._take(struct.calcsize(form)))
        return int(number)

    def _pop(self) -> Any:
        if len(self._stack) <= (self._marks[-1] if self._marks else 0):
            raise _Damage("one of its pickles takes what is not there")
        return self._stack.pop()

    def _top(self) -> Any:
        value = self._pop()
        self._stack.append(value)
        return value

    def _get(self, number: int) -> None:
        if number not in self._memo:
            raise _Damage("one of its pickles takes what is not there")
        self._stack.append(self._memo[number])

    def _since_mark(self) -> list[Any]:
        if not self._marks:
            raise _Damage("one of its pickles takes what is not there")
        start = self._marks.pop()
        values = self._stack[start:]
        del self._stack[start:]
        return values

    # what the other opcodes do

    def _protocol(self) -> None:
        if self._take(1) != b"\x02":
            raise _Damage("one of its pickles is not of protocol 2")

    def _mark(self) -> None:
        self._marks.append(len(self._stack))

    def _long(self) -> None:
        self._stack.append(int.from_bytes(self._take(self._number("<B")), "little", signed=True))

    def _string(self) -> None:
        try:
            self._stack.append(self._take(self._number("<I")).decode())
        except UnicodeDecodeError:
            raise _Damage("it has a text that is not UTF-8") from None

    def _line(self) -> str:
        start = self.position
        while self._take(1) != b"\n":
            pass
        return bytes(self._data[start : self.position - 1]).decode("ascii", "backslashreplace")

    def _global(self) -> None:
        module, name = self._line(), self._line()
        if module == "torch" and name in _DTYPES:
            self._stack.append(_StorageType(_DTYPES[name]))
        elif (module, name) in _FUNCTIONS:
            self._stack.append(_FUNCTIONS[module, name])
        else:
            raise _Damage(f"it asks for {f'{module}.{name}'[:100]}, which is no part of weights")

    def _reduce(self) -> None:
        arguments, function = self._pop(), self._pop()
        if function not in _FUNCTIONS.values() or not isinstance(arguments, tuple):
            raise _Damage("it calls what is no function")
        self._stack.append(function(arguments))

    def _storage(self) -> None:
        """A storage by its persistent id: ("storage", type, key, place, count, view)."""
        match self._pop():
            case ("storage", _StorageType(dtype), str(key), str(), int(count), None) if 0 <= count <= _MOST_BYTES:
                storage = _Storage(key, dtype, count)
            case _:
                raise _Damage("it has a storage that is described in another way")
        if self.storages.setdefault(key, storage) != storage:
            raise _Damage("it describes a storage in two ways")
        self._stack.append(storage)

    def _set_items(self) -> None:
        values = self._since_mark()
        self._set(values[::2], values[1::2])

    def _set_item(self) -> None:
        value, key = self._pop(), self._pop()
        self._set([key], [value])

    def _set(self, keys: list[Any], values: list[Any]) -> None:
        target = self._top()
        if not isinstance(target, dict) or len(keys) != len(values):
            raise _Damage("it puts an entry into what is no dictionary")
        target.update(zip(map(_text, keys), values, strict=True))

    def _append_items(self) -> None:
        self._append(self._since_mark())

    def _append(self, values: list[Any]) -> None:
        target = self._top()
        if not isinstance(target, list):
            raise _Damage("it appends to what is no list")
        target.extend(values)

    def _build(self) -> None:
        """Ignore the state of a dictionary: versions of PyTorch's modules, which nobody needs."""
        self._pop()
        if not isinstance(self._top(), dict):
            raise _Damage("it changes what is no dictionary")


@dataclass(frozen=True)
class _StorageType:
    dtype: str


def _text(key: Any) -> str:
    if not isinstance(key, str):
        raise _Damage("it has a name that is no text")
    return key


def _make_dictionary(arguments: tuple[Any, ...]) -> dict[str, Any]:
    if arguments:
        raise _Damage("it makes a dictionary in an unusual way")
    return {}


def _make_tensor(arguments: tuple[Any, ...]) -> _Tensor:
    """(storage, offset, shape, strides, whether it has a gradient, hooks)"""
    match arguments:
        case (_Storage() as storage, int(offset), tuple(shape), tuple(strides), bool(), dict()):
            numbers = (offset, *shape, *strides)
            is_sound = len(shape) == len(strides) <= 8 and all(type(n) is int and n >= 0 for n in numbers)
            if is_sound:
                return _Tensor(storage, offset, shape, strides)
    raise _Damage("it has a tensor that is described in another way")


_FUNCTIONS: dict[tuple[str, str], Callable[[tuple[Any, ...]], Any]] = {
    ("collections", "OrderedDict"): _make_dictionary,
    ("torch._utils", "_rebuild_tensor_v2"): _make_tensor,
}

_STEPS: dict[bytes, Callable[[_Machine], None]] = {
    pickle.PROTO: _Machine._protocol,
    pickle.MARK: _Machine._mark,
    pickle.LONG1: _Machine._long,
    pickle.BINUNICODE: _Machine._string,
    pickle.GLOBAL: _Machine._global,
    pickle.REDUCE: _Machine._reduce,
    pickle.BINPERSID: _Machine._storage,
    pickle.TUPLE: lambda machine: machine._stack.append(tuple(machine._since_mark())),
    pickle.EMPTY_DICT: lambda machine: machine._stack.append({}),
    pickle.EMPTY_LIST: lambda machine: machine._stack.append([]),
    pickle.SETITEM: _Machine._set_item,
    pickle.SETITEMS: _Machine._set_items,
    pickle.APPEND: lambda machine: machine._append([machine._pop()]),
    pickle.APPENDS: _Machine._append_items,
    pickle.BUILD: _Machine._build,
}
