"""The commands as a user runs them, in this process, where TensorFlow is imported once."""

import csv
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.command import one_line_error, retrain
from support.pictures import draw_picture

from retrain.cli import main as cli
from retrain.data import decode_image
from retrain.extraction import part
from retrain.model.head import read_head


def test_train_leaves_a_whole_model_folder(trained):
    folder, _ = trained
    assert sorted(os.listdir(folder)) == ["cache", "model", "pictures"]
    assert sorted(os.listdir(folder / "model")) == [
        *("README.md", "classifier.tflite", "graph.pb", "head.h5", "history.csv", "labels.txt", "logs"),
        *("metrics.json", "predictions.csv", "report.html", "run.json", "saved_model", "skipped.csv"),
    ]
    run = json.loads((folder / "model" / "run.json").read_text())
    assert run["format"] == 1
    assert set(run["timings"]) == {
        "extraction_seconds",
        "training_seconds",
        "evaluation_seconds",
        "export_seconds",
        "total_seconds",
    }
    assert sum(run["split"].values()) == 90
    assert run["backbone"]["name"] == "tiny"
    assert run["options"]["steps"] == 200
    assert run["extraction"]["skipped"] == 1
    assert run["command"][1:3] == ["train", "pictures"]
    metrics = json.loads((folder / "model" / "metrics.json").read_text())
    assert set(metrics) == {"train", "validation", "test"}
    low, high = metrics["test"]["accuracy_interval"]
    assert low <= metrics["test"]["accuracy"] <= high
    assert (folder / "model" / "history.csv").read_text().splitlines()[0] == (
        "step,train_accuracy,train_cross_entropy,validation_accuracy,validation_cross_entropy"
    )
    assert 'cat/notes.txt,"text, not a picture"' in (folder / "model" / "skipped.csv").read_text()
    assert len((folder / "model" / "predictions.csv").read_text().splitlines()) == 91


def test_train_says_what_came_out_on_stdout_and_how_it_went_on_stderr(trained):
    _, done = trained
    assert "Test accuracy " in done.stdout
    assert "95% interval" in done.stdout
    assert re.search(r"^Next: retrain predict model pictures/\w+/.*\w+\.png$", done.stdout, re.MULTILINE)
    assert "Skipped 1 of 91 files (text, not a picture); by class: cat 1 of 31; all are in" in done.stdout
    assert "bottlenecks: 91 of 91 pictures" in done.stderr
    assert "step 199: train accuracy" in done.stderr


def test_a_second_run_extracts_nothing_and_gives_the_same_head(trained, tiny_backbone, tmp_path):
    folder, _ = trained
    done = retrain(
        "train", folder / "pictures", "--backbone", tiny_backbone, "--steps", 200, "--cache-dir", folder / "cache",
        "--json", "--quiet", check=0,
    )  # fmt: skip
    run = json.loads(done.stdout)
    assert run["extraction"]["extracted"] == 0
    assert run["extraction"]["cached"] == 90
    assert done.stderr == ""
    first, _ = read_head(folder / "model" / "head.h5")
    second, _ = read_head(tmp_path / "model" / "head.h5")
    assert np.array_equal(first.layers[0].weights, second.layers[0].weights)
    assert np.array_equal(first.layers[0].biases, second.layers[0].biases)


def test_predict_names_every_label_most_likely_first(trained):
    folder, _ = trained
    done = retrain("predict", "model", "pictures/dog/dog0.png", "pictures/owl/deep", cwd=folder, check=0)
    lines = done.stdout.splitlines()
    assert len(lines) == 1 + 20
    assert lines[0].startswith("pictures/dog/dog0.png: dog ")
    scores = [float(part.split()[-1]) for part in lines[0].split(": ")[1].split(", ")]
    assert scores == sorted(scores, reverse=True)
    assert sum(scores) == pytest.approx(1, abs=1e-3)
    assert done.stderr == ""


def test_predict_json_keeps_the_order_and_reports_what_cannot_be_read(trained):
    folder, _ = trained
    done = retrain(
        "predict", "model", "nowhere.jpg", "pictures/dog/dog0.png", "pictures/cat/notes.txt", "--json", cwd=folder,
        check=1,
    )  # fmt: skip
    missing, dog, text = json.loads(done.stdout)
    assert missing == {"path": "nowhere.jpg", "error": "can't be read: No such file or directory"}
    assert set(dog) == {"path", "label", "score", "scores"}
    assert dog["label"] == next(iter(dog["scores"])) == "dog"
    assert set(dog["scores"]) == {"cat", "dog", "owl"}
    assert text["error"] == "text, not a picture"
    assert "nowhere.jpg: can't be read" in done.stderr
    done = retrain("predict", "model", "pictures/dog/dog0.png", "--json", "--top", 1, cwd=folder, check=0)
    assert list(json.loads(done.stdout)[0]["scores"]) == ["dog"]


