"""The library in a process of its own: what it exports is enough, and it leaves the process as it was."""

import json
import subprocess
import sys

CODE = """
import gc, json, os, signal, sys, warnings

def state():
    return {
        "hooks": [repr(finder) for finder in sys.meta_path],
        "environment": dict(os.environ),
        "collector": [gc.isenabled(), gc.get_freeze_count(), gc.get_threshold()],
        "error output": [os.fstat(2).st_ino, os.readlink("/proc/self/fd/2"), repr(sys.stderr)],
        "signals": [repr(signal.getsignal(number)) for number in sorted(signal.valid_signals())],
        "warnings": [repr(one) for one in warnings.filters],
    }

before = state()
import retrain
imported = state()
told = []
options = retrain.RunOptions(
    backbone=retrain.BackboneOptions(sys.argv[2]), training=retrain.TrainingOptions(steps=20)
)
model = retrain.train(sys.argv[1], "model", options, emit=told.append)
labels = [answer.label for answer in retrain.Classifier("model").predict([f"{sys.argv[1]}/cat/0.jpg"])]
figures = retrain.evaluate("model", sys.argv[1]).metrics
after = state()
print(json.dumps({
    "left by import": [name for name in before if imported[name] != before[name]],
    "left by use": {name: [before[name], after[name]] for name in before if after[name] != before[name]},
    "stages": [event.name for event in told if isinstance(event, retrain.events.StageBegan)],
    "steps": model.record["training"]["steps"],
    "labels": labels,
    "pictures": figures.n,
}))
"""


def test_a_process_that_trains_is_as_it_was(make_folder, tiny_backbone):
    root = make_folder({"cat": 25, "dog": 25})
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(root), str(tiny_backbone)], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    assert found["left by import"] == []
    assert found["left by use"] == {}
    assert found["stages"] == ["extraction", "training", "evaluation", "export"]
    assert (found["steps"], found["pictures"]) == (20, 50)
    assert found["labels"][0] in ("cat", "dog")
