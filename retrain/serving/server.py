"""The server: it listens, looks for models that were trained anew, and ends without dropping a request."""

import asyncio
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from retrain.events import Emit, Event, Noted, Warned, ignore
from retrain.options import ServingOptions
from retrain.serving.answers import Answerer
from retrain.serving.app import build_app
from retrain.serving.context import Context
from retrain.serving.http_server import HttpServer, listening, url_of
from retrain.serving.metrics import Metrics
from retrain.serving.models import Models
from retrain.serving.security import Access, is_loopback
from retrain.text import counted, first_line

__all__ = ["Server"]

_LOOK_SECONDS = 1.0  # between looks for models that were trained anew


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
        access = Access.of(options)
        self._socket = listening(options.host, options.port, options.timeout)
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
        self._http = HttpServer(build_app(self._context), options.timeout)

    @property
    def url(self) -> str:
        """Where the page is."""
        return url_of(self._socket, self._options.host)

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
        watching = asyncio.create_task(self._watch())
        try:
            await self._http.serve_until(self._socket, self.stop)
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
