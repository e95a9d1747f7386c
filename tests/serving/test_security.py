import socket
from pathlib import Path

import pytest
from support.serving import RED, asking, context_of

from retrain.errors import UsageError
from retrain.options import ServingOptions
from retrain.serving.problems import Problem
from retrain.serving.security import Access, is_loopback

TOKEN = "0123456789abcdef-a-token"


@pytest.fixture
def token_file():
    Path("token").write_text(f"{TOKEN}\n")
    return "token"


def access(**options):
    return Access.of(ServingOptions(**options))


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8000", "localhost.", "127.0.0.1:8000", "[::1]:8000", "10.1.2.3", "[fe80::1]"]
)
def test_the_server_goes_by_localhost_and_by_addresses(host):
    access().check_host(host)


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example:8000", "127.0.0.1.evil.example", "1.2.3", "*"]
)
def test_other_names_are_refused(host):
    with pytest.raises(
        Problem, match=r"does not go by the name .*: if it should, start it with --allowed-hosts"
    ) as caught:
        access(host="0.0.0.0").check_host(host)
    assert caught.value.status == 421


@pytest.mark.parametrize("host", [None, "", ":80", "localhost:port", "localhost:80:80", "[", "[]"])
def test_a_missing_or_damaged_host_is_refused(host):
    with pytest.raises(Problem, match="the Host header is missing or wrong") as caught:
        access().check_host(host)
    assert caught.value.status == 400


def test_more_names_can_be_allowed():
    access(allowed_hosts="models.example, Other.").check_host("other:1")
    access(allowed_hosts="*").check_host("anything.example")
    access(host="0.0.0.0").check_host(socket.gethostname())
    access(host="machine.example").check_host("machine.example:8000")


def test_pages_of_other_sites_may_not_ask():
    with asking(context_of()) as client:
        for origin, status in (("http://localhost", 200), ("http://evil.example", 403), ("null", 403)):
            answer = client.post("/predict", content=RED, headers={"Origin": origin})
            assert answer.status_code == status


def test_a_name_that_is_rebound_gets_nothing():
    with asking(context_of(), host="evil.example") as client:
        for path in ("/", "/models", "/healthz", "/v2", "/openapi.json"):
            answer = client.get(path)
            assert answer.status_code == 421
            assert [*answer.json()] == ["error"]


def test_without_the_token_nothing_but_health_is_answered(token_file):
    with asking(context_of(token_file=token_file)) as client:
        for path in ("/models", "/metrics", "/openapi.json", "/v2", "/v1/models/paint", "/nothing"):
            for sent in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}):
                answer = client.get(path, headers=sent)
                assert answer.status_code == 401
                assert answer.headers["www-authenticate"] == 'Bearer realm="retrain"'
                assert "send the header Authorization: Bearer TOKEN" in answer.json()["error"]
        for path in ("/healthz", "/v2/health/live", "/v2/health/ready"):
            assert client.get(path).status_code == 200
        assert client.post("/predict", content=RED).status_code == 401
        assert client.post("/predict", content=RED, headers={"Authorization": f"bearer {TOKEN}"}).status_code == 200


def test_a_browser_gets_a_form_and_then_a_session(token_file):
    with asking(context_of(token_file=token_file), accept="text/html") as client:
        page = client.get("/")
        assert page.status_code == 401
        assert 'type="password"' in page.text
        assert "paint" not in page.text
        wrong = client.post("/login", data={"token": "x" * 20})
        assert (wrong.status_code, "That is not the token" in wrong.text) == (401, True)
        right = client.post("/login", data={"token": TOKEN})
        assert (right.status_code, right.headers["location"]) == (303, "/")
        cookie = right.headers["set-cookie"]
        assert TOKEN not in cookie
        assert cookie.endswith("; Path=/; HttpOnly; SameSite=Strict")
        assert client.get("/").status_code == 200  # the client keeps cookies
        for forged in ("retrain_session=x", "retrain_session=", "retrain_session", "a=b; ;;=", f"token={TOKEN}"):
            assert client.get("/models", headers={"Cookie": forged}).status_code == 401


def test_without_a_token_there_is_no_form():
    with asking(context_of()) as client:
        assert client.get("/login").headers["location"] == "/"
        assert client.post("/login", data={"token": ""}).status_code == 401


def test_every_answer_has_the_headers_that_browsers_obey():
    with asking(context_of()) as client:
        for answer in (
            client.get("/"),
            client.get("/models"),
            client.get("/no"),
            client.get("/", headers={"host": "x"}),
        ):
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["x-frame-options"] == "DENY"
            assert answer.headers["cache-control"] == "no-store"
            assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
            assert answer.headers["content-security-policy"].startswith("default-src 'none'")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "has 0 characters, expected a token of 16 to 4,096 printable ASCII characters without spaces"),
        (b"short", "has 5 characters"),
        (b"with spaces in it, which no header has", "without spaces: make one with openssl rand -hex 32"),
        ("é".encode() * 20, "printable ASCII"),
        (b"\xff" * 20, "can't be read: it is not UTF-8; give a file with a token"),
    ],
)
def test_a_token_that_is_none_is_refused(content, why):
    Path("token").write_bytes(content)
    with pytest.raises(UsageError, match=f"--token-file token .*{why}"):
        access(token_file="token")
    with pytest.raises(UsageError, match="--token-file missing can't be read: No such file or directory"):
        access(token_file="missing")


def test_loopback():
    assert all(map(is_loopback, ("127.0.0.1", "::1", "[::1]", "localhost", "127.9.9.9")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "machine.example")))
