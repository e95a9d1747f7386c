"""An S3 server on loopback (moto's), which fails as it is told."""

import threading
from collections import Counter

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


class ObjectStore:
    """The server, and the faults that it commits.

    Attributes:
        fault: told method, path and how often that was asked before; returns "slow" (503), "cut" (half of the body),
            "etag" (one that is not the content's), or None.
    """

    def __init__(self):
        self.fault = lambda method, path, count: None
        self.asked = Counter()
        self._app = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _answer(self, environ, start_response):
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        fault = self.fault(method, path, self.asked[method, path])
        self.asked[method, path] += 1
        if fault == "slow":
            start_response("503 Slow Down", [("Content-Type", "application/xml")])
            return [SLOW_DOWN]
        if fault is None:
            return self._app(environ, start_response)
        told = []
        body = b"".join(self._app(environ, lambda *answer: told.append(answer)))
        status, headers = told[0][:2]
        if fault == "etag":
            headers = [(name, '"' + "0" * 32 + '"' if name.lower() == "etag" else value) for name, value in headers]
        start_response(status, headers)
        return [body[: len(body) // 2] if fault == "cut" else body]
