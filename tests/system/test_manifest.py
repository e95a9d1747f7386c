"""A manifest takes the place of an image folder, in every command that takes one."""

import csv
import hashlib
import json
import os
import re
import shutil

import pytest
from support.command import one_line_error, retrain
from test_docs import check_record

SAME = ("graph.pb", "head.h5", "classifier.tflite", "labels.txt", "metrics.json", "history.csv", "predictions.csv")


@pytest.fixture(scope="module")
def work(trained, tiny_backbone, tmp_path_factory):
    """A folder with labels.csv, a manifest of all pictures of a trained folder; its cache; and model/, made of it."""
    folder = tmp_path_factory.mktemp("manifest")
    root = trained[0] / "pictures"
    shutil.copytree(trained[0] / "cache", folder / "cache")
    paths = [path.relative_to(root) for path in root.rglob("*") if path.is_file()]
    with open(folder / "labels.csv", "w", newline="", encoding="utf-8-sig") as file:
        rows = [[path.parts[0], path, number] for number, path in enumerate(sorted(paths, reverse=True))]
        csv.writer(file, delimiter=";").writerows([["Label", "File Name", "number"], *rows])
    options = ["--image-root", root, "--backbone", tiny_backbone, "--steps", 200]
    done = retrain("train", "labels.csv", *options, cwd=folder, check=0)
    return folder, root, done


def test_a_folder_and_the_manifest_made_of_it_give_the_same_model_bit_for_bit(trained, work):
    folder, _, done = work
    assert "0 extracted" in done.stdout
    for name in SAME:
        assert (folder / "model" / name).read_bytes() == (trained[0] / "model" / name).read_bytes(), name
    saved = [path.relative_to(folder) for path in (folder / "model" / "saved_model").rglob("*") if path.is_file()]
    assert len(saved) > 2
    assert all((folder / path).read_bytes() == (trained[0] / path).read_bytes() for path in saved)


def test_the_record_names_the_manifest_and_its_digest(work):
    folder, root, _ = work
    record = json.loads((folder / "model" / "run.json").read_text())
    check_record(record)
    assert record["image_dir"] == str(root)
    digest = hashlib.sha256((folder / "labels.csv").read_bytes()).hexdigest()
    assert record["manifest"] == {"path": str(folder / "labels.csv"), "sha256": digest}
    assert f"{digest}</td>" in (folder / "model" / "report.html").read_text("utf-8")


def test_the_next_command_shows_a_picture_that_is_there(work):
    path = work[2].stdout.rpartition("retrain predict model ")[2].strip()
    assert os.path.isfile(path)


def test_evaluate_inspect_extract_and_crossval_take_it(work, tiny_backbone, monkeypatch):
    folder, root, _ = work
    monkeypatch.chdir(folder)
    source, backbone = ["labels.csv", "--image-root", root], ["--backbone", tiny_backbone]
    done = retrain("evaluate", "model", *source, "--json", check=0)
    assert len(json.loads(done.stdout)["predictions"]) == 90
    found = json.loads(retrain("inspect", *source, "--json", check=0).stdout)
    assert (found["pictures"], list(found["unreadable"])) == (90, ["cat/notes.txt"])
    done = retrain("extract", *source, *backbone, "--output", "vectors.npz", check=0)
    assert "Wrote 90 vectors" in done.stdout
    done = retrain("crossval", *source, *backbone, "--folds", 3, "--steps", 20, check=0)
    assert "90 pictures" in done.stdout
    done = retrain("cache", "prune", "--keep", *source, check=0)
    unneeded, rows = map(int, re.search(r"(\d+) of (\d+) rows are not needed", done.stdout).groups())
    assert rows - unneeded == 90  # other tests may have added to the cache


def test_a_report_finds_the_pictures_by_the_manifest_of_the_training(work, monkeypatch, tmp_path):
    folder, root, _ = work
    monkeypatch.chdir(tmp_path)
    shutil.copytree(folder / "model", "model")
    done = retrain("report", "model", "--cache-dir", folder / "cache", "--json", check=0)
    made = json.loads(done.stdout)
    assert made["image_dir"] == str(root)
    assert not any("Since training" in note for note in made["notes"])
    os.rename(folder / "labels.csv", folder / "moved.csv")
    try:
        done = retrain("report", "model")
        one_line_error(
            done, "the manifest that model was trained with is no longer", "--image-dir FILE --image-root DIR"
        )
        given = ["--image-dir", folder / "moved.csv", "--image-root", root, "--cache-dir", folder / "cache"]
        assert json.loads(retrain("report", "model", *given, "--json", check=0).stdout)["notes"] == made["notes"]
    finally:
        os.rename(folder / "moved.csv", folder / "labels.csv")
    one_line_error(retrain("report", "model", "--image-root", root), "--image-root is for the paths in a manifest")


def test_missing_pictures_are_skipped_with_their_lines_and_strict_ends_the_run(work, tiny_backbone, monkeypatch):
    folder, root, _ = work
    monkeypatch.chdir(folder)
    lines = [line for line in (folder / "labels.csv").read_text("utf-8-sig").splitlines() if "notes.txt" not in line]
    lines[9] = "owl;owl/none.png;9"
    (folder / "some.csv").write_text("\n".join(lines), "utf-8")
    args = ["extract", "some.csv", "--image-root", root, "--backbone", tiny_backbone]
    done = retrain(*args, "--json", check=0)
    reason = "can't be read: no such file (line 10 of some.csv)"
    assert json.loads(done.stdout)["skipped_files"] == {"owl/none.png": reason}
    assert f"left out 1 picture of some.csv: owl/none.png: {reason}" in done.stderr
    one_line_error(retrain(*args, "--strict"), "none.png", "--strict")
    one_line_error(retrain("cache", "prune", "--keep", "some.csv", "--image-root", root), "nothing was dropped")
