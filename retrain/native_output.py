"""What native code writes to stderr: a program of our own keeps it off the terminal, a library leaves it alone."""

import contextlib
import os
import threading
from collections.abc import Iterator

__all__ = ["no_native_output", "silence_native_output"]


class _State:
    is_silenced = False
    lock = threading.Lock()
    inside = 0  # how many blocks are open, of all threads
    kept = -1  # the descriptor that was 2 before the first of them


def silence_native_output() -> None:
    """From now on `no_native_output` has an effect. For programs of our own."""
    _State.is_silenced = True


@contextlib.contextmanager
def no_native_output() -> Iterator[None]:
    """Send what is written to file descriptor 2 to /dev/null, if this process asked for that.

    It is the whole process's. So where threads are inside at the same time, it comes back when the last one leaves.
    """
    if not _State.is_silenced:
        yield
        return
    with _State.lock:
        if _State.inside == 0:
            _State.kept = os.dup(2)
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 2)
            os.close(nowhere)
        _State.inside += 1
    try:
        yield
    finally:
        with _State.lock:
            _State.inside -= 1
            if _State.inside == 0:
                os.dup2(_State.kept, 2)
                os.close(_State.kept)
