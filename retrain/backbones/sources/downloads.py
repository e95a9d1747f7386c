"""Download files: with limits of time and size, with progress, resumed after a break, and never half a file."""

import contextlib
import http.client
import json
import os
import queue
import shutil
import socket
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from functools import cache
from pathlib import Path
from typing import IO, Any

import retrain
from retrain.backbones.sources.listener import Limits, tell
from retrain.errors import BackboneUnavailableError

__all__ = ["Wanted", "download"]

_BLOCK = 2**18  # bytes
_PROGRESS = 2**20  # bytes: an attempt that brings more does not count as failed

# Answers after which another try may succeed.
_BEYOND_THE_END = 416
_PASSING = (408, 425, 429, 500, 502, 503, 504, _BEYOND_THE_END)


@dataclass(frozen=True)
class Wanted:
    """A download: its URL, and how messages speak of it."""

    url: str
    what: str  # "the weights of backbone inception_v3"
    remedy: str  # what to do if it can't be had


class _Failed(Exception):
    """A try that failed; the message says why. `again`: another may succeed. `status`: of the answer."""

    def __init__(self, reason: str, again: bool, status: int = 0) -> None:
        super().__init__(reason)
        self.again, self.status = again, status


def download(wanted: Wanted, part: Path, limits: Limits = Limits()) -> None:
    """Download a file to `part`, resuming from what is there already.

    The caller holds a lock on `part`, checks the result, and moves it into place. A note beside it has the version that
    the server named, so that halves of two versions are never joined. If the download breaks off, the part stays for
    the next time.

    Raises BackboneUnavailableError if there is no network (at once), if the server does not answer within
    answer_seconds, goes silent, is too slow, or sends too much, and if the disk is full.
    """
    deadline = time.monotonic() + limits.total_seconds
    in_vain = 0
    while True:
        before = _size(part)
        try:
            _attempt(wanted, part, limits, deadline)
            _note(part).unlink(missing_ok=True)
            return
        except _Failed as error:
            in_vain = 0 if _size(part) - before >= _PROGRESS else in_vain + 1
            if error.status == _BEYOND_THE_END:
                _forget(part)  # it is complete already, or useless
            if not error.again or in_vain == limits.tries:
                if not _note(part).exists():
                    _forget(part)  # what can't be joined
                tries = f"; tried {in_vain} times" if in_vain > 1 else ""
                raise BackboneUnavailableError(
                    f"{wanted.what} can't be downloaded ({error}{tries}): {wanted.remedy}"
                ) from error
        except OSError as error:  # the server's are _Failed: this is our disk
            _forget(part)
            raise BackboneUnavailableError(
                f"{wanted.what} can't be kept in {part.parent} ({error.strerror or error}): make room there, or set "
                "XDG_CACHE_HOME to another folder"
            ) from error
        finally:
            tell().end()
        time.sleep(limits.pause_seconds * in_vain)


def _attempt(wanted: Wanted, part: Path, limits: Limits, deadline: float) -> None:
    """One request, whose body is added to what is there."""
    done, headers = _size(part), {"Accept-Encoding": "identity"}
    validator = _validator(part, wanted.url)
    if done and validator:
        headers |= {"Range": f"bytes={done}-", "If-Range": validator}
    request = _Request(wanted.url, headers, limits)
    with contextlib.closing(request):
        answer = request.answer()
        done, total = _where(answer, done)
        if total is not None and total > limits.total_bytes:
            raise _Failed(f"it has {total:,} bytes, and more than {limits.total_bytes:,} are not taken", again=False)
        _check_space(part, (total or 0) - done)
        if not done:
            _forget(part)
            _keep_validator(part, wanted.url, answer.headers)
        tell().begin(wanted.what, done, total)
        # whatever the umask, nobody else may write to it
        with open(part, "ab", opener=lambda path, flags: os.open(path, flags | os.O_NOFOLLOW, 0o644)) as file:
            for block in request.blocks(deadline):
                done += len(block)
                if done > (limits.total_bytes if total is None else total):
                    _forget(part)
                    raise _Failed("the server sends more than it may", again=False)
                file.write(block)
                file.flush()  # what is here is not lost when this process is killed
                tell().advance(len(block))
                if done == total:
                    break  # the server may keep the connection open
            os.fsync(file.fileno())
    if total is not None and done < total:
        raise _Failed(f"the connection ended after {done:,} of {total:,} bytes", again=True)


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: Message


def _where(answer: _Answer, done: int) -> tuple[int, int | None]:
    """The byte at which a body begins, and the length of the file; None if the server does not say."""
    if answer.status == 206:
        unit, _, rest = answer.headers.get("Content-Range", "").partition(" ")
        first, _, total = rest.partition("/")
        if unit == "bytes" and first.partition("-")[0] == str(done) and total.isdigit():
            return done, int(total)
        raise _Failed("the server sends another part than was asked for", again=False)
    length = answer.headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() and "Transfer-Encoding" not in answer.headers else None


