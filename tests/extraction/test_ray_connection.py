import socket
import sys
import threading

import pytest

from retrain.errors import ClusterError, MissingPackageError
from retrain.extraction.ray_connection import connected


class Ray:
    """Talks as Ray does: from a thread of its own, and when it is left."""

    __name__ = "ray"

    def __init__(self, error=None):
        self.error = error

    def is_initialized(self):
        return False

    def init(self, **settings):
        print("connecting")
        if self.error:
            raise self.error

    def shutdown(self):
        print("what I had kept back")


def test_what_ray_prints_is_kept_from_the_terminal_and_nothing_else(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", Ray())
    with connected("auto"):
        for name in ("ray_listen_error_messages", "ours"):
            thread = threading.Thread(target=lambda: print(threading.current_thread().name), name=name)
            thread.start()
            thread.join()
        print("result", file=sys.stderr)
    assert capsys.readouterr() == ("ours\n", "result\n")


def test_without_the_package_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(MissingPackageError, match=r"--ray needs the package ray \(.*\): pip install 'retrain\[ray\]'"),
        connected("auto"),
    ):
        pass


def test_a_cluster_that_is_not_there_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", Ray(ConnectionError("many lines\nno cluster found")))
    with (
        pytest.raises(ClusterError, match="can't reach the Ray cluster auto: no cluster found; start one"),
        connected("auto"),
    ):
        pass
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with (
            pytest.raises(ClusterError, match=f"cluster {address}: .*refused; start one with ray start"),
            connected(address),
        ):
            pass
