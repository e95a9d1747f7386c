"""How TensorFlow is imported, and canaries for its private parts and those of Keras.

The canaries were written against TensorFlow 2.21, Keras 3.12 and Keras 3.15.
"""

import ast
import inspect
import json
import os
import re
import subprocess
import sys
from unittest import mock

import numpy as np
import pytest
from support.pictures import REPOSITORY
from support.refused import WITHOUT_KERAS

from retrain import _tensorflow
from retrain._tensorflow import import_keras, tf


def imported_by(tree: ast.AST) -> set[str]:
    """The first parts of the names of all modules that some code imports, in functions, too."""
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return {name.partition(".")[0] for name in names}


def test_one_module_imports_tensorflow_and_keras():
    importing = {
        path.name
        for path in (REPOSITORY / "retrain").rglob("*.py")
        if re.search("tensorflow|keras", text := path.read_text("utf-8"))
        and {"tensorflow", "keras"} & imported_by(ast.parse(text))
    }
    assert importing == {"_tensorflow.py"}


# Processes of our own and of others: to import TensorFlow takes seconds, so each finds out everything.


FINDINGS = """
import gc, json, os, re, signal, sys
gc.set_threshold(100_000)  # to look for garbage among all that TensorFlow has takes long
found = {}

def surroundings():
    signals = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    return (
        dict(os.environ), re.sub("0x[0-9a-f]+", "", str(sys.meta_path)), gc.isenabled(), gc.get_threshold(),
        gc.get_freeze_count(), repr(sys.stderr), repr(sys.stdout), repr(signals), os.getcwd(),
    )

def messages():  # retrain.tensorflow_formats beside TensorFlow
    ours = GraphDef()
    ours.node.add(name="a", op="NoOp")
    theirs = tf.compat.v1.GraphDef.FromString(ours.SerializeToString())
    return GraphDef.FromString(theirs.SerializeToString()) == ours

def bits():  # of what a few layers give
    import numpy as np
    rng = np.random.default_rng(0)
    def layers(pixels):
        for width in (32, 64, 128):
            kernel = rng.normal(0, 0.1, (3, 3, pixels.shape[-1], width)).astype(np.float32)
            pixels = tf.nn.relu(tf.nn.conv2d(pixels, kernel, 2, "SAME") + 0.1)
        return tf.reduce_mean(pixels, [1, 2])
    function = tf.function(layers, autograph=False)
    return function(tf.constant(rng.random((8, 96, 96, 3), np.float32))).numpy().tobytes().hex()
"""

OTHER = """
import tensorflow
found["surroundings"] = surroundings()
before = gc.get_freeze_count()
from retrain import _tensorflow
_tensorflow.prepare_process()
found["keeps its ways"] = _tensorflow.tf is tensorflow and gc.get_freeze_count() == before
"""

LIBRARY = """
from retrain._tensorflow import tf
found["surroundings"] = surroundings()
from retrain.tensorflow_formats import GraphDef
found["messages"] = messages()
found["bits"] = bits()
"""

COMMAND_LINE = """
from retrain.tensorflow_formats import GraphDef
from retrain import _tensorflow
_tensorflow.prepare_process()
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "0"  # as libraries do, which does not make it the user's wish
gc.disable()
tf = _tensorflow.tf
found["collects garbage"] = gc.isenabled()
gc.enable()
found["finders"] = [repr(one) for one in sys.meta_path if one.__module__ == "retrain._tensorflow"]
found["messages"] = messages()
found["bits"] = bits()
found["has keras"] = "keras" in sys.modules
dense = tf.keras.layers.Dense
import tensorflow.keras.layers
keras = _tensorflow.import_keras()
found["one keras"] = keras.layers.Dense is tensorflow.keras.layers.Dense is dense
"""


def found_by(code: str) -> dict[str, object]:
    code = f"{FINDINGS}{code}\nprint(json.dumps(found))"
    ours = ("PYTEST_CURRENT_TEST", "TF_CPP_MIN_LOG_LEVEL")  # tf2onnx and OpenVINO leave the second one behind
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) | {"stderr": done.stderr}


@pytest.fixture(scope="module")
def library():
    """What a program finds that imports the library."""
    return found_by(WITHOUT_KERAS + LIBRARY)


@pytest.fixture(scope="module")
def command_line():
    """What a program of our own finds."""
    return found_by(COMMAND_LINE)


@pytest.mark.slow
def test_in_a_program_of_others_it_sets_no_more_than_tensorflow_does_itself(library):
    other = found_by(WITHOUT_KERAS + OTHER)
    assert library["surroundings"] == other["surroundings"]
    assert other["keeps its ways"], "TensorFlow was imported before, and something changed"


@pytest.mark.skipif("TF_ENABLE_ONEDNN_OPTS" not in _tensorflow._SETTINGS, reason="oneDNN is for x86")
@pytest.mark.slow
def test_a_library_computes_the_same_bits_as_the_command_line(library, command_line):
    """Rounding depends on oneDNN, which TensorFlow chooses while it is imported; both fill one cache."""
    assert library["bits"] == command_line["bits"]


@pytest.mark.slow
def test_in_a_program_of_our_own_it_is_quick_and_quiet(command_line):
    assert not command_line["has keras"], "Keras is imported before it is used"
    assert command_line["one keras"]
    assert not command_line["collects garbage"], "garbage collection was off before"
    assert command_line["finders"] == []
    assert command_line["stderr"] == ""


