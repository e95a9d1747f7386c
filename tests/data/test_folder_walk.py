"""Walking folders: litter, what this program made, links, and what is no file."""

import os
import socket

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support.hearing import warnings_to

from retrain.cache.flat_pictures import FlatPictures
from retrain.data import folder_walk
from retrain.data.folder_walk import is_litter, picture_files
from retrain.data.image_folder import read_image_folder

LITTER = [
    *("@eaDir", "__MACOSX", "lost+found", "System Volume Information", "$RECYCLE.BIN", ".ipynb_checkpoints"),
    *("._a.jpg", "Thumbs.db", "desktop.ini", ".DS_Store", ".git", "Icon\r", "#recycle"),
]
UP = "a link to a folder above it, or to one that holds the classes: not followed"


def touch(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"x")


def read(root):
    """The paths of an image folder, what can't be a picture with its reason, and what was said."""
    said = []
    folder = read_image_folder(root, emit=warnings_to(said.append))
    return {sample.path: sample.problem for sample in folder.samples}, said


def predicted(root):
    """The same of what predict would look at."""
    return {os.path.relpath(path, root): problem for path, problem in picture_files([root])}


@pytest.mark.parametrize("name", LITTER)
@pytest.mark.parametrize("change", [str, str.lower, str.upper])
def test_litter_is_neither_a_class_nor_a_picture(tmp_path, name, change):
    assert is_litter(change(name))
    touch(tmp_path, "cat/a.jpg", f"{change(name)}/b.jpg", "dog/c.jpg", f"dog/{change(name)}/d.jpg")
    touch(tmp_path, f"cat/{change(name)}", "dog/deep/e.jpg")
    found, said = read(tmp_path)
    assert [*found] == ["cat/a.jpg", "dog/c.jpg", "dog/deep/e.jpg"]
    assert said == []
    assert predicted(tmp_path) == found


def test_an_unreadable_folder_that_is_litter_is_not_looked_into(tmp_path, monkeypatch):
    touch(tmp_path, "cat/a.jpg", "lost+found/b")
    refuse(monkeypatch, "lost+found")
    assert [*read(tmp_path)[0]] == [*predicted(tmp_path)] == ["cat/a.jpg"]


def test_models_and_caches_are_known_by_what_they_hold(tmp_path):
    touch(tmp_path, "cat/a.jpg", "dog/b.jpg", "my cache/README.md", "dog/model/run.json", "dog/model/labels.txt")
    touch(tmp_path, "my cache/tiny-01234567/extractor.json", "my cache/tiny-01234567/segment-0.h5")
    touch(tmp_path, "my cache/pictures/0123456789abcdef.npz")
    FlatPictures(tmp_path / "my cache").note(bytes(32))
    touch(tmp_path, *(f"first/{name}" for name in ("run.json", "labels.txt", "graph.pb", "saved_model/saved_model.pb")))
    touch(tmp_path, "found/evaluation.json", "found/confusion_matrix.csv", "found/predictions.csv")
    touch(tmp_path, "half replaced/labels.txt", "half replaced/graph.pb", "half replaced/logs/train/events")
    found, said = read(tmp_path)
    assert [*found] == ["cat/a.jpg", "dog/b.jpg"]
    assert said == []
    assert predicted(tmp_path) == found


def test_a_cache_without_a_folder_of_its_own_is_known_too(tmp_path):
    touch(tmp_path, "cat/a.jpg", "dog/b.jpg", "tiny-01234567/extractor.json", "pictures/0123456789abcdef.npz")
    found, _ = read(tmp_path)
    assert [*found] == ["cat/a.jpg", "dog/b.jpg"]


def test_classes_are_not_taken_for_models_or_caches(tmp_path):
    touch(tmp_path, "pictures/a.jpg", "pictures/0123456789abcdef.npz", "model/labels.txt", "cache/README.md")
    touch(tmp_path, "mixed/tiny-01234567/extractor.json", "mixed/mine/c.jpg")
    found, _ = read(tmp_path)
    assert {path.split("/")[0] for path in found} == {"pictures", "model", "cache", "mixed"}
    assert "mixed/tiny-01234567/extractor.json" not in found


def test_only_regular_files_are_pictures(tmp_path):
    touch(tmp_path, "cat/a.jpg", "dog/b.jpg")
    os.mkfifo(tmp_path / "cat" / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "dog" / "s"))
        (tmp_path / "cat" / "zero.jpg").symlink_to("/dev/zero")
        found, said = read(tmp_path)
    assert found == {
        "cat/a.jpg": None,
        "cat/pipe.jpg": "a named pipe, not a file",
        "cat/zero.jpg": "a device, not a file",
        "dog/b.jpg": None,
        "dog/s": "a socket, not a file",
    }
    assert sorted(said) == [
        "left out cat/pipe.jpg: a named pipe, not a file",
        "left out cat/zero.jpg: a device, not a file",
        "left out dog/s: a socket, not a file",
    ]
    assert predicted(tmp_path) == found


