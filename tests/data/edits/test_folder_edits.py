import contextlib
import errno
import functools
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest
from support.faults import every_call

from retrain.data import FolderEdits, read_image_folder
from retrain.data.edits import confined_files
from retrain.errors import ImageFolderError, OutputError, RetrainError

CHANGING = ("open", "write", "pwrite", "ftruncate", "fsync", "mkdir", "rmdir", "rename", "link", "unlink", "symlink")
SETS = ("train", "validation")


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


@pytest.fixture(autouse=True)
def _without_waiting(monkeypatch):
    """Nothing waits for the disk: no test cuts its power."""
    monkeypatch.setattr(os, "fsync", os.fstat)


@pytest.fixture
def root(tmp_path):
    """Two classes with three pictures each, one of them in a sub-folder; beside it, two pictures without a label."""
    root = tmp_path / "photos"
    for name in ("a", "b"):
        write(root / name / "1.jpg", f"{name}1")
        write(root / name / "2.jpg", f"{name}2")
        write(root / name / "deep" / "3.jpg", f"{name}3")
    write(tmp_path / "new" / "1.jpg", "new1")
    write(tmp_path / "new" / "deep" / "2.jpg", "new2")
    return root


@pytest.fixture
def unlabelled(root):
    return root.parent / "new"


@pytest.fixture
def edits(root, unlabelled):
    with contextlib.closing(FolderEdits(root, unlabelled)) as edits:
        yield edits


def entries(folder):
    """Path -> content of a file, where a link leads, or None for a folder; of all that is below a folder."""
    found, pending = {}, [""]
    while pending:
        above = pending.pop()
        with os.scandir(os.path.join(folder, above)) as inside:
            for entry in inside:
                path = os.path.join(above, entry.name)
                if entry.is_dir(follow_symlinks=False):
                    pending.append(path)
                    found[path] = None
                elif entry.is_symlink():
                    found[path] = os.readlink(entry.path)
                else:
                    with open(entry.path, "rb") as file:
                        found[path] = file.read().decode()
    return found


def tree(root):
    """What a file manager shows of the folder, and of the one beside it."""
    inside = {path: text for path, text in entries(root).items() if path[0] != "."}
    beside = entries(root.parent / "new") if (root.parent / "new").exists() else {}
    return inside | {f"../new/{path}": text for path, text in beside.items()}


def contents(root):
    """How often each content of a file is in the two folders and in the trash; hidden files of the editor excepted."""
    everything = entries(root.parent)
    return Counter(
        text for path, text in everything.items() if text is not None and "/.retrain-edits" not in f"/{path}"
    )


def strangers(root):
    """Hidden files that the editor should not have left."""
    names = {os.path.basename(path) for path in entries(root.parent)}
    return {name for name in names if name[0] == "."} - {".trash", ".retrain-edits.jsonl", ".retrain-edits.lock"}


# what each edit does


def test_a_picture_moves_to_another_class(edits, root):
    before = os.stat(root / "a/1.jpg")
    edit = edits.move(["a/1.jpg"], "b")
    assert (edit.number, edit.kind, edit.text) == (1, "move", "Moved 1 picture from a to b")
    assert [(move.source, move.target) for move in edit.moves] == [("a/1.jpg", "b/1-2.jpg")]
    assert tree(root)["b/1-2.jpg"] == "a1"
    assert tree(root)["b/1.jpg"] == "b1"
    after = os.stat(root / "b/1-2.jpg")
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_picture_keeps_its_sub_folder(edits, root):
    edits.move(["a/deep/3.jpg"], "new class")
    assert tree(root)["new class/deep/3.jpg"] == "a3"
    edits.move(["new class/deep/3.jpg"], "a")
    assert tree(root)["a/deep/3.jpg"] == "a3"


def test_a_picture_keeps_its_set(tmp_path):
    root = tmp_path / "photos"
    for subset in SETS:
        for name in ("a", "b"):
            write(root / subset / name / "1.jpg", subset + name)
    with contextlib.closing(FolderEdits(root)) as edits:
        edits.move(["train/a/1.jpg", "validation/a/1.jpg"], "c")
        assert (root / "train/c/1.jpg").read_text() == "traina"
        assert (root / "validation/c/1.jpg").read_text() == "validationa"
        edits.rename_class("b", "d")
        edits.merge_classes(["c", "d"], "d")
        assert sorted(path.name for path in (root / "validation/d").iterdir()) == ["1-2.jpg", "1.jpg"]
        edits.add("d", [("new.jpg", b"new")])
        assert (root / "train/d/new.jpg").read_bytes() == b"new"
        edits.remove_class("d")
        assert sorted(os.listdir(root / "train")) == ["a"]
        edits.new_class("e")
        assert (root / "train/e").is_dir()


def test_unlabelled_pictures_get_a_label(edits, root):
    assert edits.unlabelled_prefix == "../new"
    assert edits.move(["../new/1.jpg", "../new/deep/2.jpg"], "b").text == "Labelled 2 pictures as b"
    assert {"b/1-2.jpg": "new1", "b/2-2.jpg": "new2"}.items() <= tree(root).items()
    edits.undo()
    assert {"../new/1.jpg": "new1", "../new/deep/2.jpg": "new2"}.items() <= tree(root).items()
    assert edits.remove(["../new/1.jpg"]).moves[0].target == ".trash/2/new/1.jpg"


def test_unlabelled_pictures_may_lie_in_the_folder(root):
    write(root / "to do" / "4.jpg", "4")
    with contextlib.closing(FolderEdits(root, root / "to do")) as edits:
        assert edits.move([f"{edits.unlabelled_prefix}/4.jpg", "a/1.jpg"], "b").text == (
            "Moved 2 pictures from a, no class to b"
        )
        assert tree(root)["b/4.jpg"] == "4"
        with pytest.raises(ImageFolderError, match="no class to do"):
            edits.remove_class("to do")


