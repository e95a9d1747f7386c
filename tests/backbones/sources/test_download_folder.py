"""The folder of downloads: nobody else's, and nobody else's hands in it."""

import fcntl
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.hearing import Heard

from retrain.backbones.sources import download_folder as folders
from retrain.backbones.sources.download_folder import check_own, digest_of_tree, download_folder, locked
from retrain.backbones.sources.listener import listening
from retrain.errors import BackboneError

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    folders._temporary_folder.cache_clear()
    yield tmp_path / "home"
    folders._temporary_folder.cache_clear()


@pytest.mark.parametrize("xdg", ["", "relative"])
def test_the_folder_is_in_the_home_and_its_users_alone(xdg, home, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", xdg)
    before = os.umask(0)
    try:
        folder = download_folder("hub")
    finally:
        os.umask(before)
    assert folder == home / ".cache" / "retrain" / "hub"
    for place in (folder, folder.parent):
        assert place.stat().st_mode & 0o777 == 0o700
    assert download_folder("hub") == folder


def test_the_folder_is_where_xdg_says(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert download_folder("keras") == tmp_path / "xdg" / "retrain" / "keras"


def test_looking_makes_nothing(home):
    assert download_folder("hub", write=False) == home / ".cache" / "retrain" / "hub"
    assert not home.exists()


@pytest.mark.parametrize("write", [True, False])
@pytest.mark.parametrize("which", [".", "hub"])
@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702, 0o1777])
def test_a_folder_that_others_may_write_to_is_refused(mode, which, write, monkeypatch):
    monkeypatch.setattr(folders, "_is_private_group", lambda number: False)
    (download_folder("hub").parent / which).chmod(mode)
    with pytest.raises(BackboneError, match=r"can be written by other users, who could .* run: chmod go-w .*XDG_CACHE"):
        download_folder("hub", write)


@pytest.mark.parametrize(
    ("name", "members", "primary", "is_private"),
    [
        ("ann", [], 7, True),
        ("ann", ["ann"], 7, True),
        ("ann", ["bob"], 7, False),
        ("staff", [], 7, False),
        ("ann", [], 8, False),
    ],
)
def test_a_group_of_the_user_alone_may_write(name, members, primary, is_private, monkeypatch):
    user, group = SimpleNamespace(pw_name="ann", pw_gid=primary), SimpleNamespace(gr_name=name, gr_mem=members)
    monkeypatch.setattr(folders.pwd, "getpwuid", lambda _: user)
    monkeypatch.setattr(folders.grp, "getgrgid", lambda _: group)
    monkeypatch.setattr(folders.os, "stat", lambda _: SimpleNamespace(st_uid=os.geteuid(), st_gid=7, st_mode=0o40775))
    assert folders.is_own(Path("anything")) == is_private


@needs_root
@pytest.mark.parametrize("write", [True, False])
@pytest.mark.parametrize("which", [".", "hub"])
def test_a_folder_of_another_user_is_refused(which, write):
    os.chown(download_folder("hub").parent / which, 12345, 12345)
    with pytest.raises(BackboneError, match=r"belongs to another user \(number 12345\)"):
        download_folder("hub", write)


@needs_root
def test_a_link_to_another_users_folder_is_refused(home, tmp_path):
    (tmp_path / "theirs").mkdir(0o755)
    os.chown(tmp_path / "theirs", 12345, 12345)
    (home / ".cache").mkdir(parents=True)
    (home / ".cache" / "retrain").symlink_to(tmp_path / "theirs")
    with pytest.raises(BackboneError, match="another user"):
        download_folder("hub", write=False)


@pytest.mark.parametrize("kind", ["a file", "read-only", "none"])
def test_without_a_home_downloads_are_for_this_run_and_one_line_says_so(kind, home, monkeypatch):
    if kind == "a file":
        home.write_text("no folder")
    elif kind == "none":
        monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    else:
        home.mkdir()
        mkdir = os.mkdir

        def read_only(path, mode=0o777):
            if str(path).startswith(str(home)):
                raise OSError(30, "Read-only file system")
            mkdir(path, mode)

        monkeypatch.setattr(os, "mkdir", read_only)
    heard = Heard()
    with listening(heard):
        folder = download_folder("hub")
        assert download_folder("hub") == folder
    assert folder.parent.stat().st_mode & 0o777 == 0o700
    assert folder.parent.parent != home
    [warning] = heard.warnings
    assert "can't be kept in" in warning
    assert "set XDG_CACHE_HOME" in warning


def test_the_folder_for_a_run_goes_with_it(tmp_path):
    code = "from retrain.backbones.sources.download_folder import download_folder as f; print(f('hub').parent)"
    environment = os.environ | {"XDG_CACHE_HOME": "/proc/nowhere"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert not Path(done.stdout.strip()).exists()


def test_a_lock_lets_one_in_and_the_other_says_that_it_waits(tmp_path):
    inside, order, heard = threading.Event(), [], Heard()

    def first():
        with locked(tmp_path / "file", "the file"):
            inside.set()
            time.sleep(0.3)
            order.append("first")

    thread = threading.Thread(target=first)
    thread.start()
    inside.wait(5)
    with listening(heard), locked(tmp_path / "file", "the file"):
        order.append("second")
    thread.join()
    assert order == ["first", "second"]
    assert heard.waits == ["another process is downloading the file: waiting for it"]


def test_a_lock_dies_with_its_holder(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from retrain.backbones.sources.download_folder import locked\n"
        "with locked(Path(sys.argv[1]), 'it'): print('in', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "file")], stdout=subprocess.PIPE, text=True)
    with holder:
        assert holder.stdout.readline() == "in\n"
        holder.kill()
    started = time.monotonic()
    with locked(tmp_path / "file", "it"):
        assert time.monotonic() - started < 1


def test_a_disk_without_locks_does_without(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError(37, "No locks available")))
    with locked(tmp_path / "file", "it"):
        pass


def test_the_digest_is_of_names_and_contents(tmp_path):
    def digest(files):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True, mode=0o755)
            (folder / name).write_text(text)
        return digest_of_tree(folder)

    trees = [{"a": "1"}, {"b": "1"}, {"a": "2"}, {"a": "1", "b": ""}, {"a/b": "1"}, {"a": "1", "b/c": "2"}]
    assert len({digest(tree) for tree in trees}) == len(trees)
    assert digest(trees[-1]) == digest(trees[-1])


@pytest.mark.parametrize("what", ["link", "mode", pytest.param("owner", marks=needs_root), "folder"])
def test_a_file_that_another_could_have_put_there_is_refused(what, tmp_path):
    folder = tmp_path / "tree"
    (folder / "inner").mkdir(parents=True)
    file = folder / "inner" / "file"
    file.write_text("x")
    if what == "link":
        (folder / "link").symlink_to(file)
    elif what == "mode":
        file.chmod(0o666)
    elif what == "owner":
        os.chown(file, 12345, 12345)
    else:
        file.parent.chmod(0o777)
    with pytest.raises(BackboneError, match=r"another user may write to it|other users"):
        digest_of_tree(folder)


def test_the_systems_own_folders_are_fine():
    check_own(Path("/usr"))
