"""Folders that are replaced whole; mostly model folders, whose writing this is for."""

import errno
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support import replacing
from support.pictures import REPOSITORY

from retrain import folders
from retrain.errors import ModelFolderError, OutputError
from retrain.folders import NEW, Kind, complete_folder, read_consistently, replace_folder, staging_folder, tidy_up
from retrain.model.folder import MODEL, check_destination, write_model_folder

KIND = Kind(lambda folder: ["graph", "run", "logs/events"], "run")


def fill(folder, **content):
    for name, text in content.items():
        (folder / name).write_text(text)


@pytest.fixture
def model(tmp_path):
    """A folder with three files of ours, and two of the user's, one of them in a folder of ours."""
    final = tmp_path / "model"
    (final / "logs").mkdir(parents=True)
    fill(final, graph="old", run="old", notes="the user's")
    fill(final / "logs", events="old", mine="the user's")
    return final


def put(final):
    with staging_folder(final) as staging:
        (staging / "logs").mkdir()
        fill(staging, graph="new", run="new")
        fill(staging / "logs", events="new")
        replace_folder(staging, final, KIND)


def check_new(final):
    assert (final / "graph").read_text() == (final / "logs" / "events").read_text() == "new"
    assert (final / "notes").read_text() == (final / "logs" / "mine").read_text() == "the user's"
    assert sorted(os.listdir(final)) == ["graph", "logs", "notes", "run"]
    assert os.listdir(final.parent) == ["model"]


def test_a_folder_is_put_in_place(tmp_path):
    final = tmp_path / "deep" / "model"
    put(final)
    assert (final / "graph").read_text() == "new"
    assert os.listdir(final.parent) == ["model"]


def test_of_an_older_folder_only_our_own_files_go(model):
    put(model)
    check_new(model)


def test_the_folder_gets_the_permissions_of_any_new_folder(model):
    before = os.umask(0o027)
    try:
        put(model)
    finally:
        os.umask(before)
    assert model.stat().st_mode & 0o777 == 0o750


def test_an_interruption_while_filling_leaves_the_old_folder(model, tmp_path):
    with pytest.raises(KeyboardInterrupt), staging_folder(model) as staging:
        fill(staging, graph="half")
        raise KeyboardInterrupt
    assert (model / "graph").read_text() == "old"
    assert os.listdir(tmp_path) == ["model"]


def test_what_a_killed_run_left_is_tidied_up_and_what_a_running_one_fills_stays(model):
    dead = model.parent / ".model.dead.tmp"
    dead.mkdir()
    fill(dead, graph="half")
    with staging_folder(model) as staging:
        tidy_up(model, KIND)
        assert staging.is_dir()
    assert os.listdir(model.parent) == ["model"]


def test_what_is_left_of_another_folder_of_a_longer_name_is_left_alone(model):
    other = model.parent / ".model.v2.0123456789abcdef.old"
    other.mkdir()
    fill(other, notes="of model.v2")
    put(model)
    assert (other / "notes").read_text() == "of model.v2"
    assert (model / "notes").read_text() == "the user's"


def test_a_name_of_the_greatest_length_can_be_written(tmp_path):
    names = ["ä" * 127, "ä" * 126 + "o"]
    for name in names:
        put(tmp_path / name)
        put(tmp_path / name)
    assert sorted(os.listdir(tmp_path)) == sorted(names)


def test_files_behind_a_link_are_left_alone(model, tmp_path):
    """Or a run.json that somebody else made could name any file."""
    (tmp_path / "elsewhere").mkdir()
    fill(tmp_path / "elsewhere", events="the user's")
    shutil.rmtree(model / "logs")
    (model / "logs").symlink_to("../elsewhere")
    put(model)
    assert (tmp_path / "elsewhere" / "events").read_text() == "the user's"


# folders that can't be renamed


@pytest.fixture
def mounted(model, monkeypatch):
    monkeypatch.setattr(folders, "_mounts_in", lambda folder: [model] if folder == model else [])
    return model


def test_a_mount_point_is_filled_and_not_renamed(mounted):
    """As a Docker volume is: it can't be renamed, and what lies beside it is on another file system."""
    before = mounted.stat().st_ino
    put(mounted)
    check_new(mounted)
    assert mounted.stat().st_ino == before


def test_the_folder_where_the_process_works_is_filled_and_not_renamed(model, monkeypatch):
    monkeypatch.chdir(model)
    put(model)
    check_new(model)
    assert sorted(os.listdir()) == ["graph", "logs", "notes", "run"]


@pytest.mark.parametrize("code", [errno.EBUSY, errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EPERM])
def test_a_folder_of_which_it_shows_late_that_it_cannot_be_renamed_is_filled(model, monkeypatch, code):
    """A mount that can't be seen, a folder of a Docker image, a file system that can't exchange folders."""
    real, before = os.rename, model.stat().st_ino

    def fail(*_):
        raise OSError(code, os.strerror(code))

    def rename(source, target):
        if (Path(target).parent == model) != (Path(source).parent == model):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        real(source, target)

    monkeypatch.setattr(folders, "exchange", fail)
    monkeypatch.setattr(folders.os, "rename", rename)
    put(model)
    monkeypatch.undo()
    check_new(model)
    assert model.stat().st_ino == before


