"""Training a model that tells pictures of none of its classes."""

import csv
import json
import math
import shutil
from pathlib import Path

import pytest
from support.command import one_line_error, retrain
from support.pictures import draw_picture

import retrain as package
from retrain.errors import ModelFolderError
from retrain.model import Classifier
from retrain.model.head import read_head


@pytest.fixture
def model(rejecting, tmp_path):
    return shutil.copytree(rejecting[0] / "model", tmp_path / "copy")


def test_the_record_says_how_pictures_are_told_and_how_many_are_kept(rejecting):
    folder, done = rejecting
    record = json.loads((folder / "model" / "run.json").read_text())
    found = record["rejection"]
    assert record["format"] == 2  # readers of format 1 would give every picture a label
    assert (found["method"], found["share"]) == ("mahalanobis", 0.9)
    assert {name: one["n"] for name, one in found["known"].items()} == record["split"]
    assert found["validation_pictures"] == record["split"]["validation"] >= 9
    assert found["known"]["validation"]["known"] >= 0.9 * found["validation_pictures"]
    assert found["strangers"]["n"] == 30
    assert found["strangers"]["auroc"] > 0.9
    head, labels = read_head(folder / "model" / "head.h5")
    assert (head.rejection.limit.threshold, head.rejection.limit.scale) == (found["threshold"], found["scale"])
    assert labels == record["labels"] == ["cat", "dog", "owl"]
    known, n = found["known"]["validation"]["known"], found["validation_pictures"]
    assert f"Known as one of the classes, by a distance of at most {found['threshold']:.3f}: " in done.stdout
    assert f"{known / n:.1%} of validation (n={n})" in done.stdout
    refused, auroc = found["strangers"]["refused"] / 30, found["strangers"]["auroc"]
    assert f"Of no class (_none_): {refused:.1%} of 30 pictures refused as unknown, AUROC {auroc:.3f}" in done.stdout


def test_pictures_of_no_class_are_in_no_set(rejecting):
    with (rejecting[0] / "model" / "predictions.csv").open(newline="") as file:
        assert {row["label"] for row in csv.DictReader(file)} == {"cat", "dog", "owl"}


def test_predict_answers_unknown_with_the_distance(rejecting):
    folder, _ = rejecting
    limit = json.loads((folder / "model" / "run.json").read_text())["rejection"]
    pictures = [folder / "pictures" / "cat", folder / "pictures" / "_none_"]
    answers = json.loads(retrain("predict", folder / "model", *pictures, "--json", check=0).stdout)
    assert len(answers) == 60
    for answer in answers:
        assert answer["known"] == pytest.approx(
            1 / (1 + math.exp((answer["distance"] - limit["threshold"]) / limit["scale"])), abs=1e-4
        )
        assert (answer["label"] == "unknown") == (answer["known"] < 0.5)
        assert answer["score"] == max(answer["scores"].values())
        assert {*answer["scores"]} == {"cat", "dog", "owl"}
    unknown = [answer for answer in answers if answer["label"] == "unknown"]
    assert sum("_none_" in answer["path"] for answer in unknown) == limit["strangers"]["refused"]
    assert 0 < len(unknown) < 60
    text = retrain("predict", folder / "model", unknown[-1]["path"], check=0).stdout
    label, score = next(iter(unknown[-1]["scores"].items()))
    assert f": unknown, at a distance of {unknown[-1]['distance']:.3f}; likeliest {label} {score:.4f}, " in text


def test_an_unknown_picture_has_no_label_in_python(rejecting):
    folder, _ = rejecting
    found = list(Classifier(folder / "model").predict(sorted((folder / "pictures" / "_none_").iterdir())))
    assert any(one.is_unknown for one in found)
    for one in found:
        assert one.labels == (() if one.is_unknown else (one.label,))
        assert one.likeliest == max(one.scores, key=one.scores.get)
        assert one.label == ("unknown" if one.is_unknown else one.likeliest)


def test_evaluate_says_how_many_pictures_are_unknown(rejecting, monkeypatch):
    folder, _ = rejecting
    monkeypatch.chdir(folder)
    record = json.loads(Path("model/run.json").read_text())["rejection"]
    found = package.evaluate("model", "pictures").rejection
    known = {name: one["known"] for name, one in record["known"].items()}
    assert (found.n, found.refused) == (90, 90 - sum(known.values()))
    held_out = 90 - record["known"]["train"]["n"]
    assert (found.held_out_n, found.held_out_refused) == (held_out, held_out - known["validation"] - known["test"])
    assert (found.strangers.n, found.strangers.refused) == (30, record["strangers"]["refused"])
    text = retrain("evaluate", "model", "pictures", check=0).stdout
    assert f"Unknown to the model: {found.refused / 90:.1%} of 90 pictures; " in text
    assert "Of no class (_none_): " in text
    document = json.loads(retrain("evaluate", "model", "pictures", "--json", check=0).stdout)
    assert document["rejection"]["refused"] == found.refused


