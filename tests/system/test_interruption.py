"""Ctrl-C and SIGTERM, in processes of their own."""

import os
import queue
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from support.pictures import REPOSITORY

from retrain import interruption

ENVIRONMENT = os.environ | {"PYTHONPATH": str(REPOSITORY)}


def started(code, *arguments):
    """A process of some Python code, which has printed "ready"."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    assert process.stdout.readline() == "ready\n"
    return process


def ended(process, seconds=10.0):
    """Its exit code, what it wrote to stderr, and how long it took."""
    before = time.monotonic()
    _, errors = process.communicate(timeout=60)
    took = time.monotonic() - before
    assert took < seconds
    assert "Traceback" not in errors
    return process.returncode, errors


FIRST = """
from retrain.cli import start
print("ready", flush=True)
import sys
sys.argv = ["retrain", "--help"]
sys.exit(start.main())
"""


@pytest.mark.parametrize("pause", [0.0, 0.02, 0.1, 0.2])
def test_in_the_first_moments_there_is_no_traceback(pause):
    process = started(FIRST)
    time.sleep(pause)
    process.send_signal(signal.SIGINT)
    code, errors = ended(process)
    if code == 130:
        assert errors.endswith("retrain: error: interrupted\n")
    else:  # before the program listens, or after it has done its work
        assert (code, errors) in [(-signal.SIGINT, ""), (0, "")]


def test_what_python_would_drop_is_raised_a_moment_later(monkeypatch):
    """Python prints, and drops, what is raised in the callback with which an import gives its lock back."""
    sent = queue.SimpleQueue()
    monkeypatch.setattr(os, "kill", lambda *what: sent.put(what))
    monkeypatch.setattr(interruption._State, "signals", 0)
    frame = SimpleNamespace(f_code=SimpleNamespace(co_name="cb"), f_globals={"__name__": "importlib._bootstrap"})
    interruption._interrupt(signal.SIGINT, frame)
    assert sent.get(timeout=10) == (os.getpid(), signal.SIGINT)
    frame.f_code.co_name = "load_module"
    with pytest.raises(KeyboardInterrupt):
        interruption._interrupt(signal.SIGINT, frame)


AT_EXIT = """
import atexit, os, sys, time
def work():
    os.write(1, b"ready\\n")
    time.sleep(30)
atexit.register(work)
from retrain.cli import start
sys.stdout = open(os.devnull, "w")
sys.argv = ["retrain", sys.argv[1]]
sys.exit(start.main())
"""


@pytest.mark.parametrize("command", ["--version", "--nonsense"])
def test_after_its_work_it_ends_at_once(command):
    process = started(AT_EXIT, command)
    process.send_signal(signal.SIGINT)
    code, _ = ended(process)
    assert code == -signal.SIGINT


# A main thread in native code that does not return for a long time.
NATIVE = """
import ctypes, os
from retrain import interruption
interruption.listen()
os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # as while TensorFlow is imported
print("ready", flush=True)
library, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(256)
library.pthread_mutex_init(mutex, None)
while True:  # the second time, it waits for itself
    library.pthread_mutex_lock(mutex)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_while_native_code_goes_on_it_says_so_and_ends_all_the_same(number):
    process = started(NATIVE)
    time.sleep(0.5)  # until it is there
    process.send_signal(number)
    code, errors = ended(process, seconds=8)
    assert (code, errors) == (130, "retrain: stopping ...\nretrain: error: interrupted\n")


def test_the_second_ends_it_at_once():
    process = started(NATIVE)
    time.sleep(0.5)  # until it is there
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline() == "retrain: stopping ...\n"
    process.send_signal(signal.SIGINT)
    assert ended(process, seconds=2) == (130, "retrain: error: interrupted\n")


SAVING = """
import sys, time
from retrain import interruption
interruption.listen()
try:
    with interruption.unsaved():
        try:
            print("ready", flush=True)
            time.sleep(50)
        finally:
            with interruption.saving():
                print("saving", flush=True)
                time.sleep(1)
                print("saved", flush=True)
except KeyboardInterrupt:
    sys.exit(130)
"""


def test_the_second_waits_for_what_is_being_saved():
    process = started(SAVING)
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "saving\n"
    process.send_signal(signal.SIGINT)
    time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "saved\n"
    code, errors = ended(process)
    assert code == 130
    assert errors.startswith("retrain: stopping once what is done is saved ...\n")


LOADING = """
import os, sys, time
from pathlib import Path
from retrain.extraction import dataset
from retrain.cli import start
from retrain import interruption
class Backbone:
    name, fingerprint, description = "slow", "0" * 64, {}
    @property
    def network(self):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        print("ready", flush=True)
        time.sleep(30)
dataset.choose_extractor = lambda *_: Backbone()
sys.argv = ["retrain", "extract", "pictures", "--backbone", sys.argv[1]]
sys.exit(start.main())
"""


def test_a_network_that_is_being_loaded_is_not_waited_for(make_folder, tmp_path):
    make_folder({"cat": 3, "dog": 3})
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "saved_model.pb").write_bytes(b"")
    process = subprocess.Popen(
        [sys.executable, "-c", LOADING, "./net"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=ENVIRONMENT,
    )  # fmt: skip
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    code, errors = ended(process, seconds=3)
    assert code == 130
    assert "retrain: error: interrupted after 0 of 6 pictures; what is done is kept" in errors
