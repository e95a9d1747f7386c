"""Who is told how downloads go on, and how long they may take. What downloads is imported when something is missing."""

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Limits", "Listener", "listening", "tell"]


@dataclass(frozen=True)
class Limits:
    """How long we wait for a server, and how much we take."""

    answer_seconds: float = 9.0  # until its answer begins: resolving, connecting, redirections and all
    silent_seconds: float = 30.0  # without a byte
    window_seconds: float = 60.0  # in each such span
    window_bytes: int = 60 * 4096  # this much must come
    total_seconds: float = 6 * 3600.0
    total_bytes: int = 4 * 2**30
    tries: int = 3  # in a row that bring almost nothing
    pause_seconds: float = 1.0  # before the second try, twice as long before the third
    say_after_seconds: float = 2.0  # of silence


class Listener:
    """Is told how downloads go on. This one writes to the log."""

    def begin(self, what: str, done: int, total: int | None) -> None:
        """A download begins; `done` bytes of `total` are here already."""
        logging.getLogger(__name__).info("downloading %s, %s of %s bytes are here", what, done, total or "?")

    def advance(self, count: int) -> None:
        """So many bytes came."""

    def wait(self, text: str) -> None:
        """There is nothing to do but wait, for what the text says."""
        logging.getLogger(__name__).info("%s", text)

    def end(self) -> None:
        """The download is complete, or given up."""

    def warn(self, text: str) -> None:
        """Something that the user should know."""
        logging.getLogger(__name__).warning("%s", text)


_listeners: list[Listener] = [Listener()]  # the last one is told


@contextlib.contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Tell a listener of all downloads of this process, for a while."""
    _listeners.append(listener)
    try:
        yield
    finally:
        listener.end()
        _listeners.remove(listener)


def tell() -> Listener:
    """Who is to be told of downloads."""
    return _listeners[-1]