def test_pictures_beside_the_classes_get_a_label(edits, root):
    write(root / "9.jpg", "stray")
    edits.move(["9.jpg"], "b")
    assert tree(root)["b/9.jpg"] == "stray"


def test_removed_pictures_lie_in_the_trash_as_they_lay(edits, root):
    edit = edits.remove(["a/deep/3.jpg", "b/1.jpg"])
    assert edit.text == "Removed 2 pictures from a, b"
    assert (root / ".trash/1/a/deep/3.jpg").read_text() == "a3"
    found = read_image_folder(root)
    assert (len(found.samples), found.class_names, found.stray_files) == (4, ("a", "b"), ())
    edits.undo()
    assert not (root / ".trash").exists()


def test_added_pictures_get_names_of_their_own(edits, root):
    hostile = ["1.jpg", "../../1.jpg", "C:\\x\\1.jpg", ".jpg", "..", "", "Thumbs.db", "a\nb\0c\ud800.jpg", "-rf.jpg"]
    hostile += ["1.JPG", "é" * 200 + ".jpg"]
    edit = edits.add("b", [(name, str(number).encode()) for number, name in enumerate(hostile)])
    names = [move.target for move in edit.moves]
    assert names[:-1] == [
        *("b/1-2.jpg", "b/1-3.jpg", "b/1-4.jpg", "b/picture.jpg", "b/picture", "b/picture-2"),
        *("b/picture-Thumbs.db", "b/a_b_c_.jpg", "b/-rf.jpg", "b/1-5.JPG"),
    ]
    assert names[-1] == f"b/{'é' * 125}.jpg"
    assert [tree(root)[name] for name in names] == [str(number) for number in range(len(hostile))]
    edits.undo()
    assert len(tree(root)) == len(tree(root))


def test_a_class_is_made_renamed_and_removed_with_all_that_is_in_it(edits, root):
    write(root / "b" / "Thumbs.db", "litter")
    before = tree(root)
    edits.rename_class("b", "B")
    edits.new_class("empty")
    edits.remove_class("B")
    assert {path.partition("/")[0] for path in tree(root)} == {"a", "empty", ".."}
    assert (root / ".trash/3/B/Thumbs.db").read_text() == "litter"
    edits.undo(), edits.undo(), edits.undo()
    assert tree(root) == before


def test_classes_merge_with_their_folders(edits, root):
    write(root / "a" / ".hidden.jpg", "hidden")
    before = tree(root)
    assert edits.merge_classes(["a", "b"], "both").text == "Merged a, b into both"
    assert {path: text for path, text in tree(root).items() if path[0] != "." and text} == {
        "both/1.jpg": "a1",
        "both/2.jpg": "a2",
        "both/deep/3.jpg": "a3",
        "both/1-2.jpg": "b1",
        "both/2-2.jpg": "b2",
        "both/deep/3-2.jpg": "b3",
    }
    assert (root / ".trash/1/a/.hidden.jpg").read_text() == "hidden"
    edits.undo()
    assert tree(root) == before


def test_empty_classes_merge(edits, root):
    edits.new_class("c"), edits.new_class("d")
    edits.merge_classes(["c", "d"], "e")
    assert {"c", "d", "e"} & set(os.listdir(root)) == {"e"}


def test_a_class_stays_when_its_last_picture_goes(edits, root):
    edits.move(["a/1.jpg", "a/2.jpg", "a/deep/3.jpg"], "b")
    assert (root / "a").is_dir()
    assert read_image_folder(root).empty_folders == ("a",)
    edits.add("a", [("1.jpg", b"x")])


def test_a_class_in_two_unicode_forms_is_one(edits, root):
    composed, decomposed = "Caf\u00e9", "Cafe\u0301"
    write(root / decomposed / "1.jpg", "decomposed")
    edits.move(["a/1.jpg"], composed)
    assert (root / decomposed / "1-2.jpg").read_text() == "a1"
    write(root / composed / "4.jpg", "composed")
    edits.rename_class(composed, "coffee")
    assert sorted(os.listdir(root / "coffee")) == ["1-2.jpg", "1.jpg", "4.jpg"]
    edits.new_class("Zoe\u0308")
    assert (root / "Zo\u00eb").is_dir()


def test_names_are_bytes(edits, root):
    odd = os.fsdecode(b"a/\xff\n'\"-rf.jpg")
    write(root / odd, "odd")
    edit = edits.move([odd], "b")
    assert (root / os.fsdecode(b"b/\xff\n'\"-rf.jpg")).read_text() == "odd"
    os.rename(root / "b", root / os.fsdecode(b"\xfe\nb"))
    edits.rename_class(os.fsdecode(b"\xfe\nb"), "b")  # the way out of a name that labels.txt can't hold
    assert edits.undoable.text == "Renamed \\xfe\\x0ab to b"
    edits.undo(), edits.redo(), edits.undo()
    os.rename(root / os.fsdecode(b"\xfe\nb"), root / "b")
    assert edits.undo() == edit
    assert (root / odd).read_text() == "odd"


