"""What the commands print and write of names and losses that are out of the ordinary; in this process."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.pictures import draw_picture

from retrain.cli import main as cli
from retrain.cli.console.metrics import describe_metrics
from retrain.evaluation.metrics import evaluate_logits
from retrain.pipeline.outputs import _guarded, _write_csv
from retrain.text import shown

EVIL = "cat\x1b]52;c;ZXZpbA==\x07"
FORMULA = "=1+1"
LOST = "two words"


@pytest.fixture(scope="module")
def trained(tiny_backbone, tmp_path_factory):
    """A folder "my pictures" whose names a terminal or a spreadsheet would obey, and "my model" of it."""
    folder = tmp_path_factory.mktemp("said")
    for label, name in enumerate([EVIL, FORMULA, LOST]):
        (folder / "my pictures" / name).mkdir(parents=True)
        for number in range(20):
            draw_picture(number, label).save(folder / "my pictures" / name / f"{number}\x1b[2J.png")
    for number in range(5):
        (folder / "my pictures" / LOST / f"lost\n{number}").write_bytes(b"")
    (folder / "my pictures" / EVIL / "-text\r.jpg").write_text("no picture")
    options = ["--backbone", str(tiny_backbone), "--cache-dir", str(folder / "cache")]
    return folder, options


@pytest.fixture
def run(trained, monkeypatch, capsys):
    """Runs a command in that folder, and gives what it printed on stdout and stderr."""
    folder, options = trained
    monkeypatch.chdir(folder)

    def run(*args, code=0):
        has_backbone = args[0] in ("train", "crossval", "extract")
        more = options if has_backbone else options[2:] if args[0] == "evaluate" else []
        assert cli.main([*map(str, args), *more]) == code
        said = capsys.readouterr()
        assert shown(said.out, keep="\n\t") == said.out
        assert shown(said.err, keep="\n\t\r") == said.err
        return said

    if not (folder / "my model").exists():
        done = run("train", "my pictures", "--model-dir", "my model", "--steps", 50)
        (folder / "train.out").write_text(done.out)
        (folder / "train.err").write_text(done.err)
    return run


WARNING = (
    "warning: more than a tenth of the files of a class can't be used: two words (5 of 25, mostly: the file is empty)"
)
LOSS = {
    "files": 66,
    "left_out": 6,
    "reasons": {"the file is empty": 5, "text, not a picture": 1},
    "classes": [
        {"name": LOST, "files": 25, "left_out": 5, "reason": "the file is empty"},
        {"name": EVIL, "files": 21, "left_out": 1, "reason": "text, not a picture"},
    ],
}
TOLD = "6 of 66 files (5 x the file is empty, 1 x text, not a picture); by class: two words 5 of 25, "


def test_train_says_what_was_lost_and_its_command_can_be_pasted(run, trained):
    folder, _ = trained
    out, err = (folder / "train.out").read_text(), (folder / "train.err").read_text()
    assert WARNING in err
    assert f"Skipped {TOLD}" in out
    assert "; all are in my model/skipped.csv" in out
    assert json.loads((folder / "my model" / "run.json").read_text())["extraction"]["left_out"] == LOSS
    (command,) = (line.removeprefix("Next: ") for line in out.splitlines() if line.startswith("Next: "))
    assert command.startswith("retrain predict 'my model' $'my pictures/")
    # as bash reads it; Python's shlex has no $'...'
    words = subprocess.run(["bash", "-c", f"printf '%s\\0' {command}"], capture_output=True, check=True).stdout
    words = words.decode().split("\0")[:-1]
    assert run(*words[1:]).out.startswith("my pictures/")


@pytest.mark.parametrize(
    "args",
    [
        ("crossval", "my pictures", "--folds", 2, "--steps", 5),
        ("evaluate", "my model", "my pictures"),
        ("extract", "my pictures"),
        ("inspect", "my pictures"),
    ],
)
def test_every_command_says_what_was_lost(run, args):
    said = run(*args)
    assert WARNING in said.err
    assert TOLD in said.out
    found = json.loads(run(*args, "--json").out)
    assert found["left_out"] == LOSS
    files = found["unreadable" if args[0] == "inspect" else "skipped_files"]
    assert files[f"{LOST}/lost\n0"] == "the file is empty"  # JSON has the name as it is


def test_a_folder_without_a_readable_picture_says_why(run, tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "p" / name).mkdir(parents=True)
        for number in range(3):
            (tmp_path / "p" / name / str(number)).write_bytes(b"")
    said = run("extract", tmp_path / "p")
    assert "6 files: 0 cached, 0 extracted, 6 skipped" in said.out
    said = run("train", tmp_path / "p", "--model-dir", tmp_path / "m", code=1)
    assert "error: not one readable picture in " in said.err
    assert ": skipped 6 of 6 files (the file is empty); by class: cat 3 of 3, dog 3 of 3" in said.err


def test_files_and_json_have_the_true_names(run, trained):
    folder, _ = trained
    run_record = json.loads((folder / "my model" / "run.json").read_text())
    assert run_record["labels"] == [FORMULA, EVIL, LOST]
    assert (folder / "my model" / "labels.txt").read_text() == f"{FORMULA}\n{EVIL}\n{LOST}\n"
    answers = json.loads(run("predict", "my model", "my pictures", "--json").out)
    assert {Path(answer["path"]).parent.name for answer in answers} == {FORMULA, EVIL, LOST}
    for answer in answers:
        assert (folder / answer["path"]).exists()


def test_predictions_csv_has_no_formula_and_is_read_back(run, trained):
    """A spreadsheet takes what begins with one of these characters for a formula, also in quotes."""
    folder, _ = trained
    for name in ("predictions.csv", "skipped.csv"):
        with (folder / "my model" / name).open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert not [cell for row in rows for cell in row.values() if cell[0] in "=+-@\t\r"]
        assert {row["path"].split("/")[0] for row in rows} == (
            {f"'{FORMULA}", EVIL, LOST} if name == "predictions.csv" else {EVIL, LOST}
        )
    figures = json.loads(run("evaluate", "my model", "my pictures", "--json").out)
    assert figures["n"] == 60
    assert {p["set"] for p in figures["predictions"]} == {"train", "validation", "test"}


@pytest.mark.parametrize(
    "name", ["=1", "+1", "-1", "@a", "\ta", "\ra", "'=1", "''=1", "\uff1d1", "'a", "a", "a=1", "", "'"]
)
def test_the_apostrophe_can_be_taken_off_again(name):
    cell = _guarded(name)
    assert cell[:1] not in tuple("=+-@\t\r\uff1d")
    is_guarded = cell.startswith("'") and cell.lstrip("'")[:1] in tuple("=+-@\t\r\uff1d\uff0b\uff0d\uff20")
    assert (cell[1:] if is_guarded and cell.lstrip("'") else cell) == name


def test_cells_survive_whatever_is_in_them(tmp_path):
    rows = [["a\rb", "c\nd", 'e"f', -1.5], ["g;=1+1", "h\t=1+1", "i,j", -2], ["plain", "k", "l", 3]]
    _write_csv(tmp_path / "x.csv", ["=one", "two", "three", "four"], rows)
    with (tmp_path / "x.csv").open(newline="") as file:
        header, *found = csv.reader(file)
    assert header == ["'=one", "two", "three", "four"]
    assert found == [[str(cell) for cell in row] for row in rows]  # numbers stay numbers
    text = (tmp_path / "x.csv").read_text()
    assert text.splitlines()[-1] == "plain,k,l,3"
    assert '"g;=1+1"' in text  # whole, where cells end with ;


def test_a_picture_comes_from_standard_input(run, trained, monkeypatch):
    picture = io.BytesIO()
    draw_picture(3, 1).save(picture, "JPEG", quality=95)

    def pipe(data):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    pipe(picture.getvalue())
    (answer,) = json.loads(run("predict", "my model", "-", "--json").out)
    assert (answer["path"], answer["label"]) == ("-", FORMULA)
    pipe(picture.getvalue())
    assert run("predict", "my model", "-").out.startswith(f"-: {FORMULA} 0.")
    pipe(b"")
    assert "retrain: error: -: the file is empty" in run("predict", "my model", "-", code=1).err
    pipe(bytes(2**20 + 1))
    assert "larger than --max-file-size 1 MiB" in run("predict", "my model", "-", "--max-file-size", 1, code=2).err
    assert "- is given twice" in run("predict", "my model", "-", "-", code=2).err
    assert "--wrong needs pictures in folders" in run("predict", "my model", "-", "--wrong", code=2).err
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    assert "pipe one in" in run("predict", "my model", "-", code=2).err


def test_a_sheet_among_the_pictures_is_warned_of(make_folder, monkeypatch, capsys):
    monkeypatch.chdir(make_folder({"cat": 5, "dog": 5}))
    command = ["inspect", ".", "--augment", "3", "--flip", "--quiet"]
    assert cli.main(command) == 0
    assert "warning: distortions.png will lie in the folder of pictures: move it away" in capsys.readouterr().err
    assert cli.main([*command, "--sheet", "../sheet.png"]) == 0
    assert "will lie" not in capsys.readouterr().err
    Path("loop").symlink_to("loop")
    assert cli.main(["inspect", "loop", "--augment", "3", "--flip"]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_evaluate_writes_files_where_it_is_told_to(run, tmp_path):
    out = tmp_path / "deep" / "found"
    said = run("evaluate", "my model", "my pictures", "--output", out)
    assert f"Files: {out}/ (evaluation.json, " in said.out
    assert sorted(path.name for path in out.iterdir()) == [
        "confusion_matrix.csv", "evaluation.json", "predictions.csv", "skipped.csv",
    ]  # fmt: skip
    found = json.loads((out / "evaluation.json").read_text())
    assert found["left_out"] == LOSS
    with (out / "confusion_matrix.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["", f"'{FORMULA}", EVIL, LOST]
    assert [[int(cell) for cell in row[1:]] for row in rows] == found["confusion_matrix"]
    refused = run("evaluate", "my model", "my pictures", "--output", "my model", code=1).err
    assert "my model is a model folder, whose files would be lost: give another --output" in refused
    assert "can't write into /proc/x" in run("evaluate", "my model", "my pictures", "--output", "/proc/x", code=1).err


def metrics_of(classes):
    """Of four pictures of each class one or two are taken for the next; of the last class there are none."""
    labels = np.repeat(np.arange(classes - 1, dtype=np.int32), 4)
    logits = np.zeros((len(labels), classes), np.float32)
    given = labels.copy()
    given[1::4] = (labels[1::4] + 1) % classes
    given[2::8] = (labels[2::8] + 1) % classes
    logits[np.arange(len(labels)), given] = 1
    return evaluate_logits(logits, labels, [f"class {number:03}" for number in range(classes)])


def test_of_many_classes_evaluate_shows_the_worst():
    text = describe_metrics(metrics_of(400))
    assert len(text) < 2000
    lines = text.splitlines()
    table = lines[lines.index(next(line for line in lines if line.startswith("class  "))) + 1 :][:11]
    assert table[0].startswith("class 000")
    assert table[10] == "... and 390 more (above: those with the lowest recall; all of them with --json)"
    assert "Confusion matrix (" not in text
    assert sum("taken for" in line for line in lines) == 11
    assert lines[-1] == "The whole confusion matrix: with --json, or as a file with --output DIR"
    assert "Confusion matrix (rows: true class" in describe_metrics(metrics_of(20))


def test_predict_shows_the_five_likeliest():
    from retrain.cli.predict import _answer, _answer_line
    from retrain.model.classifier import Prediction

    scores = {f"class {number}": 0.5 / 2**number for number in range(400)}
    prediction = Prediction("a.jpg", "class 0", 0.5, scores)
    assert _answer_line(prediction, None, None) == (
        "a.jpg: class 0 0.5000, class 1 0.2500, class 2 0.1250, class 3 0.0625, class 4 0.0312"
    )
    assert len(_answer(prediction, None, None)["scores"]) == 400
    assert len(_answer(prediction, None, 3)["scores"]) == 3


def test_of_many_labels_predict_shows_those_that_the_picture_has():
    from retrain.cli.predict import _answer, _answer_line
    from retrain.model.classifier import Prediction

    names = [f"label {number}" for number in range(10)]
    most = Prediction.of("a.jpg", names, [0.9 - number / 20 for number in range(10)], [0.8, 0.9] + [0.5] * 8)
    assert _answer_line(most, None, None) == (
        "a.jpg: label 0 0.9000, label 2 0.8000, label 3 0.7500, label 4 0.7000, label 5 0.6500, "
        "label 6 0.6000, label 7 0.5500, label 8 0.5000"
    )
    assert _answer_line(most, None, 2) == "a.jpg: label 0 0.9000, (label 1 0.8500)"
    assert _answer(most, None, 1)["labels"] == tuple(f"label {number}" for number in (0, 2, 3, 4, 5, 6, 7, 8))
    none = Prediction.of("a.jpg", names, [0.2] * 9 + [0.3], [0.5] * 10)
    assert _answer_line(none, None, None) == "a.jpg: (label 9 0.3000)"
    assert (none.labels, none.label) == ((), "label 9")
