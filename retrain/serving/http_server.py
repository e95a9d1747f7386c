"""What serves an application: a socket that listens, uvicorn on it, and signals that end it."""

import asyncio
import contextlib
import math
import signal
import socket
import threading
from collections.abc import Callable, Iterator

import uvicorn
from starlette.types import ASGIApp

from retrain.errors import OutputError
from retrain.serving.connections import MOST_HEAD, bounded_protocol

__all__ = ["HttpServer", "listening", "url_of"]

_BACKLOG = 1024
_USER_TIMEOUT = getattr(socket, "TCP_USER_TIMEOUT", 18)


class HttpServer(uvicorn.Server):
    """Serves an application. It leaves signals to us: at the end uvicorn would send them again, and the process would
    not end with 0.

    Args:
        timeout: seconds that a request may take.
    """

    def __init__(self, app: ASGIApp, timeout: float) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=bounded_protocol(timeout),
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="critical",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                h11_max_incomplete_event_size=MOST_HEAD,
                timeout_graceful_shutdown=math.ceil(timeout) + 1,
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield

    async def serve_until(self, place: socket.socket, stop: Callable[[], None]) -> None:
        """Serve on a socket until should_exit is set. SIGTERM and SIGINT call `stop`, if this is the main thread."""
        with _signals(asyncio.get_running_loop(), stop):
            await self.serve([place])


def url_of(place: socket.socket, host: str) -> str:
    """Where a socket can be reached; host: what it was asked to listen on."""
    address, port = place.getsockname()[:2]
    shown = host if address in ("0.0.0.0", "::") else address
    return f"http://{f'[{shown}]' if ':' in shown else shown}:{port}/"


@contextlib.contextmanager
def _signals(loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> Iterator[None]:
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


def listening(host: str, port: int, timeout: float) -> socket.socket:
    """A socket that listens.

    Args:
        timeout: seconds after which whoever reads nothing of an answer is cut off.
    Raises OutputError.
    """
    where = f"{host} port {port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        place = socket.socket(family, kind, protocol)
        try:
            place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            place.setsockopt(socket.IPPROTO_TCP, _USER_TIMEOUT, int(1000 * timeout))  # connections inherit it
            place.bind(address)
            place.listen(_BACKLOG)
        except BaseException:
            place.close()
            raise
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a name"
        raise OutputError(f"can't listen on {where}: {reason}; give another --host or --port") from error
    place.setblocking(False)
    return place
