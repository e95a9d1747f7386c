"""What native code writes to stderr: a program of our own keeps it off the terminal, a library leaves it alone."""

import contextlib
import os
from collections.abc import Iterator

__all__ = ["no_native_output", "silence_native_output"]


class _State:
    is_silenced = False


def silence_native_output() -> None:
    """From now on `no_native_output` has an effect. For programs of our own."""
    _State.is_silenced = True


@contextlib.contextmanager
def no_native_output() -> Iterator[None]:
    """Send what is written to file descriptor 2 to /dev/null, if this process asked for that."""
    if not _State.is_silenced:
        yield
        return
    kept = os.dup(2)
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
