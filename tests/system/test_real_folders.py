"""Folders as people have them, through the commands: inspect, train, predict, evaluate, crossval, extract."""

import contextlib
import json
import os
import shutil
import unicodedata
from pathlib import Path

import pytest
from support.pictures import draw_picture

from retrain.cli import main as cli

COMPOSED = "caf\u00e9"
DECOMPOSED = unicodedata.normalize("NFD", COMPOSED)
STEPS = ["--steps", "20"]


def run(capsys, *words, code=0):
    """What a command prints: stdout and stderr."""
    assert cli.main([*map(str, words)]) == code
    return capsys.readouterr()


def draw(root, labels, count=12, suffix=""):
    for label, name in enumerate(labels):
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            draw_picture(number, label).save(root / name / f"{number}{suffix}.png")


@pytest.fixture
def backbone(tiny_backbone):
    return ["--backbone", str(tiny_backbone)]


def test_a_folder_as_it_comes_goes_through_every_command(tmp_path, backbone, capsys, monkeypatch):
    """Wrapped, with litter, pipes, links, an accent from a Mac, and cache and models inside it, as `.`."""
    root = tmp_path / "flowers"
    draw(root / "flower_photos", [DECOMPOSED, "rose"])
    draw(tmp_path / "elsewhere", ["x", "y", "tulip"])
    shutil.rmtree(tmp_path / "elsewhere" / "x")
    (root / "flower_photos" / "tulip").symlink_to(tmp_path / "elsewhere" / "tulip")
    (root / "flower_photos" / "rose" / "all").symlink_to(root)
    (root / "__MACOSX").mkdir()
    for litter in ("__MACOSX/._1.png", "flower_photos/rose/Thumbs.db", "flower_photos/rose/._1.png"):
        (root / litter).write_bytes(b"x")
    os.mkfifo(root / "flower_photos" / "rose" / "pipe.png")
    draw_picture(0, 9).save(root / "astray.png")
    monkeypatch.chdir(root)
    skipped = {
        "flower_photos/rose/all": "a link to a folder above it, or to one that holds the classes: not followed",
        "flower_photos/rose/pipe.png": "a named pipe, not a file",
    }
    said = [
        "taking the classes from ./flower_photos, the only folder there",
        "left out flower_photos/rose/pipe.png: a named pipe, not a file",
        "left out flower_photos/rose/all: a link to a folder",
        "1 picture lies beside the class folders, in no class, and will not be used: astray.png",
    ]

    for _ in range(2):  # the second time, cache/ and model/ and other/ are there
        told = run(capsys, "train", ".", *backbone, *STEPS)
        for text in said:
            assert f"retrain: warning: {text}" in told.err
        assert "Skipped 2 of 38 files" in told.out
        assert Path("model/labels.txt").read_text("utf-8") == f"{COMPOSED}\nrose\ntulip\n"
        assert all(
            f"{path},{reason}" in Path("model/skipped.csv").read_text().replace('"', "")
            for path, reason in skipped.items()
        )
        run(capsys, "train", ".", *backbone, *STEPS, "--model-dir", "other")
    assert Path("other/labels.txt").read_text("utf-8") == f"{COMPOSED}\nrose\ntulip\n"

    found = json.loads(run(capsys, "inspect", ".", "--json").out)
    assert [(c["label"], c["pictures"], c["unreadable"]) for c in found["classes"]] == [
        (COMPOSED, 12, 0), ("rose", 12, 2), ("tulip", 12, 0),
    ]  # fmt: skip
    assert found["unreadable"] == skipped
    assert found["stray_files"] == ["astray.png"]

    told = run(capsys, "crossval", ".", *backbone, *STEPS, "--folds", "3")
    assert "over 3 folds of 36 pictures" in told.out
    assert f"retrain: warning: {said[0]}" in told.err
    measured = json.loads(run(capsys, "evaluate", "model", ".", "--json").out)
    assert measured["n"] == 36
    assert "warning: left out" in run(capsys, "extract", ".", *backbone).err

    answers = {answer["path"]: answer for answer in json.loads(run(capsys, "predict", "model", ".", "--json").out)}
    trained_on = {f"./{picture['path']}" for picture in measured["predictions"]}
    assert trained_on == {path for path, answer in answers.items() if "label" in answer} - {"./astray.png"}
    assert {path: answer["error"] for path, answer in answers.items() if "error" in answer} == {
        f"./{path}": reason for path, reason in skipped.items()
    }
    told = run(capsys, "predict", "model", ".", "--wrong")
    assert told.out.endswith("of 36 wrong\n")


