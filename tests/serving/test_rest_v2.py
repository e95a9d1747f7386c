import json
import math
import struct

import numpy as np
import pytest
from support.serving import BLUE, GREEN, LABELS, RED, VERSION, FakeClassifier, asking, b64, context_of, picture, served

from retrain.model.rejection import Limit

INFER = "/v2/models/paint/infer"
LENGTH = "Inference-Header-Content-Length"


@pytest.fixture(scope="module")
def client():
    with asking(context_of()) as client:
        yield client


def tensor(*pictures, **changes):
    data = [b64(one) for one in pictures]
    return {"name": "image_bytes", "shape": [len(pictures)], "datatype": "BYTES", "data": data} | changes


def by_name(answer):
    assert answer.status_code == 200, answer.text
    return {output["name"]: output for output in answer.json()["outputs"]}


def binary_request(pictures, **more):
    parts = b"".join(struct.pack("<I", len(one)) + one for one in pictures)
    inputs = tensor(shape=[len(pictures)], parameters={"binary_data_size": len(parts)})
    del inputs["data"]
    head = json.dumps({"inputs": [inputs], **more}).encode()
    return head + parts, {LENGTH: str(len(head))}


def test_all_outputs_of_pictures_in_base64(client):
    for path in (INFER, f"/v2/models/paint/versions/{VERSION}/infer"):
        answer = client.post(path, json={"id": "7", "inputs": [tensor(RED, BLUE)]})
        document = answer.json()
        assert (document["model_name"], document["model_version"], document["id"]) == ("paint", str(VERSION), "7")
        outputs = by_name(answer)
        assert outputs["final_result"]["datatype"] == "FP32"
        assert outputs["final_result"]["shape"] == [2, 3]
        assert np.reshape(outputs["final_result"]["data"], (2, 3)).argmax(axis=1).tolist() == [0, 2]
        assert outputs["labels"]["data"] == [*LABELS, *LABELS]
        assert outputs["label"]["data"] == ["red", "blue"]
        assert outputs["error"]["data"] == ["", ""]


def test_thresholds_are_an_output_where_a_picture_can_have_many_labels():
    with asking(context_of(served(classifier=FakeClassifier(thresholds=(0.25, 0.5, 0.75))))) as client:
        outputs = by_name(client.post(INFER, json={"inputs": [tensor(RED, b"text")]}))
        assert outputs["thresholds"] == {
            "name": "thresholds",
            "datatype": "FP32",
            "shape": [2, 3],
            "data": [0.25, 0.5, 0.75] * 2,
        }
        wanted = [{"name": "thresholds", "parameters": {"binary_data": True}}]
        body, headers = binary_request([RED], outputs=wanted)
        answer = client.post(INFER, content=body, headers=headers)
        assert np.frombuffer(answer.content[int(answer.headers[LENGTH]) :], "<f4").tolist() == [0.25, 0.5, 0.75]
        names = [one["name"] for one in client.get("/v2/models/paint").json()["outputs"]]
        assert names == ["final_result", "labels", "thresholds", "label", "error"]


def test_known_is_an_output_where_the_model_tells_it():
    with asking(context_of(served(classifier=FakeClassifier(limit=Limit(0.4, 0.1))))) as client:
        outputs = by_name(client.post(INFER, json={"inputs": [tensor(RED, picture("#707172"), b"text")]}))
        assert outputs["label"]["data"] == ["red", "unknown", ""]
        assert (outputs["known"]["datatype"], outputs["known"]["shape"]) == ("FP32", [3, 1])
        red, grey, none = outputs["known"]["data"]
        assert red > 0.5 > grey
        assert none is None
        assert len(outputs["final_result"]["data"]) == 9
        names = [one["name"] for one in client.get("/v2/models/paint").json()["outputs"]]
        assert names == ["final_result", "labels", "known", "label", "error"]


def test_a_column_of_pictures(client):
    outputs = by_name(client.post(INFER, json={"inputs": [tensor(RED, shape=[1, 1], data=[[b64(RED)]])]}))
    assert outputs["label"]["data"] == ["red"]


def test_only_the_outputs_that_are_wanted(client):
    outputs = by_name(client.post(INFER, json={"inputs": [tensor(GREEN)], "outputs": [{"name": "label"}]}))
    assert {name: output["data"] for name, output in outputs.items()} == {"label": ["green"]}


def test_a_bad_picture_has_no_scores_and_an_error(client):
    outputs = by_name(client.post(INFER, json={"inputs": [tensor(RED, b"text")]}))
    assert outputs["final_result"]["data"][3:] == [None] * 3
    assert outputs["label"]["data"] == ["red", ""]
    assert outputs["error"]["data"] == ["", "text, not a picture"]
    body, headers = binary_request([RED, b"text"], parameters={"binary_data_output": True})
    answer = client.post(INFER, content=body, headers=headers)
    size = int(answer.headers[LENGTH])
    first = json.loads(answer.content[:size])["outputs"][0]
    scores = np.frombuffer(answer.content[size:][: first["parameters"]["binary_data_size"]], "<f4")
    assert [math.isnan(value) for value in scores] == [False] * 3 + [True] * 3


