import asyncio
import logging

import pytest
from support.serving import RED, FakeClassifier, asking, context_of, run, served

from retrain.errors import ModelFolderError
from retrain.serving.lifetime import Lifetime
from retrain.serving.metrics import Metrics


def test_a_body_that_does_not_arrive_in_time():
    async def slow():
        yield RED[:10]
        await asyncio.sleep(10)

    with asking(context_of(timeout=0.1)) as client:
        answer = client.post("/predict", content=slow())
        assert answer.status_code == 408
        assert answer.json()["error"] == "the body did not arrive within 0.1 seconds: send it faster"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert client.post("/predict", content=RED).status_code == 200


def test_an_answer_that_takes_too_long():
    classifier = FakeClassifier()
    context = context_of(served(classifier=classifier), timeout=0.2)
    with asking(context) as client:
        classifier.holds.clear()
        answer = client.post("/predict", content=RED)
        classifier.holds.set()
        assert answer.status_code == 503
        assert answer.json()["error"] == "no answer within 0.2 seconds: try again in a second"
        assert answer.headers["retry-after"] == "1"
        assert context.answerer.admission.pictures == context.answerer.admission.bytes == 0
        assert client.post("/predict", content=RED).status_code == 200


@pytest.mark.parametrize("error", [RuntimeError("/home/ada/secret"), ModelFolderError("/home/ada/model gives NaN")])
def test_errors_of_a_model_name_no_path_and_are_logged(error, caplog):
    classifier = FakeClassifier()
    with asking(context_of(served(classifier=classifier))) as client, caplog.at_level(logging.ERROR):
        classifier.error = error
        answer = client.post("/predict", content=RED)
        assert answer.status_code == (503 if isinstance(error, ModelFolderError) else 500)
        assert "ada" not in answer.text
        assert [*answer.json()] == ["error"]
        assert str(error) in caplog.text
        classifier.error = None
        assert client.post("/predict", content=RED).status_code == 200


def test_half_an_answer_is_not_followed_by_another(caplog):
    sent = []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("in the middle")

    async def send(message):
        sent.append(message["type"])

    run(Lifetime(app, 5, Metrics())({"type": "http", "method": "GET", "path": "/"}, None, send))
    assert sent == ["http.response.start"]  # what is left of the answer never comes, so the server ends the connection
    assert "in the middle" in caplog.text


def test_head_is_get_without_a_body():
    with asking(context_of()) as client:
        for path in ("/", "/healthz", "/v2/health/live", "/v1/models/paint"):
            assert client.request("HEAD", path).status_code == 200
        assert client.request("HEAD", "/predict").status_code == 405
