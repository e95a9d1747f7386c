import csv
import json

import numpy as np
import pytest
from support.hearing import hearing, warnings_to
from support.pictures import TINY_SIZE

import retrain
from retrain.cache.vectors import LabelledBottlenecks
from retrain.cli import main as cli
from retrain.errors import TrainingError
from retrain.events import Stepped, TryTested
from retrain.options import BackboneOptions, RunOptions, TrainingOptions, TuningOptions
from retrain.training import tuning
from retrain.training.fold_trainer import FoldTrainer
from retrain.training.head_trainer import HeadTrainer
from retrain.training.tuning import candidates, choose_folds, tune

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
    found = [tried.options for tried in candidates(base, 100)]
    assert found[0] == base
    assert {options.optimizer for options in found[1:4]} == {"lbfgs", "adam", "gradient-descent"}
    assert all(options.hidden_units == 7 and options.seed == 3 for options in found)
    with_dropout = candidates(TrainingOptions(dropout=0.5), 100)
    assert {tried.options.optimizer for tried in with_dropout} == {"adam", "gradient-descent"}


def test_nothing_is_tried_twice():
    plain, same = candidates(TrainingOptions(), 100), candidates(TrainingOptions(optimizer="lbfgs"), 100)
    assert len(same) == len(plain) - 1  # 1 / 100 is the penalty of the first candidate, too
    assert len({tried.resolved for tried in same}) == len(same)


@pytest.mark.slow
@pytest.mark.usefixtures("few_candidates")
def test_the_best_has_the_lowest_cross_entropy_and_nothing_is_random():
    seen = []
    trainer, options = HeadTrainer(noisy(), 2), TrainingOptions(steps=200)
    found = tune(FoldTrainer(trainer, folds_of(), LABELS), options, LONG, hearing(TryTested, seen.append))
    assert [(test.done, test.planned) for test in seen] == [
        (number, 4 + 3 + 3) for number in range(1, 11)
    ]  # folds that were tested
    whole = [tried for tried in found.tries if len(tried.accuracies) == 3]
    assert len(whole) == 3
    assert found.tries[found.best].cross_entropy == min(tried.cross_entropy for tried in whole)
    assert found.options == found.tries[found.best].options
    [dropped] = [tried for tried in found.tries if len(tried.accuracies) == 1]
    first = [tried.cross_entropies[0] for tried in found.tries]
    assert dropped.cross_entropy == max(first)
    assert found.is_complete
    assert found.folds == 3
    again = tune(FoldTrainer(HeadTrainer(noisy(), 2), folds_of(), LABELS), options, LONG)
    assert [tried.cross_entropies for tried in again.tries] == [tried.cross_entropies for tried in found.tries]
    assert again.best == found.best


def test_each_round_halves_the_tries():
    found = tune(FoldTrainer(HeadTrainer(noisy(), 2), folds_of(count=4), LABELS), TrainingOptions(steps=30), LONG)
    assert sorted((len(tried.accuracies) for tried in found.tries), reverse=True) == [4] * 3 + [3] + [2] * 3 + [1] * 7


def stop_after(monkeypatch, moments):
    """Time stands still, then is over: after so many looks at the clock that are not the first."""
    looks = iter(range(10**6))
    monkeypatch.setattr(tuning.time, "monotonic", lambda: 0.0 if next(looks) < moments else 1e9)


@pytest.mark.usefixtures("few_candidates")
@pytest.mark.parametrize("moments", [1, 4, 8, 12, 16, 20, 24, 28])
def test_wherever_time_ends_what_was_compared_is_compared_fairly(monkeypatch, moments):
    stop_after(monkeypatch, moments)
    found = tune(FoldTrainer(HeadTrainer(noisy(), 2), folds_of(), LABELS), TrainingOptions(steps=20), 1.0)
    assert not found.is_complete
    rounds = [len(tried.cross_entropies) for tried in found.tries]
    assert rounds[0] >= 1
    assert found.folds == max(1, sorted(rounds, reverse=True)[2] if sum(rounds) >= 4 else 1)
    finalists = [tried for tried in found.tries if len(tried.cross_entropies) >= found.folds]
    means = [np.mean(tried.cross_entropies[: found.folds]) for tried in finalists]
    assert found.tries[found.best] is finalists[int(np.argmin(means))]


