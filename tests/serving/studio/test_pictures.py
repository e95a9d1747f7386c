import os
import shutil
from pathlib import Path

import pytest
from support.studio import paint

from retrain.errors import ImageFolderError
from retrain.serving.studio.pictures import PictureTable, read_folder


def rows(change):
    """Number -> class and name, of the pictures in a change."""
    found = change["pictures"]
    names = [None if place < 0 else change["classes"][place] for place in found["classes"]]
    return dict(zip(found["ids"], zip(names, found["names"], strict=True), strict=True))


@pytest.fixture
def table():
    paint("pictures", count=2)
    table = PictureTable()
    assert len(table.replace(read_folder("pictures"))["pictures"]["ids"]) == 6
    return table


def test_a_folder_that_is_as_before_is_no_change(table):
    assert table.replace(read_folder("pictures")) is None


def test_changes_say_what_is_new_and_what_has_gone(table):
    numbers = table.numbers()
    sequence = table.sequence
    os.unlink("pictures/red/red0.png")
    os.rename("pictures/red/red1.png", "pictures/blue/other.png")
    shutil.copy("pictures/green/green0.png", "pictures/green/new.png")
    change = table.replace(read_folder("pictures"))
    assert change["gone"] == [numbers["red/red0.png"]]
    assert rows(change) == {numbers["red/red1.png"]: ("blue", "other.png"), 7: ("green", "new.png")}
    assert change["sequence"] == table.sequence == sequence + 1
    assert rows(table.listing()).keys() == {*numbers.values(), 7} - {numbers["red/red0.png"]}


def test_a_picture_that_is_replaced_gets_another_version(table):
    (before,) = (table.get(number).version for path, number in table.numbers().items() if path == "red/red0.png")
    shutil.copy("pictures/blue/blue0.png", "pictures/red/red0.png.new")
    os.replace("pictures/red/red0.png.new", "pictures/red/red0.png")
    change = table.replace(read_folder("pictures"))
    assert rows(change) == {table.numbers()["red/red0.png"]: ("red", "red0.png")}
    assert change["pictures"]["versions"] != [before]
    assert len(before) == 8


def test_two_names_of_one_file_have_two_numbers(table):
    os.link("pictures/red/red0.png", "pictures/blue/same.png")
    table.replace(read_folder("pictures"))
    numbers = table.numbers()
    assert numbers["red/red0.png"] != numbers["blue/same.png"]
    os.rename("pictures/red/red0.png", "pictures/blue/red0.png")
    os.rename("pictures/blue/same.png", "pictures/green/same.png")
    table.replace(read_folder("pictures"))
    assert len({*table.numbers().values()}) == len(table.numbers()) == 7


def test_classes_without_pictures_are_listed():
    paint("pictures", count=1)
    Path("pictures/empty").mkdir()
    assert read_folder("pictures").class_names == ("blue", "empty", "green", "red")


@pytest.mark.parametrize("names", [(), ("one",), ("one", "two")])
def test_folders_without_any_picture_are_no_problem(names):
    Path("pictures/.trash").mkdir(parents=True)
    for name in names:
        Path("pictures", name).mkdir()
    content = read_folder("pictures")
    assert (content.class_names, content.pictures, content.problem) == (names, (), None)


def test_a_folder_whose_classes_can_not_be_told_is_listed_with_the_problem():
    for colour, name in (("red", "val"), ("blue", "test")):
        paint("pictures", (colour,))
        os.rename(f"pictures/{colour}", f"pictures/{name}")
    content = read_folder("pictures")
    assert content.class_names == ("test", "val")
    assert len(content.pictures) == 6
    assert "can't tell sets from classes" in content.problem


def test_a_folder_that_is_not_there_is_an_error():
    with pytest.raises(ImageFolderError, match="can't read the folder nothing: No such file or directory"):
        read_folder("nothing")


def test_unlabelled_pictures_have_no_class():
    root = paint("pictures", count=1)
    paint("new", ("red",), 2)
    files = [(f"../new/red/red{n}.png", f"new/red/red{n}.png") for n in range(3)]
    content = read_folder(root, (), files)
    table = PictureTable()
    listed = [*rows(table.replace(content)).values()]
    assert listed[-2:] == [(None, "../new/red/red0.png"), (None, "../new/red/red1.png")]  # the third is not there


def test_broken_links_are_shown(table):
    os.symlink("nowhere", "pictures/red/link.png")
    assert [*rows(table.replace(read_folder("pictures"))).values()] == [("red", "link.png")]
