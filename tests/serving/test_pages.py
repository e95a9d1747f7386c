"""The pages as text; tests/system/test_serve_page.py looks at them in a browser."""

from pathlib import Path

import pytest
from support.serving import FakeClassifier, asking, context_of, served

from retrain.model.rejection import Limit

RESULTS = {"test": {"n": 52, "accuracy": 47 / 52}}


def test_the_page_says_what_the_model_is_and_how_good():
    with asking(context_of(served(results=RESULTS))) as client:
        page = client.get("/").text
    for text in ("paint", "3 labels", "red", "90.4%", "79.4% to 95.8%", "52 pictures", "2023-11-14 22:13 UTC", "6 x 4"):
        assert text in page
    assert "report" not in page.lower()


@pytest.mark.parametrize(
    ("results", "shown"),
    [
        ({"test": {"n": 0, "accuracy": None}, "validation": {"n": 10, "accuracy": 0.5}}, "Validation accuracy"),
        ({"test": {"n": 0, "accuracy": None}}, "not measured"),
        (None, "not measured"),
    ],
)
def test_a_model_that_was_not_tested(results, shown):
    with asking(context_of(served(results=results))) as client:
        assert shown in client.get("/").text
        assert client.get("/models").json()["models"][0]["accuracy"] in (None, 0.5)


def test_hostile_labels_are_text():
    labels = ("<script>alert(1)</script>", '"><img src=x onerror=alert(2)>', "\u202e{{ 7 * 7 }}")
    with asking(context_of(served(classifier=FakeClassifier(labels)))) as client:
        page = client.get("/").text
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert "\u202e" not in page
    assert "{{ 7 * 7 }}" in page


def test_many_labels_are_counted():
    with asking(context_of(served(classifier=FakeClassifier(tuple(f"label {n}" for n in range(1000)))))) as client:
        page = client.get("/").text
    assert "label 49" in page
    assert "label 50" not in page
    assert "and 950 more" in page


def test_the_page_says_whether_a_picture_has_one_label_or_can_have_many():
    with asking(context_of(served("one"), served("many", FakeClassifier(thresholds=(0.2, 0.5, 0.3))))) as client:
        assert "It gives every picture one of 3 labels" in client.get("/").text
        page = client.get("/?model=many").text
        assert "not measured" in page
        assert "It gives every picture those of 3 labels whose scores come up to their thresholds" in page


def test_of_several_labels_all_must_be_right():
    many = served("many", FakeClassifier(thresholds=(0.2, 0.5, 0.3)), results={"test": {"n": 40, "exact_match": 0.75}})
    with asking(context_of(many)) as client:
        page = client.get("/").text
        assert "Test pictures with exactly their labels" in page
        assert "75.0%" in page
        found = client.get("/models").json()["models"][0]
        assert (found["measured_on"], found["pictures"], found["accuracy"]) == ("test", 40, 0.75)


def test_several_models_have_a_page_each():
    with asking(context_of(served("a"), served("b"))) as client:
        assert '<a href="/?model=b" aria-current="page">' in client.get("/?model=b").text
        assert '<a href="/?model=a" aria-current="page">' in client.get("/").text
        assert client.get("/?model=c").status_code == 404


def test_the_list_for_programs_has_every_request_of_the_document():
    with asking(context_of()) as client:
        page, document = client.get("/api").text, client.get("/openapi.json").json()
    assert len(document["paths"]) > 15
    for path in document["paths"]:
        assert f"{path}</code>" in page
    assert "http://localhost/predict?top=3" in page


def test_the_report_is_shown_as_it_is():
    classifier = FakeClassifier()
    classifier.folder = Path.cwd()
    with asking(context_of(served(classifier=classifier))) as client:
        answer = client.get("/report/paint")
        assert (answer.status_code, "has no report" in answer.json()["error"]) == (404, True)
        Path("report.html").write_text("<p>the report")
        answer = client.get("/report/paint")
        assert answer.text == "<p>the report"
        assert answer.headers["content-security-policy"] == "frame-ancestors 'none'"
        assert '<a href="/report/paint">' in client.get("/").text


def test_the_report_is_not_shown_to_others_unasked():
    from dataclasses import replace

    with asking(replace(context_of(), shows_report=False)) as client:
        answer = client.get("/report/paint")
        assert answer.status_code == 404
        assert "start the server with --show-report" in answer.json()["error"]


def test_the_page_says_that_a_picture_may_be_unknown():
    with asking(context_of(served(classifier=FakeClassifier(limit=Limit(0.4, 0.1))))) as client:
        assert (
            "It gives a picture one of 3 labels, or says that it is unknown, because it is too far"
            in client.get("/").text
        )