def test_links_to_classes_are_followed_by_all(tmp_path):
    touch(tmp_path, "elsewhere/cat/a.jpg", "elsewhere/cat/deep/b.jpg", "root/dog/c.jpg")
    (tmp_path / "root" / "cat").symlink_to(tmp_path / "elsewhere" / "cat")
    (tmp_path / "root" / "tabby").symlink_to(tmp_path / "elsewhere" / "cat")
    (tmp_path / "root" / "dog" / "loop").symlink_to("../dog")
    found, said = read(tmp_path / "root")
    assert [*found] == ["cat/a.jpg", "cat/deep/b.jpg", "dog/c.jpg", "tabby/a.jpg", "tabby/deep/b.jpg"]
    assert said == []
    assert predicted(tmp_path / "root") == found


@pytest.mark.parametrize("target", ["root", ".", "/", "root/train", "root/test"])
def test_links_that_would_put_every_class_into_one_are_not_followed(tmp_path, target):
    touch(tmp_path, *(f"root/{name}/{label}/{label}.jpg" for name in ("train", "test") for label in ("a", "b")))
    root = tmp_path / "root"
    (root / "train" / "a" / "all").symlink_to(tmp_path / target)
    found, said = read(root)
    assert found.pop("train/a/all") == UP
    assert len(found) == 4
    assert said == [f"left out train/a/all: {UP}"]
    if target in ("root", ".", "/"):
        assert predicted(root) == found | {"train/a/all": UP}


def test_a_link_to_the_folder_itself_is_no_class(tmp_path):
    touch(tmp_path, "cat/a.jpg", "dog/b.jpg")
    (tmp_path / "all").symlink_to(".")
    (tmp_path / "up").symlink_to("..")
    found, said = read(tmp_path)
    assert [*found] == ["cat/a.jpg", "dog/b.jpg"]
    assert said == [f"left out all, up: {UP}"]
    assert predicted(tmp_path) == found | {"all": UP, "up": UP}


def refuse(monkeypatch, *names):
    scandir = os.scandir

    def refusing(folder):
        if os.path.basename(folder) in names:
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(folder_walk.os, "scandir", refusing)


def test_folders_that_cannot_be_read_are_told_of(tmp_path, monkeypatch):
    touch(tmp_path, "cat/a.jpg", "cat/private/b.jpg", "cat/secret/c.jpg", "dog/d.jpg")
    refuse(monkeypatch, "private", "secret")
    found, said = read(tmp_path)
    problem = "can't be read: Permission denied"
    assert found == {"cat/a.jpg": None, "cat/private": problem, "cat/secret": problem, "dog/d.jpg": None}
    assert said == [f"left out cat/private, cat/secret: {problem}"]
    assert predicted(tmp_path) == found


def test_a_place_to_predict_that_cannot_be_read_is_told_of(tmp_path, monkeypatch):
    touch(tmp_path, "cat/a.jpg")
    refuse(monkeypatch, "cat")
    assert [*picture_files([tmp_path / "cat", "-", "no/such"])] == [
        (str(tmp_path / "cat"), "can't be read: Permission denied"),
        ("-", None),
        ("no/such", None),
    ]


NAMES = st.sampled_from(["a", "b", "c.jpg", *LITTER])


def without_links_up(found):
    """A link to the folder of the classes is told of in training alone: predicting was there already."""
    return {path: problem for path, problem in found.items() if problem != UP}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example([("cat", ["a"]), ("cat", ["b"])])  # a and b are the classes
@given(st.lists(st.tuples(st.sampled_from(["cat", "dog"]), st.lists(NAMES, max_size=3)), min_size=1, max_size=8))
def test_training_and_predicting_see_the_same_files(tmp_path_factory, entries):
    root = tmp_path_factory.mktemp("seen")
    for number, (label, folders) in enumerate(entries):
        place = root.joinpath(label, *(f"{name}" for name in folders))
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}.png").write_bytes(b"x")
        (place / "link").exists() or (place / "link").symlink_to(root / entries[0][0])
    wanted = sum(not any(map(is_litter, folders)) for _, folders in entries)
    if wanted:
        found, _ = read(root)
        assert without_links_up(found) == without_links_up(predicted(root))
        own = {path for path in found if "link" not in path.split("/")}
        assert len(own) <= wanted
        if not any("link" in path.split("/") for path in found):
            assert len(own) == wanted
