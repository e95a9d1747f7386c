from types import SimpleNamespace

import numpy as np
import pytest
from support.serving import BLUE, GREEN, LABELS, RED, VERSION, FakeClassifier, asking, context_of, picture, served

from retrain.data.picture_form import PictureForm
from retrain.model.rejection import Limit
from retrain.report.heat_maps import Mapped
from retrain.serving.models import ServedModel


@pytest.fixture(scope="module")
def client():
    with asking(context_of(max_pixels=25_000_000)) as client:
        yield client


@pytest.mark.parametrize("kind", ["application/octet-stream", "image/png", "application/x-www-form-urlencoded", ""])
def test_the_bytes_of_a_picture_get_labels_and_scores(client, kind):
    answer = client.post("/predict", content=RED, headers={"Content-Type": kind})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    found = answer.json()
    assert (found["model"], found["version"]) == ("paint", VERSION)
    [prediction] = found["predictions"]
    assert [*prediction["scores"]] == sorted(LABELS, key=lambda label: -prediction["scores"][label])
    assert prediction["label"] == "red"
    assert prediction["score"] == prediction["scores"]["red"] > 0.99
    assert sum(prediction["scores"].values()) == pytest.approx(1)


def test_a_form_has_an_answer_or_an_error_for_each_file(client):
    files = [("a", ("ré d.png", RED)), ("b", ("notes.txt", b"no picture")), ("a", ("c", BLUE))]
    found = client.post("/predict", files=files, data={"field": "no file"}).json()["predictions"]
    assert [(one["name"], one.get("label"), one.get("error")) for one in found] == [
        ("ré d.png", "red", None),
        ("notes.txt", None, "text, not a picture"),
        ("c", "blue", None),
    ]


def test_only_as_many_labels_as_wanted(client):
    [prediction] = client.post("/predict?top=1", content=GREEN).json()["predictions"]
    assert [*prediction["scores"]] == ["green"]
    answer = client.post("/predict?top=0", content=GREEN)
    assert (answer.status_code, answer.json()["error"][:5]) == (422, "top: ")


def test_where_a_picture_can_have_many_labels_those_that_it_has_are_told():
    many = served(classifier=FakeClassifier(thresholds=(0.2, 0.5, 0.3)))
    with asking(context_of(many)) as client:
        for colour, labels in (
            ("#ff8000", ["red"]),
            ("#ffff80", ["red"]),
            ("#8080ff", ["blue", "red"]),
            ("#10ff10", ["green"]),
        ):
            [found] = client.post("/predict", content=picture(colour)).json()["predictions"]
            assert found["labels"] == labels
            assert found["thresholds"] == {"red": 0.2, "green": 0.5, "blue": 0.3}
            assert found["label"] == next(iter(found["scores"]))
        [found] = client.post("/predict?top=1", content=picture("#8080ff")).json()["predictions"]
        assert (found["labels"], found["thresholds"]) == (["blue", "red"], {"blue": 0.3})
        assert client.get("/models").json()["models"][0]["thresholds"] == [0.2, 0.5, 0.3]
    none = served(classifier=FakeClassifier(thresholds=(1.0, 1.0, 1.0)))
    with asking(context_of(none)) as client:
        [found] = client.post("/predict", content=RED).json()["predictions"]
        assert (found["labels"], found["label"]) == ([], "red")


def test_a_picture_of_no_class_is_unknown():
    knowing = served(classifier=FakeClassifier(limit=Limit(0.4, 0.1)))
    with asking(context_of(knowing, served("other"))) as client:
        [found] = client.post("/predict", content=RED).json()["predictions"]
        assert found["label"] == "red"
        assert found["known"] == pytest.approx(found["score"], abs=1e-6)
        assert found["distance"] < 0.4
        [found] = client.post("/predict?top=1", content=picture("#707172")).json()["predictions"]
        assert (found["label"], [*found["scores"]]) == ("unknown", ["blue"])
        assert found["known"] < 0.5
        assert found["distance"] > 0.4
        [found] = client.post("/predict/other", content=RED).json()["predictions"]
        assert {*found} == {"label", "score", "scores"}
        assert [one["tells_known"] for one in client.get("/models").json()["models"]] == [True, False]


def test_several_models_are_asked_by_name():
    with asking(context_of(served("a"), served("b", FakeClassifier(("x", "y", "z"))))) as client:
        named = [client.post(path, content=RED).json() for path in ("/predict", "/predict/a", "/predict/b")]
        assert [(one["model"], one["predictions"][0]["label"]) for one in named] == [
            ("a", "red"),
            ("a", "red"),
            ("b", "x"),
        ]
        answer = client.post("/predict/c", content=RED)
        assert (answer.status_code, answer.json()) == (404, {"error": "no model is called 'c': there is a, b"})


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no picture in the request: send at least one"),
        (b"no picture", "text, not a picture"),
        (RED[:40], "damaged"),
        (picture("red", (5000, 5001)), "5000 x 5001 pixels: more than --max-pixels 25000000"),
    ],
)
def test_what_is_no_picture_is_refused_with_a_reason(client, content, why):
    answer = client.post("/predict", content=content)
    assert answer.status_code == 400
    assert why in answer.json()["error"]


def test_if_no_picture_can_be_read_the_request_is_wrong(client):
    answer = client.post("/predict", files=[("a", ("1", b"one")), ("a", ("2", b"two"))])
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("none of the 2 pictures can be read; the first: ")


def test_more_pictures_than_may_wait_are_refused():
    with asking(context_of(max_queue=2)) as client:
        answer = client.post("/predict", files=[("a", (str(n), RED)) for n in range(3)])
        assert (answer.status_code, answer.json()["error"]) == (
            413,
            "more than 2 files in a request: send fewer at once",
        )


def test_no_heat_map_of_a_network_that_has_none(client):
    answer = client.post("/explain", content=RED)
    assert answer.status_code == 404
    assert answer.json()["error"].startswith("there are no heat maps of the model paint")


@pytest.mark.parametrize(("thresholds", "label"), [(None, "red"), ((0.9, 0.2, 0.2), "green"), ((1.0, 1.0, 1.0), "red")])
def test_a_heat_map_is_of_the_most_likely_label_that_the_picture_has(thresholds, label, monkeypatch):
    mapped = Mapped(np.ones((2, 2), np.float32), 0, 1.0)
    maps = SimpleNamespace(sentence="", form=PictureForm(4, 6), of=lambda pixels, labels: [mapped])
    monkeypatch.setattr(ServedModel, "heat_maps", lambda self: maps)
    with asking(context_of(served(classifier=FakeClassifier(thresholds=thresholds)))) as client:
        assert client.post("/explain", content=picture("#ff8000")).json()["label"] == label


def test_a_heat_map_of_a_label_that_there_is_not(client):
    answer = client.post("/explain?label=black", content=RED)
    assert (answer.status_code, answer.json()["error"]) == (400, "the model paint has no label 'black'")
    assert client.post("/explain/paint", content=b"").status_code == 400