# what is refused, and changes nothing


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "empty"),
        (" \t", "empty"),
        ("c ", "space"),
        ("..", "dot"),
        (".trash", "dot"),
        ("c/d", "no /"),
        ("c\0", "can't be shown"),
        ("c\nd", "line breaks"),
        ("c\x1b[2J", "can't be shown"),
        ("\udcff", "can't be shown"),
        ("Thumbs.db", "left out"),
        ("test", "a set"),
        ("c" * 256, "255 bytes"),
        ("é" * 128, "255 bytes"),
    ],
)
def test_a_new_class_needs_a_name_that_a_folder_can_have(edits, root, name, problem):
    before = tree(root)
    for act in (
        lambda: edits.new_class(name),
        lambda: edits.rename_class("a", name),
        lambda: edits.move(["a/1.jpg"], name),
        lambda: edits.add(name, [("1.jpg", b"")]),
        lambda: edits.merge_classes(["a"], name),
    ):
        with pytest.raises(ImageFolderError, match=f"a class can't be named .*{problem}"):
            act()
    assert tree(root) == before
    assert edits.undoable is None


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda edits: edits.move(["a/9.jpg"], "b"), "a/9.jpg is not there any more"),
        (lambda edits: edits.move(["a/deep"], "b"), "a/deep is a folder"),
        (lambda edits: edits.move(["a/1.jpg"], "a"), "in a already"),
        (lambda edits: edits.move([], "b"), "no pictures are given"),
        (lambda edits: edits.add("b", []), "no pictures are given to add"),
        (lambda edits: edits.remove([]), "no pictures are given"),
        (lambda edits: edits.move(["../other/secret"], "b"), "neither in the folder nor in ../new"),
        (lambda edits: edits.move(["a/../../other/secret"], "b"), "neither in the folder nor in ../new"),
        (lambda edits: edits.move(["../new/../other/secret"], "b"), "neither in the folder nor in ../new"),
        (lambda edits: edits.move(["/etc/passwd"], "b"), "neither in the folder nor in ../new"),
        (lambda edits: edits.move(["a//1.jpg"], "b"), "neither in the folder"),
        (lambda edits: edits.move(["a/\0"], "b"), "neither in the folder"),
        (lambda edits: edits.move([""], "b"), "neither in the folder"),
        (lambda edits: edits.move(["a/\ud800.jpg"], "b"), r"a/\\ud800.jpg is neither in the folder"),
        (lambda edits: edits.remove_class("\ud800"), r"there is no class \\ud800"),
        (lambda edits: edits.move(["a/.hidden.jpg"], "b"), "is hidden"),
        (lambda edits: edits.remove([".retrain-edits.jsonl"]), "is hidden"),
        (lambda edits: edits.move(["a/1.jpg"], "B"), "there is a class b, and B differs from it in upper"),
        (lambda edits: edits.new_class("b"), "there is a class b already"),
        (lambda edits: edits.rename_class("a", "b"), "there is a class b already; give another name, or merge"),
        (lambda edits: edits.rename_class("c", "d"), "there is no class c"),
        (lambda edits: edits.remove_class("c"), "there is no class c"),
        (lambda edits: edits.merge_classes(["a"], "a"), "nothing to merge"),
        (lambda edits: edits.merge_classes(["a", "c"], "b"), "there is no class c"),
        (lambda edits: edits.new_class("file"), "file is there already and is not a class"),
        (lambda edits: edits.move(["model/labels.txt"], "b"), "in no class"),
    ],
)
def test_what_can_not_be_done_is_refused(edits, root, act, message):
    write(root / "a/.hidden.jpg", "")
    write(root / "file", "")
    write(root / "model/labels.txt", ""), write(root / "model/graph.pb", "")
    write(root.parent / "other/secret", "")
    before = entries(root.parent)
    with pytest.raises(ImageFolderError, match=message):
        act(edits)
    assert entries(root.parent) == before


def test_classes_that_would_be_read_in_another_way_stay(tmp_path):
    root = tmp_path / "photos"
    for name in ("a/x", "a/y", "b"):
        write(root / name / "1.jpg", name)
    with contextlib.closing(FolderEdits(root)) as edits:
        before = tree_of(root)
        with pytest.raises(
            ImageFolderError, match=r"other folders than now would be taken for the classes; nothing was changed"
        ):
            edits.remove_class("b")  # alone, "a" would be taken for a folder that holds the classes x and y
        assert tree_of(root) == before
        assert edits.undoable is None


def tree_of(root):
    return {path: text for path, text in entries(root).items() if path[0] != "."}


def test_nothing_is_moved_through_a_link(edits, root):
    outside = root.parent / "outside"
    write(outside / "1.jpg", "outside")
    os.symlink(outside, root / "linked")
    os.symlink(outside, root / "b" / "inner")
    os.symlink(outside, root / "a" / "deep2")
    write(root / "b" / "deep2" / "x.jpg", "x")
    for act in (
        lambda: edits.move(["linked/1.jpg"], "a"),
        lambda: edits.move(["b/inner/1.jpg"], "a"),
        lambda: edits.remove(["linked/1.jpg"]),
        lambda: edits.move(["a/1.jpg"], "linked"),
        lambda: edits.move(["b/deep2/x.jpg"], "a"),
        lambda: edits.add("linked", [("1.jpg", b"x")]),
        lambda: edits.merge_classes(["linked"], "a"),
        lambda: edits.merge_classes(["a"], "linked"),
    ):
        with pytest.raises(ImageFolderError, match=r"(linked|b/inner|a/deep2) is a link: nothing is moved through it"):
            act()
    edits.rename_class("linked", "link")  # the link itself
    edits.remove_class("link")
    assert entries(outside) == {"1.jpg": "outside"}


def test_trash_that_is_a_link_is_not_followed(edits, root):
    (root.parent / "outside").mkdir()
    os.symlink("../outside", root / ".trash")
    with pytest.raises(ImageFolderError, match=r"\.trash is a link"):
        edits.remove(["a/1.jpg"])


