"""Model folders of small files that are replaced, and the processes that do so and are killed.

As a program: `replacing.py kills KIND FOLDER` or `replacing.py race KIND FOLDER`, for processes and mounts of its own.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from retrain import folders
from retrain.errors import ModelFolderError
from retrain.events import Emit, ignore
from retrain.model import folder as model_folder

NAMES = ["graph.pb", "logs/train/events", "saved_model/saved_model.pb"]  # one of each depth: each is a dozen kills
USERS = ["notes.txt", "logs/mine.txt", "mine/more/x"]
EVENTS = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.truncate", "fcntl.flock"}


def names_of(version: str) -> list[str]:
    return [*NAMES, f"{'tuning' if version == 'old' else 'curves'}.csv", "run.json"]


def fill(folder: Path, version: str) -> None:
    """A model whose every file says of which version it is."""
    for name in names_of(version):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps({"version": version, "files": names_of(version)}))
    (folder / "saved_model" / "assets").mkdir(exist_ok=True)


def write(final: Path, version: str, emit: Emit = ignore) -> None:
    model_folder.write_model_folder(final, lambda folder: fill(folder, version), emit)


def add_users_files(final: Path) -> None:
    for name in USERS:
        (final / name).parent.mkdir(parents=True, exist_ok=True)
        (final / name).write_text("the user's")


def read(final: Path) -> str:
    """The version of the model that a reader finds; an error where it is not whole."""
    return folders.read_consistently(final, model_folder.MODEL, _read)


def _read(folder: Path) -> str:
    run = json.loads((folder / "run.json").read_text())
    versions = {json.loads((folder / name).read_text())["version"] for name in run["files"]}
    if versions != {run["version"]}:
        raise ModelFolderError(f"files of several models: {versions}")
    return str(run["version"])


def check(final: Path, version: str, users_files: bool = True) -> None:
    """That a folder holds a version, the user's files, and nothing else; and that nothing is left beside it."""
    assert read(final) == version
    found = {path.relative_to(final).as_posix() for path in final.rglob("*") if path.is_file()}
    assert found == {*names_of(version), *(USERS if users_files else ())}
    assert (final / "saved_model" / "assets").is_dir()
    assert sorted(os.listdir(final.parent)) in (["model"], ["model", "volume"])
    for name in USERS if users_files else ():
        assert (final / name).read_text() == "the user's"


# places that can't be replaced by a rename


@contextlib.contextmanager
def place(kind: str, parent: Path) -> Iterator[Path]:
    """Where the model goes: plain, current, mounted, or one of these with what the machine hasn't got."""
    final = parent / "model"
    final.mkdir()
    if "mounted" in kind:
        (parent / "volume").mkdir()
        subprocess.run(["mount", "--bind", parent / "volume", final], check=True)
    if "current" in kind:
        os.chdir(final)
    if "unseen" in kind:
        folders._mounts_in = lambda _: []
    if "no-exchange" in kind:
        folders.exchange = _fail_with(22)
    if "no-links" in kind:
        os.link = _fail_with(1)
    os.fsync = lambda _: None  # a kill is no power failure
    yield final


def _fail_with(code: int) -> Callable[..., None]:
    def fail(*_, **__):
        raise OSError(code, os.strerror(code))

    return fail


def empty(final: Path) -> None:
    for path in sorted(final.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    for path in final.parent.iterdir():
        assert path.name in ("model", "volume"), path


# killed


def kill_everywhere(final: Path, has_old: bool) -> dict[str, int]:
    """Kill a process that replaces a model before each of its calls that change something; how many found which."""
    found: dict[str, int] = {}
    for number in range(1, 10_000):
        empty(final)
        if has_old:
            fill(final, "old")
            add_users_files(final)
        if _survives(number, final):
            check(final, "new", has_old)
            return found
        version = read(final) if has_old else _read_or_nothing(final)
        found[version] = found.get(version, 0) + 1
        if number % 2:  # the next run looks before it works; and write_model_folder alone does it, too
            model_folder.check_destination(final)
            if has_old:
                check(final, version)
        write(final, "third")
        check(final, "third", has_old)
    raise AssertionError("it never came to its end")


def _read_or_nothing(final: Path) -> str:
    return read(final) if (folders.complete_folder(final) / "run.json").exists() else "nothing"


def _survives(number: int, final: Path) -> bool:
    """Whether a process comes to the end of writing a model, that is killed before its call of that number."""
    child = os.fork()
    if not child:
        calls, is_filling = 0, False

        def count(event: str, args: tuple) -> None:
            nonlocal calls
            changes = event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if not is_filling and (changes or event in EVENTS):
                calls += 1
                if calls == number:
                    os.kill(os.getpid(), signal.SIGKILL)

        def fill_uncounted(folder: Path) -> None:  # where one kill is like another
            nonlocal is_filling
            is_filling = True
            fill(folder, "new")
            is_filling = False

        sys.addaudithook(count)
        model_folder.write_model_folder(final, fill_uncounted)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL), status
    return status == 0


# at the same time


def race(final: Path, processes: int, writes: int) -> dict[str, int]:
    """Processes that write the same model folder in a loop, and one that reads it."""
    write(final, "old")
    add_users_files(final)
    children = []
    for number in range(processes):
        child = os.fork()
        if not child:
            for turn in range(writes):
                if turn % 3 == 0:
                    model_folder.check_destination(final)
                write(final, f"{number}-{turn}")
            os._exit(0)
        children.append(child)
    reads = 0
    while children:
        read(final)
        reads += 1
        done, status = os.waitpid(-1, os.WNOHANG)
        if done:
            assert status == 0, status
            children.remove(done)
        time.sleep(0.001)
    check(final, read(final))
    assert read(final).endswith(f"-{writes - 1}")
    return {"writes": processes * writes, "reads": reads}


if __name__ == "__main__":
    what, kind, parent = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    with place(kind, parent) as final:
        if what == "kills":
            print(json.dumps(kill_everywhere(final, has_old="empty" not in kind)))
        else:
            print(json.dumps(race(final, 4, 60)))