def test_predict_tells_all_labels_of_a_picture_that_can_have_many(trained, many_labels):
    pictures = [trained[0] / "pictures" / name / f"{name}0.png" for name in ("cat", "dog", "owl")]
    answers = json.loads(retrain("predict", many_labels, *pictures, "--json", check=0).stdout)
    thresholds = dict(
        zip(("cat", "dog", "owl"), json.loads((many_labels / "run.json").read_text())["thresholds"], strict=True)
    )
    for answer in answers:
        assert {*answer} == {"path", "label", "score", "scores", "labels"}
        assert answer["labels"] == [label for label, score in answer["scores"].items() if score >= thresholds[label]]
    lines = retrain("predict", many_labels, *pictures, check=0).stdout.splitlines()
    for line, answer in zip(lines, answers, strict=True):
        assert all(f"{label} {answer['scores'][label]:.4f}" in line for label in answer["labels"])
    done = retrain("predict", many_labels, trained[0] / "pictures", "--wrong", check=2)
    one_line_error(done, "--wrong compares one label with the name of a picture's folder", "leave it out")


def test_predict_wrong_shows_pictures_that_lie_in_the_wrong_folder(trained, tmp_path):
    folder, _ = trained
    for label, name in enumerate(["cat", "dog"]):
        (tmp_path / "mixed" / name / "deep").mkdir(parents=True)
        for number in range(5):
            draw_picture(number, label).save(tmp_path / "mixed" / name / "deep" / f"{number}.png")
    draw_picture(0, 2).save(tmp_path / "mixed" / "cat" / "an owl.png")
    (tmp_path / "mixed" / "dog" / "notes.txt").write_text("no picture")
    (tmp_path / "mixed" / "readme").write_text("in no class")
    done = retrain("predict", folder / "model", "mixed", "--wrong", check=0)
    first, last = done.stdout.splitlines()
    assert re.fullmatch(r"mixed/cat/an owl.png: owl 0\.\d{4}, expected cat", first)
    assert last == "1 of 11 wrong"
    assert "retrain: warning: 1 file is in no folder that is named like a class: left out" in done.stderr
    assert "retrain: warning: mixed/dog/notes.txt: text, not a picture" in done.stderr
    done = retrain("predict", folder / "model", "mixed", "--wrong", "--json", "--top", 2, check=0)
    wrong, text = json.loads(done.stdout)
    assert (wrong["path"], wrong["label"], wrong["expected"]) == ("mixed/cat/an owl.png", "owl", "cat")
    assert (len(wrong["scores"]), text["path"]) == (2, "mixed/dog/notes.txt")
    done = retrain("predict", folder / "model", "mixed/cat/deep", "mixed/dog/deep/0.png", "--wrong", check=1)
    one_line_error(done, "no picture in mixed/cat/deep, mixed/dog/deep/0.png is in a folder that is named like a class")
    assert retrain("predict", folder / "model", "mixed/dog", "--wrong", check=0).stdout == "0 of 5 wrong\n"
    (tmp_path / "nothing").mkdir()
    one_line_error(retrain("predict", folder / "model", "nothing", "--wrong", check=1), "no files in nothing")


def test_evaluate_measures_any_labelled_folder(trained, tmp_path):
    folder, _ = trained
    other = tmp_path / "other"
    for label, name in ((1, "dog"), (2, "owl")):
        (other / name).mkdir(parents=True, exist_ok=True)
        for number in range(100, 110):
            draw_picture(number, label).save(other / name / f"{number}.jpg", quality=95)
    done = retrain("evaluate", "model", other, cwd=folder, check=0)
    assert "Total accuracy" in done.stdout
    assert "Confusion matrix" in done.stdout
    figures = json.loads(retrain("evaluate", "model", other, "--json", "--quiet", cwd=folder, check=0).stdout)
    assert figures["n"] == 20
    assert figures["accuracy"] > 0.8
    assert figures["held_out"]["n"] == 20
    assert {p["set"] for p in figures["predictions"]} == {"new"}
    assert [c["label"] for c in figures["per_class"]] == ["cat", "dog", "owl"]
    assert np.array(figures["confusion_matrix"]).sum() == 20
    predicted = {p["path"]: p["predicted"] for p in figures["predictions"]}
    answers = json.loads(
        retrain("predict", "model", *(other / path for path in predicted), "--json", cwd=folder, check=0).stdout
    )
    assert [answer["label"] for answer in answers] == list(predicted.values())
    (other / "zebra").mkdir()
    draw_picture(1, 1).save(other / "zebra" / "z.png")
    one_line_error(
        retrain("evaluate", "model", other, cwd=folder, check=1),
        "classes that the model does not know: zebra",
        "its labels are cat, dog, owl",
    )


