"""Where the weights of Keras Applications are looked for, and how they come. No TensorFlow here."""

import gc
import hashlib
import os

import h5py
import pytest
from support.hearing import Heard
from support.web_server import Server, refused

from retrain.backbones.sources.keras_weights import find_weights, weights_file
from retrain.backbones.sources.listener import Limits, listening
from retrain.errors import BackboneError, BackboneUnavailableError

QUICK = Limits(answer_seconds=0.5, silent_seconds=0.5, pause_seconds=0.0)
FILE = "inception_v3_notop.h5"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    for name in ("KERAS_HOME", "RETRAIN_BACKBONES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "home"


@pytest.fixture
def own(tmp_path):
    return tmp_path / "xdg" / "retrain" / "keras"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "file.h5"
    with h5py.File(path, "w") as file:
        file["kernel"] = list(range(1000))
    return path.read_bytes()


@pytest.fixture
def server(weights):
    running = Server()
    running.body = weights
    yield running
    running.close()
    gc.collect(1)


def md5(data):
    return hashlib.md5(data).hexdigest()


def get(server, digest=None):
    return weights_file("inception_v3", FILE, server.url + FILE, digest, QUICK)


def put(folder, data):
    folder.mkdir(parents=True, mode=0o755, exist_ok=True)
    (folder / FILE).write_bytes(data)
    return folder / FILE


@pytest.mark.parametrize("kind", ["md5", "sha256", "none"])
def test_weights_are_downloaded_once_and_checked(kind, server, own, weights):
    digest = None if kind == "none" else hashlib.new(kind, weights).hexdigest()
    assert find_weights(FILE) is None
    for _ in range(2):
        assert get(server, digest) == own / FILE
    assert find_weights(FILE) == own / FILE
    assert (own / FILE).read_bytes() == weights
    assert len(server.requests) == 1


@pytest.mark.parametrize("kind", ["KERAS_HOME", "~/.keras", "RETRAIN_BACKBONES"])
@pytest.mark.parametrize("has_digest", [True, False])
def test_weights_that_are_here_are_used(kind, has_digest, server, home, tmp_path, monkeypatch, weights):
    """As Keras has downloaded them, or `retrain backbones fetch --to`."""
    folder = home / ".keras" if kind == "~/.keras" else tmp_path / "given"
    if kind != "~/.keras":
        monkeypatch.setenv(kind, str(folder))
    path = put(folder if kind == "RETRAIN_BACKBONES" else folder / "models", weights)
    assert find_weights(FILE) == path
    assert get(server, md5(weights) if has_digest else None) == path
    assert not server.requests


def test_weights_go_where_keras_home_says(server, tmp_path, monkeypatch, own, weights):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "given"))
    assert get(server, md5(weights)) == tmp_path / "given" / "models" / FILE
    assert not own.exists()


@pytest.mark.parametrize("place", ["KERAS_HOME", "~/.keras", "own"])
def test_weights_that_keras_would_refuse_are_downloaded_again(place, server, home, own, monkeypatch, weights):
    folder = own
    if place != "own":
        folder = home / ".keras" / "models"
    if place == "KERAS_HOME":
        monkeypatch.setenv("KERAS_HOME", str(home / ".keras"))
    own.parent.mkdir(parents=True, mode=0o700)
    path = put(folder, weights[:-1] + b"x")
    heard = Heard()
    with listening(heard):
        found = get(server, md5(weights))
    assert found.read_bytes() == weights
    assert found == (own / FILE if place == "~/.keras" else path)
    assert any("does not have the checksum" in warning for warning in heard.warnings)


def test_weights_without_a_checksum_are_compared_with_what_came(server, own, weights):
    get(server)
    (own / FILE).write_bytes(weights[:-1] + b"x")
    assert get(server).read_bytes() == weights
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "what",
    [
        "file",
        "folder",
        pytest.param("owner", marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")),
    ],
)
def test_weights_without_a_checksum_must_be_ones_own(what, server, tmp_path, monkeypatch, weights):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "given"))
    path = put(tmp_path / "given" / "models", weights)
    if what == "file":
        path.chmod(0o666)
    elif what == "folder":
        path.parent.chmod(0o777)
    else:
        os.chown(path, 12345, 12345)
    with pytest.raises(BackboneError, match=r"other users|another user's"):
        get(server)
    assert get(server, md5(weights)) == path  # a checksum that Keras names is as good


@pytest.mark.parametrize("what", ["page", "half", "other"])
@pytest.mark.parametrize("has_digest", [True, False])
def test_what_is_not_the_file_is_thrown_away(what, has_digest, server, own, weights):
    if what == "other" and not has_digest:
        pytest.skip("nothing tells one weights file from another")
    server.body = {"page": b"<html>please log in</html>", "half": weights[:3000], "other": weights + b"x"}[what]
    server.failures = ["no length"]
    with pytest.raises(
        BackboneUnavailableError, match=r"can't be downloaded \(what came is .*\): they are not on this"
    ):
        get(server, md5(weights) if has_digest else None)
    assert not list(own.glob("*.h5*[!k]"))


def test_without_a_network_one_line_says_what_to_do(own):
    wanted = r"the weights of backbone inception_v3 can't .*fetch inception_v3 --to DIR.*RETRAIN_BACKBONES"
    with pytest.raises(BackboneUnavailableError, match=wanted) as caught:
        weights_file("inception_v3", FILE, refused(), None, QUICK)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("what", ["file", "writable", "missing"])
def test_weights_go_to_ones_own_folder_where_keras_home_is_no_place_for_them(
    what, server, tmp_path, own, monkeypatch, weights
):
    home = tmp_path / "given"
    monkeypatch.setenv("KERAS_HOME", "/proc/nowhere" if what == "missing" else str(home))
    if what == "file":
        home.write_text("no folder")
    elif what == "writable":
        (home / "models").mkdir(parents=True)
        (home / "models").chmod(0o777)
    assert get(server, md5(weights)) == own / FILE


def test_a_folder_that_can_not_be_read_is_an_error(server, monkeypatch):
    from retrain.backbones.sources import keras_weights

    def denied(*_):
        raise PermissionError(13, "Permission denied", "/weights/models")

    monkeypatch.setattr(keras_weights, "locked", denied)
    with pytest.raises(BackboneUnavailableError, match=r"can't be read or kept \(Permission denied: /weights/models\)"):
        get(server)
