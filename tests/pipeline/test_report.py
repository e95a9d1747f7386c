"""Reports of trained models: files in, a page out, and nothing of the user's is changed."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
from support.command import retrain
from support.pictures import draw_picture
from support.small_network import pooled_saved_model, small_saved_model

from retrain.errors import ImageFolderError, ModelFolderError, OutputError
from retrain.events import Reported
from retrain.model.classifier import Classifier
from retrain.options import (
    BackboneOptions,
    EvaluationOptions,
    FineTuningOptions,
    ReportOptions,
    RunOptions,
    TrainingOptions,
)
from retrain.pipeline.report import write_report
from retrain.pipeline.train import train
from retrain.report.contents import Absent


@pytest.fixture
def work(trained, tmp_path):
    """A copy of a folder with pictures/, cache/ and model/, in which the test runs."""
    folder = tmp_path / "work"
    shutil.copytree(trained[0], folder)
    os.chdir(folder)
    run = json.loads((folder / "model" / "run.json").read_text())
    assert run["image_dir"] == str(trained[0] / "pictures")
    return folder


@pytest.fixture(scope="module")
def reported(trained, tmp_path_factory):
    """A copy of the folder with a report, the report, what was told meanwhile, and the pictures' times before."""
    folder = tmp_path_factory.mktemp("reported") / "work"
    shutil.copytree(trained[0], folder)
    before = times_of(folder / "pictures")
    told = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        made = write_report(Classifier("model"), "pictures", emit=told.append)
    return folder, made, told, before


def times_of(folder):
    return {path: path.stat().st_ctime_ns for path in folder.rglob("*")}


def report_of(work, **more):
    return write_report("model", "pictures", emit=lambda event: None, **more)


def finding(made, name):
    return next(f for f in made.report.findings if not isinstance(f, Absent) and f.name == name)


def options(tiny_backbone, **more):
    return RunOptions(
        backbone=BackboneOptions(backbone=str(tiny_backbone)), training=TrainingOptions(steps=100), **more
    )


def test_training_leaves_a_quick_report_and_a_card(trained):
    model = trained[0] / "model"
    run = json.loads((model / "run.json").read_text())
    assert {"report.html", "README.md"} <= {*run["files"]}
    assert "report.html" not in run["sha256"]
    assert "README.md" in run["sha256"]
    page = (model / "report.html").read_text()
    assert "cat" in page
    assert f"retrain report {'model'}" in page


def test_the_report_is_of_the_model_and_its_pictures(reported):
    folder, made, _, before = reported
    assert Path(made.path) == Path("model/report.html")
    assert (folder / "model" / "report.html").stat().st_size > 50_000
    run = json.loads((folder / "model" / "run.json").read_text())
    headline = made.report.headline
    assert headline.accuracy.value == run["results"]["test"]["accuracy"]
    assert headline.accuracy.n == run["results"]["test"]["n"]
    assert headline.notes[0].startswith(f"{headline.accuracy.n} test pictures say little")
    assert headline.effort.pass_two_seconds == run["timings"]["training_seconds"]
    assert finding(made, "unreadable").paths == ("cat/notes.txt",)
    assert times_of(folder / "pictures") == before
    json.dumps(made.as_dict())


def test_the_work_is_told(reported):
    assert [event.done for event in reported[2] if isinstance(event, Reported)][-1] == 25


def test_what_has_changed_since_training_is_said(work):
    (work / "pictures" / "cat" / "cat0.png").unlink()
    (work / "pictures" / "owl" / "deep" / "owl1.png").rename(work / "pictures" / "cat" / "moved.png")
    for number in range(2):
        draw_picture(100 + number, 1).save(work / "pictures" / "dog" / f"new{number}.png")
    made = report_of(work)
    assert made.report.headline.notes[0] == (
        "Since training 2 pictures have come and 1 picture has gone. The figures are of those that were there, as they "
        "are now."
    )
    assert sum(row.train + row.validation + row.test for row in made.report.classes) == 89
    labels = {picture.path: picture.label for picture in made.report.pictures}
    assert labels.get("cat/moved.png", "cat") == "cat"


def test_pictures_that_have_moved(work):
    run = json.loads((work / "model" / "run.json").read_text())
    missing = run["image_dir"]
    shutil.move("pictures", "elsewhere")
    moved = Path(missing).with_name("pictures.away")
    Path(missing).rename(moved)
    try:
        with pytest.raises(
            ImageFolderError, match=r"no longer in .*pictures: say where .*report model --image-dir DIR"
        ):
            write_report("model")
    finally:
        moved.rename(missing)
    assert write_report("model", "elsewhere").image_dir == "elsewhere"


