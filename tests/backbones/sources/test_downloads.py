"""Downloads from a server on loopback that does all that servers and networks do wrong."""

import gc
import io
import os
import socket
import ssl
import threading
import time

import pytest
from support.web_server import Server, refused

from retrain.backbones.sources import downloads
from retrain.backbones.sources.downloads import Wanted, download
from retrain.backbones.sources.listener import Limits, Listener, listening
from retrain.errors import BackboneUnavailableError

BODY = bytes(range(256)) * 40
QUICK = Limits(answer_seconds=0.5, silent_seconds=0.5, window_seconds=0.3, pause_seconds=0.0, say_after_seconds=0.1)


class Heard(Listener):
    def __init__(self):
        self.begun, self.bytes, self.waits, self.ends = [], 0, [], 0

    def begin(self, what, done, total):
        self.begun.append((what, done, total))

    def advance(self, count):
        self.bytes += count

    def wait(self, text):
        self.waits.append(text)

    def end(self):
        self.ends += 1


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def server():
    running = Server()
    running.body = BODY
    yield running
    running.close()
    for thread in threading.enumerate():
        if thread.name == "download":
            thread.join(5)
    gc.collect(1)


@pytest.fixture
def part(tmp_path):
    return tmp_path / "file.part"


def wanted(url):
    return Wanted(url, "the file", "do this")


def fails(url, part, limits=QUICK, match="the file"):
    with pytest.raises(BackboneUnavailableError, match=match) as caught:
        download(wanted(url), part, limits)
    assert str(caught.value).startswith("the file can't be")
    assert "\n" not in str(caught.value)


def test_a_file_comes_and_the_listener_hears_of_it(server, part):
    heard = Heard()
    with listening(heard):
        download(wanted(server.url), part, QUICK)
    assert part.read_bytes() == BODY
    assert heard.begun == [("the file", 0, len(BODY))]
    assert heard.bytes == len(BODY)
    assert heard.ends >= 1
    assert list(part.parent.iterdir()) == [part]


def test_nobody_else_may_write_to_a_file_whatever_the_umask_is(server, part):
    before = os.umask(0)
    try:
        download(wanted(server.url), part, QUICK)
    finally:
        os.umask(before)
    assert part.stat().st_mode & 0o777 == 0o644


def test_a_file_without_a_length_comes_to_its_end(server, part):
    server.failures = ["no length"]
    download(wanted(server.url), part, QUICK)
    assert part.read_bytes() == BODY


def test_a_server_that_keeps_the_connection_open_is_not_waited_for(server, part):
    server.failures = ["stays open"]
    download(wanted(server.url), part, QUICK)
    assert part.read_bytes() == BODY


@pytest.mark.parametrize("failure", ["503", "429", "closed", "cut off", "cut off in a chunk"])
def test_what_may_pass_is_tried_three_times(failure, server, part):
    server.failures = [failure, failure]
    download(wanted(server.url), part, QUICK)
    assert part.read_bytes() == BODY
    server.failures = [failure] * 9
    server.requests.clear()
    fails(server.url, part, match="tried 3 times")
    assert len(server.requests) == 3
    assert not part.exists()


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_what_does_not_pass_is_tried_once(status, server, part):
    server.failures = [str(status)] * 9
    fails(server.url, part, match=rf"127\.0\.0\.1 answers {status} ")
    assert len(server.requests) == 1


def test_a_host_that_refuses_is_found_out_at_once(part):
    fails(refused(), part, match="refused")


def test_a_name_that_does_not_resolve_is_found_out_at_once(part, monkeypatch):
    asked = []

    def getaddrinfo(host, *_):
        asked.append(host)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    started = time.monotonic()
    fails("https://weights.example/file", part, Limits(), match=r"no network\? The name weights\.example can't be")
    assert time.monotonic() - started < 1
    assert asked == ["weights.example"]


def test_a_name_server_that_never_answers_holds_nobody_up(part, monkeypatch):
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: over.wait(10) or [])
    try:
        fails("https://weights.example/file", part, match=r"weights\.example did not answer within")
    finally:
        over.set()


def test_a_server_that_accepts_and_never_answers_is_found_out_once_and_in_time(server, part):
    server.failures = ["silent"] * 9
    heard = Heard()
    started = time.monotonic()
    with listening(heard):
        fails(server.url, part, match="did not answer within")
    assert time.monotonic() - started < 2
    assert heard.waits[0].startswith("waiting for 127.0.0.1")
    assert len(server.requests) == 1


