"""A cache and a model folder that retrain 0.1.0 wrote, before the package had rooms.

`retrain train pictures --backbone tiny --steps 100 --seed 1 --validation-percentage 25 --test-percentage 25` made
tests/golden/version-0.1.0. The parts that any run makes anew (saved_model/, logs/, exports in the cache) are left out.
The files stay as they are.
"""

import csv
import json
import shutil

import numpy as np
import pytest
from support.command import retrain
from support.pictures import REPOSITORY


@pytest.fixture
def earlier(tmp_path):
    """A copy to work on, and the working folder."""
    shutil.copytree(REPOSITORY / "tests" / "golden" / "version-0.1.0", tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_its_model_gives_the_scores_that_it_gave(earlier):
    rows = predictions_of(earlier / "model")
    pictures = [f"pictures/{row['path']}" for row in rows]
    done = retrain("predict", "model", *pictures, "--json", check=0)
    found = json.loads(done.stdout)
    assert [first["label"] for first in found] == [row["predicted"] for row in rows]
    scores = [float(row["score"]) for row in rows]
    assert [first["score"] for first in found] == pytest.approx(scores, abs=2e-6)
    done = retrain("evaluate", "model", "pictures", "--json", check=0)
    assert json.loads(done.stdout)["accuracy"] == 1.0


@pytest.mark.network
def test_its_cache_is_used_and_trains_a_head_that_says_the_same(earlier):
    """Not the same head: the batches of a seed were others."""
    done = retrain("extract", "pictures", "--backbone", "tiny", "--json", check=0)
    assert json.loads(done.stdout)["extracted"] == 0
    options = ["--steps", "100", "--seed", "1", "--validation-percentage", "25", "--test-percentage", "25"]
    retrain("train", "pictures", "--backbone", "tiny", *options, "--model-dir", "again", check=0)
    run = json.loads((earlier / "again" / "run.json").read_text())
    assert run["extraction"]["extracted"] == 0
    before, after = (predictions_of(earlier / name) for name in ("model", "again"))
    assert [row["predicted"] for row in before] == [row["predicted"] for row in after]
    scores = [[float(row["score"]) for row in rows] for rows in (before, after)]
    np.testing.assert_allclose(*scores, atol=0.05)


def predictions_of(model):
    with (model / "predictions.csv").open(newline="") as file:
        return sorted(csv.DictReader(file), key=lambda row: row["path"])
