import csv
import json

import numpy as np
import pytest
from conftest import TINY_SIZE

import retrain
from retrain import cli, tuning
from retrain.config import BackboneOptions, RunOptions, TrainingOptions, TuningOptions
from retrain.errors import TrainingError
from retrain.hooks import Hooks
from retrain.training import HeadTrainer
from retrain.tuning import candidates, choose_folds, tune
from retrain.vectors import LabelledBottlenecks

LABELS = ("a", "b")
LONG = 600.0  # seconds, more than any of these takes


def noisy(n=60, length=30):
    """Few pictures with many numbers: a penalty pays."""
    rng = np.random.default_rng(0)
    labels = np.arange(n, dtype=np.int32) % 2
    return LabelledBottlenecks((np.eye(2, length)[labels] + rng.normal(0, 1, (n, length))).astype(np.float32), labels)


def folds_of(n=60, count=3):
    return (np.arange(n) // 2 % count).astype(np.int32)


@pytest.fixture
def few_candidates(monkeypatch):
    few = (("lbfgs", None, 1e-1), ("lbfgs", None, 1e-6), ("adam", 1e-3, 0.0))
    monkeypatch.setattr(tuning, "_CANDIDATES", few)


def test_the_options_as_they_are_come_first_and_each_way_of_training_soon():
    base = TrainingOptions(hidden_units=7, batch_size=20, seed=3)
    found = candidates(base)
    assert found[0] == base
    assert {options.optimizer for options in found[1:4]} == {"lbfgs", "adam", "gradient-descent"}
    assert all(options.hidden_units == 7 and options.seed == 3 for options in found)
    assert len(set(found)) == len(found)
    with_dropout = candidates(TrainingOptions(dropout=0.5))
    assert {options.optimizer for options in with_dropout} == {"adam", "gradient-descent"}


@pytest.mark.usefixtures("few_candidates")
def test_the_best_has_the_lowest_cross_entropy_and_nothing_is_random():
    seen = []
    trainer, options = HeadTrainer(noisy(), 2), TrainingOptions(steps=200)
    found = tune(trainer, folds_of(), options, LABELS, LONG, lambda *event: seen.append(event))
    assert [event[:2] for event in seen] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert tuple(event[2] for event in seen) == found.tries
    whole = [tried for tried in found.tries if tried.is_whole]
    assert found.tries[found.best].cross_entropy == min(tried.cross_entropy for tried in whole)
    assert found.options == found.tries[found.best].options
    assert found.tries[1].cross_entropy < found.tries[2].cross_entropy
    assert found.left_out == 0
    again = tune(HeadTrainer(noisy(), 2), folds_of(), options, LABELS, LONG)
    assert [tried.folds for tried in again.tries] == [tried.folds for tried in found.tries]
    assert again.best == found.best


@pytest.mark.usefixtures("few_candidates")
def test_what_is_hopeless_is_given_up_after_two_folds():
    found = tune(HeadTrainer(noisy(), 2), folds_of(), TrainingOptions(optimizer="lbfgs", l2=0.1), LABELS, LONG)
    assert not found.tries[2].is_whole  # next to no penalty
    assert len(found.tries[2].folds) == 2


@pytest.mark.usefixtures("few_candidates")
def test_without_time_the_first_try_is_done_whole_and_no_more():
    found = tune(HeadTrainer(noisy(), 2), folds_of(), TrainingOptions(steps=20), LABELS, 0.0)
    assert len(found.tries) == 1
    assert found.tries[0].is_whole
    assert found.left_out == 3


def test_a_search_without_time_says_that_it_depends_on_it(make_folder, tiny_backbone):
    said = []
    backbone = BackboneOptions(backbone=str(tiny_backbone), input_size=TINY_SIZE)
    options = RunOptions(backbone, training=TrainingOptions(steps=20), tuning=TuningOptions(True, 0.0))
    retrain.train(make_folder({"cat": 25, "dog": 25}), "model", options, Hooks(on_warning=said.append))
    assert any("--tune had time for 1 of 14 tries" in warning and "--tune-seconds" in warning for warning in said)


@pytest.mark.usefixtures("few_candidates")
def test_tries_that_fail_are_no_choice(monkeypatch):
    trainer = HeadTrainer(noisy(), 2)
    found = tune(trainer, folds_of(), TrainingOptions(batch_size=50), LABELS, LONG)
    assert "--batch-size 50: there are 40" in found.tries[0].error
    assert found.tries[0].accuracy is None
    assert not found.tries[0].is_whole
    assert found.options.optimizer == "lbfgs"
    monkeypatch.setattr(tuning, "_CANDIDATES", (("adam", 1e-3, 0.0),))
    with pytest.raises(TrainingError, match="none of 2 tries of --tune succeeded; the first: --batch-size 50: there"):
        tune(trainer, folds_of(), TrainingOptions(batch_size=50), LABELS, LONG)


def test_test_pictures_are_in_no_fold(make_folder):
    from retrain.image_folder import read_image_folder

    samples = read_image_folder(make_folder({"cat": 12, "dog": 9})).samples
    keys = np.random.default_rng(0).integers(0, 256, (21, 32), np.uint8)
    sets = ["test", "train", "validation"] * 7
    folds = choose_folds(samples, keys, sets, TrainingOptions())
    assert {which for which, fold in zip(sets, folds, strict=True) if fold < 0} == {"test"}
    assert set(folds.tolist()) == {-1, 0, 1, 2, 3, 4}
    with pytest.raises(TrainingError, match="--tune wants 2 different training or validation pictures of every class"):
        choose_folds(samples, keys, ["train"] * 13 + ["test"] * 8, TrainingOptions())
    with pytest.raises(TrainingError, match="--tune wants 3 different"):
        choose_folds(samples, keys, ["train"] * 14 + ["test"] * 7, TrainingOptions(patience=5))


@pytest.mark.usefixtures("few_candidates")
def test_a_run_trains_with_what_was_found_and_keeps_the_tries(make_folder, tiny_backbone):
    backbone = BackboneOptions(backbone=str(tiny_backbone), input_size=TINY_SIZE)
    options = RunOptions(backbone, training=TrainingOptions(steps=50), tuning=TuningOptions(True, LONG))
    folder = make_folder({"cat": 25, "dog": 25})
    model = retrain.train(folder, "model", options)
    with open("model/tuning.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    [best] = [row for row in rows if row["result"] == "best"]
    with open("model/run.json") as file:
        record = json.load(file)
    assert record["options"]["optimizer"] == best["optimizer"]
    assert record["options"]["l2"] == float(best["l2"])
    assert record["tuning"]["best"] == int(best["try"])
    assert record["tuning"]["cross_entropy"] == pytest.approx(float(best["cross_entropy"]))
    assert record["timings"]["tuning_seconds"] > 0
    assert "tuning.csv" in record["files"]
    direct = RunOptions(backbone, training=model.result.tuning.options)
    again = retrain.train(folder, "model", direct)
    for one, other in zip(again.trained.head.layers, model.trained.head.layers, strict=True):
        assert np.array_equal(one.weights, other.weights)
    assert not [path for path in again.record["files"] if "tuning" in path]


@pytest.mark.real
def test_the_reference_vectors_get_no_worse_by_tuning(reference_flowers):
    data, labels = reference_flowers
    folds = (np.random.default_rng(0).permutation(len(data)) % 4).astype(np.int32) - 1  # a quarter is for the test
    found = tune(HeadTrainer(data, len(labels)), folds, TrainingOptions(steps=1000), labels, 5.0)
    assert found.tries[found.best].cross_entropy <= found.tries[0].cross_entropy
    assert found.tries[found.best].accuracy > 0.8


@pytest.mark.usefixtures("few_candidates")
def test_the_command_shows_its_tries_and_what_it_chose(make_folder, tiny_backbone, capsys):
    folder = make_folder({"cat": 25, "dog": 25})
    assert cli.main(["train", str(folder), "--backbone", str(tiny_backbone), "--steps", "20", "--tune"]) == 0
    output = capsys.readouterr()
    assert "try 1 of 4: gradient-descent, learning rate 0.01, L2 0: accuracy" in output.err
    assert "try 2 of 4: lbfgs, L2 0.1: accuracy" in output.err
    assert "the best of 4 tries, all in model/tuning.csv" in output.out
