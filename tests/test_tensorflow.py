"""How TensorFlow is imported."""

import subprocess
import sys

import pytest


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.slow
def test_keras_is_imported_when_it_is_used():
    code = """
import sys
from retrain._tensorflow import tf
print("keras" in sys.modules)
print(tf.keras.layers.Dense.__name__)
import keras, tensorflow.keras.layers
print(keras.layers.Dense is tensorflow.keras.layers.Dense is tf.keras.layers.Dense)
"""
    assert run(code).split() == ["False", "Dense", "True"]


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_collection_goes_on_as_it_was(enabled):
    code = f"""
import gc, sys
if not {enabled}: gc.disable()
import retrain._tensorflow
print(gc.isenabled(), [f for f in sys.meta_path if f.__module__ == "retrain._tensorflow"])
"""
    assert run(code) == f"{enabled} []"


@pytest.mark.slow
def test_a_program_that_has_imported_tensorflow_keeps_its_ways():
    code = """
import tensorflow, gc, sys
before = gc.get_freeze_count(), "keras" in sys.modules
import retrain._tensorflow
print(before == (gc.get_freeze_count(), "keras" in sys.modules))
"""
    assert run(code) == "True"


def test_nothing_is_written_to_stderr():
    done = subprocess.run(
        [sys.executable, "-c", "import retrain._tensorflow"], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("", "")