def test_a_folder_below_one_that_cannot_be_written_is_filled(model, monkeypatch):
    real = os.access
    monkeypatch.setattr(folders.os, "access", lambda path, mode: Path(path) != model.parent and real(path, mode))
    before = model.stat().st_ino
    put(model)
    check_new(model)
    assert model.stat().st_ino == before


def interrupt_placing(final, monkeypatch, after=1):
    """Fill a folder until so many files are in their place."""
    real, calls = folders._place, []

    def place(source, target):
        calls.append(target)
        if len(calls) > after:
            raise KeyboardInterrupt
        real(source, target)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(folders, "_place", place)
        put(final)


def test_a_mount_point_that_is_half_filled_is_read_as_the_new_one(mounted, monkeypatch):
    """Graph and labels of two models must never be taken for one, also not by programs that know nothing of this."""
    interrupt_placing(mounted, monkeypatch)
    assert not (mounted / "run").exists()
    new = complete_folder(mounted)
    assert (new / "graph").read_text() == (new / "logs" / "events").read_text() == (new / "run").read_text() == "new"
    put(mounted)
    check_new(mounted)
    assert complete_folder(mounted) == mounted


def test_a_full_disk_while_files_are_put_in_place_leaves_the_new_model(mounted, monkeypatch):
    def full(source, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))

    for name in ("run.json", "graph.pb"):
        (mounted / name).write_text("{}")
    with monkeypatch.context() as patched:
        patched.setattr(folders, "_place", full)
        with pytest.raises(
            OutputError, match=r"the new model is complete .* not all of model is in its place yet"
        ) as e:
            write_model_folder("model", lambda folder: replacing.fill(folder, "new"))
    assert "(model/" in str(e.value)
    assert "No space left on device" in str(e.value)
    assert replacing.read(mounted) == "new"
    replacing.write(mounted, "third")
    assert replacing.read(mounted) == "third"
    assert NEW not in os.listdir(mounted)


def test_an_error_of_an_export_names_the_place_that_is_to_be_and_keeps_the_old_model(model):
    replacing.fill(model, "old")

    def write(folder):
        raise OutputError(f"can't write the SavedModel {folder}/saved_model: No space left on device")

    with pytest.raises(OutputError) as caught:
        write_model_folder("model", write)
    assert str(caught.value) == (
        "can't write the SavedModel model/saved_model: No space left on device; what was there before is intact"
    )
    assert replacing.read(model) == "old"
    assert os.listdir(model.parent) == ["model"]


# readers


def test_a_reader_reads_again_what_was_replaced_meanwhile(model):
    seen = []

    def read(folder):
        graph = (folder / "graph").read_text()
        if not seen:
            put(model)
        seen.append((graph, (folder / "run").read_text()))
        return seen[-1]

    assert read_consistently(model, KIND, read) == ("new", "new")
    assert seen[0] == ("old", "new")


def test_an_error_of_a_reader_counts_only_where_nothing_was_replaced(model):
    seen = []

    def read(folder):
        seen.append(folder)
        if len(seen) == 1:
            put(model)
        raise ModelFolderError("damaged")

    with pytest.raises(ModelFolderError, match="damaged"):
        read_consistently(model, KIND, read)
    assert len(seen) == 2


# killed, and at the same time


