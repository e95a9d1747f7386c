"""Why a request gets no answer."""

from collections.abc import Mapping

__all__ = ["Problem", "busy"]


class Problem(Exception):
    """A request is wrong, or can't be answered now. The message is for whoever sent it: it names no path.

    Args:
        status: of HTTP; 4xx, or 503.
        message: what is wrong, and what to do.
        headers: of the answer.
    """

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, dict(headers or {})


def busy(message: str) -> Problem:
    """The problem of a server that has too much to do: 503, with the seconds to wait before the next try."""
    return Problem(503, f"{message}: try again in a second", {"Retry-After": "1"})
