import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from retrain.cli import health as health_module
from retrain.cli.health import health, main


@pytest.fixture
def port(request):
    """A server that answers with a status."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(request.param if self.path == "/healthz" else 404)
            self.end_headers()

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield str(server.server_address[1])
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("port", [200], indirect=True)
def test_a_server_that_answers_is_healthy(port):
    assert health(["retrain", "serve", "model", "--host", "0.0.0.0", "--port", port]) == ""
    assert health(["docker-init", "--", "retrain", "serve", "model", f"--port={port}"]) == ""


@pytest.mark.parametrize("port", [503], indirect=True)
def test_a_server_that_does_not_is_not(port, monkeypatch, capsys):
    assert health(["retrain", "serve", "model", "--port", port]) == (
        f"http://127.0.0.1:{port}/healthz: HTTP Error 503: Service Unavailable"
    )
    assert "Connection refused" in health(["retrain", "serve", "model", "--port", "1", "--host", "::"])
    monkeypatch.setattr(health_module, "health", lambda words: "wrong")
    assert (main(), capsys.readouterr().out) == (1, "wrong\n")


def test_another_command_is_always_healthy():
    assert health(["retrain", "train", "pictures"]) == ""
    assert main() == 0  # of this machine's first process, which is no server