def run_replacing(what, kind, parent):
    """Run replacing.py, in a name space of its own where it mounts something."""
    command = [sys.executable, str(Path(replacing.__file__)), what, kind, str(parent)]
    if "mounted" in kind:
        space = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
        if shutil.which("unshare") is None or shutil.which("mount") is None:
            pytest.skip("no programs unshare and mount")
        probe = subprocess.run([*space, "mount", "--bind", "/tmp", "/tmp"], capture_output=True, text=True, check=False)
        if probe.returncode:
            pytest.skip(f"mounts are not allowed here: {probe.stderr.strip()}")
        command = [*space, *command]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def fast_folder(tmp_path):
    """In memory, where there is such a place."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    folder = Path("/dev/shm", f"retrain-{os.getpid()}-{os.urandom(4).hex()}")
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("plain", {"old", "new"}),
        ("plain-empty", {"nothing", "new"}),
        ("plain-no-exchange-no-links", {"old", "new"}),
        ("current", {"old", "new"}),
        ("mounted", {"old", "new"}),
        ("mounted-unseen", {"old", "new"}),
    ],
)
def test_a_kill_at_any_moment_leaves_the_old_or_the_new_model_and_the_next_run_goes_on(kind, found, fast_folder):
    kills = run_replacing("kills", kind, fast_folder)
    assert set(kills) == found
    assert sum(kills.values()) > 10


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "mounted"])
def test_of_four_processes_that_write_one_model_folder_all_succeed(kind, fast_folder):
    done = run_replacing("race", kind, fast_folder)
    assert done["writes"] == 240
    assert done["reads"] > 10


def test_a_run_waits_for_one_that_is_just_replacing_and_says_for_whom(model, monkeypatch):
    """Not even its cleaning up takes what the other is about to put in place."""
    replacing.fill(model, "old")
    monkeypatch.setattr(folders, "_PATIENCE", 0.05)
    real, inside, go_on = folders.exchange, threading.Event(), threading.Event()

    def slow(one, other):
        inside.set()
        assert go_on.wait(60)
        real(one, other)

    monkeypatch.setattr(folders, "exchange", slow)
    first = threading.Thread(target=replacing.write, args=(model, "first"))
    first.start()
    assert inside.wait(60)
    said = []

    def hear(event):
        said.append(event.message)
        go_on.set()

    replacing.write(model, "second", hear)
    first.join(60)
    assert said == [
        f"waiting for process {os.getpid()} on {os.uname().nodename}, which is writing the model folder {model}"
    ]
    assert replacing.read(model) == "second"
    assert os.listdir(model.parent) == ["model"]


def test_the_lock_dies_with_its_holder(model):
    replacing.fill(model, "old")
    hold = "with folders._lock(Path('model'), print): print(flush=True); signal.pause()"
    command = [sys.executable, "-c", f"import signal; from pathlib import Path; from retrain import folders\n{hold}"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as holder:
        assert holder.stdout.readline()
        holder.kill()
    assert sorted(os.listdir(model.parent)) == [".model.lock", "model"]
    said = []
    replacing.write(model, "new", said.append)
    assert said == []
    assert os.listdir(model.parent) == ["model"]


# told before the training


def refused(model_dir, match):
    before = sorted(map(str, Path().rglob("*")))
    with pytest.raises(OutputError, match=match):
        check_destination(model_dir)
    assert sorted(map(str, Path().rglob("*"))) == before


def test_links_in_a_circle_are_refused():
    Path("one").symlink_to("two")
    Path("two").symlink_to("one")
    refused("one", "can't write the model folder one: Too many levels of symbolic links; its links lead in a circle")
    refused("one/model", "can't write the model folder one/model: Too many levels of symbolic links")


def test_a_link_to_what_is_not_there_yet_is_followed():
    Path("link").symlink_to("place")
    check_destination("link")
    replacing.write(Path("link"), "new")
    assert Path("link").is_symlink()
    assert replacing.read(Path("place")) == "new"


@pytest.mark.parametrize(("name", "entry"), [("graph.pb", "folder"), ("logs", "file")])
def test_a_folder_where_a_file_goes_is_refused(name, entry):
    replacing.fill(Path("model"), "old")
    place = Path("model", name)
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    place.mkdir() if entry == "folder" else place.write_text("")
    refused("model", f"holds a {entry} {name}, where a model has a")


@pytest.mark.parametrize("frozen", ["", "graph.pb", "logs/train", "notes.txt"])
def test_what_is_immutable_is_refused(frozen):
    replacing.fill(Path("model"), "old")
    replacing.add_users_files(Path("model"))
    if subprocess.run(["chattr", "+i", f"model/{frozen}"], capture_output=True, check=False).returncode:
        pytest.skip("nothing can be made immutable here")
    try:
        refused("model", f"can't write the model folder model: {'model/' + frozen + ': ' if frozen else ''}immutable")
    finally:
        subprocess.run(["chattr", "-i", f"model/{frozen}"], check=True)


@pytest.mark.parametrize("read_only", ["", "logs/train"])
def test_what_is_mounted_read_only_is_refused(monkeypatch, read_only):
    replacing.fill(Path("model"), "old")
    place = Path("model", read_only).resolve()
    real_access, real_mkdir = os.access, os.mkdir

    def mkdir(path, *args, **options):
        if Path(path).parent == place and not read_only:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
        real_mkdir(path, *args, **options)

    monkeypatch.setattr(folders.os, "mkdir", mkdir)
    monkeypatch.setattr(folders.os, "access", lambda path, mode: Path(path) != place and real_access(path, mode))
    monkeypatch.setattr(folders.os, "statvfs", lambda path: type("", (), {"f_flag": os.ST_RDONLY}))
    refused("model", f"{'model/' + read_only + ': ' if read_only else ''}Read-only file system; mount it so that")


def test_a_fresh_volume_of_a_disk_of_its_own_can_be_used():
    Path("model", "lost+found").mkdir(parents=True)
    Path("model", "@eaDir").mkdir()  # of a network drive
    check_destination("model")
    replacing.write(Path("model"), "new")
    assert Path("model", "lost+found").is_dir()


def test_a_part_of_a_model_that_an_earlier_version_left_can_be_replaced(monkeypatch):
    replacing.fill(Path("model"), "old")
    Path("model", "run.json").unlink()
    refused("model", "the model folder model holds other things")
    monkeypatch.chdir("model")
    check_destination(".")
    Path("mine.txt").write_text("")
    refused(".", "holds other things")


def test_own_files_are_as_run_json_lists_them():
    replacing.fill(Path("model"), "old")
    assert set(MODEL.own(Path("model"))) == {*replacing.names_of("old"), "saved_model/assets", "report.html"}
