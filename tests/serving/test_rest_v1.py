import pytest
from support.serving import BLUE, GREEN, LABELS, RED, VERSION, FakeClassifier, asking, b64, context_of, served

from retrain.model.rejection import Limit

PREDICT = "/v1/models/paint:predict"


@pytest.fixture(scope="module")
def client():
    with asking(context_of(max_queue=10)) as client:
        yield client


def best(row):
    return row["labels"][row["final_result"].index(max(row["final_result"]))]


@pytest.mark.parametrize(
    "instances",
    [
        [{"b64": b64(RED)}, {"b64": b64(BLUE)}],
        [{"image_bytes": {"b64": b64(RED)}}, {"image_bytes": {"b64": b64(BLUE)}}],
        [
            {"b64": b64(RED).replace("+", "-").replace("/", "_").rstrip("=")},
            {"b64": f" {b64(BLUE)[:9]}\n{b64(BLUE)[9:]}"},
        ],
    ],
)
def test_rows_of_scores_and_labels_as_the_saved_model_gives_them(client, instances):
    for path in (PREDICT, f"/v1/models/paint/versions/{VERSION}:predict"):
        answer = client.post(path, json={"instances": instances, "signature_name": "serving_default"})
        assert answer.status_code == 200
        rows = answer.json()["predictions"]
        assert [set(row) for row in rows] == [{"final_result", "labels"}] * 2
        assert [row["labels"] for row in rows] == [[*LABELS]] * 2
        assert [best(row) for row in rows] == ["red", "blue"]


@pytest.mark.parametrize("inputs", [[{"b64": b64(GREEN)}] * 2, {"image_bytes": [{"b64": b64(GREEN)}] * 2}])
def test_columns_for_inputs(client, inputs):
    outputs = client.post(PREDICT, json={"inputs": inputs}).json()["outputs"]
    assert set(outputs) == {"final_result", "labels"}
    assert [len(row) for row in outputs["final_result"]] == [3, 3]


def test_thresholds_come_with_the_scores_where_a_picture_can_have_many_labels():
    with asking(context_of(served(classifier=FakeClassifier(thresholds=(0.2, 0.5, 0.3))))) as client:
        pictures = [{"b64": b64(RED)}, {"b64": b64(b"text")}]
        good, bad = client.post(PREDICT, json={"instances": pictures}).json()["predictions"]
        assert {*good} == {"final_result", "labels", "thresholds"}
        assert (good["thresholds"], [*bad]) == ([0.2, 0.5, 0.3], ["error"])
        outputs = client.post(PREDICT, json={"inputs": pictures}).json()["outputs"]
        assert outputs["thresholds"] == [[0.2, 0.5, 0.3], None]
        found = client.get("/v1/models/paint/metadata").json()["metadata"]["signature_def"]["signature_def"]
        outputs = found["serving_default"]["outputs"]
        assert {name: (output["dtype"], output["name"][-1]) for name, output in outputs.items()} == {
            "final_result": ("DT_FLOAT", "0"),
            "labels": ("DT_STRING", "1"),
            "thresholds": ("DT_FLOAT", "2"),
        }


def test_known_comes_with_the_scores_where_the_model_tells_it():
    with asking(context_of(served(classifier=FakeClassifier(limit=Limit(0.4, 0.1))))) as client:
        pictures = [{"b64": b64(RED)}, {"b64": b64(b"text")}]
        good, bad = client.post(PREDICT, json={"instances": pictures}).json()["predictions"]
        assert {*good} == {"final_result", "labels", "known"}
        assert len(good["final_result"]) == 3
        assert good["known"] == [max(good["final_result"])]
        assert [*bad] == ["error"]
        assert client.post(PREDICT, json={"inputs": pictures}).json()["outputs"]["known"] == [good["known"], None]
        found = client.get("/v1/models/paint/metadata").json()["metadata"]["signature_def"]["signature_def"]
        known = found["serving_default"]["outputs"]["known"]
        assert [size["size"] for size in known["tensor_shape"]["dim"]] == ["-1", "1"]


def test_a_bad_picture_fails_alone(client):
    pictures = [{"b64": b64(RED)}, {"b64": "%%%"}, {"b64": b64(b"text")}, "text", {"b64": 1}, {"b64": b64(BLUE)}]
    rows = client.post(PREDICT, json={"instances": pictures}).json()["predictions"]
    assert [best(rows[0]), best(rows[-1])] == ["red", "blue"]
    errors = ["not base64", "text, not a picture", "is a text: expected", "no picture: expected"]
    for row, error in zip(rows[1:-1], errors, strict=True):
        assert error in row["error"]
    outputs = client.post(PREDICT, json={"inputs": pictures}).json()["outputs"]
    assert [row is None for row in outputs["final_result"]] == [error is not None for error in outputs["error"]]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "the body is empty: expected a JSON object"),
        (b"\xff", "not JSON in UTF-8"),
        (b"[" * 100_000, "too many levels"),
        (b"[]", "the document is [], expected an object"),
        (b"{}", 'expected "instances" or "inputs": one of them'),
        (b'{"instances": [], "inputs": []}', 'expected "instances" or "inputs": one of them'),
        (b'{"instances": {}}', "instances is {}, expected a list of"),
        (b'{"instances": []}', "no picture in the request"),
        (b'{"instances": [{"b64": ""}]}', "the file is empty"),
        (b'{"instances": [1], "signature_name": "pixels"}', 'signature_name is "pixels": only serving_default'),
        (b'{"inputs": 1e999}', "inputs is inf, expected a list"),
    ],
)
def test_wrong_requests_say_what_is_wrong(client, body, why):
    answer = client.post(PREDICT, content=body)
    assert answer.status_code == 400
    assert why in answer.json()["error"]


def test_too_many_instances(client):
    answer = client.post(PREDICT, json={"instances": [{"b64": b64(RED)}] * 11})
    assert (answer.status_code, answer.json()["error"]) == (413, "11 pictures in a request: send at most 10 at once")


def test_the_model_and_its_version(client):
    for path in ("/v1/models/paint", f"/v1/models/paint/versions/{VERSION}"):
        [status] = client.get(path).json()["model_version_status"]
        assert (status["version"], status["state"], status["status"]["error_code"]) == (str(VERSION), "AVAILABLE", "OK")
    for path in ("/v1/models/paint/metadata", f"/v1/models/paint/versions/{VERSION}/metadata"):
        found = client.get(path).json()
        assert found["model_spec"]["version"] == str(VERSION)
        signature = found["metadata"]["signature_def"]["signature_def"]["serving_default"]
        assert [*signature["inputs"]] == ["image_bytes"]
        assert signature["outputs"]["final_result"]["tensor_shape"]["dim"][1]["size"] == "3"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/models/none", 404),
        ("/v1/models/paint/versions/1", 404),
        ("/v1/models/paint/versions/one", 404),
        (f"/v1/models/paint/versions/{10**30}", 404),
        ("/v1/models/paint/versions/1/metadata", 404),
        ("/v1/models/paint:classify", 404),
    ],
)
def test_what_is_not_served(client, path, status):
    answer = client.get(path)
    assert answer.status_code == status
    assert [*answer.json()] == ["error"]
