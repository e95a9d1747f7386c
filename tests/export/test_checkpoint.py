"""What TensorFlow reads of checkpoints that are written without it."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retrain._tensorflow import tf
from retrain.export.checkpoint import Variable, write_checkpoint
from retrain.files import FilePart

RNG = np.random.default_rng(0)


def read(prefix="checkpoint"):
    reader = tf.train.load_checkpoint(prefix)
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


@pytest.mark.parametrize("count", [1, 15, 16, 17, 40, 6000])  # 16 names share their beginnings; blocks have 256 KiB
def test_tensorflow_reads_all_variables(count):
    arrays = {f"layer/{number}/kernel": RNG.normal(size=(2, number % 3)).astype("f") for number in range(count)}
    write_checkpoint("checkpoint", [[Variable.of_array(name, array) for name, array in arrays.items()]])
    found = read()
    assert {*found} == {*arrays}
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array, strict=True)


def test_values_are_taken_from_files_and_lie_in_as_many_as_wanted(tmp_path):
    (tmp_path / "values").write_bytes(b"abc" + np.arange(9, dtype="<f4").tobytes())
    whole = FilePart(tmp_path / "values")
    from_file = Variable("file", 1, (9,), whole[3:], Variable.of_array("", np.arange(9, dtype="f")).crc32c)
    shards = [[from_file], [Variable.of_array("array", np.eye(3, dtype="f"))], [], [Variable.of_texts("t", [b"x"], ())]]
    names = write_checkpoint(tmp_path / "checkpoint", shards)
    assert names == [f"checkpoint.data-0000{number}-of-00004" for number in range(4)]
    assert (tmp_path / names[0]).read_bytes() == bytes(whole[3:])
    found = read(str(tmp_path / "checkpoint"))
    np.testing.assert_array_equal(found["file"], np.arange(9))
    np.testing.assert_array_equal(found["array"], np.eye(3))
    assert found["t"] == b"x"


def test_tensorflow_finds_wrong_values():
    write_checkpoint("checkpoint", [[Variable.of_array("a", np.ones(3, "f"))]])
    with open("checkpoint.data-00000-of-00001", "r+b") as file:
        file.write(b"!")
    with pytest.raises(tf.errors.OpError, match="Checksum does not match"):
        read()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(st.lists(st.binary(max_size=300), min_size=1, max_size=20))
def test_texts_come_back(texts):
    write_checkpoint("checkpoint", [[Variable.of_texts("labels", texts, (len(texts),))]])
    assert read()["labels"].tolist() == texts


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(st.sets(st.text(st.characters(codec="utf-8"), min_size=1, max_size=8), min_size=1, max_size=40))
def test_names_come_back(names):
    write_checkpoint("checkpoint", [[Variable.of_array(name, np.ones((), "f")) for name in names]])
    assert {*read()} == names


def test_the_same_bytes_lie_in_the_data_file_as_tensorflow_writes():
    arrays = {"a": RNG.normal(size=(3, 4)).astype("f"), "b": np.float32(2)}
    texts = [b"", b"cat", "Ä".encode() * 100]
    with tf.device("CPU"):
        tf.raw_ops.SaveV2(
            prefix="theirs", tensor_names=[*arrays, "c"], shape_and_slices=[""] * 3, tensors=[*arrays.values(), texts]
        )
    ours = [Variable.of_array(name, np.asarray(array)) for name, array in arrays.items()]
    write_checkpoint("ours", [[*ours, Variable.of_texts("c", texts, (3,))]])
    assert Path("ours.data-00000-of-00001").read_bytes() == Path("theirs.data-00000-of-00001").read_bytes()
