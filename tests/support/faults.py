"""Faults for tests: a call of the system that fails, each in its turn."""

import contextlib
import os
import resource
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

READING = ("open", "preadv", "stat", "scandir")
WRITING = ("open", "fdopen", "fsync", "replace", "rename", "unlink", "mkdir")


class Fault:
    """One call among those of some functions of `os` that fails."""

    def __init__(self, names: Sequence[str], number: int, at: int) -> None:
        self._names, self._number, self._at, self._calls = names, number, at, 0

    @contextlib.contextmanager
    def on(self) -> Iterator[None]:
        """While the block lasts, calls are counted, and that one fails."""
        with pytest.MonkeyPatch.context() as patched:
            for name in self._names:
                patched.setattr(os, name, self._wrapped(getattr(os, name)))
            yield

    @property
    def happened(self) -> bool:
        """Whether there were that many calls."""
        return self._calls >= self._at

    def _wrapped(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            self._calls += 1
            if self._calls == self._at:
                raise OSError(self._number, os.strerror(self._number))
            return function(*args, **options)

        return call


def every_call(names: Sequence[str], number: int) -> Iterator[Fault]:
    """A fault at the first call, then one at the second, until there are not that many calls.

    Args:
        names: of functions of `os`.
        number: of the error, as in `errno`.
    """
    for at in range(1, 1000):
        fault = Fault(names, number, at)
        yield fault
        if not fault.happened:
            return
    raise AssertionError("there is no end of calls")


@contextlib.contextmanager
def full_after(size: int) -> Iterator[None]:
    """As on a full disk, no file can have more bytes than this."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