@pytest.mark.slow
def test_our_messages_live_beside_those_of_tensorflow_whichever_come_first(library, command_line):
    assert library["messages"], "TensorFlow came first"
    assert command_line["messages"], "TensorFlow came second"


# canaries


def test_freezing_makes_constants_of_variables():
    """Private: see _tensorflow.freeze."""
    variable = tf.Variable([2.0, 3.0])
    function = tf.function(lambda x: tf.nn.swish(x) * variable, autograph=False)
    concrete = function.get_concrete_function(tf.TensorSpec([None, 2]))
    graph_def = _tensorflow.freeze(concrete)
    assert not [node.name for node in graph_def.node if "Var" in node.op or "Call" in node.op], tf.__version__
    assert not [node.name for node in graph_def.node if "_gradient_op_type" in node.attr], tf.__version__
    traced = concrete.graph.as_graph_def()
    nodes = [*traced.node, *(node for function in traced.library.function for node in function.node_def)]
    assert [node for node in nodes if "_gradient_op_type" in node.attr], f"not needed any more: {tf.__version__}"
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        names = [concrete.inputs[0].name, concrete.outputs[0].name]
        start, end = tf.graph_util.import_graph_def(graph_def, return_elements=names, name="")
        values = session.run(end, {start: [[1.0, 1.0]]})
    np.testing.assert_allclose(values, concrete(tf.constant([[1.0, 1.0]])), rtol=1e-6)


def test_the_converter_for_litert_gives_the_bytes_of_the_public_one():
    """Private: see _tensorflow.litert_converter."""
    variable = tf.Variable(np.ones((3, 2), np.float32))
    function = tf.function(lambda x: tf.where(x > 1, x, 0) @ variable + [2.0, 3.0], autograph=False)
    concrete = function.get_concrete_function(tf.TensorSpec([None, 3]))
    wanted = tf.lite.TFLiteConverter.from_concrete_functions([concrete])
    refused = mock.Mock(side_effect=AssertionError)
    with mock.patch("tensorflow.python.framework.convert_to_constants._construct_concrete_function", refused):
        found = _tensorflow.litert_converter(concrete).convert()
        with pytest.raises(AssertionError):  # or it is not needed any more
            wanted.convert()
    assert found == wanted.convert(), tf.__version__


@pytest.mark.parametrize(
    ("on_gpu", "field"), [(False, "auto_mixed_precision_onednn_bfloat16"), (True, "auto_mixed_precision")]
)
def test_the_rewriting_to_16_bits_has_a_switch(on_gpu, field):
    """Private: see _tensorflow.compute_in_16_bits. What it does is compared with float32 in each run."""
    config = tf.compat.v1.ConfigProto()
    _tensorflow.compute_in_16_bits(config, on_gpu)
    options = config.graph_options.rewrite_options
    toggle = options.DESCRIPTOR.fields_by_name[field].enum_type
    assert toggle.values_by_number[getattr(options, field)].name == "ON", tf.__version__


def test_a_graph_can_run_as_it_is():
    """Private: see _tensorflow.run_as_it_is."""

    def transposes(config):
        """How many of two, of which the second undoes the first, TensorFlow runs."""
        told, options = tf.compat.v1.RunMetadata(), tf.compat.v1.RunOptions(output_partition_graphs=True)
        with tf.Graph().as_default(), tf.compat.v1.Session(config=config) as session:
            pixels = tf.compat.v1.placeholder(tf.float32, [2, 3])
            same = tf.transpose(tf.transpose(pixels * 2.0, [1, 0]), [1, 0]) + 1.0
            session.run(same, {pixels: np.ones((2, 3))}, options, told)
        return sum("Transpose" in node.op for graph in told.partition_graphs for node in graph.node)

    config = tf.compat.v1.ConfigProto()
    assert transposes(config) == 0
    _tensorflow.run_as_it_is(config)
    assert transposes(config) == 2, tf.__version__


def test_a_saved_model_is_parsed(tmp_path):
    """Private: see _tensorflow.parse_saved_model."""
    tf.saved_model.save(tf.Module(), str(tmp_path))
    message = _tensorflow.parse_saved_model((tmp_path / "saved_model.pb").read_bytes())
    assert len(message.meta_graphs) == 1, tf.__version__


def test_keras_asks_for_weights_where_we_answer():
    """Private: see _tensorflow.replace_keras_downloads."""
    keras = import_keras()
    from keras.src.utils import file_utils

    used = [name for name in sys.modules if re.fullmatch(r"keras\.src\.applications\.(?!imagenet)\w+", name)]
    assert len(used) > 10, keras.__version__
    for name in used:
        if name != "keras.src.applications.resnet_v2":  # which uses resnet's
            assert sys.modules[name].file_utils is file_utils, (name, keras.__version__)
    before = file_utils.get_file
    with _tensorflow.replace_keras_downloads(lambda **_: ""):
        assert file_utils.get_file is not before
    assert file_utils.get_file is before, keras.__version__
    given = inspect.signature(before).parameters
    assert list(given)[:2] == ["fname", "origin"], keras.__version__
    assert {"file_hash", "cache_subdir"} <= set(given), keras.__version__