def test_a_labels_file_names_the_classes(trained, tiny_backbone, tmp_path):
    """The folders owl and dog swap names, so that a folder's name is another's label."""
    folder, _ = trained
    (tmp_path / "names.txt").write_text("cat,house cat\nowl dog\ndog owl\nzebra horse\n")
    options = ["--backbone", tiny_backbone, "--cache-dir", folder / "cache", "--labels-file", "names.txt"]
    done = retrain("train", folder / "pictures", *options, "--steps", 200, "--json", check=0)
    run = json.loads(done.stdout)
    assert (run["labels"], run["class_folders"]) == (["house cat", "owl", "dog"], ["cat", "dog", "owl"])
    assert run["options"]["labels_file"] == "names.txt"
    assert "retrain: warning: names.txt lists names without a class folder: zebra" in done.stderr
    assert Path("model/labels.txt").read_text() == "house cat\nowl\ndog\n"
    rows = Path("model/predictions.csv").read_text().splitlines()[1:]
    assert {row.split("/")[0]: row.split(",")[2] for row in rows} == {"cat": "house cat", "dog": "owl", "owl": "dog"}

    def accuracy(pictures):
        evaluated = retrain("evaluate", "model", pictures, "--cache-dir", folder / "cache", "--json", check=0)
        return json.loads(evaluated.stdout)["accuracy"]

    # named as in training, and by the labels
    assert accuracy(folder / "pictures") == accuracy_of_all(run)
    assert accuracy(folder / "pictures") > 0.9
    shutil.copytree(folder / "pictures", "named")
    for old, new in (("cat", "house cat"), ("dog", "other"), ("owl", "dog"), ("other", "owl")):
        Path("named", old).rename(Path("named", new))
    assert accuracy("named") == accuracy_of_all(run)
    cross = retrain("crossval", folder / "pictures", *options, "--steps", 20, "--folds", 2, "--json", check=0)
    assert json.loads(cross.stdout)["labels"] == ["house cat", "owl", "dog"]
    # a model of version 0.1 knows the labels alone
    for name in ("class_folders", "sha256", "digest"):
        del run[name]
    Path("model/run.json").write_text(json.dumps(run))
    assert accuracy("named") == accuracy_of_all(run)
    Path("model/run.json").write_text(json.dumps(run | {"class_folders": ["cat"]}))
    one_line_error(
        retrain("evaluate", "model", "named", check=1), "run.json is damaged", "class_folders do not fit labels"
    )


def accuracy_of_all(run):
    results = run["results"].values()
    return pytest.approx(sum(r["n"] * r["accuracy"] for r in results) / sum(r["n"] for r in results))


def test_evaluate_counts_pictures_that_were_trained_on_apart(trained):
    folder, _ = trained
    figures = json.loads(retrain("evaluate", "model", "pictures", "--json", "--quiet", cwd=folder, check=0).stdout)
    split = json.loads((folder / "model" / "run.json").read_text())["split"]
    assert figures["n"] == 90
    assert figures["held_out"]["n"] == split["validation"] + split["test"]
    text = retrain("evaluate", "model", "pictures", cwd=folder, check=0).stdout
    assert f"The model was trained on {split['train']} of 90 pictures." in text
    assert "Without them: accuracy " in text


def test_extract_json_has_the_documented_figures(trained, tiny_backbone):
    folder, _ = trained
    args = ("extract", folder / "pictures", "--backbone", tiny_backbone, "--json")
    first = json.loads(retrain(*args, check=0).stdout)
    figures = {"pictures", "different", "cached", "extracted", "skipped", "seconds", "pictures_per_second"}
    assert set(first) == figures | {"backbone", "shard", "left_out", "skipped_files", "output"}
    assert first["backbone"] == "tiny"
    assert first["skipped_files"] == {"cat/notes.txt": "text, not a picture"}
    assert (first["pictures"], first["extracted"], first["cached"], first["skipped"]) == (91, 90, 0, 1)
    again = json.loads(retrain(*args, check=0).stdout)
    assert (again["extracted"], again["cached"], again["pictures_per_second"]) == (0, 90, None)


def test_inspect_tells_what_is_there(trained, tmp_path):
    root = tmp_path / "pictures"
    shutil.copytree(trained[0] / "pictures", root)
    shutil.copy(root / "cat" / "cat0.png", root / "dog" / "same.png")
    shutil.copy(root / "dog" / "dog0.png", root / "dog" / "twice.png")
    shutil.rmtree(root / "owl" / "deep")
    (root / "empty").mkdir()
    text = retrain("inspect", root, check=0).stdout
    assert "72 pictures (70 different) in 3 classes" in text
    assert "Imbalanced: the largest class has 3.2 times the pictures of the smallest" in text
    assert "cat/notes.txt: text, not a picture" in text
    assert "cat/cat0.png = dog/same.png" in text
    assert "dog/dog0.png = dog/twice.png" in text
    found = json.loads(retrain("inspect", root, "--json", check=0).stdout)
    assert (found["pictures"], found["different"]) == (72, 70)
    assert found["contradictions"] == [["cat/cat0.png", "dog/same.png"]]
    assert found["duplicates"] == [["dog/dog0.png", "dog/twice.png"]]
    assert found["width"] == [20, 20, 20]
    assert found["empty_folders"] == ["empty"]
    assert sum(c["train"] + c["validation"] + c["test"] for c in found["classes"]) == 72


