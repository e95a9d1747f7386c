"""The studio's server: it listens on loopback alone, and ends without losing what it is at."""

import asyncio

from retrain.options import StudioOptions
from retrain.paths import display_path
from retrain.serving.admission import Admission
from retrain.serving.http_server import HttpServer, listening, url_of
from retrain.serving.studio.access import StudioAccess
from retrain.serving.studio.app import Studio, build_studio
from retrain.serving.studio.events import EventStream
from retrain.serving.studio.parts import StudioParts
from retrain.serving.studio.thumbnails import Thumbnails
from retrain.serving.studio.workbench import Workbench

__all__ = ["StudioServer"]

_TIMEOUT = 30.0  # seconds
_MOST_HELD = 2**29  # bytes of all requests together


class StudioServer:
    """Shows a folder of pictures until it is told to stop.

    Args:
        parts: the folder, who edits it, and who trains on it.
        options: where to listen.
    Raises OutputError if the port can't be had.
    """

    def __init__(self, parts: StudioParts, options: StudioOptions) -> None:
        self._options, self._root = options, parts.root
        self._socket = listening(options.host, options.port, _TIMEOUT)
        try:
            self._access = StudioAccess(self._socket.getsockname()[1])
            self._stream = EventStream()
            self.workbench = Workbench(parts, self._stream)
        except BaseException:
            self._socket.close()
            raise
        name = display_path(parts.root.resolve().name or parts.root)
        self._thumbnails = Thumbnails(parts.root, parts.images, parts.depth)
        admission = Admission(1, _MOST_HELD)
        studio = Studio(name, self.workbench, self._stream, self._thumbnails, self._access, parts.images, admission)
        self._http = HttpServer(build_studio(studio), _TIMEOUT)

    @property
    def url(self) -> str:
        """Where the page is, with the token."""
        return f"{url_of(self._socket, self._options.host)}?token={self._access.token}"

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT comes, if this is the main thread, or until stop()."""
        self.workbench.start()
        asyncio.run(self._http.serve_until(self._socket, self.stop))

    def close(self) -> None:
        """End what works behind the page, and wait for an edit that is on its way."""
        self._socket.close()
        self._thumbnails.close()
        self.workbench.close()

    def stop(self) -> None:
        """Take no more requests, answer what is being asked, and end. Called again: end at once."""
        self._http.force_exit = self._http.should_exit
        self._http.should_exit = True
        self._stream.end()
