"""The pictures of a folder that are not labelled yet."""

import os

import pytest

from retrain.data import read_image_folder, read_source
from retrain.data.unlabelled import read_unlabelled
from retrain.errors import ImageFolderError


def test_files_at_any_depth_and_no_litter(make_folder):
    folder = make_folder({"one": 2, "two/deep": 1}, "photos")
    (folder / ".DS_Store").touch()
    (folder / "loose.txt").touch()
    found = read_unlabelled(folder, exclude=[folder / "two"])
    assert [sample.path for sample in found.samples] == ["loose.txt", "one/one_000.png", "one/one_001.png"]
    assert os.fspath(found.root / found.samples[1].path) == f"{folder}/one/one_000.png"


def test_labelled_pictures_in_the_folder_are_left_out(make_folder, tmp_path):
    folder = make_folder({"labelled/cat": 2, "labelled/dog": 1, "new": 2}, "photos")
    (tmp_path / "link").symlink_to(folder)
    found = read_unlabelled(tmp_path / "link", read_image_folder(folder / "labelled"))
    assert [sample.path for sample in found.samples] == ["new/new_000.png", "new/new_001.png"]
    (folder / "labels.csv").write_text("path,label\nnew/new_000.png,cat\n./labelled/dog/dog_000.png,dog\n")
    found = read_unlabelled(folder, read_source(folder / "labels.csv"))
    assert [sample.path for sample in found.samples] == [
        *("labelled/cat/cat_000.png", "labelled/cat/cat_001.png", "new/new_001.png")
    ]


def test_folders_that_will_not_do(make_folder, tmp_path):
    folder = make_folder({"cat": 1, "dog": 1})
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    labelled = read_image_folder(folder)
    for place, message in [
        (tmp_path / "nowhere", "nowhere does not exist: give a folder"),
        (tmp_path / "file", "file is a file: give a folder"),
        (tmp_path / "empty", "no files in .*empty: put unlabelled pictures there"),
        (folder / "cat", r"cat lies in .*pictures, whose sub-folders are classes: move it out"),
        (folder, "whose sub-folders are classes"),
    ]:
        with pytest.raises(ImageFolderError, match=message):
            read_unlabelled(place, labelled)
    (folder / "labels.csv").write_text("path,label\ncat/cat_000.png,cat\ndog/dog_000.png,dog\n")
    with pytest.raises(ImageFolderError, match=r"all 3 files in .* are labelled already"):
        read_unlabelled(folder, read_source(folder / "labels.csv"))


def test_a_folder_that_cannot_be_listed(tmp_path, monkeypatch):
    def refuse(place):
        raise PermissionError(13, "Permission denied", place)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ImageFolderError, match=r"can't read the folder .*: Permission denied; check its permissions"):
        read_unlabelled(tmp_path)