def test_inspect_lists_where_every_picture_goes(trained, tmp_path):
    folder, _ = trained
    (tmp_path / "names").write_text("cat house cat")
    done = retrain("inspect", folder / "pictures", "--list", "--labels-file", "names", check=0)
    listed, _, summary = done.stdout.partition("\n\n")
    assert summary.startswith("class ")
    rows = [line.split("\t") for line in listed.splitlines()]
    with (folder / "model" / "predictions.csv").open() as file:
        trained_on = [
            [row["set"], row["label"].replace("cat", "house cat"), row["path"]] for row in csv.DictReader(file)
        ]
    assert rows == trained_on
    files = json.loads(retrain("inspect", folder / "pictures", "--list", "--json", check=0).stdout)["files"]
    assert [[f["set"], f["label"].replace("cat", "house cat"), f["path"]] for f in files] == rows
    assert "files" not in json.loads(retrain("inspect", folder / "pictures", "--json", check=0).stdout)


def test_pictures_in_several_sets_are_told_of(make_folder, tiny_backbone):
    root = make_folder({"Training/cat": 20, "Training/dog": 20, "VALID/cat": 5, "VALID/dog": 5, "testing/cat": 5})
    for path in ("VALID/cat/cat_001.png", "testing/cat/cat_001.png"):  # of the fixture's making: no two are the same
        shutil.copy(root / "Training" / "cat" / "cat_000.png", root / path)
    shutil.copy(root / "VALID" / "dog" / "dog_000.png", root / "testing" / "cat" / "dog.png")
    done = retrain("train", root, "--backbone", tiny_backbone, "--steps", 5, check=0)
    assert "2 pictures are in more than one of the sets train, validation, test: retrain inspect shows" in done.stderr
    assert "1 picture is in several classes: retrain inspect shows which" in done.stderr
    done = retrain("inspect", root, check=0)
    assert (
        "2 pictures in several sets (a test picture that was also trained on proves nothing: keep one copy):"
        in done.stdout
    )
    first = "  Training/cat/cat_000.png = VALID/cat/cat_001.png = testing/cat/cat_001.png"
    both = "  VALID/dog/dog_000.png = testing/cat/dog.png"
    assert first in done.stdout.splitlines()
    assert (
        f"1 picture in several classes (at most one is right: keep that one; or all are, with --multi-label):\n{both}\n"
        in done.stdout
    )
    done = retrain("crossval", root, "--backbone", tiny_backbone, "--steps", 5, "--folds", 2, check=0)
    assert "more than one of the sets" not in done.stderr  # it uses none


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        (["train", "nowhere"], ["no such image folder: nowhere"]),
        (["train", "empty"], ["no pictures in the sub-folders of empty"]),
        (["train", "one"], ["only one class (cat)"]),
        (["train", "small"], ["fewer than 3 pictures in class dog (2)"]),
        (["train", "good", "--model-dir", "taken"], ["the model folder taken holds other things (notes.txt"]),
        (["train", "good", "--model-dir", "file"], ["file is a file: give a folder as --model-dir"]),
        (["train", "good", "--model-dir", "file/model"], ["can't write the model folder file/model"]),
        (["train", "good", "--model-dir", "/proc/model"], ["can't write the model folder /proc/model"]),
        (
            ["train", "good", "--backbone", "incepton_v3"],
            ["unknown backbone 'incepton_v3'", "did you mean inception_v3?"],
        ),
        (["train", "good", "--backbone", "./good"], ["no SavedModel in ./good"]),
        (["predict", "nowhere", "a.jpg"], ["no such model folder: nowhere"]),
        (["predict", "good", "a.jpg"], ["good is not a model folder: can't read run.json"]),
        (["inspect", "nowhere"], ["no such image folder"]),
        (["extract", "file"], ["file is neither a folder nor a manifest"]),
    ],
)
def test_bad_input_is_one_line_and_exit_1(make_folder, args, parts):
    make_folder({"cat": 5, "dog": 5}, "good")
    make_folder({"cat": 5}, "one")
    make_folder({"cat": 5, "dog": 2}, "small")
    Path("empty").mkdir()
    Path("file").write_text("")
    Path("taken").mkdir()
    Path("taken/notes.txt").write_text("the user's")
    one_line_error(retrain(*args, check=1), *parts)
    assert Path("taken/notes.txt").read_text() == "the user's"


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        (["train", "good", "--stepz", "5"], ["--stepz", "did you mean --steps?"]),
        (["train", "good", "--step", "5"], ["unrecognized arguments"]),
        (["train", "good", "--shard", "1/3"], ["unrecognized arguments: --shard 1/3 (an option of retrain extract)"]),
        (["train", "good", "--steps", "many"], ["--steps"]),
        (["train", "good", "--steps", "0"], ["--steps 0: must be between 1"]),
        (["train", "good", "--learning-rate", "nan"], ["--learning-rate nan"]),
        (["train", "good", "--final-tensor-name", "a b"], ["--final-tensor-name 'a b': use letters, digits"]),
        (["train", "good", "--final-tensor-name", "mul"], ["the graph has another tensor of that name"]),
        (["--image_dir", "good", "--train_batch_size", "0"], ["--train_batch_size 0: must be between 1 and"]),
        (["predict", "model", "a.jpg", "--top", "0"], ["--top 0: must be at least 1"]),
        (["trian", "good"], ["trian"]),
        (["--image_dir", "good", "--how_many_training_stepz", "5"], ["did you mean --how_many_training_steps?"]),
        (["--how_many_training_steps", "5"], ["--image_dir is missing"]),
        ([], ["COMMAND"]),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(args, parts):
    one_line_error(retrain(*args, check=2), *parts)


