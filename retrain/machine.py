"""How much memory may be held at once, by however many threads."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["MemoryBudget"]


class MemoryBudget:
    """So many bytes for all threads together; a thread waits until there is room for what it wants.

    What is larger than the whole budget is held alone. A thread that holds some must not ask for more.
    """

    def __init__(self, size: int) -> None:
        self.size = size  # bytes
        self._held = 0
        self._change = threading.Condition()

    @contextmanager
    def hold(self, wanted: int) -> Iterator[None]:
        """Hold so many bytes for as long as the block takes."""
        wanted = min(wanted, self.size)
        with self._change:
            self._change.wait_for(lambda: self._held + wanted <= self.size)
            self._held += wanted
        try:
            yield
        finally:
            with self._change:
                self._held -= wanted
                self._change.notify_all()
