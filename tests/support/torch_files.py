"""Files in PyTorch's legacy format, made without PyTorch, for tests of what reads them."""

import pickle
import struct

import numpy as np

STORAGES = {"f4": "Float", "f8": "Double", "f2": "Half", "i8": "Long", "i4": "Int", "u1": "Byte", "b1": "Bool"}


def text(value):
    return pickle.BINUNICODE + struct.pack("<I", len(value.encode())) + value.encode()


def number(value):
    return pickle.BININT + struct.pack("<i", value)


def numbers(values):
    return pickle.MARK + b"".join(map(number, values)) + pickle.TUPLE


def pickled(body):
    return pickle.PROTO + b"\x02" + body + pickle.STOP


def name_of(module, name):
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


EMPTY = name_of("collections", "OrderedDict") + pickle.EMPTY_TUPLE + pickle.REDUCE


def storage(key, kind, count):
    described = text("storage") + name_of("torch", f"{kind}Storage") + text(key) + text("cpu") + number(count)
    return pickle.MARK + described + pickle.NONE + pickle.TUPLE + pickle.BINPERSID


def tensor(key, kind, count, shape, strides, offset=0):
    arguments = storage(key, kind, count) + number(offset) + numbers(shape) + numbers(strides)
    function = name_of("torch._utils", "_rebuild_tensor_v2")
    return function + pickle.MARK + arguments + pickle.NEWFALSE + EMPTY + pickle.TUPLE + pickle.REDUCE


def dictionary(entries):
    """entries: name -> what puts its value on the stack."""
    body = b"".join(text(name) + value for name, value in entries.items())
    return EMPTY + pickle.MARK + body + pickle.SETITEMS


def legacy_file(body, storages, *, magic=0x1950A86A20F9469CFC6C, protocol=1001, little_endian=True):
    """A file from the pickle of its dictionary and its storages' arrays, by key."""
    system = {"protocol_version": 1001, "little_endian": little_endian, "type_sizes": {"short": 2}}
    parts = [pickle.dumps(part, protocol=2) for part in (magic, protocol, system)]
    parts += [pickled(body), pickle.dumps(list(storages), protocol=2)]
    parts += [struct.pack("<q", array.size) + array.tobytes() for array in storages.values()]
    return b"".join(parts)


def weights_file(arrays):
    """A file of arrays, by name; each has a storage of its own, and the layout that it has in memory."""
    storages, entries = {}, {}
    for index, (name, array) in enumerate(arrays.items()):
        flat = np.ravel(array, order="K")
        strides = [stride // array.itemsize for stride in array.strides]
        entries[name] = tensor(f"s{index}", STORAGES[array.dtype.str[1:]], flat.size, array.shape, strides)
        storages[f"s{index}"] = flat
    return legacy_file(dictionary(entries), storages)
