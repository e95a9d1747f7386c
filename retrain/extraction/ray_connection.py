"""The way to a Ray cluster, and what keeps Ray's own talk off the user's terminal."""

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from retrain.errors import ClusterError, MissingPackageError

__all__ = ["connected", "last_line"]

logger = logging.getLogger(__name__)

_ANSWER_SECONDS = 5.0  # that a head may take to answer; Ray itself waits for minutes


@contextlib.contextmanager
def connected(address: str) -> Iterator[Any]:
    """Be connected to a cluster, or start one on this machine for as long as the block takes; gives the module `ray`.

    A program that is connected already stays so. Raises MissingPackageError, ClusterError.
    """
    try:
        import ray
    except ImportError as error:
        raise MissingPackageError(f"--ray needs the package ray ({error}): pip install 'retrain[ray]'") from error
    if ray.is_initialized():
        yield ray
        return
    with _without_its_talk() as silence:
        with silence():
            _connect(ray, address)
        try:
            yield ray
        finally:
            with silence():
                ray.shutdown()


def _connect(ray: Any, address: str) -> None:
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if address == "local":
        settings |= {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}  # nobody else is to reach it
    with _quiet_environment(), _own_signals():
        try:
            _check_answer(address)
            ray.init(address=address, **settings)
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            raise ClusterError(
                f"can't reach the Ray cluster {address}: {last_line(error)}; start one with ray start --head, give "
                "HOST:PORT of its head, or use --ray local"
            ) from error


def _check_answer(address: str) -> None:
    """Raise OSError if nothing answers at HOST:PORT."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdecimal() and "/" not in host:
        socket.create_connection((host.strip("[]"), int(port)), _ANSWER_SECONDS).close()


@contextlib.contextmanager
def _quiet_environment() -> Iterator[None]:
    """Ray's settings while it starts: it sends no statistics of its use, and warns of nothing that concerns us."""
    wanted = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Keep what this program does on SIGTERM and SIGINT, which Ray replaces."""
    is_main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)} if is_main else {}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _without_its_talk() -> Iterator[Callable[[], contextlib.AbstractContextManager[None]]]:
    """Send to the log what Ray prints, as when a machine is lost: stdout is for results.

    It prints from threads of its own. What is printed inside the blocks that are given counts as its, too.
    """
    before = {name: getattr(sys, name) for name in ("stdout", "stderr")}
    streams = [_WithoutRay(stream) for stream in before.values()]

    @contextlib.contextmanager
    def silence() -> Iterator[None]:
        for stream in streams:
            stream.is_silent = True
        try:
            yield
        finally:
            for stream in streams:
                stream.is_silent = False

    for name, stream in zip(before, streams, strict=True):
        setattr(sys, name, stream)
    try:
        yield silence
    finally:
        for name, stream in before.items():
            setattr(sys, name, stream)


class _WithoutRay:
    """A stream that takes nothing from Ray's threads, nor from any while it is silent."""

    def __init__(self, stream: Any) -> None:
        self._stream, self.is_silent = stream, False

    def write(self, text: str) -> int:
        """Write a text, as the stream does."""
        if self.is_silent or threading.current_thread().name.startswith("ray_"):
            if text.strip():
                logger.info("ray: %s", text.strip())
            return len(text)
        return int(self._stream.write(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def last_line(error: BaseException) -> str:
    """The last line of an error's text: Ray's are pages long, and end with what happened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