def test_the_report_of_such_a_model_can_be_made_again(rejecting, monkeypatch):
    monkeypatch.chdir(rejecting[0])
    retrain("report", "model", check=0)


def test_a_head_of_another_rejection_is_refused(model):
    record = json.loads((model / "run.json").read_text())
    record.pop("digest")
    record["rejection"]["threshold"] *= 2
    (model / "run.json").write_text(json.dumps(record))
    with pytest.raises(ModelFolderError, match=r"head\.h5 in .* does not fit run\.json, which has another rejection"):
        Classifier(model).head()


@pytest.mark.parametrize("scale", [0, -1, "x", None])
def test_a_record_of_no_rejection_is_named(model, scale):
    record = json.loads((model / "run.json").read_text())
    record.pop("digest")
    record["rejection"]["scale"] = scale
    (model / "run.json").write_text(json.dumps(record))
    with pytest.raises(ModelFolderError, match=r"run\.json is damaged: rejection\.scale is"):
        Classifier(model)


def test_pictures_of_no_class_need_the_option(make_folder, tiny_backbone):
    folder = make_folder({"cat": 20, "dog": 20, "_none_": 1})
    done = retrain("train", folder, "--backbone", tiny_backbone)
    assert done.returncode == 2
    one_line_error(done, "has 1 picture of no class (_none_), which measure --reject: give --reject 0.95, or rename")


def test_a_class_called_unknown_is_refused(make_folder, tiny_backbone):
    folder = make_folder({"cat": 20, "unknown": 20})
    done = retrain("train", folder, "--backbone", tiny_backbone, "--reject", 0.9)
    one_line_error(done, "gives pictures of no class the answer unknown, and a class has this label: rename it")


def test_pictures_that_are_in_a_class_too_are_not_counted(make_folder, tiny_backbone):
    folder = make_folder({"cat": 20, "dog": 20, "_none_": 3})
    shutil.copy(sorted(folder.glob("cat/*"))[0], folder / "_none_" / "cat.png")
    done = retrain("train", folder, "--backbone", tiny_backbone, "--steps", 20, "--reject", 0.9, check=0)
    assert "1 picture is in _none_ and in a class, too: not counted among those of no class" in done.stderr
    assert json.loads(Path("model/run.json").read_text())["rejection"]["strangers"]["n"] == 3


def test_too_few_validation_pictures_are_told(make_folder, tiny_backbone):
    folder = make_folder({"cat": 20, "dog": 20})
    options = ["train", folder, "--backbone", tiny_backbone, "--steps", 20, "--reject"]
    done = retrain(*options, 0.99, check=0)
    assert "--reject 0.99 of " in done.stderr
    assert "99 are enough: add pictures, raise --validation-percentage or lower --reject" in done.stderr
    done = retrain(*options, 0.9, "--validation-percentage", 0)
    one_line_error(done, "--reject needs validation pictures, and there are none: raise --validation-percentage")


def test_calibration_keeps_the_rejection(make_folder, tiny_backbone):
    folder = make_folder({"cat": 20, "dog": 20})
    options = ["train", folder, "--backbone", tiny_backbone, "--steps", 20, "--reject", 0.5]
    retrain(*options, "--model-dir", "plain", check=0)
    retrain(*options, "--model-dir", "calibrated", "--calibrate", check=0)
    plain, calibrated = (json.loads(Path(name, "run.json").read_text()) for name in ("plain", "calibrated"))
    assert calibrated["temperature"] is not None
    assert calibrated["rejection"] == plain["rejection"]
    picture = draw_picture(3, 0, 40)
    picture.save("a.png")
    one, other = (next(iter(Classifier(name).predict(["a.png"]))) for name in ("plain", "calibrated"))
    assert one.known == pytest.approx(other.known, abs=1e-6)
    assert one.score != other.score


def test_the_graph_knows_the_same_pictures(model, rejecting):
    pictures = sorted((rejecting[0] / "pictures").glob("*/*1.png"))
    expected = [one.known for one in Classifier(model).predict(pictures)]
    (model / "classifier.tflite").unlink()
    found = [one.known for one in Classifier(model).predict(pictures)]
    assert found == pytest.approx(expected, abs=1e-4)
