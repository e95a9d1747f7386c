"""The library in a process of its own: what it exports is enough, and it leaves the process as it was.

tests/test_tensorflow.py shows that it imports TensorFlow as others do.
"""

import json
import subprocess
import sys

import pytest
from support.refused import WITHOUT_KERAS

STATE = r"""
import gc, json, os, re, signal, sys, warnings

def state():
    return json.loads(re.sub(r" at 0x[0-9a-f]+", "", json.dumps({
        "imports": [repr(finder) for finder in [*sys.meta_path, *sys.path_hooks]],
        "environment": dict(os.environ),
        "collector": [gc.isenabled(), gc.get_freeze_count(), gc.get_threshold()],
        "error output": [os.fstat(2).st_ino, os.readlink("/proc/self/fd/2"), repr(sys.stderr)],
        "signals": [repr(signal.getsignal(number)) for number in sorted(signal.valid_signals())],
        "warnings": [repr(one) for one in warnings.filters],
    })))
"""

TRAIN = (
    STATE
    + """
before = state()
import retrain
assert state() == before
import tensorflow, h5py, PIL.Image, threadpoolctl  # what they do to a process is theirs
tensorflow.saved_model.load(sys.argv[2])
theirs = state()
told = []
options = retrain.RunOptions(
    backbone=retrain.BackboneOptions(sys.argv[2]), training=retrain.TrainingOptions(steps=20)
)
model = retrain.train(sys.argv[1], "model", options, emit=told.append)
[answer] = retrain.Classifier("model").predict([f"{sys.argv[1]}/{model.result.pictures[0].path}"])
assert answer.label in ("cat", "dog")
assert retrain.evaluate("model", sys.argv[1]).metrics.n == 50
assert model.record["training"]["steps"] == 20
stages = [event.name for event in told if isinstance(event, retrain.events.StageBegan)]
assert stages == ["extraction", "training", "evaluation", "export"]
print(json.dumps([theirs, state()]))
"""
)


@pytest.mark.slow
def test_a_process_that_trains_is_as_it_was(make_folder, tiny_backbone):
    root = make_folder({"cat": 25, "dog": 25})
    command = [sys.executable, "-c", WITHOUT_KERAS + TRAIN, str(root), str(tiny_backbone)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    theirs, ours = json.loads(done.stdout.splitlines()[-1])
    assert {name: value for name, value in ours.items() if value != theirs[name]} == {}
