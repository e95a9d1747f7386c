"""Ctrl-C and SIGTERM: heard at once, heeded as soon as nothing is lost by it.

The first raises KeyboardInterrupt in the main thread, as Python does by itself. That takes until native code returns
there, which may be seconds where a network is loaded: so a thread of its own says "stopping" meanwhile, and ends the
process where that takes too long, or at the second signal, unless there is work that is not saved yet.
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
_NOTICE_SECONDS = 0.2  # after which a person should hear something
_GRACE_SECONDS = 3.0  # for native code to return


class _State:
    """What this process knows of interruptions."""

    signals = 0  # that came
    unsaved = 0  # blocks of unsaved() that are being run
    saving = 0  # of saving()
    # a duplicate of stderr, for that leads nowhere at times, to keep native code from writing to it
    stderr: int | None = None


def listen() -> None:
    """Hear the signals from now on; to be called from the main thread, by a program, not by a library."""
    with contextlib.suppress(OSError):  # closed, by whoever started the program
        _State.stderr = os.dup(2)
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reader,), name="interruption", daemon=True).start()
    for number in SIGNALS:
        signal.signal(number, _interrupt)


def stop_listening() -> None:
    """From now on a signal ends the process at once: its work is done."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def has_come() -> bool:
    """Whether this process was interrupted."""
    return _State.signals > 0


@contextlib.contextmanager
def unsaved() -> Iterator[None]:
    """Work that would be lost: an interruption that comes while it goes on only raises KeyboardInterrupt."""
    _State.unsaved += 1
    try:
        yield
    finally:
        _State.unsaved -= 1


@contextlib.contextmanager
def saving() -> Iterator[None]:
    """The end of such work: a second interruption waits for it, and then finds nothing to do."""
    _State.saving += 1
    try:
        yield
    finally:
        _State.saving -= 1


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """Python calls it in the main thread, between two operations."""
    _State.signals += 1
    if _State.signals > 1 and _State.saving:
        return
    if _State.signals > 1 and not _State.unsaved:
        os._exit(EXIT_INTERRUPTED)
    raise KeyboardInterrupt


def _watch(reader: int) -> None:
    """Tell of signals as they come in, and end the process where the main thread does not get to it."""
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
    """Write a line to stderr, in one piece, and also while that leads nowhere, as while TensorFlow is imported."""
    if _State.stderr is None:  # nobody listens, and nobody is kept from writing
        sys.stderr.write(f"{line}\n")
        return
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.flush()
    with contextlib.suppress(OSError):
        os.write(_State.stderr, f"{line}\n".encode(errors="backslashreplace"))


def _say(line: str) -> None:
    """Tell, below a progress bar where there may be one."""
    tell(f"\n{line}" if sys.stderr is not None and sys.stderr.isatty() else line)
