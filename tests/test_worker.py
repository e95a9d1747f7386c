import os

import pytest
from support import worker_functions as functions

from retrain.errors import ExportError
from retrain.events import Noted
from retrain.worker import Worker, WorkerError


def test_results_and_events_come_back_and_what_is_kept_stays():
    told = []
    with Worker(told.append) as worker:
        assert worker.call(functions.pid_of) != os.getpid()
        assert worker.call(functions.telling, "hello") == "HELLO"
        worker.keep(list, [3, 1, 2])
        assert worker.ask("index", 1) == 1
    assert told == [Noted("hello")]


def test_errors_of_users_come_back_as_they_are_and_others_as_their_first_line():
    with Worker() as worker:
        with pytest.raises(ExportError, match="no such thing"):
            worker.call(functions.raising, ExportError("no such thing"))
        with pytest.raises(OSError, match="No space left"):
            worker.call(functions.raising, OSError(28, "No space left on device"))
        with pytest.raises(WorkerError, match=r"^ArithmeticError: one$"):
            worker.call(functions.raising, ArithmeticError("one\ntwo"))


def test_a_process_that_dies_is_told_with_its_last_line():
    with Worker() as worker, pytest.raises(WorkerError, match=r"^its process ended \(SIGABRT\): terrible thing$"):
        worker.call(functions.aborting, "terrible thing")


def test_a_process_that_runs_out_of_memory_says_so():
    with Worker() as worker, pytest.raises(WorkerError, match="SIGKILL, which the system sends when memory runs out"):
        worker.call(functions.killed)


def test_the_process_ends_with_the_block():
    with Worker() as worker:
        process = worker.call(functions.pid_of)
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
