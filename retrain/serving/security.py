"""Who may ask: the token, the names that the server goes by, and the headers that keep browsers from being used."""

import hashlib
import hmac
import ipaddress
import json
import os
import secrets
import socket
from collections.abc import Iterable
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from pathlib import Path

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from retrain.errors import UsageError
from retrain.options import ServingOptions
from retrain.paths import display_path
from retrain.serving.problems import Problem
from retrain.text import counted

__all__ = ["LOGIN", "OPEN", "Access", "Gate", "WithHeaders", "is_loopback", "name_in", "raw_refusal", "refusal"]

LOGIN = "/login"
OPEN = frozenset({"/healthz", "/v2/health/live", "/v2/health/ready", LOGIN})  # paths that need no token
_SESSION_COOKIE = "retrain_session"
_FEWEST = 16  # characters of a token
_MOST = 4096

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}


class Access:
    """Who may ask what.

    Args:
        token: that requests must have; None if they need none.
        names: that the server goes by, beside addresses, in lower case.
        cookie: the name of what a browser sends that has given the token.
    """

    def __init__(self, token: str | None, names: Iterable[str], cookie: str = _SESSION_COOKIE) -> None:
        self._token = None if token is None else _digest(token)
        self._session = secrets.token_urlsafe(32)  # what a browser gets for the token, until the server ends
        self._hosts = frozenset(names)
        self._cookie = cookie

    @classmethod
    def of(cls, options: ServingOptions) -> "Access":
        """As options say. Raises UsageError if the token can't be used."""
        token = None if options.token_file is None else _read_token(options.token_file)
        return cls(token, _names_of(options))

    @property
    def needs_token(self) -> bool:
        """Whether requests must have one."""
        return self._token is not None

    def check_host(self, host: str | None) -> None:
        """Refuse names that are not the server's. Raises Problem.

        A web page can make a name of its own lead to this machine, and read what is there as if it were its own (DNS
        rebinding). An address can't be made to lead elsewhere.
        """
        name = name_in(host or "")
        if not name:
            raise Problem(400, "the Host header is missing or wrong: send the name that the server goes by")
        if "*" in self._hosts or name in self._hosts or _is_address(name):
            return
        raise Problem(
            421, f"this server does not go by the name {name!r:.80}: if it should, start it with --allowed-hosts"
        )

    def check_origin(self, origin: str | None, host: str | None) -> None:
        """Refuse requests that another site's page makes a browser send. Raises Problem."""
        if origin is not None and origin.partition("://")[2].lower() != (host or "").lower():
            raise Problem(403, "pages of other sites may not ask this server")

    def check_token(self, authorization: str | None, cookies: str | None) -> None:
        """Raises Problem if there is no token, or a wrong one."""
        if self._token is None or self._has_session(cookies):
            return
        scheme, _, given = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not self.is_token(given.strip()):
            what = "needs a token" if authorization is None else "does not take this token"
            raise Problem(
                401,
                f"this server {what}: send the header Authorization: Bearer TOKEN",
                {"WWW-Authenticate": 'Bearer realm="retrain"'},
            )

    def is_token(self, given: str) -> bool:
        """Whether a text is the token. Takes the same time for every wrong one."""
        return self._token is not None and hmac.compare_digest(_digest(given), self._token)

    def session(self) -> str:
        """The Set-Cookie header that makes a browser which has given the token send what shows that from then on."""
        return f"{self._cookie}={self._session}; Path=/; HttpOnly; SameSite=Strict"

    def _has_session(self, cookies: str | None) -> bool:
        try:
            found = SimpleCookie(cookies or "").get(self._cookie)
        except CookieError:
            return False
        return found is not None and hmac.compare_digest(_digest(found.value), _digest(self._session))


class Gate:
    """Lets requests in, or answers why not."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        app: ASGIApp = self._app
        try:
            self._check(scope)
        except Problem as problem:
            if problem.status == 401 and _wants_page(scope):
                scope["path"] = LOGIN  # a form to give the token
            else:
                app = refusal(problem)
        await app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        host = headers.get("host")
        self._access.check_host(host)
        self._access.check_origin(headers.get("origin"), host)
        if scope["path"] not in OPEN:
            self._access.check_token(headers.get("authorization"), headers.get("cookie"))


class WithHeaders:
    """Gives every answer the headers that browsers obey. Those that an answer has itself stay."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


def refusal(problem: Problem) -> JSONResponse:
    """The answer to a request that has a problem: {"error": ...}, as all protocols here have it."""
    return JSONResponse({"error": problem.message}, problem.status, problem.headers)


def raw_refusal(problem: Problem) -> bytes:
    """The same, for a connection that has no request; it is the last thing that goes through it."""
    body = json.dumps({"error": problem.message}).encode()
    own = {"Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close"}
    lines = [f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in (own | _HEADERS).items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _wants_page(scope: Scope) -> bool:
    return scope["method"] == "GET" and "text/html" in Headers(scope=scope).get("accept", "")


def _names_of(options: ServingOptions) -> frozenset[str]:
    """The names that a server goes by, in lower case."""
    more = (options.allowed_hosts or "").split(",")
    own = ["localhost", options.host] + ([] if is_loopback(options.host) else [socket.gethostname()])
    return frozenset(name.strip().lower().rstrip(".") for name in own + more if name.strip())


def name_in(host: str) -> str:
    """The name in a Host header, without its port; empty if there is none."""
    if host.startswith("["):  # an address of IPv6
        return host.partition("]")[0].strip("[").lower()
    name, colon, port = host.partition(":")
    return "" if colon and not port.isdecimal() else name.lower().rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _read_token(path: str | os.PathLike[str]) -> str:
    """Raises UsageError."""
    where = f"--token-file {display_path(path)}"
    try:
        token = Path(path).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(f"{where} can't be read: {reason}; give a file with a token") from error
    if not _FEWEST <= len(token) <= _MOST or not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError(
            f"{where} has {counted(len(token), 'character')}, expected a token of {_FEWEST} to {_MOST:,} printable "
            "ASCII characters without spaces: make one with openssl rand -hex 32"
        )
    return token


def _digest(text: str) -> bytes:
    """Comparing digests says nothing of what they are made of, nor of its length."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
