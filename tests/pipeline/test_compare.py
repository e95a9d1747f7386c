"""Models beside each other."""

import csv
import hashlib
import json
import shutil
from pathlib import Path

import pytest
from support.command import retrain

from retrain.errors import ModelFolderError, OutputError, UsageError
from retrain.evaluation.comparison import mcnemar_p_value
from retrain.model.folder import seal
from retrain.pipeline.compare import compare, write_comparison


@pytest.fixture
def models(trained, tmp_path):
    """models("b", change): a copy of the trained model whose table of predictions is changed row by row."""
    shutil.copytree(trained[0] / "model", "a")

    def make(name, change):
        shutil.copytree("a", name)
        path = Path(name, "predictions.csv")
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        kept = [row for number, row in enumerate(rows) if change(number, row) is not False]
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(kept)
        run = json.loads(Path(name, "run.json").read_text())
        run["sha256"]["predictions.csv"] = hashlib.sha256(path.read_bytes()).hexdigest()
        del run["digest"]
        Path(name, "run.json").write_text(json.dumps(seal(run)))
        return name

    return make


def rows_of(name, set_="test"):
    with Path(name, "predictions.csv").open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["set"] == set_]


def all_wrong(number, row):
    row["predicted"] = "cat" if row["label"] != "cat" else "dog"


def test_a_model_is_as_good_as_itself(models):
    models("b", lambda number, row: None)
    found = compare(["a", "b"])
    tests = rows_of("a")
    assert found.n == len(tests)
    right = sum(row["label"] == row["predicted"] for row in tests)
    assert found.runs[0].accuracy.value == right / len(tests)
    assert (found.pairs[0].only_first, found.pairs[0].only_second, found.pairs[0].p_value) == (0, 0, 1.0)
    assert found.pairs[0].sentence.startswith("No difference between a and b can be told")
    assert found.notes == ()


def test_a_better_model_is_told_from_a_worse_one(models):
    models("b", all_wrong)
    found = compare(["b", "a"])
    right = sum(row["label"] == row["predicted"] for row in rows_of("a"))
    [pair] = found.pairs
    assert (pair.only_first, pair.only_second) == (0, right)
    assert pair.p_value == mcnemar_p_value(0, right) < 0.05
    assert pair.sentence.startswith("a is better than b: if they were equally good")


def test_only_shared_pictures_with_the_same_label_count(models):
    tests = [row["path"] for row in rows_of("a")]

    def change(number, row):
        if row["path"] == tests[0]:
            row["set"] = "train"
        if row["path"] == tests[1]:
            row["label"] = "owl" if row["label"] != "owl" else "cat"

    models("b", change)
    found = compare(["a", "b"])
    assert found.n == len(tests) - 2
    assert found.notes[0].startswith("1 test picture has another label in one of the runs")
    assert found.runs[0].own.n == len(tests)
    assert found.runs[1].own.n == len(tests) - 1


def test_every_pair_of_three(models):
    models("b", all_wrong)
    models("c", lambda number, row: None)
    assert [(pair.first, pair.second) for pair in compare(["a", "b", "c"]).pairs] == [(0, 1), (0, 2), (1, 2)]


def test_models_that_share_no_test_picture(models):
    models("b", lambda number, row: row["set"] != "test")
    with pytest.raises(
        ModelFolderError, match="a and b share no test picture with the same label: train them on the same"
    ):
        compare(["a", "b"])


def test_what_is_no_comparison(models):
    with pytest.raises(UsageError, match="two model folders or more"):
        compare(["a"])
    with pytest.raises(ModelFolderError, match="no such model folder"):
        compare(["a", "gone"])
    models("b", lambda number, row: None)
    Path("b", "predictions.csv").write_text("x")
    with pytest.raises(ModelFolderError, match=r"predictions\.csv is damaged"):
        compare(["a", "b"])


def test_a_table_without_its_columns(models):
    models("b", lambda number, row: row.pop("key") and None)
    with pytest.raises(ModelFolderError, match=r"b has no table of predictions \('key'\): train it again"):
        compare(["a", "b"])


def test_the_command(models):
    models("b", all_wrong)
    done = retrain("compare", "a", "b", "--html", "page.html", check=0)
    lines = done.stdout.splitlines()
    assert lines[0] == f"On {len(rows_of('a'))} shared test pictures:"
    assert lines[1].startswith("model  ")
    assert lines[1].endswith("  made")
    assert lines[-1] == "Page: page.html"
    assert any("McNemar p = " in line for line in lines)
    assert "McNemar" in Path("page.html").read_text()
    found = json.loads(retrain("compare", "a", "b", "--json", check=0).stdout)
    assert [run["name"] for run in found["runs"]] == ["a", "b"]
    assert retrain("compare", "a").returncode == 2


def test_a_page_that_cant_be_written(models):
    models("b", all_wrong)
    with pytest.raises(OutputError, match=r"can't write gone/page\.html: .*give another --html"):
        write_comparison(compare(["a", "b"]), "gone/page.html")
