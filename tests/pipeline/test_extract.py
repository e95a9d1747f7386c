"""`retrain extract --output`: vectors in a file, as the cache has them."""

import csv
import json
import os
import shutil

import numpy as np
import pytest
from support.command import one_line_error, retrain

import retrain as package


@pytest.fixture
def surroundings(trained, tiny_backbone, monkeypatch):
    """The folder of a trained model, which has the cache; the arguments of an extraction from there."""
    monkeypatch.chdir(trained[0])
    yield ["extract", "pictures", "--backbone", tiny_backbone]
    for name in os.listdir():
        if name.startswith("vectors"):
            os.unlink(name)


def load(path="vectors.npz"):
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def test_rows_are_those_of_the_predictions(surroundings):
    """Path, label and set of every picture, and its key, agree with what training wrote; vectors with the cache."""
    done = retrain(*surroundings, "--output", "vectors.npz", check=0)
    assert done.stdout.splitlines()[-1] == "Wrote 90 vectors of length 24 to vectors.npz"
    found = load()
    with open("model/predictions.csv", newline="") as file:
        told = {row["path"]: (row["label"], row["set"], row["key"]) for row in csv.DictReader(file)}
    columns = (found[name].tolist() for name in ("label", "set", "key"))
    assert dict(zip(found["path"].tolist(), zip(*columns, strict=True), strict=True)) == told
    options = package.RunOptions(backbone=package.BackboneOptions(backbone=str(surroundings[-1])))
    cache = package.extract("pictures", options).cache
    assert (str(found["backbone"]), str(found["fingerprint"])) == (cache.name, cache.fingerprint)
    keys = np.array([[*bytes.fromhex(key)] for key in found["key"].tolist()], np.uint8)
    assert np.array_equal(found["vector"], cache.read(cache.find(keys)))


def test_sets_and_labels_are_those_of_the_options(surroundings, tmp_path):
    (tmp_path / "names.txt").write_text("cat\tKatze\n")
    split = ["--test-percentage", 0, "--validation-per-class", 7, "--labels-file", tmp_path / "names.txt"]
    done = retrain(*surroundings, *split, "--output", "vectors.npz", "--json", check=0)
    assert json.loads(done.stdout)["output"] == {"path": "vectors.npz", "vectors": 90, "length": 24}
    found = load()
    assert sorted({*found["label"].tolist()}) == ["Katze", "dog", "owl"]
    assert np.count_nonzero(found["set"] == "validation") == 21
    assert "test" not in found["set"]


def test_names_that_are_no_utf_8_are_shown_as_everywhere(make_folder, tiny_backbone):
    folder = make_folder({"cat": 3, "dog": 3})
    shutil.copy(folder / "cat" / "cat_000.png", os.fsencode(folder / "cat") + b"/caf\xe9.png")
    retrain("extract", folder, "--backbone", tiny_backbone, "--output", "v.npz", check=0)
    assert "cat/caf\\xe9.png" in load("v.npz")["path"]


def test_what_can_not_be_written_is_refused_before_any_work(make_folder, tiny_backbone):
    folder = make_folder({"cat": 3, "dog": 3})
    args = ["extract", folder, "--backbone", tiny_backbone]
    one_line_error(retrain(*args, "--output", "v.csv", check=2), "--output v.csv: the suffix .csv where .npz")
    one_line_error(retrain(*args, "--output", "no/v.npz", check=1), "can't write no/v.npz")
    few = ["--train-per-class", 3, "--output", "v.npz"]
    one_line_error(retrain(*args, *few, check=1), "too few different pictures in class cat (3), dog (3)")
    assert os.listdir() == ["pictures"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--test-percentage", 20], "add --output FILE"),
        (["--labels-file", "l.txt"], "add --output FILE"),
        (["--benchmark", "--output", "v.npz"], "--benchmark writes no vectors: leave --output out"),
    ],
)
def test_options_without_an_effect_are_refused(options, said):
    one_line_error(retrain("extract", "pictures", *options, check=2), said)


def test_parts_together_are_the_whole(make_folder, tiny_backbone):
    folder = make_folder({"cat": 20, "dog": 20})
    arguments = ["extract", folder, "--backbone", tiny_backbone]
    parts = [
        json.loads(retrain(*arguments, "--shard", f"{number}/3", "--json", check=0).stdout) for number in (1, 2, 3)
    ]
    assert [part["shard"] for part in parts] == ["1/3", "2/3", "3/3"]
    assert all(0 < part["extracted"] == part["pictures"] for part in parts)
    assert sum(part["pictures"] for part in parts) == 40
    again = retrain(*arguments, "--shard", "2/3", check=0)
    assert again.stdout.startswith(
        f"Part 2/3: {parts[1]['pictures']} files: {parts[1]['pictures']} cached, 0 extracted"
    )
    whole = json.loads(retrain(*arguments, "--json", check=0).stdout)
    assert (whole["shard"], whole["cached"], whole["extracted"]) == (None, 40, 0)


def test_a_part_without_pictures_is_no_error(make_folder, tiny_backbone):
    folder = make_folder({"cat": 1, "dog": 1})
    done = [
        retrain("extract", folder, "--backbone", tiny_backbone, "--shard", f"{number}/3", check=0).stdout
        for number in (1, 2, 3)
    ]
    assert any("0 files: 0 cached, 0 extracted" in text for text in done)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["p", "--shard", "3"], "--shard 3: expected I/N"),
        (["p", "--shard", "0/3"], "parts are numbered from 1 on"),
        (["p", "--shard", "1/3", "--output", "v.npz"], "leave --output out until all parts are in the cache"),
        (["--benchmark", "--shard", "1/3"], "--benchmark measures on a few pictures: leave --shard out"),
    ],
)
def test_parts_that_make_no_sense_are_refused(arguments, said):
    one_line_error(retrain("extract", *arguments, check=2), said)