def test_the_binary_extension_in_and_out(client):
    wanted = [{"name": "label", "parameters": {"binary_data": True}}, {"name": "labels"}]
    body, headers = binary_request([GREEN, BLUE], outputs=wanted)
    answer = client.post(INFER, content=body, headers=headers)
    assert answer.headers["content-type"] == "application/octet-stream"
    size = int(answer.headers[LENGTH])
    labels, label = json.loads(answer.content[:size])["outputs"]
    assert labels["data"] == [*LABELS] * 2
    assert label["parameters"]["binary_data_size"] == len(answer.content) - size
    assert answer.content[size:] == b"\5\0\0\0green\4\0\0\0blue"


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ({}, "inputs is null, expected a list of one tensor"),
        ({"inputs": []}, "inputs is [], expected a list of one tensor"),
        ({"inputs": [tensor(RED)] * 2}, "expected a list of one tensor"),
        ({"inputs": [1]}, "inputs[0] is 1, expected an object"),
        ({"inputs": [tensor(RED, name="input_1")]}, 'inputs[0].name is "input_1", expected image_bytes'),
        ({"inputs": [tensor(RED, datatype="UINT8")]}, 'inputs[0].datatype is "UINT8", expected BYTES'),
        ({"inputs": [tensor(RED, shape=[2])]}, "inputs[0].shape is [2], and there are 1 elements"),
        ({"inputs": [tensor(RED, shape=None)]}, "inputs[0].shape is null"),
        ({"inputs": [tensor(RED, data="text")]}, 'inputs[0].data is "text", expected a list'),
        ({"inputs": [tensor(RED, parameters={"binary_data_size": 9})]}, "binary_data_size is 9, and 0 bytes follow"),
        ({"inputs": [tensor(RED, parameters={"binary_data_size": -1})]}, "binary_data_size is -1, expected a whole"),
        ({"inputs": [tensor(RED)], "outputs": 1}, "outputs is 1, expected a list"),
        ({"inputs": [tensor(RED)], "outputs": [{"name": "x"}]}, "expected error or final_result or label or labels"),
        (
            {"inputs": [tensor(RED)], "outputs": [{"name": "label", "parameters": {"classification": 2}}]},
            "classification, which is not supported",
        ),
        ({"inputs": [tensor(RED)], "id": 1}, "id is 1, expected a text"),
        ({"inputs": [tensor(b"text")]}, "text, not a picture"),
        ({"inputs": [tensor()]}, "no picture in the request"),
    ],
)
def test_wrong_requests_say_what_is_wrong(client, document, why):
    answer = client.post(INFER, json=document)
    assert answer.status_code == 400
    assert why in answer.json()["error"]


@pytest.mark.parametrize(
    ("body", "length", "why"),
    [
        (b"{}", "3", "Inference-Header-Content-Length is '3', expected the bytes of JSON, of 2 in all"),
        (b"{}", "-1", "Inference-Header-Content-Length is '-1'"),
        (b"{}", "9" * 100, "Inference-Header-Content-Length is '9999"),
        (b"{}", "\u0662".encode(), "Inference-Header-Content-Length is"),
    ],
)
def test_a_wrong_length_of_the_json(client, body, length, why):
    answer = client.post(INFER, content=body, headers={LENGTH: length})
    assert answer.status_code == 400
    assert why in answer.json()["error"]


@pytest.mark.parametrize(
    ("binary", "why"),
    [
        (b"\1\0", "the binary data ends within the length of an element"),
        (b"\xff\xff\xff\xff", "an element of 4,294,967,295 bytes begins 0 bytes before the end"),
    ],
)
def test_wrong_binary_data(client, binary, why):
    inputs = {"name": "image_bytes", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(binary)}}
    head = json.dumps({"inputs": [inputs]}).encode()
    answer = client.post(INFER, content=head + binary, headers={LENGTH: str(len(head))})
    assert answer.status_code == 400
    assert why in answer.json()["error"]


def test_health_and_metadata(client):
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    assert client.get("/v2").json()["extensions"] == ["binary_tensor_data"]
    for path in ("/v2/models/paint", f"/v2/models/paint/versions/{VERSION}"):
        found = client.get(path).json()
        assert (found["name"], found["versions"]) == ("paint", [str(VERSION)])
        assert [one["name"] for one in found["outputs"]] == ["final_result", "labels", "label", "error"]
        assert client.get(f"{path}/ready").json() == {"name": "paint", "ready": True}
    for path in ("/v2/models/none", "/v2/models/paint/versions/1", "/v2/models/none/ready"):
        assert client.get(path).status_code == 404


def test_a_server_that_ends_is_alive_and_not_ready():
    context = context_of()
    with asking(context) as client:
        context.ending.set()
        assert client.get("/v2/health/live").status_code == 200
        for path in ("/v2/health/ready", "/v2/models/paint/ready", "/healthz"):
            answer = client.get(path)
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "1"
