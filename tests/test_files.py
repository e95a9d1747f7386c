import fcntl
import os
import time

import pytest

from retrain import files
from retrain.files import replace_folder, staging_folder, write_whole


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "a.txt"
    write_whole(path, b"one")
    write_whole(path, b"two")
    assert path.read_bytes() == b"two"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_file_gets_the_permissions_of_any_new_file(tmp_path):
    write_whole(tmp_path / "a", b"")
    (tmp_path / "b").write_bytes(b"")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


@pytest.mark.parametrize("failing", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, failing, error):
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")

    def fail(*args):
        raise error

    monkeypatch.setattr(files.os, failing, fail)
    with pytest.raises(type(error)):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_abandoned_temporary_files_go_and_those_being_written_stay(tmp_path):
    (tmp_path / ".dead.x.tmp").write_bytes(b"half")
    (tmp_path / ".fresh.x.tmp").write_bytes(b"half")
    (tmp_path / "other.tmp").write_bytes(b"not ours")
    old = time.time() - 3600
    with (tmp_path / ".busy.x.tmp").open("wb") as busy:
        fcntl.flock(busy.fileno(), fcntl.LOCK_EX)
        for name in (".dead.x.tmp", ".busy.x.tmp", "other.tmp"):
            os.utime(tmp_path / name, (old, old))
        files.remove_abandoned(tmp_path)
        assert sorted(os.listdir(tmp_path)) == [".busy.x.tmp", ".fresh.x.tmp", "other.tmp"]


def fill(folder, **content):
    for name, text in content.items():
        (folder / name).write_text(text)


def test_a_folder_is_put_in_place(tmp_path):
    final = tmp_path / "deep" / "model"
    with staging_folder(final) as staging:
        fill(staging, graph="new")
        replace_folder(staging, final, lambda name: True)
    assert (final / "graph").read_text() == "new"
    assert os.listdir(final.parent) == ["model"]


def test_of_an_older_folder_only_our_own_files_go(tmp_path):
    final = tmp_path / "model"
    final.mkdir()
    fill(final, graph="old", labels="old", notes="the user's")
    with staging_folder(final) as staging:
        fill(staging, graph="new")
        replace_folder(staging, final, {"graph", "labels"}.__contains__)
    assert sorted(os.listdir(final)) == ["graph", "notes"]
    assert (final / "graph").read_text() == "new"
    assert (final / "notes").read_text() == "the user's"
    assert os.listdir(tmp_path) == ["model"]


def test_an_interruption_while_filling_leaves_the_old_folder(tmp_path):
    final = tmp_path / "model"
    final.mkdir()
    fill(final, graph="old")
    with pytest.raises(KeyboardInterrupt), staging_folder(final) as staging:
        fill(staging, graph="half")
        raise KeyboardInterrupt
    assert (final / "graph").read_text() == "old"
    assert os.listdir(tmp_path) == ["model"]


def test_a_mount_point_is_filled_and_not_renamed(tmp_path, monkeypatch):
    """As a Docker volume is: it can't be renamed, and what lies beside it is on another file system."""
    final = tmp_path / "model"
    (final / "saved_model").mkdir(parents=True)
    fill(final, graph="old", notes="the user's")
    monkeypatch.setattr(files.os.path, "ismount", lambda path: path == final)
    before = final.stat().st_ino
    with staging_folder(final) as staging:
        assert staging.parent == final
        (staging / "saved_model").mkdir()
        fill(staging, graph="new")
        fill(staging / "saved_model", inner="new")
        replace_folder(staging, final, lambda name: name != "notes")
    assert sorted(os.listdir(final)) == ["graph", "notes", "saved_model"]
    assert (final / "graph").read_text() == "new"
    assert (final / "saved_model" / "inner").read_text() == "new"
    assert final.stat().st_ino == before
