"""The application as a whole: what its OpenAPI document says is what it does."""

import subprocess
import sys
from pathlib import Path

import pytest
from support.serving import asking, context_of, running, served

pytest.importorskip("schemathesis", reason="it makes requests from the document: pip install schemathesis")


@pytest.mark.slow
def test_requests_made_from_the_document(trained):
    """No answer is 5xx, of an undocumented status, or of another form than the document says.

    `positive_data_acceptance` is left out: bytes that the document allows need not be a picture. benchmarks/serving.py
    makes 20,000 such requests.
    """
    with running({"m": trained[0] / "model"}) as (_, (host, port)):
        url = f"http://{host}:{port}/openapi.json"
        command = [str(Path(sys.executable).with_name("schemathesis")), "run", url, "--seed", "1", "--workers", "1"]
        options = ["--max-examples", "2", "--phases", "examples,coverage,fuzzing", "--no-color"]
        options += ["--exclude-checks", "positive_data_acceptance"]
        done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout


def test_the_document_names_the_models_and_the_token():
    Path("token").write_text("a-token-of-23-characters")
    token = {"authorization": "Bearer a-token-of-23-characters"}
    with asking(context_of(served("a"), served("b"), token_file="token"), **token) as client:
        document = client.get("/openapi.json").json()
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    [name, *_] = document["paths"]["/v2/models/{name}/infer"]["post"]["parameters"]
    assert name["schema"]["enum"] == ["a", "b"]
    assert not [path for path in document["paths"] if path.startswith(("/login", "/report"))]


@pytest.mark.parametrize(
    ("method", "path", "status", "why"),
    [
        ("GET", "/nothing", 404, "there is nothing at /nothing: /api lists what there is"),
        ("GET", "/predict", 405, "GET is not possible here: /api lists what is"),
        ("DELETE", "/v1/models/paint", 405, "DELETE is not possible here"),
        ("GET", "/models/", 404, "there is nothing at /models/"),
        ("GET", "/%00/..%2f..%2fetc/passwd", 404, "there is nothing at"),
        ("GET", "/report/..%2f..%2fetc", 404, "there is nothing at"),
        ("POST", "/predict?top=many", 422, "top: Input should be a valid integer"),
    ],
)
def test_what_there_is_not(method, path, status, why):
    with asking(context_of()) as client:
        answer = client.request(method, path)
    assert answer.status_code == status
    assert why in answer.json()["error"]
    assert status != 405 or answer.headers["allow"]
