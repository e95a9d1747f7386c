"""The server itself, on loopback."""

import http.client
import shutil
import socket
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from support.command import retrain
from support.pictures import draw_picture
from support.serving import running, wait_until

from retrain.errors import ModelFolderError, OutputError
from retrain.options import ServingOptions
from retrain.serving import connections
from retrain.serving import server as server_module
from retrain.serving.server import Server


@pytest.fixture(scope="module")
def model(trained):
    return trained[0] / "model"


@pytest.fixture(scope="module")
def picture(trained):
    return (trained[0] / "pictures" / "cat" / "cat0.png").read_bytes()


def ask(address, method="POST", path="/predict", body=None, **headers):
    connection = http.client.HTTPConnection(*address, timeout=30)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def raw(address, *parts, pause=0.0):
    """What comes back for some bytes until the server ends the connection."""
    with socket.create_connection(address, 30) as connection:
        for part in parts:
            connection.sendall(part)
            time.sleep(pause)
        found = b""
        while data := connection.recv(65536):
            found += data
        return found


def test_a_damaged_or_huge_head_is_refused_and_the_server_goes_on(model, picture):
    with running({"m": model}) as (_, address):
        for sent in (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET /\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 1_000_000 + b"\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 200_000 + b"\r\n",
            b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
            b"POST /predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nxx\r\n",
        ):
            answer = raw(address, sent)
            assert answer.startswith(b"HTTP/1.1 400 "), sent[:40]
            assert b'{"error": "' in answer
            assert ask(address, body=picture)[0] == 200


def test_who_is_too_slow_is_cut_off(model, picture, monkeypatch):
    monkeypatch.setattr(connections, "_HEAD_SECONDS", 0.3)
    with running({"m": model}, timeout=0.5) as (_, address):
        assert raw(address) == b""  # nothing is said to who says nothing
        assert raw(address, b"POST /predict HTTP/1.1\r\nHost: ").startswith(b"HTTP/1.1 408 ")
        head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\n"
        assert b" 408 " in raw(address, head + picture[:9]).partition(b"\r\n")[0]
        # a connection that was used once is held to the same
        with socket.create_connection(address, 30) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            found = b""
            while not found.endswith(b'"ok"}'):
                found += connection.recv(65536)
            connection.sendall(b"GET /he")
            assert connection.recv(65536).startswith(b"HTTP/1.1 408 ")
            assert connection.recv(1) == b""
        assert ask(address, body=picture)[0] == 200


def test_who_says_that_nothing_follows_still_gets_the_answer(model, picture):
    head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(picture)}\r\n\r\n".encode()
    with running({"m": model}) as (_, address), socket.create_connection(address, 30) as connection:
        connection.sendall(head + picture)
        connection.shutdown(socket.SHUT_WR)
        found = b""
        while data := connection.recv(65536):
            found += data
        assert found.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("garbage", [b"\0\r\n\r\n", b"SM\r\n\r\n"])
def test_what_follows_a_request_and_is_damaged_gets_an_answer_of_its_own(model, picture, caplog, garbage):
    head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(picture)}\r\n\r\n".encode()
    with running({"m": model}) as (_, address):
        answer = raw(address, head + picture + garbage)
    assert [part[:4] for part in answer.split(b"HTTP/1.1 ")] == [b"", b"200 ", b"400 "]
    assert caplog.text == ""


def test_connections_beyond_the_bound_get_503(model, monkeypatch):
    monkeypatch.setattr(connections, "_MOST_CONNECTIONS", 2)
    with running({"m": model}) as (_, address):
        held = [socket.create_connection(address, 30) for _ in range(2)]
        status, body = ask(address, "GET", "/healthz")
        assert (status, b"2 connections are open already: try again in a second" in body) == (503, True)
        more = [socket.create_connection(address, 30) for _ in range(3)]
        assert more[-1].recv(1) == b""  # twice as many are not even listened to
        for connection in held + more:
            connection.close()
        wait_until(lambda: ask(address, "GET", "/healthz")[0] == 200)


def test_what_is_being_asked_is_answered_at_the_end(model, picture, monkeypatch):
    with running({"m": model}) as (server, address):
        classifier = server._context.models.get().classifier
        gate, classify = threading.Event(), classifier.answers
        begun = []
        monkeypatch.setattr(
            classifier, "answers", lambda pixels: (begun.append(1), gate.wait(30), classify(pixels))[-1]
        )
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(ask(address, body=picture)[0])) for _ in range(10)]
        for thread in threads:
            thread.start()
        wait_until(lambda: server._context.answerer.admission.pictures == 10)
        server.stop()

        def is_closed():
            try:
                socket.create_connection(address, 1).close()
            except OSError:
                return True
            return False

        wait_until(is_closed)
        assert answers == []
        gate.set()
        for thread in threads:
            thread.join(30)
    assert answers == [200] * 10


