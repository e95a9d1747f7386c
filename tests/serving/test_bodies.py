import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.serving import RED, asking, context_of

from retrain.serving.bodies import files_of
from retrain.serving.problems import Problem


def encoded(files, fields=None):
    """A form's body and boundary, as a client makes them."""
    request = httpx.Request("POST", "http://localhost", files=files, data=fields)
    return request.read(), request.headers["content-type"].partition("boundary=")[2]


@given(st.lists(st.tuples(st.text("abcé.", min_size=1), st.binary(max_size=200)), min_size=1, max_size=5))
def test_files_come_out_as_they_went_in(files):
    body, boundary = encoded([("picture", file) for file in files], {"other": "field"})
    assert files_of(body, boundary, 5) == files


@given(st.binary(max_size=300), st.text(max_size=80))
def test_any_bytes_are_files_or_a_problem(body, boundary):
    for content in (body, b"--x\r\n" + body, b'--x\r\nContent-Disposition: form-data; filename="a"\r\n\r\n' + body):
        for mark in (boundary, "x"):
            try:
                assert all(isinstance(data, bytes) for _, data in files_of(content, mark, 5))
            except Problem as problem:
                assert problem.status in (400, 413)  # noqa: PT017 - either is right


@pytest.mark.parametrize(
    ("body", "boundary", "why"),
    [
        (b"", "", "has no boundary of 1 to 70 ASCII characters"),
        (b"", "é", "has no boundary of 1 to 70 ASCII characters"),
        (b"nothing", "x", "the multipart body can't be read: "),
        (b"--x\r\n\r\ncut", "x", "cut short: its last boundary is missing"),
        (b"--x\r\n\r\n\r\n" * 200 + b"--x--", "x", "more than 105 parts in a form: send fewer at once"),
    ],
)
def test_wrong_forms_say_what_is_wrong(body, boundary, why):
    with pytest.raises(Problem, match=why):
        files_of(body, boundary, 5)


def test_a_body_that_is_too_large_is_not_read():
    with asking(context_of(max_body=1)) as client:
        read = []

        async def endless():
            while True:
                read.append(1)
                yield bytes(2**16)

        for headers in ({}, {"Content-Length": str(2**40)}):
            answer = client.post("/predict", content=endless(), headers=headers)
            assert answer.status_code == 413
            assert answer.json()["error"] == "the body is larger than 1 MiB: send fewer or smaller pictures"
        assert len(read) <= 17 + 2  # the first one had to be read to be known


def test_a_compressed_body_is_refused():
    with asking(context_of()) as client:
        answer = client.post("/predict", content=RED, headers={"Content-Encoding": "gzip"})
        assert answer.status_code == 415
        assert "Content-Encoding: gzip is not supported: send the body as it is" in answer.json()["error"]


def test_the_room_of_bodies_is_given_back():
    context = context_of(max_body=1)
    with asking(context) as client:
        for content in (RED, b"", b"text", bytes(2**20 + 1)):
            client.post("/predict", content=content)
            client.post("/v1/models/paint:predict", content=content)
    assert context.answerer.admission.bytes == context.answerer.admission.pictures == 0