class _Request:
    """A request in its own thread, so that no silent server or name server can block the caller."""

    def __init__(self, url: str, headers: dict[str, str], limits: Limits) -> None:
        self._limits = limits
        self._host = urllib.parse.urlsplit(url).hostname or url
        self._url, self._headers = url, headers | {"User-Agent": f"retrain/{retrain.__version__}"}
        self._items: queue.Queue[_Answer | bytes | BaseException] = queue.Queue(8)
        self._closed = threading.Event()
        threading.Thread(target=self._run, daemon=True, name="download").start()

    def answer(self) -> _Answer:
        """What the server answers."""
        try:
            item = self._next(time.monotonic() + self._limits.answer_seconds)
        except TimeoutError:
            seconds = self._limits.answer_seconds
            raise _Failed(f"{self._host} did not answer within {seconds:.0f} s", again=False) from None
        assert isinstance(item, _Answer)
        return item

    def blocks(self, deadline: float) -> Iterator[bytes]:
        """The body, as it comes. Raises _Failed if it comes too slowly."""
        limits, window, came = self._limits, time.monotonic(), 0
        while True:
            try:
                block = self._next(min(deadline, time.monotonic() + limits.silent_seconds))
            except TimeoutError:
                if time.monotonic() >= deadline:
                    raise _Failed(f"it takes more than {limits.total_seconds:.0f} s", again=False) from None
                raise _Failed(f"{self._host} sent nothing for {limits.silent_seconds:.0f} s", again=False) from None
            assert isinstance(block, bytes)
            if not block:
                return
            yield block
            came += len(block)
            now = time.monotonic()
            if now - window >= limits.window_seconds:
                if came < limits.window_bytes:
                    raise _Failed(f"{self._host} sent only {came:,} bytes in {now - window:.0f} s", again=False)
                window, came = now, 0

    def close(self) -> None:
        """Let the thread go; it ends when its system call does."""
        self._closed.set()

    def _next(self, deadline: float) -> _Answer | bytes:
        """What the thread has next. Says so if it has to wait. Raises TimeoutError."""
        started = time.monotonic()
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            try:
                item = self._items.get(timeout=min(left, self._limits.say_after_seconds))
            except queue.Empty:
                tell().wait(f"waiting for {self._host}, {time.monotonic() - started:.0f} s")
                continue
            if isinstance(item, BaseException):
                raise _reason(item, self._host) from item
            return item

    def _run(self) -> None:
        try:
            with self._open() as answer:
                self._put(_Answer(answer.status, answer.headers))
                while block := answer.read1(_BLOCK):
                    self._put(block)
                self._put(b"")
        except _Closed:
            pass
        except Exception as error:  # noqa: BLE001 - raised again where the answer is waited for
            with contextlib.suppress(_Closed):
                self._put(error)

    def _open(self) -> Any:
        # as TensorFlow Hub has it
        context = _context(is_checked=os.environ.get("TFHUB_DISABLE_CERT_VALIDATION") != "true")
        opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), _Redirections)
        request = urllib.request.Request(self._url, headers=self._headers)
        # the caller gives up before the thread does
        return opener.open(request, timeout=2 * max(self._limits.answer_seconds, self._limits.silent_seconds))

    def _put(self, item: _Answer | bytes | BaseException) -> None:
        while not self._closed.is_set():
            with contextlib.suppress(queue.Full):
                self._items.put(item, timeout=0.1)
                return
        raise _Closed


@cache
def _context(is_checked: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if not is_checked:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class _Closed(Exception):
    """Nobody waits for the answer any more."""


class _Redirections(urllib.request.HTTPRedirectHandler):
    """Only redirections to the web, and none from https to http, where anybody could send us anything."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """As urllib does it."""
        if urllib.parse.urlsplit(newurl).scheme not in ("https", "http" if req.type == "http" else "https"):
            fp.close()
            raise urllib.error.URLError(f"it leads to {newurl}, which is not safe")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _reason(error: BaseException, host: str) -> _Failed:
    """Why a request failed, in words."""
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        reason = str(error.reason).partition("\n")[0]
        return _Failed(f"{host} answers {error.code} {reason}", error.code in _PASSING, error.code)
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, socket.gaierror):
        return _Failed(f"no network? The name {host} can't be resolved: {cause.strerror}", again=False)
    if isinstance(cause, http.client.HTTPException | ConnectionResetError | ConnectionAbortedError | BrokenPipeError):
        broken = "the connection broke off" if isinstance(cause, http.client.IncompleteRead) else str(cause)
        return _Failed(f"{host}: {broken or type(cause).__name__}", again=True)
    if isinstance(cause, TimeoutError):
        return _Failed(f"{host} does not answer", again=False)
    if isinstance(cause, OSError):
        return _Failed(f"{host}: {cause.strerror or cause}", again=False)
    return _Failed(f"{host}: {cause}", again=False)


def _size(part: Path) -> int:
    try:
        return part.stat().st_size
    except FileNotFoundError:
        return 0


def _note(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)


def _keep_validator(part: Path, url: str, headers: Message) -> None:
    """Note the version of the file: its strong ETag, or else its date."""
    etag = headers.get("ETag", "")
    validator = etag if etag.startswith('"') else headers.get("Last-Modified")
    if validator:
        _note(part).write_text(json.dumps({"url": url, "version": validator}))


def _validator(part: Path, url: str) -> str | None:
    """The version of a part; None if it is unknown, or of another URL."""
    try:
        note = json.loads(_note(part).read_text())
        version = note["version"] if note["url"] == url else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return version if isinstance(version, str) and version.isprintable() else None


def _check_space(part: Path, wanted: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if wanted > free:
        raise _Failed(f"it takes {wanted:,} bytes, and {part.parent} has room for {free:,}", again=False)
