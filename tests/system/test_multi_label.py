"""Pictures with several labels, from the folder to the report."""

import csv
import json
from dataclasses import replace

import jsonschema
import numpy as np
import pytest
from PIL import Image
from support.command import retrain
from support.pictures import REPOSITORY

from retrain.errors import UsageError
from retrain.events import Warned
from retrain.model import Classifier
from retrain.options import BackboneOptions, ExtractionOptions, LabelOptions, RunOptions, SplitOptions, TrainingOptions
from retrain.pipeline.compare import compare
from retrain.pipeline.few_shot import few_shot
from retrain.pipeline.label_next import label_next
from retrain.pipeline.train import train_model
from retrain.pipeline.watch import watch
from retrain.report import render_report
from retrain.report.contents import LabelReport

COLOURS = ("blue", "green", "red")


def draw(has, rng):
    """A noisy picture with a stripe for each colour that it has."""
    pixels = np.full((32, 32, 3), 90.0)
    for number, name in enumerate(COLOURS):
        if name in has:
            pixels[10 * number : 10 * number + 10, :, 2 - number] += 60
    return Image.fromarray((pixels + rng.normal(0, 45, pixels.shape)).clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def stripes(tiny_backbone, tmp_path_factory):
    """A folder with list.csv, folders/, cache/ and a model; and what training printed."""
    folder, rng = tmp_path_factory.mktemp("stripes"), np.random.default_rng(0)
    rows = ["path,label"]
    for number in range(100):
        has = [name for name in COLOURS if rng.random() < 0.45]
        picture, name = draw(has, rng), f"{number:03}.png"
        picture.save(folder / name)
        rows.append(f"{name},{'|'.join(has)}")
        for own in has:
            (folder / "folders" / own).mkdir(parents=True, exist_ok=True)
            picture.save(folder / "folders" / own / name)
    (folder / "list.csv").write_text("\n".join(rows))
    shared = ("--multi-label", "--backbone", tiny_backbone, "--validation-percentage", 20)
    done = retrain(
        "train",
        "list.csv",
        *shared,
        "--optimizer",
        "lbfgs",
        "--calibrate",
        "--plots",
        "--projector",
        cwd=folder,
        check=0,
    )
    return folder, done


def labels_of(row):
    """What a row of list.csv says, in the order of the labels."""
    return "|".join(sorted(filter(None, row["label"].split("|"))))


def pairs(pictures):
    """The path and label of each."""
    return [(picture.path, picture.label) for picture in pictures]


def warnings_in(heard):
    """The warnings among events."""
    return [event.message for event in heard if isinstance(event, Warned)]


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_says_how_good_it_is_in_the_measures_of_several_labels(stripes):
    folder, done = stripes
    assert "100 pictures of 3 labels" in done.stdout
    assert " mAP " in done.stdout
    assert "(micro)" in done.stdout
    model = folder / "model"
    record, metrics = (json.loads((model / name).read_text()) for name in ("run.json", "metrics.json"))
    assert record["format"] == 2  # readers of format 1 would give every picture one label
    assert [*record["results"]["test"]] == [
        *("n", "mean_average_precision", "micro_f1", "macro_f1", "exact_match", "cross_entropy")
    ]
    jsonschema.validate(record, json.loads((REPOSITORY / "docs" / "run.schema.json").read_text("utf-8")))
    assert record["options"]["multi_label"] is True
    assert record["options"]["sampling"] == "uniform"
    assert record["thresholds"] == pytest.approx([row["threshold"] for row in metrics["test"]["per_label"]], abs=1e-6)
    assert metrics["test"]["mean_average_precision"] > 0.8
    assert [*rows_of(model / "history.csv")[0]] == [
        *("step", "train_exact_match", "train_cross_entropy", "validation_exact_match", "validation_cross_entropy")
    ]
    assert "test_exact_match" in rows_of(model / "curves.csv")[0]


def test_predictions_have_all_labels_of_a_picture(stripes):
    folder, _ = stripes
    truth = {row["path"]: labels_of(row) for row in rows_of(folder / "list.csv")}
    rows = rows_of(folder / "model" / "predictions.csv")
    assert {row["path"]: row["label"] for row in rows} == truth
    assert "" in truth.values()
    classifier = Classifier(folder / "model")
    predictions = [*classifier.predict([folder / row["path"] for row in rows[:8]])]
    assert ["|".join(sorted(found.labels)) for found in predictions] == [row["predicted"] for row in rows[:8]]


def test_a_picture_in_several_folders_is_one_with_all_labels(stripes, tiny_backbone):
    folder, _ = stripes
    options = RunOptions(
        backbone=BackboneOptions(backbone=str(tiny_backbone)),
        labels=LabelOptions(multi_label=True),
        training=TrainingOptions(steps=300, learning_rate=0.3, class_weight="balanced", hidden_units=8),
    )
    model = train_model(folder / "folders", options)
    truth = {row["path"]: labels_of(row) for row in rows_of(folder / "list.csv") if row["label"]}
    assert {path.rpartition("/")[2]: label for path, label in pairs(model.result.pictures)} == truth
    assert len(model.result.pictures) == len(truth)
    assert model.trained.head.thresholds.shape == (3,)
    assert model.result.metrics["train"].mean_average_precision > 0.8


def test_evaluation_shows_what_comes_together(stripes):
    folder, _ = stripes
    done = retrain("evaluate", "model", "list.csv", "--output", "found", cwd=folder, check=0)
    assert "Co-occurrence (rows: label that a picture has, columns: label that it was given)" in done.stdout
    rows = rows_of(folder / "found" / "co_occurrence.csv")
    found = json.loads((folder / "found" / "evaluation.json").read_text())
    assert [[int(row[name]) for name in COLOURS] for row in rows] == found["co_occurrence"]
    by_folders = json.loads(retrain("evaluate", "model", "folders", "--json", cwd=folder, check=0).stdout)
    assert by_folders["n"] == sum(row["label"] != "" for row in rows_of(folder / "list.csv"))


def test_crossval_and_tuning_measure_average_precision(stripes, tiny_backbone):
    folder, _ = stripes
    shared = ("--multi-label", "--backbone", tiny_backbone)
    done = retrain("crossval", "list.csv", *shared, "--folds", 3, "--optimizer", "lbfgs", cwd=folder, check=0)
    assert "fold 3 of 3: mAP " in done.stderr
    assert "\nmAP " in done.stdout
    done = retrain("crossval", "list.csv", *shared, "--folds", 3, "--steps", 20, "--json", cwd=folder, check=0)
    found = json.loads(done.stdout)
    assert found["statistics"]["n"] == 100
    assert found["metrics"]["mean_average_precision"] > 0.5
    assert "co_occurrence" not in found["folds"][0]
    tuned = ("--tune", "--tune-seconds", 0.01, "--model-dir", "tuned", "--report", "none")
    retrain("train", "list.csv", *shared, *tuned, cwd=folder, check=0)
    assert float(rows_of(folder / "tuned" / "tuning.csv")[0]["mean_average_precision"]) > 0.5


def test_a_comparison_says_what_accuracy_is(stripes):
    folder, _ = stripes
    found = compare([folder / "model", folder / "model"])
    metrics = json.loads((folder / "model" / "metrics.json").read_text())["test"]
    assert found.runs[0].accuracy.value == metrics["exact_match"]
    assert "accuracy is the share of those that got exactly the right ones" in found.notes[0]


def test_inspection_counts_labels_and_pictures(stripes):
    folder, _ = stripes
    by_list, by_folders = (
        json.loads(retrain("inspect", source, "--multi-label", "--json", cwd=folder, check=0).stdout)
        for source in ("list.csv", "folders")
    )
    assert by_list["classes"] == by_folders["classes"]
    assert by_list["pictures"] == 100
    assert by_folders["pictures"] == sum(row["label"] != "" for row in rows_of(folder / "list.csv"))
    assert by_folders["contradictions"] == []


def test_the_full_report_has_labels_and_what_comes_together(stripes):
    from retrain.pipeline.report import write_report

    folder, _ = stripes
    quick = (folder / "model" / "report.html").read_text()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        made = write_report("model")
    assert isinstance(made.report, LabelReport)
    assert made.as_dict()["mean_average_precision"]["n"] == made.report.co_occurrence.n
    assert [row.label for row in made.report.labels] == [*COLOURS]
    assert {*made.as_dict()["findings"]} >= {"suspects", "two-labels", "leaks", "near-duplicates"}
    assert made.report.headline.cross_validated.n == 100
    full = (folder / "model" / "report.html").read_text()
    for text in ("What comes together", "Precision and recall of each label", "Label by label", 'id="co-occurrence"'):
        assert text in quick
        assert text in full
    assert "a label too many or too few" in full or "have exactly the right labels" in full
    many = replace(made.report, co_occurrence=replace(made.report.co_occurrence, rows=(), worst=(("red", "blue", 3),)))
    assert "was wrongly given" in render_report(many).decode()


def test_labels_without_a_threshold_are_told(stripes, tiny_backbone):
    """Without validation pictures there is none; with a set of its own, a label may have none."""
    folder, _ = stripes
    shared = RunOptions(
        backbone=BackboneOptions(backbone=str(tiny_backbone)),
        extraction=ExtractionOptions(cache_dir=str(folder / "cache")),
        labels=LabelOptions(multi_label=True),
        training=TrainingOptions(steps=10),
    )
    heard = []
    bare = replace(shared, split=SplitOptions(validation_percentage=0))
    model = train_model(folder / "list.csv", bare, heard.append)
    assert model.trained.head.thresholds.tolist() == [0.5] * 3
    assert "there are no validation pictures to choose thresholds on: all are 0.5" in warnings_in(heard)
    rows = rows_of(folder / "list.csv")
    kinds = {
        row["path"]: "validation" if "red" not in row["label"] and number % 3 == 0 else "train"
        for number, row in enumerate(rows)
    }
    lines = [f"{row['path']},{row['label']},{kinds[row['path']]}" for row in rows]
    (folder / "sets.csv").write_text("\n".join(["path,label,set", *lines]))
    heard.clear()
    train_model(folder / "sets.csv", shared, heard.append)
    assert "1 label has no validation pictures to choose a threshold on, and 0.5: red" in warnings_in(heard)


def test_commands_for_one_label_refuse_several(stripes):
    folder, _ = stripes
    options = RunOptions(labels=LabelOptions(multi_label=True))
    for command, call in (
        ("label-next", lambda: label_next(None, folder, options=options)),
        ("predict --few-shot", lambda: few_shot(folder, [], options)),
    ):
        with pytest.raises(UsageError, match=f"retrain {command} is for pictures with one label each"):
            call()
    with pytest.raises(UsageError, match="a model that follows its folder is a plain head: leave --multi-label out"):
        next(watch(folder / "folders", options=options))
    done = retrain("watch", "folders", "--multi-label", cwd=folder, check=2)
    assert "unrecognized arguments: --multi-label (an option of retrain " in done.stderr
    done = retrain("train", "list.csv", cwd=folder, check=1)
    assert "is for several labels, and a picture has one, unless --multi-label is given" in done.stderr


def test_vectors_come_with_all_labels(stripes, tiny_backbone):
    folder, _ = stripes
    done = ("extract", "list.csv", "--multi-label", "--backbone", tiny_backbone, "--output", "vectors.npz")
    retrain(*done, cwd=folder, check=0)
    with np.load(folder / "vectors.npz") as file:
        truth = {row["path"]: labels_of(row) for row in rows_of(folder / "list.csv")}
        assert dict(zip(file["path"].tolist(), file["label"].tolist(), strict=True)) == truth