def test_a_model_that_is_trained_anew_is_taken_up_without_losing_a_request(
    trained, tiny_backbone, picture, monkeypatch
):
    monkeypatch.setattr(server_module, "_LOOK_SECONDS", 0.05)
    shutil.copytree(trained[0] / "model", "model")
    for name in ("cat", "dog"):
        shutil.copytree(trained[0] / "pictures" / name, f"pictures/{name}")
    answers, told = [], []
    is_over = threading.Event()

    def keep_asking():
        while not is_over.is_set():
            answers.append(ask(address, body=picture))

    with running({"m": Path("model")}, emit=told.append) as (_, address):
        threads = [threading.Thread(target=keep_asking) for _ in range(4)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(answers) > 20)
        cache = ["--cache-dir", trained[0] / "cache", "--report", "none"]
        retrain("train", "pictures", "--backbone", tiny_backbone, "--steps", 20, *cache, check=0)
        wait_until(lambda: told)
        after = len(answers)
        wait_until(lambda: len(answers) > after + 20)
        Path("model/classifier.tflite").write_bytes(b"damaged")  # and a broken one is not
        Path("model/run.json").touch()
        wait_until(lambda: len(told) == 2)
        before = len(answers)
        wait_until(lambda: len(answers) > before + 20)
        is_over.set()
        for thread in threads:
            thread.join(30)
    assert {status for status, _ in answers} == {200}
    has_owl = [b'"owl"' in body for _, body in answers]
    assert has_owl[0]
    assert not any(has_owl[after + 8 :])
    assert [event.message.partition(": ")[0] for event in told] == [
        "the model m was trained anew",
        "the model m stays as it was",
    ]


def test_too_many_at_once_get_503_and_the_others_their_answers(model, picture):
    with running({"m": model}, max_queue=4) as (server, address):
        classifier = server._context.models.get().classifier
        gate, classify = threading.Event(), classifier.answers
        classifier.answers = lambda pixels: (gate.wait(30), classify(pixels))[-1]
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(ask(address, body=picture))) for _ in range(12)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(answers) == 8)
        assert {status for status, _ in answers} == {503}
        assert b"4 pictures are waiting already: try again in a second" in answers[0][1]
        gate.set()
        for thread in threads:
            thread.join(30)
    assert sorted(status for status, _ in answers) == [200] * 4 + [503] * 8


def test_many_clients_get_the_scores_of_their_own_pictures(trained, model):
    from retrain.model.classifier import Classifier, PictureBytes

    pictures = [draw_picture(number, number % 3) for number in range(30)]
    files = []
    for number, drawn in enumerate(pictures):
        drawn.save(f"{number}.png")
        files.append(Path(f"{number}.png").read_bytes())
    expected = [one.scores for one in Classifier(model).predict(PictureBytes(str(n), f) for n, f in enumerate(files))]
    found = [None] * len(files)
    with running({"m": model}) as (_, address):

        def keep(number):
            import json

            found[number] = json.loads(ask(address, body=files[number])[1])["predictions"][0]["scores"]

        threads = [threading.Thread(target=keep, args=(number,)) for number in range(len(files))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    for one, other in zip(found, expected, strict=True):
        assert [*one] == [*other]
        np.testing.assert_array_equal([*one.values()], [*other.values()])


def test_a_port_that_cant_be_had_is_an_error(model):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            OutputError, match=f"can't listen on 127.0.0.1 port {port}: Address already in use; give another"
        ):
            Server({"m": model}, ServingOptions(port=port))
    with pytest.raises(OutputError, match=r"can't listen on no\.such\.name\.invalid port 0: .*; give another --host"):
        Server({"m": model}, ServingOptions(host="no.such.name.invalid", port=0))


def test_a_port_is_given_back_if_a_model_cant_be_used(model):
    with pytest.raises(ModelFolderError, match="no such model folder"):
        Server({"m": Path("nowhere")}, ServingOptions(port=0))


def test_what_is_said_at_the_start(model):
    server = Server({"m": model}, ServingOptions(host="0.0.0.0", port=0))
    greeting, warning = server.greeting()
    assert greeting.message.startswith("serving m (3 classes) at http://0.0.0.0:")
    assert "--token-file makes the server ask for a token" in warning.message
    server._socket.close()
    server = Server({"m": model}, ServingOptions(host="::1", port=0))
    assert server.url.startswith("http://[::1]:")
    assert len([*server.greeting()]) == 1
    server._socket.close()