@pytest.mark.usefixtures("few_candidates")
def test_time_ends_within_a_training_too(monkeypatch):
    looks = []
    monkeypatch.setattr(tuning.time, "monotonic", lambda: 0.0 if len(looks) < 12 else 1e9)
    train = HeadTrainer.train

    def counted(self, numbers, held_out, options, emit):
        def count(event):
            if isinstance(event, Stepped):
                looks.append(event.done)
            emit(event)

        return train(self, numbers, held_out, options, count)

    monkeypatch.setattr(HeadTrainer, "train", counted)
    found = tune(FoldTrainer(HeadTrainer(noisy(), 2), folds_of(), LABELS), TrainingOptions(steps=20_000), 1.0)
    assert found.best == 0  # done whole in any case, a hundred blocks of it
    assert [len(tried.accuracies) for tried in found.tries] == [1, 0, 0, 0]


def test_a_search_without_time_says_that_it_depends_on_it(make_folder, tiny_backbone):
    said = []
    backbone = BackboneOptions(backbone=str(tiny_backbone), input_size=TINY_SIZE)
    options = RunOptions(backbone, training=TrainingOptions(steps=20), tuning=TuningOptions(True, 0.0))
    model = retrain.train(make_folder({"cat": 25, "dog": 25}), "model", options, warnings_to(said.append))
    assert any("--tune ran out of time in round" in warning and "--tune-seconds" in warning for warning in said)
    assert not model.record["tuning"]["is_complete"]


@pytest.mark.usefixtures("few_candidates")
def test_tries_that_fail_are_no_choice(monkeypatch):
    wild = noisy()
    wild.vectors[:] *= np.float32(1e18)
    monkeypatch.setattr(tuning, "_CANDIDATES", (("lbfgs", None, 1.0), ("adam", 1e6, 1e6)))
    found = tune(
        FoldTrainer(HeadTrainer(wild, 2), folds_of(), LABELS), TrainingOptions(steps=200, learning_rate=1e6), LONG
    )
    assert "training diverged at step" in found.tries[0].error
    assert found.tries[0].accuracy is None
    assert found.options.optimizer == "lbfgs"
    monkeypatch.setattr(tuning, "_CANDIDATES", ())
    with pytest.raises(TrainingError, match="none of 1 tries of --tune succeeded; the first failed: training diverged"):
        tune(FoldTrainer(HeadTrainer(wild, 2), folds_of(), LABELS), TrainingOptions(steps=200, learning_rate=1e6), LONG)


def test_test_pictures_are_in_no_fold(make_folder):
    from retrain.data.image_folder import read_image_folder

    samples = read_image_folder(make_folder({"cat": 12, "dog": 9})).samples
    keys = np.random.default_rng(0).integers(0, 256, (21, 32), np.uint8)
    sets = ["test", "train", "validation"] * 7
    folds = choose_folds(samples, keys, sets, TrainingOptions())
    assert {which for which, fold in zip(sets, folds, strict=True) if fold < 0} == {"test"}
    assert set(folds.tolist()) == {-1, 0, 1, 2, 3, 4}
    with pytest.raises(TrainingError, match="--tune needs 2 different training or validation pictures of every class"):
        choose_folds(samples, keys, ["train"] * 13 + ["test"] * 8, TrainingOptions())
    with pytest.raises(TrainingError, match="--tune needs 3 different"):
        choose_folds(samples, keys, ["train"] * 14 + ["test"] * 7, TrainingOptions(patience=5))


@pytest.mark.slow
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
    """Every fourth number of each vector: with all, the search takes six seconds."""
    data, labels = reference_flowers
    data = LabelledBottlenecks(data.vectors[:, ::4].copy(), data.labels)
    folds = (np.random.default_rng(0).permutation(len(data)) % 4).astype(np.int32) - 1  # a quarter is for the test
    found = tune(
        FoldTrainer(HeadTrainer(data, len(labels)), folds, labels),
        TrainingOptions(steps=500, eval_step_interval=500),
        600,
    )
    assert found.is_complete
    first, best = found.tries[0].cross_entropies, found.tries[found.best].cross_entropies
    assert np.mean(best[: len(first)]) <= np.mean(first)  # of the folds that both were tested on
    assert found.tries[found.best].accuracy > 0.75  # of all numbers 0.8


@pytest.mark.usefixtures("few_candidates")
def test_the_command_shows_its_tries_and_what_it_chose(make_folder, tiny_backbone, capsys):
    folder = make_folder({"cat": 25, "dog": 25})
    assert cli.main(["train", str(folder), "--backbone", str(tiny_backbone), "--steps", "20", "--tune"]) == 0
    output = capsys.readouterr()
    assert "tuning 1 of 16: gradient-descent, learning rate 0.01, L2 0: accuracy" in output.err
    assert "tuning 2 of 16: lbfgs, L2 0.1: accuracy" in output.err
    assert "the best of 4 tries, all in model/tuning.csv" in output.out
