"""How TensorFlow is imported, and canaries for its private parts and those of Keras.

The canaries were written against TensorFlow 2.21, Keras 3.12 and Keras 3.15.
"""

import ast
import inspect
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

PREPARED = "from retrain import _tensorflow; _tensorflow.prepare_process()\n"


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def imported_by(tree: ast.AST) -> set[str]:
    """The first parts of the names of all modules that some code imports, in functions, too."""
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return {name.partition(".")[0] for name in names}


def test_one_module_imports_tensorflow_and_keras():
    importing = {
        path.name
        for path in (REPOSITORY / "retrain").rglob("*.py")
        if {"tensorflow", "keras"} & imported_by(ast.parse(path.read_text("utf-8")))
    }
    assert importing == {"_tensorflow.py"}


# in somebody else's process


SURROUNDINGS = """
import gc, os, signal, sys
def surroundings():
    signals = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    return (
        dict(os.environ), list(map(str, sys.meta_path)), gc.isenabled(), gc.get_threshold(), gc.get_freeze_count(),
        os.fstat(2).st_ino, sys.stderr, sys.stdout, signals, os.getcwd(), os.umask(0o22)
    )
os.umask(0o22)
"""


@pytest.mark.slow
def test_importing_tensorflow_sets_no_more_than_it_does_itself():
    told = "print([environment, finders, *surroundings()[2:5]])"
    code = f"{SURROUNDINGS}\nimport tensorflow\nenvironment, finders, *_ = surroundings()\n{told}"
    ours = code.replace("import tensorflow", "from retrain._tensorflow import tf")
    # TensorFlow may add finders of its own
    found, expected = (re.sub("0x[0-9a-f]+", "", run(WITHOUT_KERAS + one)) for one in (ours, code))
    assert found == expected


@pytest.mark.slow
def test_a_program_that_has_imported_tensorflow_keeps_its_ways():
    code = """
import tensorflow, gc, sys
before = gc.get_freeze_count()
from retrain import _tensorflow
_tensorflow.prepare_process()
print(_tensorflow.tf is tensorflow, before == gc.get_freeze_count())
"""
    assert run(WITHOUT_KERAS + code) == "True True"


@pytest.mark.skipif("TF_ENABLE_ONEDNN_OPTS" not in _tensorflow._SETTINGS, reason="oneDNN is for x86")
@pytest.mark.slow
def test_a_library_computes_the_same_bits_as_the_command_line():
    """Rounding depends on oneDNN, which TensorFlow chooses while it is imported; both fill one cache."""
    code = """
import numpy as np
from retrain._tensorflow import tf
rng = np.random.default_rng(0)
def layers(pixels):
    for width in (32, 64, 128):
        kernel = rng.normal(0, 0.1, (3, 3, pixels.shape[-1], width)).astype(np.float32)
        pixels = tf.nn.relu(tf.nn.conv2d(pixels, kernel, 2, "SAME") + 0.1)
    return tf.reduce_mean(pixels, [1, 2])
function = tf.function(layers, autograph=False)
print(function(tf.constant(rng.random((8, 96, 96, 3), np.float32))).numpy().tobytes().hex())
"""
    assert run(WITHOUT_KERAS + code) == run(WITHOUT_KERAS + PREPARED + code)


# in a process of our own


@pytest.mark.slow
def test_keras_is_imported_when_it_is_used():
    code = """
import sys
from unittest import mock
from retrain._tensorflow import import_keras, tf
print("keras" in sys.modules)
print(tf.keras.layers.Dense.__name__)
import tensorflow.keras.layers
keras = import_keras()
print(keras.layers.Dense is tensorflow.keras.layers.Dense is tf.keras.layers.Dense)
"""
    assert run(PREPARED + code).split() == ["False", "Dense", "True"]


@pytest.mark.slow
def test_garbage_collection_goes_on_as_it_was_and_stderr_stays_empty():
    code = """
import gc, os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "0"  # as libraries do, which does not make it the user's wish
gc.disable()
_tensorflow.tf
print(gc.isenabled(), [f for f in sys.meta_path if f.__module__ == "retrain._tensorflow"])
"""
    done = subprocess.run([sys.executable, "-c", PREPARED + code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("False []\n", "")


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