def test_by_default_an_answer_is_waited_for_less_than_ten_seconds():
    assert Limits().answer_seconds < 10


def test_a_server_that_goes_silent_is_given_up(server, part):
    server.failures = ["stalls"]
    fails(server.url, part, match=r"127\.0\.0\.1 sent nothing for")


def test_a_server_that_drips_is_given_up(server, part):
    server.failures = ["drips"]
    fails(server.url, part, match=r"sent only \d+ bytes in")


def test_the_whole_takes_no_longer_than_it_may(server, part):
    server.failures = ["drips"]
    limits = Limits(window_seconds=60, total_seconds=0.3, silent_seconds=1)
    fails(server.url, part, limits, match="takes more than 0 s")


def test_more_than_is_allowed_is_refused(server, part):
    fails(server.url, part, Limits(total_bytes=100), match="more than 100 are not taken")
    server.failures = ["no length"]
    fails(server.url, part, Limits(total_bytes=100), match="sends more than it may")
    assert not part.exists()


def test_a_file_for_which_there_is_no_room_is_refused_before_it_comes(server, part):
    server.failures = ["claims 1000000000000"]
    fails(server.url, part, Limits(total_bytes=2**50), match="has room for")


def test_a_full_disk_is_an_error_that_leaves_nothing(server, part, monkeypatch):
    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(downloads.os, "fsync", full)
    fails(server.url, part, match=r"can't be kept in .*No space left on device.*make room")
    assert not part.exists()


def test_a_half_is_gone_on_from(server, part):
    server.etag = '"v1"'
    server.failures = ["cut off"] * 3
    fails(server.url, part, Limits(tries=1, pause_seconds=0))
    half = part.stat().st_size
    assert 0 < half < len(BODY)
    heard = Heard()
    server.failures = []
    with listening(heard):
        download(wanted(server.url), part, QUICK)
    assert part.read_bytes() == BODY
    assert server.ranges == [None, f"bytes={half}-"]
    assert heard.begun == [("the file", half, len(BODY))]
    assert list(part.parent.iterdir()) == [part]


@pytest.mark.parametrize("change", ["version", "url", "note"])
def test_halves_of_two_versions_are_not_joined(change, server, part):
    server.etag = '"v1"'
    server.failures = ["cut off"]
    fails(server.url, part, Limits(tries=1))
    url = server.url
    server.body = BODY[::-1]
    if change == "url":
        url += "other"
    elif change == "note":
        part.with_name(part.name + ".json").write_text("{")
    else:
        server.etag = '"v2"'
    download(wanted(url), part, QUICK)
    assert part.read_bytes() == BODY[::-1]


def test_a_half_that_is_whole_is_no_trap(server, part):
    server.etag = '"v1"'
    server.failures = ["cut off"]
    fails(server.url, part, Limits(tries=1))
    part.write_bytes(BODY)
    download(wanted(server.url), part, QUICK)
    assert part.read_bytes() == BODY


def test_redirections_are_followed_on_the_web_alone(server, part):
    server.failures = ["to /elsewhere"]
    download(wanted(server.url), part, QUICK)
    assert server.requests == ["/", "/elsewhere"]
    for place in ("file:///etc/passwd", "ftp://127.0.0.1/x"):
        server.failures = [f"to {place}"]
        fails(server.url, part, match="which is not safe|answers 302")


def test_https_is_not_left_for_http():
    request = downloads.urllib.request.Request("https://127.0.0.1/x")
    with pytest.raises(OSError, match="not safe"):
        downloads._Redirections().redirect_request(request, io.BytesIO(), 302, "", {}, "http://127.0.0.1/y")


@pytest.mark.parametrize(("environment", "checks"), [("", True), ("true", False)])
def test_certificates_are_checked(environment, checks, server, part, monkeypatch):
    asked = []
    monkeypatch.setenv("TFHUB_DISABLE_CERT_VALIDATION", environment)
    context = downloads._context
    monkeypatch.setattr(downloads, "_context", lambda is_checked: asked.append(is_checked) or context(is_checked))
    download(wanted(server.url), part, QUICK)
    assert asked == [checks]
    assert (context(checks).verify_mode == ssl.CERT_REQUIRED) is context(checks).check_hostname is checks
