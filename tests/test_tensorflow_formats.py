import importlib

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from retrain import tensorflow_formats
from retrain._tensorflow import tf
from retrain.tensorflow_formats import GraphDef, NodeDef, masked_crc32c, read_varint, varint

# TensorFlow's names of messages that are inside others there
NESTED = {"Dim": "TensorShapeProto.Dim", "ListValue": "AttrValue.ListValue", "SummaryValue": "Summary.Value"}


def shape_of(field):
    """What stands in a file: number, repetition, type; an enumeration is a number."""
    kind = {field.TYPE_ENUM: field.TYPE_INT32}.get(field.type, field.type)
    is_packed = field.is_packed and kind != field.TYPE_STRING
    return field.number, field.is_repeated, kind, is_packed


@pytest.mark.parametrize("name", tensorflow_formats._MESSAGES)
def test_the_messages_are_tensorflow_s(name):
    importlib.import_module("tensorflow.core.protobuf.tensor_bundle_pb2")
    pool = tf.compat.v1.GraphDef.DESCRIPTOR.file.pool
    theirs = pool.FindMessageTypeByName(f"tensorflow.{NESTED.get(name, name)}").fields_by_name
    for field in tensorflow_formats._CLASSES[name].DESCRIPTOR.fields:
        assert shape_of(field) == shape_of(theirs[field.name])
        kinds = [of.message_type and of.message_type.name for of in (field, theirs[field.name])]
        assert kinds[0] == kinds[1] or NESTED.get(kinds[0], "").endswith(f".{kinds[1]}")


def test_what_they_do_not_know_is_kept():
    node = tf.compat.v1.NodeDef(name="a", op="B", device="/cpu:0")
    node.attr["x"].b = True
    data = node.SerializeToString(deterministic=True)
    ours = NodeDef.FromString(data)
    ours.op = "C"
    found = tf.compat.v1.NodeDef.FromString(ours.SerializeToString())
    assert (found.op, found.device, found.attr["x"].b) == ("C", "/cpu:0", True)


def test_the_checksum_is_that_of_tensorflow_s_records():
    with tf.io.TFRecordWriter("records") as file:
        file.write(b"some data")
    with open("records", "rb") as file:
        length, of_length, data, of_data = file.read(8), file.read(4), file.read(9), file.read(4)
    assert masked_crc32c(length) == int.from_bytes(of_length, "little")
    assert masked_crc32c(data) == int.from_bytes(of_data, "little")


@given(st.integers(0, 2**64 - 1), st.binary(max_size=3))
def test_numbers_come_back(number, before):
    data = before + varint(number)
    assert read_varint(data + b"more", len(before)) == (number, len(data))


@given(st.integers(0, 2**31 - 1))
def test_numbers_are_written_as_in_messages(number):
    graph = GraphDef()
    graph.versions.producer = number
    assert graph.versions.SerializeToString() == b"\x08" + varint(number)


@pytest.mark.parametrize("data", [b"", b"\x80", b"\xff" * 11])
def test_a_number_without_an_end_is_an_error(data):
    with pytest.raises(DecodeError, match="a number has no end"):
        read_varint(data, 0)
