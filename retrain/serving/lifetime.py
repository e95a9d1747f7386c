"""The life of a request: how long it may take, what becomes of errors that nobody foresaw, and what is counted."""

import asyncio
import logging
import time

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from retrain.serving.metrics import Metrics
from retrain.serving.problems import Problem, busy
from retrain.serving.security import refusal

__all__ = ["Lifetime"]

_GONE = 499  # what metrics call the status of a request whose client is gone, as nginx does

_log = logging.getLogger(__name__)


class Lifetime:
    """Holds every request to a time, and answers even if something fails.

    Args:
        app: what answers.
        seconds: that a request may take, from its head to the end of its answer.
        metrics: of the server.
    """

    def __init__(self, app: ASGIApp, seconds: float, metrics: Metrics) -> None:
        self._app, self._seconds, self._metrics = app, seconds, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return
        if scope["method"] == "HEAD":  # the server leaves the body out
            scope = {**scope, "method": "GET"}
        request = _Request(receive, send)
        start = time.perf_counter()
        try:
            await asyncio.wait_for(self._app(scope, request.receive, request.send), self._seconds)
        except asyncio.TimeoutError:
            await self._end(scope, request, self._too_late(request))
        except ClientDisconnect:
            request.status = request.status or _GONE
        except Exception:  # noqa: BLE001 - it is logged
            _log.exception("an error that nobody foresaw, in %s %s", scope["method"], scope["path"])
            await self._end(scope, request, Problem(500, "the server has an error: its log says which"))
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.request(route, request.status, time.perf_counter() - start)

    def _too_late(self, request: "_Request") -> Problem:
        if not request.has_body:
            close = {"Connection": "close"}
            return Problem(408, f"the body did not arrive within {self._seconds:g} seconds: send it faster", close)
        return busy(f"no answer within {self._seconds:g} seconds")

    async def _end(self, scope: Scope, request: "_Request", problem: Problem) -> None:
        """Answer with a problem, unless there is half an answer: then the server ends the connection."""
        if request.status == 0:
            await refusal(problem)(scope, request.receive, request.send)


class _Request:
    """How far a request has got."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self.has_body = False  # whole
        self.status = 0  # of the answer; 0: not begun

    async def receive(self) -> Message:
        message = await self._receive()
        self.has_body = self.has_body or (message["type"] == "http.request" and not message.get("more_body", False))
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        await self._send(message)
