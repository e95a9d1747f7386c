"""The event stream: what happens is told to every page that is open, as server-sent events."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

__all__ = ["EventStream"]

_MOST_WAITING = 1000  # events of one page; a page that is further behind is cut off, and reads everything anew
_BEAT_SECONDS = 15.0  # between signs of life, without which nobody would notice that a page has gone


class EventStream:
    """Tells pages what happens. Any thread may publish; pages listen in one event loop."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._queues: set[asyncio.Queue[str | None]] = set()
        self._has_ended = False

    def publish(self, kind: str, content: Any) -> None:
        """Tell all pages.

        Args:
            kind: what happened, by which pages choose what to do.
            content: JSON.
        """
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._send, _event(kind, content))

    def end(self) -> None:
        """End all streams, so that the server can end."""
        self._has_ended = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._send, None)

    async def listen(self, hello: Any) -> AsyncIterator[str]:
        """The events from now on, as text for one page.

        Args:
            hello: makes what the page is told first. It is called when nothing that follows can be missed.
        """
        self._loop = asyncio.get_running_loop()
        queue: asyncio.Queue[str | None] = asyncio.Queue()
        self._queues.add(queue)
        try:
            yield "retry: 1000\n" + _event("hello", hello())
            while not self._has_ended:
                try:
                    event = await asyncio.wait_for(queue.get(), _BEAT_SECONDS)
                except asyncio.TimeoutError:
                    event = ":\n\n"
                if event is None:
                    return
                yield event
        finally:
            self._queues.discard(queue)

    def _send(self, event: str | None) -> None:
        for queue in list(self._queues):
            if queue.qsize() < _MOST_WAITING:
                queue.put_nowait(event)
            else:
                self._queues.discard(queue)
                queue.put_nowait(None)


def _event(kind: str, content: Any) -> str:
    return f"event: {kind}\ndata: {json.dumps(content, separators=(',', ':'))}\n\n"
