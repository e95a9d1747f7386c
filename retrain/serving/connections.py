"""Connections: how many there may be, and how long each may take to send a request.

uvicorn has no bounds for that. Its protocol is extended by what it shows of itself: which request it answers, and
whether that is done.
"""

import asyncio
import contextlib
import resource

from uvicorn.protocols.http.h11_impl import H11Protocol

from retrain.serving.problems import Problem, busy
from retrain.serving.security import raw_refusal, refusal
from retrain.text import counted

__all__ = ["MOST_HEAD", "bounded_protocol"]

MOST_HEAD = 2**15  # bytes of a request's head
_HEAD_SECONDS = 10.0
_LINGER_SECONDS = 1.0
_MOST_CONNECTIONS = 1000
_SPARE_FILES = 100  # that may be open beside connections


def bounded_protocol(seconds: float) -> type[H11Protocol]:
    """The protocol of one server.

    Args:
        seconds: that a request may take.
    """
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)

    class Bounded(_Bounded):
        most = max(1, min(_MOST_CONNECTIONS, (files - _SPARE_FILES) // 2))
        patience = min(seconds, _HEAD_SECONDS)

    return Bounded


class _Bounded(H11Protocol):
    """Ends connections whose request does not arrive, and turns away those that are too many."""

    most: int  # connections at once
    patience: float  # seconds that a request's head may take to arrive

    _head_timer: asyncio.TimerHandle | None = None
    _has_begun = _has_ended = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > 2 * self.most:
            transport.close()
        elif len(self.connections) > self.most:
            problem = busy(f"{counted(self.most, 'connection', 'is/are')} open already")
            self.app = refusal(problem)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        if self._has_ended:
            return
        self._has_begun = True
        super().data_received(data)
        if self._is_answering():
            self._stop_waiting()
        elif self._head_timer is None:
            self._wait_for_head()

    def eof_received(self) -> bool:  # type: ignore[override]
        """A client that has sent a whole request, and says that nothing follows, still gets its answer."""
        if not self._is_answering() or self.cycle.more_body:
            return False
        self.cycle.keep_alive = False
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        self._end(Problem(400, f"{msg.rstrip('.')}: its head is damaged, or larger than {MOST_HEAD:,} bytes"))

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait_for_head(self) -> None:
        self._head_timer = self.loop.call_later(self.patience, self._too_slow)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_slow(self) -> None:
        if self._has_begun:
            self._end(Problem(408, f"no whole request arrived within {self.patience:g} seconds: send it faster"))
        else:
            self.transport.close()

    def _end(self, problem: Problem) -> None:
        """Answer with a problem, and close the connection.

        What still arrives is read and dropped for a moment: while there are bytes that nobody has read, closing
        would take the answer away from the client.
        """
        if not self.transport.is_closing():
            self._has_ended = True
            if self._is_answering():  # what follows that request is damaged, or its body
                self.cycle.disconnected = True
                self.cycle.message_event.set()
            self.transport.write(raw_refusal(problem))
            with contextlib.suppress(OSError):  # the client has gone
                self.transport.write_eof()
            self.loop.call_later(_LINGER_SECONDS, self.transport.close)