def test_a_model_knows_its_classes_in_every_unicode_form(tmp_path, backbone, capsys):
    draw(tmp_path / "here", [COMPOSED, "rose"])
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    (tmp_path / "there" / COMPOSED).rename(tmp_path / "there" / DECOMPOSED)
    labels = tmp_path / "labels.txt"
    labels.write_text(f"{DECOMPOSED},{DECOMPOSED} au lait\n", "utf-8")
    run(capsys, "train", "here", *backbone, *STEPS, "--labels-file", labels)
    assert Path("model/labels.txt").read_text("utf-8") == f"{COMPOSED} au lait\nrose\n"
    assert json.loads(run(capsys, "evaluate", "model", "there", "--json").out)["n"] == 24
    assert run(capsys, "predict", "model", "there", "--wrong").out.endswith("of 24 wrong\n")


def test_pictures_that_are_there_often_count_once(tmp_path, backbone, capsys):
    draw(tmp_path / "pictures", ["daisy", "rose"])
    for path in list((tmp_path / "pictures").rglob("*.png")):
        for number in range(9):
            os.link(path, path.with_name(f"{path.stem}_{number}.png"))
    told = run(capsys, "train", "pictures", *backbone, *STEPS, "--json")
    assert "fewer than 20 different pictures in class daisy (12), rose (12)" in told.err
    record = json.loads(told.out)
    assert (record["extraction"]["pictures"], record["extraction"]["different"]) == (240, 24)
    tested = record["results"]["test"]["n"]
    assert record["split"]["test"] == 10 * tested
    metrics = json.loads(Path("model/metrics.json").read_text())
    assert sum(metrics[name]["n"] for name in metrics) == 24
    low, high = metrics["test"]["accuracy_interval"]
    assert low <= metrics["test"]["accuracy"] <= high
    assert high - low > 0.4  # of two or three pictures
    told = run(capsys, "train", "pictures", *backbone, *STEPS)
    assert "240 pictures (24 different) of 2 classes" in told.out
    assert f"N={tested} different pictures; {9 * tested} copies not counted)" in told.out
    assert "N=24 different pictures; 216 copies not counted)" in run(capsys, "evaluate", "model", "pictures").out
    told = run(capsys, "crossval", "pictures", *backbone, *STEPS, "--folds", "3")
    assert "over 3 folds of 240 pictures (24 different)" in told.out
    assert "240 pictures (24 different) in 2 classes" in run(capsys, "inspect", "pictures").out


def test_what_may_be_sets_or_classes_ends_every_command(tmp_path, backbone, capsys):
    draw(tmp_path / "model_of", ["cat", "dog"])
    run(capsys, "train", "model_of", *backbone, *STEPS)
    for name in ("train", "test"):
        draw(tmp_path / "pictures" / name, ["cat", "dog"])
    draw(tmp_path / "pictures", ["notes"])
    for command in ("inspect", "train", "crossval", "extract"):
        options = [] if command == "inspect" else backbone
        assert (
            "error: can't tell sets from classes in pictures" in run(capsys, command, "pictures", *options, code=1).err
        )
    assert "error: can't tell sets from classes" in run(capsys, "evaluate", "model", "pictures", code=1).err


def test_a_class_that_wraps_others_is_one_to_a_model_that_knows_it(tmp_path, backbone, capsys):
    draw(tmp_path / "pictures", ["cat", "dog"])
    run(capsys, "train", "pictures", *backbone, *STEPS)
    draw(tmp_path / "more" / "cat", ["indoors", "outdoors"])
    assert json.loads(run(capsys, "evaluate", "model", "more", "--json").out)["n"] == 24


def test_strict_ends_at_what_is_no_file(tmp_path, backbone, capsys):
    draw(tmp_path / "pictures", ["cat", "dog"])
    os.mkfifo(tmp_path / "pictures" / "cat" / "pipe")
    told = run(capsys, "extract", "pictures", *backbone, "--strict", code=1)
    assert "pictures/cat/pipe: a named pipe, not a file (--strict" in told.err
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree("cache")
    told = run(capsys, "extract", "pictures", *backbone)
    assert "skipped cat/pipe: a named pipe, not a file" in told.out