def test_a_link_that_is_a_picture_moves_if_it_leads_to_the_same_place_then(edits, root):
    write(root.parent / "store" / "x.jpg", "x")
    os.symlink("../../store/x.jpg", root / "a" / "link.jpg")
    edits.move(["a/link.jpg"], "b")
    assert (root / "b/link.jpg").read_text() == "x"
    os.symlink("1.jpg", root / "a" / "near.jpg")
    with pytest.raises(ImageFolderError, match=r"near\.jpg is a link to 1\.jpg, which would lead elsewhere from b"):
        edits.move(["a/near.jpg"], "b")
    edits.remove(["a/near.jpg"]), edits.undo()
    assert (root / "a/near.jpg").read_text() == "a1"


def test_a_folder_that_becomes_a_link_in_the_last_moment_is_not_followed(edits, root, monkeypatch):
    """Between the check and the move."""
    outside = root.parent / "outside"
    outside.mkdir()

    def rename_then(*args, real=confined_files.rename_new):
        return real(*args)

    real = os.open

    def swapped(path, *args, **options):
        if path == "b" and swapped.armed:
            swapped.armed = False
            os.rename(root / "b", root / "b.away")
            os.symlink(outside, root / "b")
        return real(path, *args, **options)

    edits.new_class("c")
    swapped.armed = False
    monkeypatch.setattr(os, "open", swapped)
    begin = edits._journal.begin

    def armed(step):
        begin(step)
        swapped.armed = True

    monkeypatch.setattr(edits._journal, "begin", armed)
    with pytest.raises(ImageFolderError, match=r"b is a link: nothing is moved through it.*nothing was changed"):
        edits.move(["a/1.jpg"], "b")
    assert list(outside.iterdir()) == []
    assert (root / "a/1.jpg").read_text() == "a1"


def test_upper_and_lower_case_may_be_the_same(edits, root):
    before = tree(root)
    with caseless():
        edits.rename_class("a", "A")
        assert "A" in os.listdir(root)
        assert "a" not in os.listdir(root)
        write(root / "b" / "IMG.JPG", "upper"), write(root / "A" / "img.jpg", "lower")
        edits.move(["b/IMG.JPG", "b/1.jpg"], "A")
        assert (root / "A/IMG-2.JPG").read_text() == "upper"
        edits.add("b", [("x.jpg", b"1"), ("X.jpg", b"2"), ("X.JPG", b"3")])
        assert {"x.jpg", "X-2.jpg", "X-3.JPG"} <= set(os.listdir(root / "b"))
        while edits.undo() is not None:
            pass
    assert tree(root) == before | {"b/IMG.JPG": "upper", "a/img.jpg": "lower"}


# taking back


def test_everything_can_be_taken_back_and_done_again_also_after_a_restart(root, unlabelled):
    acts = [
        lambda edits: edits.move(["a/1.jpg", "a/deep/3.jpg"], "b"),
        lambda edits: edits.add("c", [("1.jpg", b"x")]),
        lambda edits: edits.move(["../new/1.jpg"], "c"),
        lambda edits: edits.remove(["c/1.jpg"]),
        lambda edits: edits.rename_class("c", "C"),
        lambda edits: edits.merge_classes(["a", "C"], "b"),
        lambda edits: edits.new_class("a"),
        lambda edits: edits.remove_class("a"),
    ]
    states, made = [tree(root)], []

    def fresh():
        return contextlib.closing(FolderEdits(root, unlabelled))

    for act in acts:
        with fresh() as edits:
            made.append(act(edits))
        states.append(tree(root))
    for _ in range(2):
        for number in reversed(range(len(acts))):
            with fresh() as edits:
                assert edits.undoable == made[number]
                assert edits.undo() == made[number]
            assert tree(root) == states[number]
        with fresh() as edits:
            assert edits.undo() is None
        for number in range(len(acts)):
            with fresh() as edits:
                assert edits.redo() == made[number]
            assert tree(root) == states[number + 1]
        with fresh() as edits:
            assert edits.redo() is None


def test_a_new_edit_ends_doing_again(edits):
    edits.move(["a/1.jpg"], "b")
    edits.undo()
    assert edits.redoable.number == 1
    assert edits.new_class("c").number == 2
    assert edits.redoable is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: os.remove(root / "b/1-2.jpg"), "because b/1-2.jpg is not there any more"),
        (lambda root: write(root / "a/1.jpg", "another"), "because a/1.jpg is there again"),
        (lambda root: os.rename(root / "b", root / "elsewhere"), "because b/2-2.jpg is not there any more"),
    ],
)
def test_what_others_changed_can_make_it_impossible(edits, root, change, message):
    edits.move(["a/1.jpg", "a/2.jpg"], "b")
    change(root)
    before = tree(root)
    with pytest.raises(ImageFolderError, match=f"can't take back: Moved 2 pictures from a to b, {message}"):
        edits.undo()
    assert tree(root) == before
    assert edits.undoable is not None


def test_a_class_folder_that_vanished_is_made_again(edits, root):
    edits.move(["a/1.jpg", "a/2.jpg", "a/deep/3.jpg"], "b")
    os.rmdir(root / "a/deep"), os.rmdir(root / "a")
    edits.undo()
    assert (root / "a/deep/3.jpg").read_text() == "a3"


def test_a_new_class_with_pictures_by_now_is_not_taken_back(edits, root):
    edits.new_class("c")
    write(root / "c/1.jpg", "x")
    with pytest.raises(ImageFolderError, match="c is not empty any more"):
        edits.undo()


def test_a_picture_that_vanishes_while_others_move_takes_all_back(edits, root, monkeypatch):
    before = tree(root)
    real = confined_files.rename_new

    def rename(source, *args):
        if source == "2.jpg":
            os.remove(root / "a/2.jpg")
        real(source, *args)

    monkeypatch.setattr(confined_files, "rename_new", rename)
    with pytest.raises(ImageFolderError, match=r"a/2.jpg is not there any more; nothing was changed"):
        edits.move(["a/1.jpg", "a/2.jpg", "a/deep/3.jpg"], "c")
    del before["a/2.jpg"]
    assert tree(root) == before


