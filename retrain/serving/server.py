"""The server: it listens, looks for models that were trained anew, and ends without dropping a request."""

import asyncio
import contextlib
import math
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import uvicorn

from retrain.errors import OutputError
from retrain.events import Emit, Event, Noted, Warned, ignore
from retrain.options import ServingOptions
from retrain.serving.answers import Answerer
from retrain.serving.app import build_app
from retrain.serving.connections import MOST_HEAD, bounded_protocol
from retrain.serving.context import Context
from retrain.serving.metrics import Metrics
from retrain.serving.models import Models
from retrain.serving.security import Access, is_loopback
from retrain.text import counted, first_line

__all__ = ["Server"]

_LOOK_SECONDS = 1.0  # between looks for models that were trained anew
_BACKLOG = 1024
_USER_TIMEOUT = getattr(socket, "TCP_USER_TIMEOUT", 18)


class Server:
    """Serves models until it is told to stop.

    Args:
        folders: name -> model folder.
        options: where to listen, and the limits.
        trust: as for `Classifier`.
        emit: is told of models that were trained anew.
    Raises ModelFolderError, UsageError, or OutputError if the port can't be had.
    """

    def __init__(
        self, folders: Mapping[str, Path], options: ServingOptions, trust: bool = False, emit: Emit = ignore
    ) -> None:
        self._options, self._emit = options, emit
        access = Access(options)
        self._socket = _listening(options)
        try:
            models = Models(folders, trust)
        except BaseException:
            self._socket.close()
            raise
        metrics = Metrics()
        shows_report = options.show_report or is_loopback(options.host)
        self._context = Context(
            models, options, access, metrics, Answerer(options, metrics), shows_report, threading.Event()
        )
        self._http = _Http(
            uvicorn.Config(
                build_app(self._context),
                http=bounded_protocol(options.timeout),
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="critical",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                h11_max_incomplete_event_size=MOST_HEAD,
                timeout_graceful_shutdown=math.ceil(options.timeout) + 1,
            )
        )

    @property
    def url(self) -> str:
        """Where the page is."""
        host, port = self._socket.getsockname()[:2]
        shown = self._options.host if host in ("0.0.0.0", "::") else host
        return f"http://{f'[{shown}]' if ':' in shown else shown}:{port}/"

    def greeting(self) -> Iterator[Event]:
        """What to tell whoever starts the server."""
        models = ", ".join(f"{model.name} ({counted(len(model.labels), 'class')})" for model in self._context.models)
        yield Noted(f"serving {models} at {self.url} until Ctrl-C")
        if not is_loopback(self._options.host) and not self._context.access.needs_token:
            yield Warned(
                f"whoever reaches {self.url} can use the models: --token-file makes the server ask for a token"
            )

    def farewell(self) -> Event:
        """What to tell at the end."""
        return Noted("the server has ended")

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT comes, if this is the main thread, or until stop()."""
        asyncio.run(self._run())

    def stop(self) -> None:
        """Take no more connections, answer what is being asked, and end. Called again: end at once."""
        if self._context.ending.is_set():
            self._http.force_exit = True
        self._context.ending.set()
        self._http.should_exit = True

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        watching = loop.create_task(self._watch())
        try:
            with _signals(loop, self.stop):
                await self._http.serve([self._socket])
        finally:
            watching.cancel()
            self._socket.close()
            self._context.answerer.close()

    async def _watch(self) -> None:
        """Take up models that were trained anew."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                told = await asyncio.to_thread(self._context.models.refresh)
            except Exception as error:  # noqa: BLE001 - a server outlives what goes wrong beside it, and says so
                told = [Warned(f"can't look for models that were trained anew: {first_line(error)}")]
            for event in told:
                self._emit(event)


class _Http(uvicorn.Server):
    """Leaves signals to us: at the end uvicorn sends them again, and the process would not end with 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.contextmanager
def _signals(loop: asyncio.AbstractEventLoop, stop: Any) -> Iterator[None]:
    """Call `stop` for SIGTERM and SIGINT."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def _listening(options: ServingOptions) -> socket.socket:
    """A socket that listens. Raises OutputError."""
    where = f"{options.host} port {options.port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # connections inherit it: whoever reads nothing of an answer for so long is cut off
            listening.setsockopt(socket.IPPROTO_TCP, _USER_TIMEOUT, int(1000 * options.timeout))
            listening.bind(address)
            listening.listen(_BACKLOG)
        except BaseException:
            listening.close()
            raise
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a name"
        raise OutputError(f"can't listen on {where}: {reason}; give another --host or --port") from error
    listening.setblocking(False)
    return listening