def test_a_model_that_tells_too_little(work):
    from retrain.model.folder import seal

    path = work / "model" / "run.json"
    run = json.loads(path.read_text())
    del run["timings"], run["digest"]
    path.write_text(json.dumps(seal(run)))
    with pytest.raises(ModelFolderError, match=r"does not tell enough of its training .*timings.*train it again"):
        report_of(work)


def test_a_report_that_cant_be_written(work, monkeypatch):
    shutil.copytree("model", "other")
    (work / "other" / "report.html").unlink()
    (work / "other" / "report.html").mkdir()
    with pytest.raises(OutputError, match=r"can't write other/report.html: .*check its permissions"):
        write_report("other", "pictures")


def test_the_cache_may_have_moved_and_without_a_litert_model_there_are_no_heat_maps(work, tmp_path):
    shutil.move("cache", tmp_path / "kept")
    (work / "model" / "classifier.tflite").unlink()
    made = report_of(work, cache_dir=tmp_path / "kept")
    assert not Path("cache").exists()
    assert made.report.is_full
    assert "classifier.tflite" in made.report.heat_maps.reason


def test_the_tiny_backbone_does_not_pool(reported):
    assert "does not end with a mean" in reported[1].report.heat_maps.reason


# options of train


def test_no_report_leaves_it_out_and_full_makes_it_whole(make_folder, tiny_backbone):
    root = make_folder({"cat": 12, "dog": 12})
    for name, chosen in (
        ("none", ReportOptions(report="none")),
        ("no", ReportOptions(no_report=True)),
        ("full", ReportOptions(report="full", projector=True)),
    ):
        train(root, name, options(tiny_backbone, report=chosen))
    assert not Path("none/report.html").exists()
    assert not Path("no/report.html").exists()
    assert "report.html" not in json.loads(Path("no/run.json").read_text())["files"]
    assert "The full report also looks" not in Path("full/report.html").read_text()
    assert Path("full/logs/projector_config.pbtxt").exists()


def test_a_report_of_before_goes_with_its_model(make_folder, tiny_backbone):
    root = make_folder({"cat": 12, "dog": 12})
    train(root, "model", options(tiny_backbone, report=ReportOptions(report="none")))
    write_report("model")  # run.json does not list it
    train(root, "model", options(tiny_backbone, report=ReportOptions(report="none")))
    assert not Path("model/report.html").exists()


def test_a_card_of_the_users_own_stays(make_folder, tiny_backbone):
    root = make_folder({"cat": 12, "dog": 12})
    train(root, "model", options(tiny_backbone))
    card = Path("model/README.md")
    changed = card.read_text() + "Not for cats of other planets.\n"
    for own in (changed, "Mine\n"):
        card.write_text(own)
        for _ in range(2):
            train(root, "model", options(tiny_backbone))
            assert card.read_text() == own
    card.unlink()
    train(root, "model", options(tiny_backbone))
    assert card.read_text().startswith("---\nlicense")


def test_pictures_that_the_test_left_out_are_not_counted(make_folder, tiny_backbone):
    root = make_folder({"cat": 30, "dog": 30})
    chosen = options(tiny_backbone, evaluation=EvaluationOptions(test_batch_size=3))
    model = train(root, "model", chosen)
    assert (model.judged.sets == "test").sum() == 3
    assert (model.judged.sets == "unused").sum() == model.result.split["test"] - 3


# the command


def test_the_command_gives_a_document(work):
    found = json.loads(retrain("report", "model", "--image-dir", "pictures", "--json", "--quiet", check=0).stdout)
    assert found["findings"]["unreadable"]["paths"] == ["cat/notes.txt"]
    assert found["image_dir"] == "pictures"


def test_wrong_usage(work):
    assert "report takes a model folder" in retrain("report", check=2).stderr
    assert "add --yes" in retrain("report", "model", "--move-suspects", "x", check=2).stderr
    assert "leave one of them out" in retrain("train", "pictures", "--report", "full", "--no-report", check=2).stderr


