"""Ctrl-C and SIGTERM: stop the program soon, but never lose work.

The first signal raises KeyboardInterrupt in the main thread, as Python itself does. That has to wait until native code
returns, which may take seconds while a network is loaded. So another thread says "stopping" in the meantime, and ends
the process if that takes too long, or at the second signal, unless there is unsaved work.
"""

import contextlib
import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

__all__ = ["EXIT_INTERRUPTED", "has_come", "listen", "saving", "stop_listening", "tell", "unsaved"]

EXIT_INTERRUPTED = 130
SIGNALS = (signal.SIGINT, signal.SIGTERM)
_NOTICE_SECONDS = 0.2  # until a person should see a message
_GRACE_SECONDS = 3.0  # for native code to return


class _State:
    """What this process knows of interruptions."""

    signals = 0  # received
    unsaved = 0  # unsaved() blocks that are running
    saving = 0  # saving() blocks that are running
    # a duplicate of stderr, which is redirected at times to silence native code
    stderr: int | None = None


def listen() -> None:
    """Listen for the signals from now on. Call it from the main thread of a program, not from a library."""
    with contextlib.suppress(OSError):  # whoever started the program closed it
        _State.stderr = os.dup(2)
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reader,), name="interruption", daemon=True).start()
    for number in SIGNALS:
        signal.signal(number, _interrupt)


def stop_listening() -> None:
    """From now on, a signal ends the process at once, because its work is done."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def has_come() -> bool:
    """Whether this process was interrupted."""
    return _State.signals > 0


@contextlib.contextmanager
def unsaved() -> Iterator[None]:
    """Mark work that could be lost: until it ends, an interruption only raises KeyboardInterrupt."""
    _State.unsaved += 1
    try:
        yield
    finally:
        _State.unsaved -= 1


@contextlib.contextmanager
def saving() -> Iterator[None]:
    """Mark the saving of such work: a second interruption waits for it, and then does nothing."""
    _State.saving += 1
    try:
        yield
    finally:
        _State.saving -= 1


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Handle a signal. Python calls this in the main thread, between two operations."""
    if frame is not None and frame.f_code.co_name == "cb" and frame.f_globals.get("__name__") == "importlib._bootstrap":
        # in this callback of an import Python drops the exception, and prints a traceback: again when it has ended
        threading.Timer(0.01, os.kill, (os.getpid(), number)).start()
        return
    _State.signals += 1
    if _State.signals > 1 and _State.saving:
        return
    if _State.signals > 1 and not _State.unsaved:
        os._exit(EXIT_INTERRUPTED)
    raise KeyboardInterrupt


def _watch(reader: int) -> None:
    """Announce signals as they arrive, and end the process if the main thread does not."""
    heard, is_said = 0, False
    while True:
        seconds = (_GRACE_SECONDS if is_said else _NOTICE_SECONDS) if heard else None
        is_new = bool(select.select([reader], [], [], seconds)[0])
        if is_new:
            heard += sum(number in SIGNALS for number in os.read(reader, 512))
        if not heard:
            continue
        if not _State.unsaved and (heard > 1 or (is_said and not is_new)):
            _say("retrain: error: interrupted")
            os._exit(EXIT_INTERRUPTED)
        if is_new and heard > 1:
            _say("retrain: stopping once what is done is saved ...")
            is_said = True
        elif not is_new and not is_said:
            _say("retrain: stopping ...")
            is_said = True


def tell(line: str) -> None:
    """Write a line to stderr in one piece, even while stderr is redirected (as when TensorFlow is imported)."""
    if _State.stderr is None:  # listen() was not called, so stderr is not redirected
        sys.stderr.write(f"{line}\n")
        return
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.flush()
    with contextlib.suppress(OSError):
        os.write(_State.stderr, f"{line}\n".encode(errors="backslashreplace"))


def _say(line: str) -> None:
    """Write a line below the progress bar that a terminal may show."""
    tell(f"\n{line}" if sys.stderr is not None and sys.stderr.isatty() else line)