def test_a_class_with_few_pictures_gets_a_warning(make_folder, tiny_backbone):
    root = make_folder({"cat": 19, "dog": 20, "owl": 3})
    done = retrain("train", root, "--backbone", tiny_backbone, "--steps", 20, "--quiet", check=0)
    assert "retrain: warning: fewer than 20 pictures in class cat (19), owl (3)" in done.stderr


def test_a_class_with_few_readable_pictures_is_refused(make_folder, tiny_backbone):
    root = make_folder({"cat": 9, "dog": 2})
    for number in range(5):
        (root / "dog" / f"bad{number}.jpg").write_bytes(b"nothing")
    one_line_error(
        retrain("train", root, "--backbone", tiny_backbone, check=1), "fewer than 3 pictures in class dog (2)"
    )
    assert not Path("model").exists()


def test_strict_ends_the_run(make_folder, tiny_backbone):
    root = make_folder({"cat": 9, "dog": 9})
    (root / "dog" / "bad.jpg").write_bytes(b"nothing")
    one_line_error(
        retrain("train", root, "--backbone", tiny_backbone, "--strict", check=1),
        "dog/bad.jpg: text, not a picture",
    )


def test_without_validation_and_test_pictures_it_trains_all_the_same(make_folder, tiny_backbone):
    root = make_folder({"cat": 20, "dog": 20})
    shares = ["--validation-percentage", 0, "--test-percentage", 0]
    done = retrain("train", root, "--backbone", tiny_backbone, "--steps", 20, *shares, check=0)
    assert "Test accuracy: none, because there are no such pictures" in done.stdout
    assert json.loads(Path("model/metrics.json").read_text())["test"]["accuracy"] is None
    assert Path("model/history.csv").read_text().splitlines()[-1].endswith(",,")


def test_folders_of_a_ready_made_split_are_taken_as_they_are(make_folder, tiny_backbone):
    root = make_folder({"train/cat": 20, "train/dog": 20, "val/cat": 5, "val/dog": 6})
    done = retrain("train", root, "--backbone", tiny_backbone, "--steps", 200, check=0)
    assert json.loads(Path("model/run.json").read_text())["split"] == {"train": 40, "validation": 11, "test": 0}
    assert "Validation accuracy " in done.stdout
    assert Path("model/labels.txt").read_text() == "cat\ndog\n"


def test_every_class_gives_as_many_test_pictures_as_were_asked_for(trained, tiny_backbone):
    folder, _ = trained
    options = ["--backbone", tiny_backbone, "--steps", 5, "--cache-dir", folder / "cache", "--quiet"]
    counts = ["--validation-per-class", 4, "--test-per-class", 7]
    run = json.loads(retrain("train", folder / "pictures", *options, *counts, "--json", check=0).stdout)
    assert run["split"] == {"train": 57, "validation": 12, "test": 21}
    text = retrain("inspect", folder / "pictures", *counts, check=0).stdout
    assert "cat          30     19           4     7           1" in text
    counts = ["--train-per-class", 28, "--validation-per-class", 2]
    one_line_error(
        retrain("train", folder / "pictures", *options, *counts, check=1),
        # the class cat has a file more, that is no picture
        "too few different pictures in class dog (30), owl (30): --train-per-class 28 and",
    )
    counts = ["--validation-per-class", 0, "--patience", 5]
    one_line_error(
        retrain("train", folder / "pictures", *options, *counts, check=2),
        "--patience needs validation pictures, and there are none: raise --validation-per-class, or leave it out",
    )


