"""Pictures are moved as asked, and come back."""

import json
import os
from pathlib import Path

import pytest

from retrain.errors import OutputError, UsageError
from retrain.pipeline.moving import move, plan_moves, undo

NAMES = ["cat/a.png", "cat/two\nlines\t<b>.png", "dog/caf\udce9.png"]


@pytest.fixture
def pictures(tmp_path):
    root = tmp_path / "pictures"
    for number, name in enumerate(NAMES):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(str(number))
    return root


def contents(folder):
    return {os.path.relpath(path, folder): path.read_text() for path in folder.rglob("*") if path.suffix == ".png"}


def test_there_and_back(pictures, tmp_path):
    before = contents(pictures)
    listed = move(plan_moves(NAMES, pictures, tmp_path / "away"))
    assert contents(pictures) == {}
    assert contents(tmp_path / "away") == before
    assert Path(listed).read_bytes().isascii()
    assert undo(listed) == 3
    assert contents(pictures) == before
    assert undo(listed) == 0


def test_the_folder_lies_elsewhere(pictures):
    with pytest.raises(UsageError, match="lies in the folder of pictures"):
        plan_moves(NAMES, pictures, pictures / "suspects")
    with pytest.raises(UsageError, match="give a folder elsewhere"):
        plan_moves(NAMES, pictures, pictures)


def test_nothing_is_overwritten(pictures, tmp_path):
    (tmp_path / "away" / "cat").mkdir(parents=True)
    (tmp_path / "away" / "cat" / "a.png").write_text("mine")
    with pytest.raises(OutputError, match=r"a\.png exists already: give another folder"):
        plan_moves(NAMES, pictures, tmp_path / "away")
    assert len(contents(pictures)) == 3


def test_what_was_moved_before_an_error_can_be_undone(pictures, tmp_path):
    before = contents(pictures)
    moves = plan_moves(NAMES, pictures, tmp_path / "away")
    (pictures / NAMES[2]).unlink()
    with pytest.raises(
        OutputError, match=r"moved 2 pictures of 3, then .* \(No such file.*\); to undo: retrain report --undo"
    ):
        move(moves)
    [listed] = (tmp_path / "away").glob("*.json")
    assert undo(listed) == 2
    assert contents(pictures) == {name: text for name, text in before.items() if name != NAMES[2]}


def test_a_list_that_cant_be_written_moves_nothing(pictures, tmp_path):
    (tmp_path / "away").write_text("a file")
    with pytest.raises(OutputError, match=r"can't write .*; nothing was moved"):
        move(plan_moves(NAMES, pictures, tmp_path / "away"))
    assert len(contents(pictures)) == 3


def test_a_file_that_has_come_meanwhile_is_not_overwritten(pictures, tmp_path):
    listed = move(plan_moves(NAMES, pictures, tmp_path / "away"))
    (pictures / NAMES[1]).parent.mkdir(exist_ok=True)
    (pictures / NAMES[1]).write_text("new")
    with pytest.raises(OutputError, match=r"exists again: 1 picture was moved back; move that file away"):
        undo(listed)
    assert (pictures / NAMES[1]).read_text() == "new"


@pytest.mark.parametrize("content", ["", "[1]", '[{"from": "a"}]', "{}x"])
def test_other_files_are_no_such_lists(tmp_path, content):
    (tmp_path / "list.json").write_text(content)
    with pytest.raises(OutputError, match=r"list\.json is not a list that --move-suspects wrote"):
        undo(tmp_path / "list.json")


def test_a_list_that_is_not_there(tmp_path):
    with pytest.raises(OutputError, match=r"can't read .*gone: No such file"):
        undo(tmp_path / "gone")


def test_a_place_that_cant_be_made_again(pictures, tmp_path):
    listed = move(plan_moves(NAMES[:1], pictures, tmp_path / "away"))
    document = json.loads(Path(listed).read_text())
    (tmp_path / "file").write_text("")
    document[0]["from"] = str(tmp_path / "file" / "a.png")
    Path(listed).write_text(json.dumps(document))
    with pytest.raises(OutputError, match=r"can't move .* back: .*; 0 pictures were moved back"):
        undo(listed)


@pytest.mark.parametrize("path", ["/elsewhere/a.png", "../other/a.png"])
def test_pictures_outside_of_the_root_of_a_manifest_stay(pictures, tmp_path, path):
    with pytest.raises(UsageError, match=r"--move-suspects keeps the paths below .*pictures, and .*a.png is elsewhere"):
        plan_moves([NAMES[0], path], pictures, tmp_path / "away")