def test_suspects_are_moved_and_come_back(work):
    swapped = ["cat/cat0.png", "dog/dog3.png", "owl/owl6.png"]
    for path, other in zip(swapped, ["dog", "owl", "cat"], strict=True):
        (work / "pictures" / path).rename(work / "pictures" / other / f"swapped_{Path(path).name}")
    before = sorted(path.relative_to(work) for path in (work / "pictures").rglob("*"))
    command = ["report", "model", "--image-dir", "pictures", "--quiet", "--move-suspects", "suspects", "--yes"]
    done = retrain(*command, check=0)
    moved = sorted(path.name for path in (work / "suspects").rglob("*.png"))
    assert {"swapped_cat0.png", "swapped_dog3.png", "swapped_owl6.png"} <= {*moved}
    assert f"Moved {len(moved)} pictures to" in done.stderr
    [listed] = (work / "suspects").glob("moved-*.json")
    assert f"retrain report --undo {listed}" in done.stderr
    assert retrain("report", "--undo", listed, check=0).stdout == f"Moved {len(moved)} pictures back\n"
    assert sorted(path.relative_to(work) for path in (work / "pictures").rglob("*")) == before
    assert json.loads(retrain("report", "--undo", listed, "--json", check=0).stdout) == {"moved_back": 0}


def test_the_command_tells_what_it_found_and_moves_nothing_unless_the_user_says_yes(work, monkeypatch):
    from retrain.cli import report as command

    monkeypatch.setattr(command, "_confirmed", lambda moves: False)
    monkeypatch.setattr("sys.stdin", type("Terminal", (), {"isatty": lambda self: True})())
    (work / "pictures" / "cat" / "cat0.png").rename(work / "pictures" / "dog" / "swapped.png")
    done = retrain("report", "model", "--image-dir", "pictures", "--quiet", "--move-suspects", "suspects", check=0)
    lines = done.stdout.splitlines()
    assert "test pictures get the right label" in lines[0] or "got the right label" in lines[0]
    assert lines[-1] == "Report: model/report.html"
    assert "  cat/notes.txt" in lines
    assert "Nothing was moved" in done.stderr
    assert not (work / "suspects").exists()


# kinds of models


@pytest.mark.slow
def test_a_fine_tuned_model_with_its_second_stretch_and_exact_maps(make_folder, tmp_path):
    root = make_folder({"cat": 20, "dog": 20})
    chosen = RunOptions(
        backbone=BackboneOptions(backbone=str(small_saved_model(tmp_path / "small"))),
        training=TrainingOptions(optimizer="adam", steps=50),
        fine_tuning=FineTuningOptions(fine_tune_layers=2, fine_tune_epochs=3, fine_tune_learning_rate=0.01),
    )
    model = train(root, "model", chosen)
    report = write_report("model").report
    assert [stretch.title for stretch in report.curves.stretches] == ["Training the head", "Fine-tuning"]
    assert report.headline.accuracy.value == model.result.metrics["test"].accuracy
    assert "exact" in report.heat_maps


@pytest.mark.network
def test_a_hidden_layer_and_calibration(make_folder, tmp_path):
    root = make_folder({"cat": 20, "dog": 20})
    chosen = RunOptions(
        backbone=BackboneOptions(backbone=str(pooled_saved_model(tmp_path / "small"))),
        training=TrainingOptions(hidden_units=8, steps=200),
        evaluation=EvaluationOptions(calibrate=True),
    )
    model = train(root, "model", chosen)
    report = write_report("model").report
    assert "gradient times activation" in report.heat_maps
    assert report.calibration.temperature == pytest.approx(model.result.calibration.temperature)
    assert report.calibration.before is not None


@pytest.mark.slow
def test_hostile_names_are_text_in_every_file_for_people(tmp_path, tiny_backbone):
    names = [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(2)>'",
        "\x1b[31mred\u202e",
        "{{ 7 * 7 }} | # `x`",
    ]
    root = tmp_path / "pictures"
    for label, name in enumerate(names):
        (root / name.replace("/", "\u2215")).mkdir(parents=True)
        for number in range(12):
            draw_picture(number, label).save(root / name.replace("/", "\u2215") / f"{number}{name[:9]}\n.png", "PNG")
    moved = root / names[3] / f"0{names[3][:9]}\n.png"
    moved.rename(root / names[1] / "swapped <b>.png")
    train(root, "model", options(tiny_backbone, report=ReportOptions(report="full", projector=True)))
    retrain("report", "model", "--move-suspects", "away", "--yes", "--quiet", check=0)
    page = Path("model/report.html").read_text()
    assert page.count("<script") == 1
    assert re.findall(r"<img src=x|\x1b|\u202e|>49 \|", page) == []
    assert re.findall(r"(?<!\\)<|\x1b|\u202e", Path("model/README.md").read_text().partition("# ")[2]) == []
    assert len(Path("model/logs/projector/metadata.tsv").read_text().splitlines()) == 49
    assert {path.suffix for path in Path("away").iterdir()} >= {".json"}