def test_a_name_that_is_taken_while_pictures_move_takes_all_back(edits, root, monkeypatch):
    before = tree(root)
    real = confined_files.rename_new

    def rename(source, target, *args):
        if source == "2.jpg" and target == "2-2.jpg":
            write(root / "b/2-2.jpg", "another")
        real(source, target, *args)

    monkeypatch.setattr(confined_files, "rename_new", rename)
    with pytest.raises(ImageFolderError, match=r"b/2-2.jpg is there already; nothing was changed"):
        edits.move(["a/1.jpg", "a/2.jpg"], "b")
    assert tree(root) == before | {"b/2-2.jpg": "another"}
    assert edits.undoable is None


# at any moment


class Killed(BaseException):
    """As if the process were gone."""


class Moment:
    """A call that changes something, before which the process is killed: no call changes anything any more."""

    def __init__(self, at):
        self._at, self.calls, self.is_dead = at, 0, False

    def wrapped(self, function):
        @functools.wraps(function)
        def call(*args, **options):
            if function.__name__ == "open" and not args[1] & (os.O_CREAT | os.O_WRONLY | os.O_RDWR):
                return function(*args, **options)
            self.calls += 1
            self.is_dead = self.is_dead or self.calls == self._at
            if self.is_dead:
                raise Killed
            return function(*args, **options)

        return call

    @contextlib.contextmanager
    def on(self):
        with pytest.MonkeyPatch.context() as patched:
            for name in CHANGING:
                patched.setattr(os, name, self.wrapped(getattr(os, name)))
            patched.setattr(confined_files, "rename_new", self.wrapped(confined_files.rename_new))
            yield


def no_rename(*args):
    raise OSError(errno.EINVAL, "no RENAME_NOREPLACE")


def no_link(*args, **options):
    raise OSError(errno.EPERM, "no links")


def other_disk(source, target, here, there, real=confined_files.rename_new):
    """The folder beside lies on another disk."""
    inside, target_inside = ("/photos" in os.readlink(f"/proc/self/fd/{handle}") for handle in (here, there))
    if inside != target_inside:
        raise OSError(errno.EXDEV, "Invalid cross-device link")
    real(source, target, here, there)


@contextlib.contextmanager
def caseless():
    """A file system that takes upper and lower case for the same, and keeps names as they were given first."""

    def known(name, folder):
        if folder is None or not isinstance(name, str) or name == ".":
            return name
        return next((other for other in os.listdir(folder) if other.lower() == name.lower()), name)

    def one(function):
        def call(name, *args, dir_fd=None, **options):
            return function(known(name, dir_fd), *args, dir_fd=dir_fd, **options)

        return call

    def two(function):
        def call(source, target, *args, src_dir_fd=None, dst_dir_fd=None, **options):
            name, there = known(source, src_dir_fd), known(target, dst_dir_fd)
            if os.fstat(src_dir_fd).st_ino == os.fstat(dst_dir_fd).st_ino and name == there:
                there = target  # the same file: its name is spelled anew
            return function(name, there, *args, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, **options)

        return call

    def rename(source, target, here, there, real=confined_files.rename_new):
        real(known(source, here), known(target, there), here, there)

    with pytest.MonkeyPatch.context() as patched:
        for name in ("open", "stat", "unlink", "mkdir", "rmdir", "readlink"):
            patched.setattr(os, name, one(getattr(os, name)))
        patched.setattr(os, "rename", two(os.rename))
        patched.setattr(confined_files, "rename_new", rename)
        yield


@contextlib.contextmanager
def disk(kind):
    """A disk that can rename to a free name; one without that; one without links, too; two disks; a caseless one."""
    with caseless() if kind == "caseless" else contextlib.nullcontext(), pytest.MonkeyPatch.context() as patched:
        if kind in ("links", "plain"):
            patched.setattr(confined_files, "rename_new", no_rename)
        if kind == "plain":
            patched.setattr(os, "link", no_link)
        if kind == "two":
            patched.setattr(confined_files, "rename_new", other_disk)
        yield


ACTS = {
    "move": lambda edits: edits.move(["a/1.jpg", "a/deep/3.jpg", "b/2.jpg"], "c"),
    "label": lambda edits: edits.move(["../new/1.jpg", "../new/deep/2.jpg"], "b"),
    "remove": lambda edits: edits.remove(["a/1.jpg", "../new/1.jpg"]),
    "rename": lambda edits: edits.rename_class("a", "A"),
    "merge": lambda edits: edits.merge_classes(["a"], "b"),
    "new_class": lambda edits: edits.new_class("c"),
    "remove_class": lambda edits: edits.remove_class("a"),
}


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *(("good", name) for name in ACTS),
        *((kind, "move") for kind in ("links", "plain")),
        ("links", "merge"),
        *(("caseless", name) for name in ("rename", "merge")),
        *(("two", name) for name in ("label", "remove")),
    ],
)
def test_a_kill_at_any_moment_loses_nothing(root, unlabelled, kind, name):
    """An edit is cut off before every call, so is taking it back; each time the folder is opened again."""
    edits = FolderEdits(root, unlabelled)
    with disk(kind):
        for act in (ACTS[name], FolderEdits.undo):
            before, counts = tree(root), contents(root)
            for moment in map(Moment, range(1, 1000)):
                with contextlib.suppress(Killed), moment.on():
                    act(edits)
                edits.close()
                edits = FolderEdits(root, unlabelled)
                assert contents(root) == counts
                assert strangers(root) == set()
                if not moment.is_dead:
                    break
                if tree(root) != before:
                    (edits.redo if act is FolderEdits.undo else edits.undo)()
                    assert tree(root) == before
            else:
                raise AssertionError("there is no end of calls")
            assert tree(root) != before
    edits.close()


