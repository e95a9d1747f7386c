import re

from prometheus_client.parser import text_string_to_metric_families
from support.serving import BLUE, RED, asking, context_of


def test_requests_pictures_and_batches_are_counted():
    with asking(context_of()) as client:
        client.post("/predict", files=[("a", ("1", RED)), ("a", ("2", BLUE)), ("a", ("3", b"text"))])
        client.post("/predict", content=b"text")
        client.get("/nothing")
        client.get("/v1/models/paint")
        answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = {
        (sample.name, *(sample.labels[key] for key in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert found["retrain_pictures_total", "paint", "scored"] == 2
    assert found["retrain_pictures_total", "paint", "unreadable"] == 2
    assert found["retrain_requests_total", "/predict", "200"] == 1
    assert found["retrain_requests_total", "/predict", "400"] == 1
    assert found["retrain_requests_total", "other", "404"] == 1
    assert found["retrain_requests_total", "/v1/models/{name}", "200"] == 1
    assert found["retrain_batch_pictures_sum",] == 2
    assert found["retrain_scoring_seconds_count", "paint"] == 2
    assert found["retrain_decoding_seconds_count",] == 4
    assert found["retrain_pictures_waiting",] == 0
    assert found["retrain_model_version", "paint"] == 1700000000
    assert found["process_resident_memory_bytes",] > 0


def test_no_label_is_made_of_what_clients_send():
    with asking(context_of()) as client:
        for number in range(20):
            client.get(f"/v1/models/{number}")
            client.get(f"/{number}")
        text = client.get("/metrics").text
    assert not re.search(r'"/?\d+"} \d+.0\n', text.replace('status="404"', ""))
