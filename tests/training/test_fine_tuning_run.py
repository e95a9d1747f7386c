"""Fine-tuning as a user meets it: from a folder of pictures to a model folder."""

import csv
import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest
from support.pictures import draw_picture
from support.small_network import small_saved_model

import retrain
from retrain._tensorflow import tf
from retrain.backbones import backbone
from retrain.cli import main as cli
from retrain.cli.progress import Progress
from retrain.data.folder_walk import picture_files
from retrain.errors import CacheError, UsageError
from retrain.events import EpochEnded
from retrain.model.classifier import Classifier
from retrain.model.graph_file import parse_graph
from retrain.options import (
    AugmentationOptions,
    BackboneOptions,
    EvaluationOptions,
    FineTuningOptions,
    RunOptions,
    TrainingOptions,
)
from retrain.pipeline.evaluate import evaluate as evaluate_folder
from retrain.training.fine_tuning import FineTuner

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def small_backbone(tmp_path_factory):
    return small_saved_model(tmp_path_factory.mktemp("small") / "small")


@pytest.fixture(scope="module")
def options(small_backbone):
    return RunOptions(
        backbone=BackboneOptions(str(small_backbone)),
        training=TrainingOptions(optimizer="adam", steps=100),
        evaluation=EvaluationOptions(plots=True),
        fine_tuning=FineTuningOptions(
            fine_tune_layers=2, fine_tune_epochs=3, fine_tune_batch_size=16, fine_tune_learning_rate=0.01
        ),
    )


@pytest.fixture(scope="module")
def tuned(options, tmp_path_factory):
    """A folder with pictures/, cache/ and model/, and the trained model."""
    folder = tmp_path_factory.mktemp("tuned")
    for label, name in enumerate(["cat", "dog", "owl"]):
        (folder / "pictures" / name).mkdir(parents=True)
        for number in range(30):
            draw_picture(number, label).save(folder / "pictures" / name / f"{number}.png")
    before = os.getcwd()
    os.chdir(folder)
    try:
        weights = []
        tell = FineTuner.train

        def spy(self, *args):
            done = tell(self, *args)
            weights.append(done.weights)
            return done

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(FineTuner, "train", spy)
            model = retrain.train("pictures", "model", options)
    finally:
        os.chdir(before)
    return folder, model, weights[0]


def test_the_exported_graph_has_the_retrained_layers_bit_for_bit(tuned):
    folder, _, weights = tuned
    nodes = {node.name: node for node in parse_graph((folder / "model" / "graph.pb").read_bytes(), "graph").node}
    assert len(weights) == 3  # a kernel, gamma and beta
    for name, array in weights.items():
        assert np.array_equal(tf.make_ndarray(nodes[name].attr["value"].tensor), array)


def test_all_exported_forms_give_the_scores_that_training_saw(tuned):
    folder, model, _ = tuned
    paths = [path for path, _ in picture_files([folder / "pictures"])]
    answers = list(Classifier(folder / "model").predict(paths))
    seen = {str(folder / "pictures" / picture.path): picture for picture in model.result.pictures}
    for answer in answers:
        assert answer.label == seen[answer.path].predicted
        assert answer.score == pytest.approx(seen[answer.path].score, abs=2e-3)  # activations were rounded to float16
    assert [*Classifier(folder / "model").predict(paths)] == answers
    served = tf.saved_model.load(str(folder / "model" / "saved_model")).signatures["serving_default"]
    scores = served(image_bytes=tf.constant([Path(path).read_bytes() for path in paths]))["final_result"].numpy()
    wanted = [[answer.scores[label] for label in model.result.labels] for answer in answers]
    np.testing.assert_allclose(scores, wanted, atol=2e-3)  # TensorFlow resizes to within a level of Pillow


def test_the_record_says_what_was_done(tuned):
    folder, _, weights = tuned
    run = json.loads((folder / "model" / "run.json").read_text())
    done = run["fine_tuning"]
    assert (done["activations"], done["layers"]) == ([8, 8, 14], ["top", "top_bn"])
    assert done["weights"] == sum(array.size for array in weights.values())
    assert (done["epochs"], done["best_epoch"], done["learning_rate"]) == (3, None, 0.01)
    assert "fine_tuning_seconds" in run["timings"]
    assert {*os.listdir(folder / "model")} >= {"curves.csv", "curves.png", "predictions.png", "fine_tuning.csv"}
    with (folder / "model" / "fine_tuning.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1", "2", "3"]
    assert float(rows[-1]["validation_cross_entropy"]) < float(rows[0]["validation_cross_entropy"])


def test_evaluate_keeps_the_bottlenecks_of_the_new_layers_apart(tuned, options, monkeypatch):
    folder, model, _ = tuned
    monkeypatch.chdir(folder)
    found = evaluate_folder(Classifier("model"), "pictures")
    by_path = {picture.path: picture for picture in found.pictures}
    assert all(by_path[picture.path].predicted == picture.predicted for picture in model.result.pictures)
    assert found.extraction.extracted == 90
    assert evaluate_folder(Classifier("model"), "pictures").extraction.extracted == 0
    plain = dataclasses.replace(options, fine_tuning=FineTuningOptions())
    # training without fine-tuning afterwards has bottlenecks of its own, too
    assert retrain.train("pictures", "plain", plain).result.extraction["extracted"] == 90


