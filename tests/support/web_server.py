"""A web server on loopback, for tests of downloads, that fails as it is told to."""

import io
import socket
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Server:
    """Fails as often as it is told to, then gives `body`. Holds threads until it is closed."""

    def __init__(self) -> None:
        self.body = b""
        self.etag = ""  # of the body; with one, parts of it can be asked for
        self.failures: list[str] = []  # what becomes of the next requests; see _Handler
        self.requests: list[str] = []
        self.ranges: list[str | None] = []
        self.closing = threading.Event()
        server = self

        class Handler(_Handler):
            owner = server

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}/"

    def close(self) -> None:
        self.closing.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


class _Handler(BaseHTTPRequestHandler):
    owner: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        owner = self.owner
        owner.requests.append(self.path)
        owner.ranges.append(self.headers.get("Range"))
        failure = owner.failures.pop(0) if owner.failures else ""
        self.close_connection = True
        if failure == "closed":
            return
        if failure == "silent":
            owner.closing.wait(30)
            return
        if failure.isdigit():
            self.send_error(int(failure))
            return
        if failure.startswith("to "):
            self.send_response(302)
            self.send_header("Location", failure.removeprefix("to "))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.give(failure)

    def give(self, failure: str) -> None:
        body = self.owner.body
        start = 0
        asked = self.headers.get("Range")
        if asked and self.owner.etag and self.headers.get("If-Range") == self.owner.etag:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        if self.owner.etag:
            self.send_header("ETag", self.owner.etag)
        body = body[start:]
        if failure == "cut off in a chunk":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"%x\r\n" % len(body) + body[: len(body) // 2])
            return
        if failure.startswith("claims "):
            self.send_header("Content-Length", failure.removeprefix("claims "))
        elif not failure.startswith("no length"):
            self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        if "first " in failure:
            body = body[: int(failure.rpartition(" ")[2])]
        if failure in ("cut off", "stalls"):
            body = body[: len(body) // 2]
        if failure == "drips":
            while not self.owner.closing.wait(0.05):
                self.wfile.write(b"x")
        self.wfile.write(body)
        if failure in ("stalls", "stays open"):
            self.wfile.flush()
            self.owner.closing.wait(30)

    def log_message(self, *args) -> None:
        pass


def refused() -> str:
    """The address of a port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}/"


def pack(folder: Path, mode: str = "w:gz") -> bytes:
    """A folder's content as an archive."""
    with io.BytesIO() as stream:
        with tarfile.open(fileobj=stream, mode=mode) as archive:
            for path in sorted(folder.iterdir()):
                archive.add(path, path.name)
        return stream.getvalue()
