import contextlib
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


@pytest.fixture
def model(tmp_path):
    """A folder with two files of ours, and two of the user's, one of them in a folder of ours."""
    final = tmp_path / "model"
    (final / "logs").mkdir(parents=True)
    fill(final, graph="old", run="old", notes="the user's")
    fill(final / "logs", events="old", mine="the user's")
    return final


OWN = ["graph", "run", "logs/events"]


def put(final):
    with staging_folder(final) as staging:
        (staging / "logs").mkdir()
        fill(staging, graph="new", run="new")
        fill(staging / "logs", events="new")
        replace_folder(staging, final, OWN, "run")


def check_new(final):
    assert (final / "graph").read_text() == (final / "logs" / "events").read_text() == "new"
    assert (final / "notes").read_text() == (final / "logs" / "mine").read_text() == "the user's"
    assert sorted(os.listdir(final)) == ["graph", "logs", "notes", "run"]


def test_a_folder_is_put_in_place(tmp_path):
    final = tmp_path / "deep" / "model"
    put(final)
    assert (final / "graph").read_text() == "new"
    assert os.listdir(final.parent) == ["model"]


def test_of_an_older_folder_only_our_own_files_go(model, tmp_path):
    put(model)
    check_new(model)
    assert os.listdir(tmp_path) == ["model"]


def test_an_interruption_while_filling_leaves_the_old_folder(model, tmp_path):
    with pytest.raises(KeyboardInterrupt), staging_folder(model) as staging:
        fill(staging, graph="half")
        raise KeyboardInterrupt
    assert (model / "graph").read_text() == "old"
    assert os.listdir(tmp_path) == ["model"]


@pytest.mark.parametrize("exchange", [True, False], ids=["one step", "three steps"])
@pytest.mark.parametrize("step", range(8))
def test_an_interruption_at_any_step_leaves_a_whole_model_and_the_users_files(model, monkeypatch, step, exchange):
    calls = []

    def count(real):
        def call(*args):
            calls.append(args)
            if len(calls) == step + 1:
                raise KeyboardInterrupt
            return real(*args)

        return call

    if not exchange:
        monkeypatch.setattr(files.ctypes, "CDLL", lambda *args, **options: object())
    with monkeypatch.context() as patched:
        patched.setattr(files.os, "replace", count(os.replace))
        with contextlib.suppress(KeyboardInterrupt):
            put(model)
    files.tidy_up(model, lambda folder: OWN)
    assert (model / "graph").read_text() == (model / "logs" / "events").read_text() == (model / "run").read_text()
    put(model)
    check_new(model)
    assert os.listdir(model.parent) == ["model"]


def test_what_a_killed_run_left_is_tidied_up_and_what_a_running_one_fills_stays(model):
    dead = model.parent / ".model.dead.tmp"
    dead.mkdir()
    fill(dead, graph="half")
    with staging_folder(model) as staging:
        files.tidy_up(model, lambda folder: OWN)
        assert staging.is_dir()
    assert os.listdir(model.parent) == ["model"]


def test_a_mount_point_is_filled_and_not_renamed(model, monkeypatch):
    """As a Docker volume is: it can't be renamed, and what lies beside it is on another file system."""
    monkeypatch.setattr(files.os.path, "ismount", lambda path: path == model)
    before = model.stat().st_ino
    put(model)
    check_new(model)
    assert model.stat().st_ino == before


def test_the_folder_where_the_process_works_is_filled_and_not_renamed(model, monkeypatch):
    monkeypatch.chdir(model)
    put(model)
    check_new(model)
    assert sorted(os.listdir()) == ["graph", "logs", "notes", "run"]


def test_a_mount_point_that_is_half_filled_is_no_model(model, monkeypatch):
    """Graph and labels of two models must never be taken for one."""
    monkeypatch.setattr(files.os.path, "ismount", lambda path: path == model)
    real = os.replace

    def interrupt(source, target):
        if os.path.basename(source) == "logs" or str(source).endswith("events"):
            raise KeyboardInterrupt
        real(source, target)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(files.os, "replace", interrupt)
        put(model)
    assert not (model / "run").exists()
    put(model)
    check_new(model)
