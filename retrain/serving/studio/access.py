"""Who may use the studio: the browser that was given its token, and in it the studio's own page alone."""

import secrets

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from retrain.serving.problems import Problem
from retrain.serving.security import LOGIN, Access, is_loopback, name_in, refusal

__all__ = ["HEADER", "OwnPageOnly", "StudioAccess"]

HEADER = "X-Retrain-Studio"  # a page of another site can't send it without being asked first, which it never is
_READING = frozenset({"GET", "HEAD"})


class StudioAccess(Access):
    """Who may ask the studio what: only loopback, with a token of its own.

    Args:
        port: that it listens on. Browsers keep one jar of cookies for all ports, and there may be several studios.
    """

    def __init__(self, port: int) -> None:
        self.token = secrets.token_urlsafe(32)
        super().__init__(self.token, (), f"retrain_studio_{port}")

    def check_host(self, host: str | None) -> None:
        """Refuse all names but those of loopback. Raises Problem."""
        name = name_in(host or "")
        if not is_loopback(name):
            raise Problem(421, f"the studio does not go by the name {name!r:.80}: open the address that it printed")


class OwnPageOnly:
    """Lets only the studio's own page change anything: every request that may has to have HEADER."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        app = self._app
        if scope["method"] not in _READING and scope["path"] != LOGIN and HEADER not in Headers(scope=scope):
            app = refusal(Problem(403, f"changes need the header {HEADER}, which the studio's own page sends"))
        await app(scope, receive, send)
