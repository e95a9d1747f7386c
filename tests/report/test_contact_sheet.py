"""The sheet of distorted copies that `retrain inspect` draws."""

import json
from pathlib import Path

import pytest
from PIL import Image

from retrain.cli import main as cli
from retrain.errors import ImageFolderError, OutputError
from retrain.options import AugmentationOptions, ImageOptions
from retrain.report.contact_sheet import Example, check_place, write_sheet

SOME = AugmentationOptions(augment=9, flip=True, rotate=20, zoom=10, shift=5, brightness=10, contrast=10)
STEP = (168, 210)  # pixels from tile to tile


def size(rows, columns):
    return columns * STEP[0] + 8, rows * STEP[1] + 8


def examples(root):
    return [Example(path, path.parent.name) for path in sorted(root.rglob("*_000.png"))]


def test_a_row_for_each_class_begins_with_the_picture_itself(make_folder):
    root = make_folder({"cat": 2, "dog": 1, "Eule \N{OWL} with a name much longer than a tile is wide": 1})
    write_sheet("sheet.png", examples(root), SOME, ImageOptions())
    with Image.open("sheet.png") as sheet:
        assert sheet.format == "PNG"
        assert sheet.size == size(3, 8)
        picture = Image.open(root / "cat" / "cat_000.png").resize((160, 160), Image.Resampling.BILINEAR)
        tile = sheet.crop((8, 8, 168, 168))
        second = sheet.crop((8 + STEP[0], 8, 168 + STEP[0], 168))
    # names sort with upper case first: the first row is the owl's
    with Image.open("sheet.png") as sheet:
        cat = sheet.crop((8, 8 + STEP[1], 168, 168 + STEP[1]))
    assert cat.tobytes() == picture.convert("RGB").tobytes()
    assert tile.tobytes() != second.tobytes()


def test_there_are_eight_rows_at_most_and_as_many_copies_as_are_asked_for(make_folder):
    root = make_folder({f"c{number}": 1 for number in range(10)})
    write_sheet("sheet.png", examples(root), AugmentationOptions(augment=2, flip=True), ImageOptions())
    with Image.open("sheet.png") as sheet:
        assert sheet.size == size(8, 3)


def test_without_a_picture_there_is_no_sheet(make_folder):
    gone = [Example(Path("nowhere.png"), "cat")]
    with pytest.raises(ImageFolderError, match="no training picture to distort: add pictures"):
        write_sheet("sheet.png", gone, SOME, ImageOptions())
    assert not Path("sheet.png").exists()
    root = make_folder({"cat": 1, "dog": 1})
    write_sheet("sheet.png", [*gone, *examples(root)], SOME, ImageOptions())
    with Image.open("sheet.png") as sheet:
        assert sheet.size == size(2, 8)


def test_a_sheet_that_cannot_be_written_is_an_error(make_folder):
    with pytest.raises(OutputError, match=r"can't write the sheet nowhere/sheet\.png: No such file or directory"):
        write_sheet("nowhere/sheet.png", examples(make_folder({"cat": 1})), SOME, ImageOptions())


def test_inspect_says_where_the_sheet_is(make_folder, capsys):
    root = make_folder({"cat": 5, "dog": 5})
    assert cli.main(["inspect", str(root), "--augment", "3", "--flip", "--quiet"]) == 0
    assert capsys.readouterr().out.endswith("Distorted copies: distortions.png\n")
    with Image.open("distortions.png") as sheet:
        assert sheet.size == size(2, 4)
    command = ["inspect", str(root), "--augment", "3", "--flip", "--sheet", "mine.png", "--json", "--quiet"]
    assert cli.main(command) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["sheet"] == "mine.png"
    assert "examples" not in found
    assert Path("mine.png").exists()
    assert cli.main(["inspect", str(root), "--json", "--quiet"]) == 0
    assert "sheet" not in json.loads(capsys.readouterr().out)


def test_a_sheet_of_nothing_is_refused(make_folder, capsys):
    root = make_folder({"cat": 5, "dog": 5})
    assert cli.main(["inspect", str(root), "--sheet", "mine.png"]) == 2
    assert "--sheet is a sheet of distorted copies: say how many, as in --augment 7 --flip" in capsys.readouterr().err


def test_what_is_no_such_sheet_is_not_written_over(tmp_path):
    check_place("sheet.png")
    Image.new("RGB", (4, 4)).save("sheet.png")
    with pytest.raises(OutputError, match=r"sheet\.png exists and is not a sheet of distorted copies: choose"):
        check_place("sheet.png")
