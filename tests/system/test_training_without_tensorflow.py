"""Pass two in a process that can't import TensorFlow, and what of SciPy it imports."""

import subprocess
import sys

import pytest

START = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "keras", *sys.argv[1:]):
            raise AssertionError(f"{name} is imported")

sys.meta_path.insert(0, Refuse())

import numpy as np
from retrain.cache import LabelledBottlenecks
from retrain.options import TrainingOptions
import retrain.training
from retrain.training import CurveRecorder, FoldTrainer, HeadTrainer, Snapshots, calibrate, tune

labels = np.arange(60, dtype=np.int32) % 3
vectors = (np.eye(3, 5)[labels] + np.random.default_rng(0).normal(0, 0.5, (60, 5))).astype(np.float32)
trainer = HeadTrainer(LabelledBottlenecks(vectors, labels), 3)
train, validation = np.arange(45), np.arange(45, 60)
folds = FoldTrainer(trainer, np.arange(60, dtype=np.int32) // 3 % 4, "abc")
"""

IN_BATCHES = """
for options in ({}, {"optimizer": "adam", "hidden_units": 4, "dropout": 0.5}, {"patience": 5, "l1": 0.1}):
    trainer.train(train, validation, TrainingOptions(steps=20, **options))
assert len([*folds.train_all(TrainingOptions(steps=20))]) == 4
options = TrainingOptions().with_steps(45)
recorder = CurveRecorder(LabelledBottlenecks(vectors, labels), {"train": train, "validation": validation}, options)
trained = trainer.train(train, validation, options, snapshots=Snapshots(recorder.steps, recorder.measure))
assert len(recorder.finish(trained.steps, trained.head)) == 20
"""

WITH_SCIPY = """
trained = trainer.train(train, validation, TrainingOptions(optimizer="lbfgs", l1=0.01))
calibrate(trained.head, vectors[validation], labels[validation])
assert tune(folds, TrainingOptions(steps=20), 60).is_complete
"""


@pytest.mark.parametrize(
    ("code", "refused"), [(IN_BATCHES, ["scipy", "matplotlib"]), (WITH_SCIPY, ["matplotlib"])], ids=["batches", "scipy"]
)
def test_heads_are_trained_without_tensorflow(code, refused):
    done = subprocess.run([sys.executable, "-c", START + code, *refused], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
