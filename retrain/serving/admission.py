"""How much a server takes on at once. What is beyond that gets 503 at once, so that memory and waiting stay bounded."""

from collections.abc import Iterator
from contextlib import contextmanager

from retrain.serving.problems import Problem, busy
from retrain.text import counted

__all__ = ["Admission"]


class Admission:
    """Counts what is in the house: pictures that wait for an answer, and bytes of bodies. For one event loop.

    Args:
        max_pictures: of all requests together, and of one.
        max_bytes: of all bodies together.
    """

    def __init__(self, max_pictures: int, max_bytes: int) -> None:
        self.max_pictures, self._max_bytes = max_pictures, max_bytes
        self.pictures = self.bytes = 0

    @contextmanager
    def of_pictures(self, count: int) -> Iterator[None]:
        """Hold a place for each picture of a request. Raises Problem."""
        if count > self.max_pictures:
            raise Problem(413, f"{counted(count, 'picture')} in a request: send at most {self.max_pictures:,} at once")
        if self.pictures + count > self.max_pictures:
            raise busy(f"{counted(self.pictures, 'picture', 'is/are')} waiting already")
        self.pictures += count
        try:
            yield
        finally:
            self.pictures -= count

    @contextmanager
    def of_body(self) -> Iterator["HeldBytes"]:
        """Hold room for a body that arrives bit by bit."""
        held = HeldBytes(self)
        try:
            yield held
        finally:
            self.bytes -= held.size

    def room_for(self, count: int) -> bool:
        """Whether there is room for some more bytes."""
        return self.bytes + count <= self._max_bytes


class HeldBytes:
    """The room of one body."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self.size = 0

    def grow(self, count: int) -> None:
        """Take room for some more bytes. Raises Problem."""
        if not self._admission.room_for(count):
            raise busy("too many large requests are being read")
        self.size += count
        self._admission.bytes += count