def test_a_kill_while_what_was_cut_off_is_finished_loses_nothing(root, unlabelled):
    before, counts = tree(root), contents(root)
    with disk("two"):
        for first, second in [(first, second) for first in range(4, 24, 3) for second in range(1, 16, 2)]:
            edits = FolderEdits(root, unlabelled)
            with contextlib.suppress(Killed), Moment(first).on():
                ACTS["label"](edits)
            edits.close()
            with contextlib.suppress(Killed), Moment(second).on():
                FolderEdits(root, unlabelled).close()
            with contextlib.closing(FolderEdits(root, unlabelled)) as edits:
                assert contents(root) == counts
                assert strangers(root) == set()
                edits.undo()
            assert tree(root) == before


def test_a_hundred_relabellings_each_cut_off_at_another_moment(tmp_path):
    root = tmp_path / "photos"
    for number in range(100):
        write(root / "ab"[number % 2] / f"{number}.jpg", str(number))
    counts, label = contents(root), {}
    for number in range(100):
        source, target = "abcab"[number % 2 :][:2]
        edits = FolderEdits(root)
        with contextlib.suppress(Killed), Moment(number % 14 + 1).on():
            edits.move([f"{source}/{number}.jpg"], target if number % 5 else "c")
        edits.close()
        with contextlib.closing(FolderEdits(root)) as edits:
            assert contents(root) == counts
            label[number] = next(name for name in "abc" if (root / name / f"{number}.jpg").exists())
    assert len(tree(root)) == 100 + len(set(label.values()) | {"a", "b"})
    with contextlib.closing(FolderEdits(root)) as edits:
        while edits.undo() is not None:
            assert contents(root) == counts
    assert all((root / "ab"[number % 2] / f"{number}.jpg").exists() for number in range(100))


RELABELLING = """
import itertools, sys
from retrain.data import FolderEdits
edits = FolderEdits(sys.argv[1])
print("begun", flush=True)
for number in itertools.count():
    for one, other in ("ab", "ba"):
        edits.move([f"{one}/{name}.jpg" for name in range(20)], other)
"""


