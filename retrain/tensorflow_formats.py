"""TensorFlow's file formats without TensorFlow: its messages, and the checksum that its files have.

The messages are those of tensorflow/core/protobuf and tensorflow/core/framework (TensorFlow 2.21), with the fields that
this program reads or writes. Others are kept as they come. They have a pool of their own: TensorFlow, in the same
process, registers its messages under the same names.
"""

from typing import Any

import google_crc32c
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

__all__ = [
    "FLOAT",
    "INT32",
    "STRING",
    "BundleEntry",
    "BundleHeader",
    "Event",
    "GraphDef",
    "NodeDef",
    "SavedModel",
    "TensorShape",
    "masked_crc32c",
    "read_varint",
    "varint",
]

FLOAT, INT32, STRING = 1, 3, 7  # of DataType

# message -> field -> number and type; `map T` has texts as keys
_MESSAGES = {
    "GraphDef": {"node": (1, "repeated NodeDef"), "library": (2, "FunctionDefLibrary"), "versions": (4, "VersionDef")},
    "FunctionDefLibrary": {"function": (1, "repeated FunctionDef"), "gradient": (2, "repeated GradientDef")},
    "FunctionDef": {"signature": (1, "OpDef"), "node_def": (3, "repeated NodeDef")},
    "GradientDef": {"function_name": (1, "string"), "gradient_func": (2, "string")},
    "OpDef": {"name": (1, "string")},
    "NodeDef": {
        "name": (1, "string"),
        "op": (2, "string"),
        "input": (3, "repeated string"),
        "attr": (5, "map AttrValue"),
    },
    "AttrValue": {
        "list": (1, "ListValue"),
        "s": (2, "bytes"),
        "b": (5, "bool"),
        "type": (6, "int32"),
        "tensor": (8, "TensorProto"),
        "func": (10, "NameAttrList"),
    },
    "ListValue": {"shape": (7, "repeated TensorShapeProto"), "func": (9, "repeated NameAttrList")},
    "NameAttrList": {"name": (1, "string"), "attr": (2, "map AttrValue")},
    "TensorProto": {
        "dtype": (1, "int32"),
        "tensor_shape": (2, "TensorShapeProto"),
        "tensor_content": (4, "bytes"),
        "float_val": (5, "repeated float"),
    },
    "TensorShapeProto": {"dim": (2, "repeated Dim")},
    "Dim": {"size": (1, "int64")},
    "VersionDef": {"producer": (1, "int32")},
    "SavedModel": {"meta_graphs": (2, "repeated MetaGraphDef")},
    "MetaGraphDef": {"signature_def": (5, "map SignatureDef")},
    "SignatureDef": {"outputs": (2, "map TensorInfo")},
    "TensorInfo": {"tensor_shape": (3, "TensorShapeProto")},
    "BundleHeaderProto": {"num_shards": (1, "int32"), "version": (3, "VersionDef")},
    "BundleEntryProto": {
        "dtype": (1, "int32"),
        "shape": (2, "TensorShapeProto"),
        "shard_id": (3, "int32"),
        "offset": (4, "int64"),
        "size": (5, "int64"),
        "crc32c": (6, "fixed32"),
    },
    "Event": {
        "wall_time": (1, "double"),
        "step": (2, "int64"),
        "file_version": (3, "string"),
        "summary": (5, "Summary"),
    },
    "Summary": {"value": (1, "repeated SummaryValue")},
    "SummaryValue": {"tag": (1, "string"), "simple_value": (2, "float")},
}


def _classes() -> dict[str, Any]:
    # of proto2, in which a value that was set is written even if it is zero; TensorBoard shows no other
    file = FileDescriptorProto(name="retrain/tensorflow.proto", package="tensorflow", syntax="proto2")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            _add_field(message, field, number, kind)
    pool = DescriptorPool()
    pool.Add(file)
    return {name: GetMessageClass(pool.FindMessageTypeByName(f"tensorflow.{name}")) for name in _MESSAGES}


def _add_field(message: DescriptorProto, name: str, number: int, kind: str) -> None:
    label, _, kind = kind.rpartition(" ")
    field = message.field.add(name=name, number=number)
    field.label = FieldDescriptorProto.LABEL_REPEATED if label else FieldDescriptorProto.LABEL_OPTIONAL
    if label == "map":
        entry = message.nested_type.add(name=f"{name.title().replace('_', '')}Entry")
        entry.options.map_entry = True
        _add_field(entry, "key", 1, "string")
        _add_field(entry, "value", 2, kind)
        field.type_name = f".tensorflow.{message.name}.{entry.name}"
    elif kind in _MESSAGES:
        field.type_name = f".tensorflow.{kind}"
    else:
        field.type = FieldDescriptorProto.Type.Value(f"TYPE_{kind.upper()}")
        field.options.packed = bool(label) and kind != "string"


_CLASSES = _classes()
GraphDef, NodeDef = _CLASSES["GraphDef"], _CLASSES["NodeDef"]
SavedModel = _CLASSES["SavedModel"]
BundleHeader, BundleEntry = _CLASSES["BundleHeaderProto"], _CLASSES["BundleEntryProto"]
TensorShape, Event = _CLASSES["TensorShapeProto"], _CLASSES["Event"]


def masked_crc32c(data: bytes) -> int:
    """CRC-32C of some bytes, masked as TensorFlow stores it (tensorflow/tsl/lib/hash/crc32c.h)."""
    crc: int = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def varint(number: int) -> bytes:
    """A number >= 0 in 7 bits a byte, the lowest first (protobuf.dev/programming-guides/encoding)."""
    data = bytearray()
    while number > 127:
        data.append(number & 127 | 128)
        number >>= 7
    return bytes([*data, number])


def read_varint(data: bytes, start: int) -> tuple[int, int]:
    """The number that begins at a place in some bytes, and where it ends. Raises DecodeError."""
    number = 0
    for place, byte in enumerate(data[start : start + 10]):
        number |= (byte & 127) << 7 * place
        if byte < 128:
            return number, start + place + 1
    raise DecodeError("a number has no end")
