"""`retrain predict --few-shot`: by examples, without a model."""

import json
import shutil
from pathlib import Path

import pytest
from support.command import one_line_error, retrain
from support.pictures import draw_picture

import retrain as package


@pytest.fixture
def surroundings(make_folder, tiny_backbone, tmp_path):
    """Three examples of each of three kinds, and other pictures of these; the start and the end of the command."""
    make_folder({"cat": 3, "dog": 3, "owl": 3}, "examples")
    for label, name in enumerate(["cat", "dog", "owl"]):
        (tmp_path / "others" / name).mkdir(parents=True)
        for number in range(100, 106):
            draw_picture(number, label).save(tmp_path / "others" / name / f"{number}.png")
    return ["predict", "--few-shot", "examples"], ["--backbone", tiny_backbone]


def test_pictures_get_the_label_of_the_examples_that_they_are_like(surroundings):
    start, end = surroundings
    assert retrain(*start, "others", "--wrong", *end, check=0).stdout == "0 of 18 wrong\n"
    line = retrain(*start, "others/owl/100.png", "--top", 1, *end, check=0).stdout
    assert line.startswith("others/owl/100.png: owl 0.")


def test_they_are_called_similarities(surroundings):
    start, end = surroundings
    [answer] = json.loads(retrain(*start, "others/dog/100.png", "--json", *end, check=0).stdout)
    assert answer.keys() == {"path", "label", "similarity", "similarities"}
    assert (answer["label"], answer["similarity"]) == next(iter(answer["similarities"].items()))
    assert sum(answer["similarities"].values()) == pytest.approx(1)


def test_pictures_that_can_not_be_read_are_errors_of_their_own(surroundings, tmp_path):
    start, end = surroundings
    (tmp_path / "notes.txt").write_text("no picture")
    done = retrain(*start, "notes.txt", "others/cat/100.png", "nowhere.png", *end, check=1)
    assert done.stdout.startswith("others/cat/100.png: cat")
    assert "retrain: error: notes.txt: text, not a picture" in done.stderr
    assert "retrain: error: nowhere.png: can't be read: No such file" in done.stderr
    done = retrain(*start, "notes.txt", *end, check=1)  # none is left
    assert done.stdout == ""


def test_in_python_pictures_may_be_in_memory(surroundings, tiny_backbone):
    options = package.RunOptions(backbone=package.BackboneOptions(backbone=str(tiny_backbone)))
    picture = Path("others/owl/100.png")
    found = package.few_shot("examples", [picture, package.PictureBytes("bytes", picture.read_bytes())], options)
    assert [one.path for one in found] == [str(picture), "bytes"]
    assert found[0].similarities == found[1].similarities
    assert found[0].label == "owl"


def test_labels_and_copies(surroundings, tmp_path):
    """Labels come from the file; copies of an example change nothing."""
    start, end = surroundings
    (tmp_path / "names.txt").write_text("owl\tEule\n")
    command = [*start, "others/owl/100.png", "--labels-file", "names.txt", *end]
    first = retrain(*command, check=0).stdout
    assert first.startswith("others/owl/100.png: Eule")
    shutil.copy("examples/cat/cat_000.png", "examples/cat/copy.png")
    assert retrain(*command, check=0).stdout == first


def test_examples_that_will_not_do(surroundings, make_folder, tmp_path):
    _, end = surroundings
    make_folder({"cat": 2}, "one")
    one_line_error(retrain("predict", "--few-shot", "one", "others", *end, check=1), "only one class of examples (cat)")
    make_folder({"cat": 1}, "empty")
    (tmp_path / "empty/dog").mkdir()
    (tmp_path / "empty/dog/dog.png").write_text("no picture")
    done = retrain("predict", "--few-shot", "empty", "others", *end, check=1)
    one_line_error(done, "no readable picture of class dog in empty: add one")


def test_options_that_do_not_go_together(surroundings):
    start, end = surroundings
    one_line_error(retrain(*start, "others", "--explain", "maps", *end, check=2), "--explain needs a trained model")
    one_line_error(retrain("predict", "model", "others", *end, check=2), "are for --few-shot, and a model has its own")
