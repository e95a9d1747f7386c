"""A watch notices what concerns pictures, once it has come to rest, whoever tells it."""

import itertools
import os
import shutil
import sys
import threading
import time
from contextlib import closing

import pytest
from support.hearing import notes_to

from retrain.data import folder_watch
from retrain.data.folder_watch import FolderWatch

SOON, LATER = 30.0, 0.4  # seconds: to wait for what comes, and for what does not


@pytest.fixture
def root(tmp_path):
    (tmp_path / "pictures" / "cat").mkdir(parents=True)
    (tmp_path / "pictures" / "cat" / "1.png").write_text("1")
    return tmp_path / "pictures"


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(folder_watch, "_QUIET_SECONDS", 0.05)
    monkeypatch.setattr(folder_watch, "_STEP_SECONDS", 0.05)
    monkeypatch.setattr(folder_watch, "_POLL_SECONDS", 0.02)


@pytest.fixture(params=["notified", "polling"])
def watched(request, root):
    if request.param == "notified":
        pytest.importorskip("watchfiles", reason="the extra studio is not installed")
    with closing(FolderWatch(root, [root / "model"], 0.02 if request.param == "polling" else None)) as watch:
        if request.param == "notified":
            listening(watch, root)
        yield watch


def listening(watch, root):
    """Wait until the system notifies: the thread may not have come that far."""
    for number in range(100):
        (root / "cat" / "1.png").write_text(f"{number}")
        if watch.wait(0.1):
            return
    raise AssertionError("nothing was noticed")


def pauses(watch):
    """Wait until nothing is told any more: how often something was."""
    count = 0
    while watch.wait(LATER):
        count += 1
    return count


def test_what_comes_goes_or_moves_is_noticed(watched, root):
    assert not watched.has_changed()
    for change in (
        lambda: (root / "cat" / "2.png").write_text("2"),
        lambda: os.rename(root / "cat" / "2.png", root / "cat" / "3.png"),
        lambda: (root / "cat" / "1.png").write_text("longer"),
        lambda: (root / "cat" / "3.png").unlink(),
        lambda: shutil.copytree(root / "cat", root / "dog"),
        lambda: shutil.rmtree(root / "dog"),
    ):
        change()
        assert watched.wait(SOON)
    pauses(watched)
    assert not watched.has_changed()


def test_hidden_files_and_the_model_don_t_count(watched, root):
    (root / ".trash").mkdir()
    (root / ".trash" / "1.png").write_text("gone")
    (root / ".journal").write_text("moved")
    (root / "cat" / ".part").write_text("half")
    (root / "cat" / "Thumbs.db").write_text("litter")
    (root / "model").mkdir()
    (root / "model" / "run.json").write_text("{}")
    pauses(watched)  # the folder itself may have been told of
    (root / "model" / "graph.pb").write_text("...")
    (root / ".trash" / "2.png").write_text("gone")
    assert not watched.wait(LATER)


def test_many_files_are_not_told_of_one_by_one(watched, root):
    def copy():
        for number in range(60):
            (root / "cat" / f"{number}-copy.png").write_text("copy")
            time.sleep(0.002)

    copying = threading.Thread(target=copy)
    copying.start()
    assert watched.wait(SOON)
    copying.join()
    assert pauses(watched) < 10


def test_changes_without_end_are_told_of_all_the_same(watched, root, monkeypatch):
    monkeypatch.setattr(folder_watch, "_PATIENCE_SECONDS", 0.3)
    over = threading.Event()

    def go_on():
        for number in itertools.count():
            (root / "cat" / "1.png").write_text("." * number)
            if over.wait(0.01):
                return

    thread = threading.Thread(target=go_on)
    thread.start()
    assert watched.wait(SOON)
    over.set()
    thread.join()


def test_a_folder_that_vanishes_and_comes_back_is_noticed(watched, root):
    root.rename(root.parent / "elsewhere")
    assert watched.wait(SOON)
    (root.parent / "elsewhere").rename(root)
    assert watched.wait(SOON)
    for number in range(50):  # watched again, whenever that begins
        (root / "cat" / f"{number}.png").write_text("new")
        if watched.wait(0.1):
            break
    else:
        raise AssertionError("nothing was noticed")


def test_what_changes_while_nobody_waits_is_told_later(watched, root):
    (root / "cat" / "2.png").write_text("2")
    deadline = time.monotonic() + SOON
    while not watched.has_changed() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert watched.has_changed()
    assert watched.wait(0)
    assert not watched.has_changed()


def test_closing_ends_the_waiting(watched):
    threading.Timer(0.05, watched.close).start()
    assert not watched.wait()
    assert watched.is_closed


def notifying(patch, watch):
    """What stands in for the package watchfiles."""
    patch.setitem(sys.modules, "watchfiles", type(sys)("watchfiles"))
    sys.modules["watchfiles"].watch = watch


def test_a_file_system_that_tells_nothing_is_looked_at(root, monkeypatch):
    notifying(monkeypatch, lambda *_, **__: itertools.repeat(set()))
    monkeypatch.setattr(folder_watch, "_DOUBT_SECONDS", 0.02)
    notes = []
    with closing(FolderWatch(root, emit=notes_to(notes.append))) as watch:
        for number in range(2):
            (root / "cat" / f"{number}-new.png").write_text("new")
            assert watch.wait(SOON)
        assert not watch.wait(LATER)
    assert len(notes) == 1
    assert "changes without notice from its file system: looking every 0.02 s" in notes[0]


def test_a_system_that_can_t_notify_is_told_of_and_the_folder_is_looked_at(root, monkeypatch):
    def watch(*_, **__):
        raise OSError("OS file watch limit reached")

    notifying(monkeypatch, watch)
    notes = []
    with closing(FolderWatch(root, emit=notes_to(notes.append))) as watch:
        (root / "cat" / "2.png").write_text("2")
        assert watch.wait(SOON)
    assert len(notes) == 1
    assert "can't notify of changes" in notes[0]
    assert "OS file watch limit reached" in notes[0]


def test_without_the_package_the_folder_is_looked_at(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    with closing(FolderWatch(root)) as watch:
        (root / "cat" / "2.png").write_text("2")
        assert watch.wait(SOON)