def test_epochs_are_passes_over_the_training_pictures(trained, tiny_backbone):
    folder, first = trained
    assert "epoch" not in first.stdout + first.stderr
    options = ["--backbone", tiny_backbone, "--cache-dir", folder / "cache"]
    done = retrain("train", folder / "pictures", *options, "--epochs", 2.5, "--batch-size", 10, check=0)
    run = json.loads(Path("model/run.json").read_text())
    pictures = run["split"]["train"]
    steps = -(-pictures * 25 // 100)
    assert run["training"]["steps"] == run["options"]["steps"] == steps
    assert run["training"]["epochs"] == pytest.approx(steps * 10 / pictures)
    assert run["options"]["epochs"] == 2.5
    assert f"step {steps - 1} (epoch 2.5 of 2.5): train accuracy" in done.stderr
    assert (
        f"{run['training']['epochs']:.3g} epochs of {pictures} pictures: {steps} steps, each of 10 pictures"
        in done.stdout
    )
    cross = ["crossval", folder / "pictures", *options, "--folds", 3, "--epochs", 3, "--optimizer", "lbfgs", "--json"]
    assert json.loads(retrain(*cross, check=0).stdout)["options"]["steps"] == 3
    one_line_error(retrain("train", "x", "--epochs", 3, "--steps", 4000, check=2), "--steps and --epochs both say")


@pytest.mark.slow
def test_plots_come_with_the_model(trained, tiny_backbone):
    folder, _ = trained
    options = ["--backbone", tiny_backbone, "--cache-dir", folder / "cache", "--epochs", 4, "--batch-size", 10]
    done = retrain("train", folder / "pictures", *options, "--plots", "--calibrate", check=0)
    assert "predictions.csv, curves.csv, curves.png, predictions.png)" in done.stdout
    header, *rows = Path("model/curves.csv").read_text().splitlines()
    assert header == (
        "step,epoch,train_accuracy,train_cross_entropy,validation_accuracy,validation_cross_entropy,"
        "test_accuracy,test_cross_entropy"
    )
    assert len(rows) == 4
    run = json.loads(Path("model/run.json").read_text())
    last = rows[-1].split(",")
    assert int(last[0]) == run["training"]["steps"]
    assert float(last[1]) == pytest.approx(run["training"]["epochs"], abs=1e-3)
    names = ("train", "validation", "test")
    # calibration changes no label
    assert [float(value) for value in last[2::2]] == [run["results"][name]["accuracy"] for name in names]
    for name in ("curves.csv", "curves.png", "predictions.png"):
        assert name in run["files"]
    assert Path("model/curves.png").read_bytes()[:4] == Path("model/predictions.png").read_bytes()[:4] == b"\x89PNG"
    # without the option they go
    retrain("train", folder / "pictures", *options, "--quiet", check=0)
    assert not [name for name in os.listdir("model") if name.endswith(".png") or name == "curves.csv"]


def test_a_ready_made_split_without_test_pictures_is_plotted_all_the_same(make_folder, tiny_backbone):
    root = make_folder({"train/cat": 20, "train/dog": 20, "val/cat": 5, "val/dog": 6})
    retrain("train", root, "--backbone", tiny_backbone, "--steps", 5, "--plots", check=0)
    assert Path("model/curves.csv").read_text().splitlines()[-1].endswith(",,")
    assert Path("model/predictions.png").exists()


def test_odd_names_and_wrong_extensions_do_no_harm(make_folder, tiny_backbone):
    root = make_folder({"Käfer": 20, "花 und #1": 20})
    draw_picture(77, 0).save(root / "Käfer" / "webp inside.jpeg", "WEBP")
    draw_picture(78, 1).save(root / "花 und #1" / "no extension", "JPEG")
    draw_picture(79, 1).save(os.fsencode(root / "花 und #1") + b"/caf\xe9.png", "PNG")
    done = retrain("train", root, "--backbone", tiny_backbone, "--steps", 20, "--json", "--quiet", check=0)
    run = json.loads(done.stdout)
    assert run["labels"] == ["Käfer", "花 und #1"]
    assert run["extraction"]["extracted"] == 43
    assert r"caf\xe9.png" in Path("model/predictions.csv").read_text("utf-8")
    done = retrain("predict", "model", root / "Käfer" / "webp inside.jpeg", check=0)
    assert "Käfer" in done.stdout


def test_however_the_folder_is_spelled_the_split_is_the_same(trained, tiny_backbone, tmp_path):
    (tmp_path / "link").symlink_to(trained[0] / "pictures")
    splits = []
    for spelling in ("link", "./link//", trained[0] / "pictures"):
        options = ["--backbone", tiny_backbone, "--steps", 1, "--cache-dir", trained[0] / "cache"]
        retrain("train", spelling, *options, "--quiet", check=0)
        rows = Path("model/predictions.csv").read_text().splitlines()[1:]
        splits.append({row.split(",")[0]: row.split(",")[1] for row in rows})
    assert splits[0] == splits[1] == splits[2]


def test_cache_and_model_may_lie_in_the_folder_of_pictures(make_folder, tiny_backbone, monkeypatch):
    root = make_folder({"cat": 20, "dog": 20})
    monkeypatch.chdir(root)
    for _ in range(2):
        retrain("train", ".", "--backbone", tiny_backbone, "--steps", 5, "--quiet", check=0)
    assert (root / "model" / "labels.txt").read_text() == "cat\ndog\n"


def test_the_model_may_go_where_one_works_and_the_cache_into_it(make_folder, tiny_backbone, monkeypatch, tmp_path):
    root = make_folder({"cat": 20, "dog": 20})
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for _ in range(2):
        options = ["--model-dir", ".", "--cache-dir", "cache", "--backbone", tiny_backbone, "--steps", 5]
        run = json.loads(retrain("train", root, *options, "--json", "--quiet", check=0).stdout)
    assert run["extraction"]["extracted"] == 0
    assert "cache" in os.listdir()
    assert "graph.pb" in os.listdir()


def test_a_new_class_costs_its_own_pictures_alone(trained, tiny_backbone, tmp_path, monkeypatch):
    """Of all pictures, only those of the new folder are decoded and go through the network."""
    for name in ("pictures", "cache"):
        shutil.copytree(trained[0] / name, tmp_path / name)
    (tmp_path / "pictures" / "yak").mkdir()
    for number in range(8):
        draw_picture(number, 3).save(tmp_path / "pictures" / "yak" / f"{number}.png")
    (tmp_path / "pictures" / "cat" / "notes.txt").unlink()  # a file that is no picture is tried every time
    decoded = []
    monkeypatch.setattr(part, "decode_image", lambda *args: decoded.append(args) or decode_image(*args))
    options = ["--backbone", tiny_backbone, "--steps", 50, "--no-report", "--json", "--quiet"]
    run = json.loads(retrain("train", "pictures", *options, check=0).stdout)
    assert run["labels"] == ["cat", "dog", "owl", "yak"]
    assert (run["extraction"]["extracted"], run["extraction"]["cached"], len(decoded)) == (8, 90, 8)


def test_of_an_uneven_folder_every_class_is_counted_the_same_too(make_folder, tiny_backbone):
    """In the summary, metrics.json, run.json and the report; of an even one, only in metrics.json."""
    root = make_folder({"cat": 40, "dog": 12})
    options = ["--backbone", tiny_backbone, "--optimizer", "lbfgs", "--class-weight", "dog=3.5"]
    done = retrain("train", root, *options, check=0)
    metrics = json.loads(Path("model/metrics.json").read_text())["test"]
    recalls = [found["recall"] for found in metrics["per_class"]]
    assert metrics["balanced_accuracy"] == pytest.approx(np.mean(recalls))
    line = f"Every class counted the same: accuracy {metrics['balanced_accuracy']:.1%} (balanced), F1 "
    assert f"{line}{metrics['macro_f1']:.1%} (macro)" in done.stdout
    assert json.loads(Path("model/run.json").read_text())["options"]["class_weight"] == "dog=3.5"
    assert f"the accuracy is {metrics['balanced_accuracy']:.1%} (balanced accuracy)" in Path(
        "model/report.html"
    ).read_text("utf-8")
    for number in range(0, 40, 3):
        (root / "cat" / f"cat_{number:03}.png").unlink()
    done = retrain("train", root, *options, "--no-report", check=0)
    assert "Every class counted the same" not in done.stdout
    done = retrain("train", root, "--class-weight", "owl=2", check=2)
    one_line_error(done, "--class-weight names owl, and the labels are cat, dog: name some of these")


def test_a_class_without_training_pictures_is_refused(make_folder, tiny_backbone):
    root = make_folder({"train/cat": 20, "train/dog": 20, "val/cat": 5, "val/owl": 5})
    done = retrain("train", root, "--backbone", tiny_backbone, check=1)
    one_line_error(done, "no training pictures of class owl")


def test_what_may_not_be_meant_is_warned_of(make_folder, tiny_backbone):
    root = make_folder({"train/cat": 20, "train/dog": 20, "val/cat": 5})
    shutil.copy(root / "train" / "cat" / "cat_000.png", root / "train" / "dog" / "same.png")
    options = ["--backbone", tiny_backbone, "--steps", 5, "--test-per-class", 3]
    done = retrain("train", root, *options, check=0)
    assert "--validation-per-class and --test-per-class have no effect" in done.stderr
    assert "comes with a split of its own" in done.stderr
    assert "no validation pictures of class dog" in done.stderr
    assert "1 picture is in several classes: retrain inspect shows which" in done.stderr


def test_a_cache_that_cannot_be_written_is_known_before_the_work(make_folder, tiny_backbone):
    root = make_folder({"cat": 20, "dog": 20})
    done = retrain("extract", root, "--backbone", tiny_backbone, "--cache-dir", "/proc/nope", check=1)
    one_line_error(done, "can't write the bottleneck cache in /proc/nope")
    assert "pictures/s" not in done.stderr


def test_litter_in_a_folder_to_predict_is_a_warning(trained, tmp_path):
    folder, _ = trained
    done = retrain("predict", "model", "pictures/cat", cwd=folder, check=0)
    assert "retrain: warning: pictures/cat/notes.txt: text, not a picture" in done.stderr
    (tmp_path / "nothing").mkdir()
    one_line_error(retrain("predict", folder / "model", "nothing", check=1), "no files in nothing")


def test_names_that_are_not_utf_8_are_escaped_or_refused(make_folder, tiny_backbone):
    odd = os.fsdecode(b"p\xff")
    make_folder({"cat": 4, "dog": 4}).rename(odd)
    retrain("train", odd, "--backbone", tiny_backbone, "--steps", 5, "--quiet", check=0)
    assert r"p\xff" in json.loads(Path("model/run.json").read_text())["command"]
    done = retrain("train", odd, "--backbone", tiny_backbone, "--model-dir", os.fsdecode(b"m\xff"), check=1)
    one_line_error(done, r"the model folder m\xff has a name that is not UTF-8")


def test_a_test_batch_counts_only_what_was_tested(make_folder, tiny_backbone):
    root = make_folder({"cat": 60, "dog": 60})
    for path in (root / "dog").iterdir():  # cats and dogs look alike, so that half of the answers are wrong
        draw_picture(1000 + int(path.stem[-3:]), 0).save(path)
    options = ["--backbone", tiny_backbone, "--steps", 5, "--quiet", "--test-batch-size", 2, "--print-misclassified"]
    done = retrain("train", root, *options, check=0)
    assert "N=2)" in done.stdout
    assert len([line for line in done.stdout.splitlines() if line.startswith(("  cat/", "  dog/"))]) <= 2


def test_print_misclassified_lists_pictures_and_wrong_labels(make_folder, tiny_backbone):
    root = make_folder({"cat": 40, "dog": 40})
    for path in (root / "dog").iterdir():
        shutil.copy(root / "cat" / path.name.replace("dog", "cat"), path)
    done = retrain(
        "train", root, "--backbone", tiny_backbone, "--steps", 20, "--quiet", "--print-misclassified", check=0
    )
    assert "misclassified test pictures:" in done.stdout
    listed = [line for line in done.stdout.splitlines() if line.startswith(("  cat/", "  dog/"))]
    assert listed
    assert all(", is " in line for line in listed)


@pytest.mark.parametrize("file", ["run.json", "labels.txt", "head.h5", "predictions.csv"])
def test_a_model_folder_that_does_not_fit_together_is_refused(trained, tmp_path, file):
    shutil.copytree(trained[0] / "model", tmp_path / "model")
    path = tmp_path / "model" / file
    if file == "run.json":
        run = json.loads(path.read_text())
        path.write_text(json.dumps(run | {"format": 99}))
        expected = ["is of format 99, this version of retrain knows 1, 2:"]
    elif file == "labels.txt":
        path.write_text("dog\ncat\nowl\n")
        expected = ["labels.txt does not fit the model"]
    elif file == "predictions.csv":
        path.write_text("path,set\n1,train\n")
        expected = ["predictions.csv is damaged", "not the file that was written with the model"]
    else:
        path.write_bytes(path.read_bytes()[:100])
        expected = ["head.h5 is damaged", "train the model again"]
    command = ["evaluate", "model", trained[0] / "pictures"]
    one_line_error(retrain(*command, check=1), *expected)


def test_an_older_model_is_replaced_and_what_else_lies_there_stays(trained, tiny_backbone, tmp_path):
    shutil.copytree(trained[0] / "model", tmp_path / "model")
    (tmp_path / "model" / "notes.txt").write_text("the user's")
    (tmp_path / "model" / "labels.txt").write_text("old")
    pictures = trained[0] / "pictures"
    retrain("train", pictures, "--backbone", tiny_backbone, "--steps", 20, "--quiet", check=0)
    assert (tmp_path / "model" / "notes.txt").read_text() == "the user's"
    assert (tmp_path / "model" / "labels.txt").read_text() == "cat\ndog\nowl\n"
    assert sorted(os.listdir(tmp_path)) == ["cache", "model"]


def test_help_teaches(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    text = capsys.readouterr().out
    for command in ("train", "predict", "evaluate", "inspect", "extract"):
        assert f"    {command} " in text
    with pytest.raises(SystemExit):
        cli.main(["train", "--help"])
    assert "(default: 4000)" in capsys.readouterr().out
