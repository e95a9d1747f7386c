"""Another process for work that leaks memory or may abort: it calls our functions, and ends with us.

    with Worker(emit) as worker:
        worker.call(convert, "model", "folder")

It begins as a new program and knows only what it is given (multiprocessing's `spawn` would run the caller's script
again), it has no terminal, and Ctrl-C ends it through us. What it writes to stdout and stderr is kept in memory: if it
dies, the last line that it wrote is the reason that is told.
"""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from retrain import _tensorflow
from retrain.errors import RetrainError
from retrain.events import Emit, Event, ignore
from retrain.text import first_line

__all__ = ["Worker", "WorkerError", "serve"]

Result = TypeVar("Result")

_END_WITH_PARENT = 1  # PR_SET_PDEATHSIG of prctl(2)
_LAST_BYTES = 4096  # of what it wrote, that are searched for a last line


class WorkerError(Exception):
    """The other process died, or raised an error that is no user's. The message says why, in one line."""


class Worker:
    """A process that calls functions, one after the other, for as long as the `with` block lasts.

    Functions are found by their names in their modules; arguments and results are pickled.

    Args:
        emit: called here with the events that functions tell there.
    """

    def __init__(self, emit: Emit = ignore) -> None:
        self._emit = emit

    def __enter__(self) -> "Worker":
        ours, theirs = _pair()
        self._said = os.memfd_create("worker")
        code = f"import sys; sys.path[:] = {sys.path!r}; from retrain.worker import serve; serve({theirs})"
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", code],
                stdin=subprocess.DEVNULL,
                stdout=self._said,
                stderr=self._said,
                pass_fds=[theirs],
                start_new_session=True,  # the terminal sends Ctrl-C to our session alone
            )
        finally:
            os.close(theirs)
        self._connection = ours
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._connection.close()
        os.close(self._said)

    def call(self, function: Callable[..., Result], *args: Any) -> Result:
        """Call `function(*args, emit)` there, and return what it returns.

        Raises RetrainError, OSError and MemoryError as the function does, and WorkerError.
        """
        result: Result = self._request("call", function, args)
        return result

    def keep(self, function: Callable[..., Any], *args: Any) -> None:
        """Call `function(*args)` there; what it returns stays there, for `ask`. Raises as `call` does."""
        self._request("keep", function, args)

    def ask(self, name: str, *args: Any) -> Any:
        """Call a method of what was kept there, or read its attribute. Raises as `call` does."""
        return self._request("ask", name, args)

    def _request(self, kind: str, what: Any, args: tuple[Any, ...]) -> Any:
        try:
            self._connection.send((kind, what, args))
            while True:
                answer, value = self._connection.recv()
                if answer == "result":
                    return value
                if answer == "error":
                    raise value
                self._emit(value)
        except (EOFError, ConnectionError):
            raise WorkerError(self._last_words()) from None

    def _last_words(self) -> str:
        """How the process ended, and the last line that it wrote."""
        code = self._process.wait()
        size = os.fstat(self._said).st_size
        text = os.pread(self._said, _LAST_BYTES, max(0, size - _LAST_BYTES)).decode("utf-8", "replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        if code == -signal.SIGKILL:
            how += ", which the system sends when memory runs out"
        return f"its process ended ({how})" + (f": {lines[-1][:300]}" if lines else "")


def _pair() -> tuple[Connection, int]:
    """A connection, and the handle of its other end."""
    one, other = socket.socketpair()
    return Connection(one.detach()), other.detach()


# in the other process


def serve(handle: int) -> None:
    """Answer requests until there are no more. This is what the other process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_END_WITH_PARENT, signal.SIGKILL)
    warnings.simplefilter("ignore")  # of libraries, meant for developers
    _tensorflow.prepare_process(silently=False)  # what it writes is kept off the terminal, and may be a reason
    connection = Connection(handle)
    with contextlib.suppress(EOFError, ConnectionError):
        _serve(connection)


def _serve(connection: Connection) -> None:
    def tell(event: Event) -> None:
        connection.send(("event", event))

    kept: Any = None
    while True:
        kind, what, args = connection.recv()
        try:
            result = None
            if kind == "call":
                result = what(*args, tell)
            elif kind == "keep":
                kept = what(*args)
            else:
                found = getattr(kept, what)
                result = found(*args) if callable(found) else found
            answer = ("result", result)
        except (RetrainError, OSError, MemoryError) as error:
            answer = ("error", error)
        except Exception as error:  # noqa: BLE001  # of a library: all kinds; its reason is told
            answer = ("error", WorkerError(f"{type(error).__name__}: {first_line(error)}"))
        connection.send(answer)
