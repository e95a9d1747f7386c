import pytest
from support.studio import paint, studio_of

from retrain.serving.problems import Problem
from retrain.serving.studio.access import StudioAccess

ASKED = [
    ("GET", "/"),
    ("GET", "/listing"),
    ("GET", "/events"),
    ("GET", "/thumbnail/1/x"),
    ("POST", "/edits"),
    ("POST", "/pictures"),
    ("POST", "/save"),
    ("GET", "/page/main.js"),
]


@pytest.fixture
def client():
    with studio_of(paint("pictures", count=1)) as client:
        yield client


@pytest.mark.parametrize(("method", "path"), ASKED)
def test_nothing_is_answered_without_the_token(client, method, path):
    client._http.cookies.clear()
    for sent in ({}, {"Authorization": "Bearer wrong"}, {"Cookie": "retrain_studio_8001=wrong"}):
        answer = client.request(method, path, headers=sent)
        assert answer.status_code == 401


@pytest.mark.parametrize(("method", "path"), [*ASKED, ("POST", "/login")])
def test_nothing_is_answered_to_pages_of_other_sites(client, method, path):
    for origin in ("http://evil.example", "null", "http://127.0.0.1:9999", "https://127.0.0.1:8001.evil.example"):
        answer = client.request(method, path, headers={"Origin": origin})
        assert answer.status_code == 403
        assert "other sites" in answer.json()["error"]


@pytest.mark.parametrize(("method", "path"), [*ASKED, ("GET", "/login")])
def test_nothing_is_answered_under_other_names(client, method, path):
    for host in ("evil.example", "127.0.0.1.evil.example", "192.168.0.1:8001", "0.0.0.0", ""):
        answer = client.request(method, path, headers={"Host": host})
        assert answer.status_code == 421
        assert "open the address that it printed" in answer.json()["error"]


@pytest.mark.parametrize("host", ["localhost:8001", "127.0.0.1", "[::1]:8001"])
def test_loopback_has_several_names(client, host):
    assert client.get("/listing", headers={"Host": host}).status_code == 200


def test_the_token_leaves_the_address_bar(client):
    client._http.cookies.clear()
    page = {"Accept": "text/html"}
    answer = client.get("/", params={"token": client.studio.access.token}, headers=page)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("retrain_studio_8001=")
    assert cookie.endswith("; Path=/; HttpOnly; SameSite=Strict")
    assert client.studio.access.token not in cookie
    assert client.get("/", params={"token": "again"}, headers=page).status_code == 401  # even with the cookie
    assert client.get("/", headers=page).status_code == 200


def test_a_browser_without_the_token_is_asked_for_it(client):
    client._http.cookies.clear()
    page = {"Accept": "text/html"}
    answer = client.get("/", headers=page)
    assert (answer.status_code, 'name="token"' in answer.text) == (401, True)
    assert "form-action 'self'" in answer.headers["content-security-policy"]
    for given in ("", "wrong", "é"):
        assert "not the token" in client.post("/login", data={"token": given}).text
    assert client.post("/login", data={"token": f" {client.studio.access.token}\n"}).status_code == 303
    assert client.get("/", headers=page).status_code == 200


def test_each_studio_has_a_token_of_its_own():
    one, other = StudioAccess(1), StudioAccess(1)
    assert one.token != other.token
    assert len(one.token) > 40
    assert not one.is_token(other.token)
    with pytest.raises(Problem, match="needs a token"):
        one.check_token(None, other.session().partition(";")[0] and None)
    with pytest.raises(Problem, match="needs a token"):
        one.check_token(None, other.session().partition(";")[0])
    one.check_token(None, one.session().partition(";")[0])