def test_a_killed_process_loses_nothing(tmp_path):
    root = tmp_path / "photos"
    (root / "b").mkdir(parents=True)
    for number in range(20):
        write(root / "a" / f"{number}.jpg", str(number))
    counts = contents(root)
    for seconds in (0.0, 0.011, 0.023):
        with subprocess.Popen([sys.executable, "-c", RELABELLING, root], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "begun\n"
            with pytest.raises(ImageFolderError, match=f"is being edited by process {process.pid} on "):
                FolderEdits(root)
            time.sleep(seconds)
            process.send_signal(signal.SIGKILL)
        with contextlib.closing(FolderEdits(root)) as edits:
            assert contents(root) == counts
            assert sorted(map(len, map(os.listdir, (root / "a", root / "b")))) == [0, 20]
            while edits.undo() is not None:
                pass
        assert len(os.listdir(root / "a")) == 20


def test_pictures_that_were_being_added_when_all_ended_are_added_or_not(root):
    """Whatever the moment: what was there stays, and no half of a picture gets into a class."""
    before = tree(root)
    for moment in map(Moment, range(1, 100)):
        edits = FolderEdits(root)
        with contextlib.suppress(Killed), moment.on():
            edits.add("c", [("x.jpg", b"whole x"), ("y.jpg", b"whole y")])
        edits.close()
        with contextlib.closing(FolderEdits(root)) as edits:
            assert tree(root) in (before, before | {"c": None, "c/x.jpg": "whole x", "c/y.jpg": "whole y"})
            assert strangers(root) == set()
            if not moment.is_dead:
                return
            while edits.undo() is not None:
                pass
        assert tree(root) == before
    raise AssertionError("there is no end of calls")


# what the disk does


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
@pytest.mark.parametrize("name", ["move", "label", "merge"])
def test_a_call_that_fails_changes_nothing(root, unlabelled, name, number):
    """Each call in its turn; what can do without it goes on."""
    with disk("two"):
        for fault in every_call(["open", "write", "pwrite", "mkdir", "rename", "unlink", "fchmod", "utime"], number):
            edits = FolderEdits(root, unlabelled)
            before, counts, error = tree(root), contents(root), None
            with fault.on():
                try:
                    ACTS[name](edits)
                except RetrainError as raised:
                    error = raised
            if error is None:
                assert tree(root) != before
                edits.undo()
            else:
                assert os.strerror(number) in str(error)
                assert edits.undoable is None
            assert tree(root) == before
            assert contents(root) == counts
            assert strangers(root) == set()
            edits.close()
            with contextlib.closing(FolderEdits(root, unlabelled)) as edits:
                assert tree(root) == before


def test_a_disk_that_fills_up_while_pictures_are_added_keeps_none_of_them(edits, root, monkeypatch):
    real = os.write

    def write_some(handle, data):
        if bytes(data).startswith(b"large"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(handle, data)

    before = entries(root)
    monkeypatch.setattr(os, "write", write_some)
    with pytest.raises(OutputError, match="No space left on device; make room on the disk; nothing was changed"):
        edits.add("c", [("1.jpg", b"small"), ("2.jpg", b"large")])
    assert entries(root) == before


@pytest.mark.parametrize("which", ["2.jpg", ".retrain-edit-1-1"])
def test_pictures_that_can_not_be_put_into_their_class_are_not_kept_elsewhere(edits, root, monkeypatch, which):
    def rename(source, target, here, there, real=confined_files.rename_new):
        if source == which:
            raise OSError(errno.EIO, "Input/output error")
        real(source, target, here, there)

    before = entries(root)
    monkeypatch.setattr(confined_files, "rename_new", rename)
    with pytest.raises(OutputError, match="Input/output error; nothing was changed"):
        edits.add("c", [("1.jpg", b"1"), ("2.jpg", b"2")])
    assert entries(root) == before


def test_a_disk_that_becomes_read_only_in_between_is_told_and_waited_for(edits, root, monkeypatch):
    before = tree(root)
    real, is_left = confined_files.rename_new, [2]

    def rename(*args):
        is_left[0] -= 1
        if is_left[0] < 0:
            raise OSError(errno.EROFS, "Read-only file system")
        real(*args)

    with monkeypatch.context() as patched:
        patched.setattr(confined_files, "rename_new", rename)
        with pytest.raises(OutputError, match=r"could not be moved back: .*Read-only file system"):
            edits.move(["a/1.jpg", "a/2.jpg", "a/deep/3.jpg"], "c")
        message = r"was cut off \(Moved 3 pictures from a to c\), and can't be finished: .*Read-only file system"
        with pytest.raises(OutputError, match=message):
            edits.undo()
    assert edits.undo().text == "Moved 3 pictures from a to c"  # which is finished first
    assert tree(root) == before


def test_a_read_only_folder_is_told_at_once(root, monkeypatch):
    def fail(*args, **options):
        if options.get("dir_fd") is not None and args[1] & os.O_CREAT:
            raise OSError(errno.EROFS, "Read-only file system")
        return real(*args, **options)

    real = os.open
    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(OutputError, match=r"edits.lock: Read-only file system; make the folder writable.*--read-only"):
        FolderEdits(root)


@contextlib.contextmanager
def before_call(at, act):
    """Before the call of the system of this number, another program acts. Gives a list of what it has done."""
    calls, done = itertools.count(1), []

    def wrapped(function):
        def call(*args, **options):
            if next(calls) == at:
                done.append(act())
            return function(*args, **options)

        return call

    with pytest.MonkeyPatch.context() as patched:
        for name in ("open", "stat", "link", "rename", "unlink", "fchmod"):
            patched.setattr(os, name, wrapped(getattr(os, name)))
        patched.setattr(confined_files, "rename_new", wrapped(confined_files.rename_new))
        yield done


@pytest.mark.parametrize(("kind", "source"), [("good", "a/1.jpg"), ("links", "a/1.jpg"), ("two", "../new/1.jpg")])
@pytest.mark.parametrize("is_removed", [False, True])
def test_a_picture_that_is_replaced_while_it_moves_is_not_lost(tmp_path, kind, source, is_removed):
    """Or removed: by another program, before each call of the system in turn."""
    for at in range(1, 1000):
        root = tmp_path / str(at) / "photos"
        write(root / "b/1.jpg", "b1"), write(root / source, "old"), write(root.parent / "tmp", "replacement")
        (root.parent / "new").mkdir(exist_ok=True)

        def act(path=root / source, other=root.parent / "tmp"):
            if is_removed and path.exists():
                path.unlink()
            if not is_removed:
                other.replace(path)

        with disk(kind), contextlib.closing(FolderEdits(root, root.parent / "new")) as edits:
            with before_call(at, act) as done, contextlib.suppress(RetrainError):
                edits.move([source], "b")
            found = contents(root)
            assert (found["replacement"], found["b1"]) == (1, 1)
            assert found["old"] == 1 or (done and found["old"] == 0)
            assert strangers(root) == set()
        FolderEdits(root, root.parent / "new").close()
        if not done:
            return
    raise AssertionError("there is no end of calls")


def test_a_folder_of_unlabelled_pictures_must_be_given_to_finish_with_it(root, unlabelled):
    edits = FolderEdits(root, unlabelled)
    with contextlib.suppress(Killed), Moment(4).on():
        ACTS["label"](edits)
    edits.close()
    with pytest.raises(ImageFolderError, match=r"cut off that moved \.\./new/1\.jpg .*--unlabelled"):
        FolderEdits(root)
    with contextlib.closing(FolderEdits(root, unlabelled)) as edits:
        edits.undo(), edits.redo()
    message = "if it is among unlabelled pictures, give --unlabelled"
    with contextlib.closing(FolderEdits(root)) as edits, pytest.raises(ImageFolderError, match=message):
        edits.undo()


HOSTILE = [
    "../secret",
    "../../secret",
    "/etc/passwd",
    "a/../../secret",
    "../new/../secret",
    ".",
    "..",
    "",
    "a",
    "a/1.jpg/x",
]
HOSTILE += ["../new", "\ud800", "x" * 300, "a/" * 99 + "x", ".retrain-edits.jsonl", "link/secret"]


@pytest.mark.parametrize("is_cut_off", [False, True])
@pytest.mark.parametrize("path", HOSTILE)
def test_a_journal_from_others_moves_nothing_out_of_the_folder_or_into_it(root, unlabelled, path, is_cut_off):
    write(root.parent / "secret", "secret")
    os.symlink("..", root / "link")
    before = contents(root)
    for moves in ([path, "b/9.jpg"], ["a/1.jpg", path]), ([path, path], ["a", path]):
        edit = {"edit": 1, "kind": "move", "text": "Moved", "made": [path], "moves": moves}
        lines = [{"format": "retrain edits", "version": 1}, edit, {"done": 1}]
        text = "".join(json.dumps(line) + "\n" for line in lines[: 2 if is_cut_off else 3])
        (root / ".retrain-edits.jsonl").write_text(text)
        with contextlib.suppress(RetrainError), contextlib.closing(FolderEdits(root, unlabelled)) as edits:
            for _ in range(2):
                for act in (edits.undo, edits.redo):
                    with contextlib.suppress(RetrainError):
                        act()
        assert contents(root) == before
        assert (root.parent / "secret").read_text() == "secret"


# opening


def test_one_editor_at_a_time(root, edits):
    with pytest.raises(ImageFolderError, match=f"photos is being edited by process {os.getpid()} on "):
        FolderEdits(root)
    edits.close(), edits.close()
    FolderEdits(root).close()
    with pytest.raises(ImageFolderError, match="is not open for editing any more"):
        edits.undo()


def test_threads_take_turns(root, edits):
    def relabel(name):
        for number in range(5):
            edits.add(name, [(f"{number}.jpg", name.encode())])
            edits.move([f"{name}/{number}.jpg"], "b")

    threads = [threading.Thread(target=relabel, args=(name,)) for name in ("c", "d", "e")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert edits.undoable.number == 30
    while edits.undo() is not None:
        pass
    assert [name for name in tree(root) if name in "cde"] == []


@pytest.mark.parametrize(
    ("unlabelled", "message"),
    [
        ("missing", "no such folder of unlabelled pictures: missing"),
        (".", "unlabelled pictures . holds the folder of classes"),
        ("photos", "unlabelled pictures photos holds the folder of classes"),
    ],
)
def test_unlabelled_pictures_lie_beside_the_classes(root, unlabelled, message):
    with pytest.raises(ImageFolderError, match=message):
        FolderEdits(root, unlabelled)


def test_a_folder_that_is_not_there_is_told():
    with pytest.raises(ImageFolderError, match=r"can't open the folder .*missing: No such file"):
        FolderEdits("missing")


@pytest.mark.parametrize("name", [".retrain-edits.jsonl", ".retrain-edits.lock"])
def test_files_of_the_editor_are_files(root, name):
    os.symlink(root.parent / "victim", root / name)
    with pytest.raises(OutputError, match="Too many levels of symbolic links"):
        FolderEdits(root)
    (root / name).unlink()
    os.mkfifo(root / name)
    with pytest.raises(OutputError, match="not a regular file"):
        FolderEdits(root)
    assert not (root.parent / "victim").exists()


@pytest.mark.parametrize("name", [".retrain-edits.jsonl", ".retrain-edits.lock"])
def test_files_of_the_editor_that_others_took_away_end_editing(edits, root, name):
    edits.move(["a/1.jpg"], "b")
    (root / name).unlink()
    (root / name).touch()
    before = tree(root)
    for act in (FolderEdits.undo, lambda edits: edits.move(["a/2.jpg"], "b")):
        with pytest.raises(ImageFolderError, match=f"{name} was removed or replaced meanwhile; open the folder again"):
            act(edits)
    assert tree(root) == before


def test_a_name_that_is_too_long_is_refused(edits):
    with pytest.raises(OutputError, match="File name too long"):
        edits.move([f"a/{'x' * 256}"], "b")


# all together


@pytest.mark.parametrize("seed", range(6))
def test_any_walk_of_edits_can_be_walked_back(root, unlabelled, seed):
    rng = random.Random(seed)
    edits, states, place = FolderEdits(root, unlabelled), [tree(root)], 0
    counts = contents(root)
    with disk("two"):
        for step in range(40):
            act = rng.choice([move_some, add_some, remove_some, rename_one, merge_some, other_classes, back, back, on])
            before = edits.undoable, edits.redoable
            try:
                shift = act(edits, root, rng, counts)
            except ImageFolderError:
                shift = 0
                assert (edits.undoable, edits.redoable) == before
            place += shift
            if act in (back, on):
                assert tree(root) == states[place]
            elif shift:
                states[place:] = [tree(root)]
            assert tree(root) == states[place]
            assert contents(root) == counts
            assert strangers(root) == set()
            if step % 10 == 9:
                edits.close()
                edits = FolderEdits(root, unlabelled)
    while edits.undo() is not None:
        place -= 1
        assert tree(root) == states[place]
    assert place == 0
    edits.close()


def pictures(root, rng):
    paths = sorted(path for path, text in tree(root).items() if text is not None)
    return rng.sample(paths, min(len(paths), rng.randrange(1, 5)))


def class_name(root, rng):
    names = [*os.listdir(root), "new", "Ne\u0301w", "N\u00e9w", "-rf *", "a b'\"\\", "B", "train", "..", "x/y"]
    return rng.choice(sorted(names))


def move_some(edits, root, rng, counts):
    edit = edits.move(pictures(root, rng), class_name(root, rng))
    assert all(move.target in tree(root) for move in edit.moves)
    return 1


def add_some(edits, root, rng, counts):
    texts = [f"added {rng.random()}" for _ in range(rng.randrange(1, 4))]
    edits.add(class_name(root, rng), [("1.jpg", text.encode()) for text in texts])
    counts.update(texts)
    return 1


def remove_some(edits, root, rng, counts):
    edit = edits.remove(pictures(root, rng))
    assert not any(move.source in tree(root) for move in edit.moves)
    return 1


def rename_one(edits, root, rng, counts):
    edits.rename_class(class_name(root, rng), class_name(root, rng))
    return 1


def merge_some(edits, root, rng, counts):
    edits.merge_classes([class_name(root, rng) for _ in range(2)], class_name(root, rng))
    return 1


def other_classes(edits, root, rng, counts):
    rng.choice([edits.new_class, edits.remove_class])(class_name(root, rng))
    return 1


def back(edits, root, rng, counts):
    return -1 if edits.undo() else 0


def on(edits, root, rng, counts):
    return 1 if edits.redo() else 0