def test_the_same_again_extracts_nothing_and_gives_the_same_model(tuned, options, monkeypatch):
    folder, _, _ = tuned
    monkeypatch.chdir(folder)

    def refuse(source):
        raise AssertionError("the network is not needed")

    monkeypatch.setattr(backbone, "load_network", refuse)
    again = retrain.train("pictures", "again", options)
    assert again.result.extraction["extracted"] == 0
    assert Path("again/graph.pb").read_bytes() == Path("model/graph.pb").read_bytes()


def test_copies_calibration_plots_and_patience_go_together_with_it(tuned, options, monkeypatch):
    folder, _, _ = tuned
    monkeypatch.chdir(folder)
    everything = dataclasses.replace(
        options,
        augmentation=AugmentationOptions(augment=2, flip=True),
        training=TrainingOptions(optimizer="adam", epochs=4, patience=50),
        evaluation=EvaluationOptions(calibrate=True, plots=True),
    )
    model = retrain.train("pictures", "everything", everything)
    trained = len([picture for picture in model.result.pictures if picture.set == "train"])
    assert model.result.augmentation.rows == 2 * trained
    assert model.record["fine_tuning"]["best_epoch"] is not None
    with open("everything/curves.csv") as file:
        points = list(csv.DictReader(file))
    epochs = [float(point["epoch"]) for point in points]
    best = model.record["fine_tuning"]["best_epoch"]
    assert len(points) == 4 + best  # those of fine-tuning come after the head's, and end with what was kept
    assert epochs[4:] == [epochs[3] + 1 + number for number in range(best)]
    # calibration leaves the labels as they are
    assert float(points[-1]["test_accuracy"]) == pytest.approx(model.result.metrics["test"].accuracy)


def test_too_large_a_cache_is_refused_before_any_picture_is_read(tuned, options, monkeypatch):
    folder, _, _ = tuned
    monkeypatch.chdir(folder)
    small = dataclasses.replace(options.fine_tuning, max_cache_size=1e-6)
    message = (
        r"activations below top: 8 x 8 x 14 in float16, 0.2 MiB for 90 pictures: more than --max-cache-size 1e-06 GiB; "
        "raise it"
    )
    before = sorted(os.listdir("cache"))
    with pytest.raises(CacheError, match=message):
        retrain.train("pictures", "refused", dataclasses.replace(options, fine_tuning=small))
    assert sorted(os.listdir("cache")) == before


def test_fine_tuning_is_of_float32():
    with pytest.raises(UsageError, match="--precision int8 with fine-tuning: layers can be trained in float32 only"):
        RunOptions(backbone=BackboneOptions(precision="int8"), fine_tuning=FineTuningOptions(fine_tune_layers=1))


def test_interrupted_on_the_command_line_it_loses_nothing(tuned, small_backbone, monkeypatch, capsys):
    """The same command goes on after the last epoch, and makes the model that it would have made."""
    folder, _, _ = tuned
    monkeypatch.chdir(folder)
    show = vars(Progress)["show"]

    def stop(self, event):
        if isinstance(event, EpochEnded) and event.epoch == 2:
            raise KeyboardInterrupt
        show.__get__(self)(event)

    command = ["train", "pictures", "--backbone", str(small_backbone), "--optimizer", "adam", "--steps", "100"]
    command += ["--plots", "--model-dir", "stopped", "--json"]
    fine = ["--fine-tune-layers", "2", "--fine-tune-epochs", "3", "--fine-tune-batch-size", "16"]
    with monkeypatch.context() as patch:
        patch.setattr(Progress, "show", stop)
        assert cli.main([*command, *fine, "--fine-tune-learning-rate", "0.01"]) == 130
    message = "interrupted after epoch 1 of fine-tuning; finished epochs are kept: the same command goes on from there"
    told = capsys.readouterr().err
    assert "before fine-tuning: train accuracy" in told
    assert message in told
    assert not Path("stopped").exists()
    assert cli.main([*command[:-1], *fine, "--fine-tune-learning-rate", "0.01"]) == 0
    shown = capsys.readouterr()
    assert "fine-tuning continues after epoch 1, where an earlier run stopped" in shown.err
    assert "activations below top: 8 x 8 x 14 in float16, 0.2 MiB for 90 pictures" in shown.err
    assert "epoch 3: train accuracy" in shown.err
    assert "Fine-tuned: 2 layers from top on, 3 epochs; validation accuracy" in shown.out
    for name in ("head.h5", "graph.pb", "fine_tuning.csv", "curves.csv"):
        assert Path("stopped", name).read_bytes() == Path("model", name).read_bytes(), name
    assert not [*Path("cache").rglob("fine_tuning-*.npz")]  # of no use once the model is written
    assert cli.main([*command, "--fine-tune-from", "nowhere"]) == 2
    assert "--fine-tune-from nowhere: the network has no such layer" in capsys.readouterr().err
