"""Networks from a URL, as far as their folder. No TensorFlow here."""

import gc
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import threading
import time

import pytest
from support.hearing import Heard
from support.web_server import Server, pack, refused

from retrain.backbones.sources import hub
from retrain.backbones.sources.archives import ArchiveLimits
from retrain.backbones.sources.hub import resolve_handle
from retrain.backbones.sources.listener import Limits, listening
from retrain.errors import BackboneError, BackboneUnavailableError

QUICK = Limits(answer_seconds=0.5, silent_seconds=0.5, pause_seconds=0.0)


@pytest.fixture(autouse=True)
def _surroundings(tmp_path, monkeypatch):
    monkeypatch.delenv("TFHUB_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def store(tmp_path):
    return tmp_path / "xdg" / "retrain" / "hub"


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"a graph" * 99)
    (folder / "variables" / "variables.index").write_bytes(b"index")
    return folder


@pytest.fixture
def server(model):
    running = Server()
    running.body = pack(model)
    yield running
    running.close()
    gc.collect(1)


@pytest.fixture
def url(server):
    return server.url + "models/ours.tar.gz"


def sha1(text):
    return hashlib.sha1(text.encode()).hexdigest()


def entries(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock")) if folder.exists() else []


def test_a_network_is_downloaded_once_to_the_users_own_folder(url, server, store, model):
    for _ in range(2):
        folder = resolve_handle(url, QUICK)
        assert folder == store / sha1(url)
        assert (folder / "saved_model.pb").read_bytes() == (model / "saved_model.pb").read_bytes()
        assert (folder / "variables" / "variables.index").read_bytes() == b"index"
    assert server.requests == ["/models/ours.tar.gz"]
    assert entries(store) == [sha1(url), sha1(url) + ".retrain.json"]
    assert store.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("handle", "asked"),
    [
        ("google/model/1", "/google/model/1?tf-hub-format=compressed"),
        ("m/1?a=b", "/m/1?a=b&tf-hub-format=compressed"),
        ("m.tgz", "/m.tgz"),
        ("m.tar.gz?signature=x%2Fy", "/m.tar.gz?signature=x%2Fy"),
    ],
)
def test_handles_of_tensorflow_hub_are_asked_for_their_archive(handle, asked, server):
    resolve_handle(server.url + handle, QUICK)
    assert server.requests == [asked]


def test_a_redirection_leads_to_the_archive(server, model):
    """As tfhub.dev leads to kaggle.com, and that to its storage."""
    server.failures = ["to /models/google/1?tf-hub-format=compressed", "to /storage/x.tar.gz?token=1"]
    assert (resolve_handle(server.url + "google/1", QUICK) / "saved_model.pb").exists()
    assert len(server.requests) == 3


def test_the_folder_that_the_environment_names_is_used(url, server, tmp_path, monkeypatch, store):
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "hub"))
    assert resolve_handle(url, QUICK) == tmp_path / "hub" / sha1(url)
    assert not store.exists()


def test_what_tensorflow_hub_has_downloaded_is_used(server, tmp_path, monkeypatch, model):
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "hub"))
    handle = "https://tfhub.dev/google/some/1"
    (tmp_path / "hub").mkdir(0o755)
    model.rename(tmp_path / "hub" / sha1(handle))
    (tmp_path / "hub" / f"{sha1(handle)}.lock").write_text("of a process that was killed")
    assert resolve_handle(handle, QUICK) == tmp_path / "hub" / sha1(handle)
    assert entries(tmp_path / "hub") == [sha1(handle)]


def test_what_can_only_be_read_is_used(url, server, store, monkeypatch):
    folder = resolve_handle(url, QUICK)
    monkeypatch.setattr(hub, "locked", lambda *_: pytest.fail("wants to write"))
    assert resolve_handle(url, QUICK) == folder


@pytest.mark.parametrize("place", ["own", "TFHUB_CACHE_DIR"])
def test_a_folder_that_others_may_write_to_is_refused(place, url, server, store, tmp_path, monkeypatch):
    """Also where the network is there already: another user may have put it there."""
    if place != "own":
        store = tmp_path / "hub"
        monkeypatch.setenv("TFHUB_CACHE_DIR", str(store))
    resolve_handle(url, QUICK)
    store.chmod(0o777)
    with pytest.raises(BackboneError, match="can be written by other users"):
        resolve_handle(url, QUICK)
    store.chmod(0o700)
    (store / sha1(url)).chmod(0o777)
    with pytest.raises(BackboneError, match="can be written by other users"):
        resolve_handle(url, QUICK)


@pytest.mark.parametrize("change", ["changed", "added", "removed", "note"])
def test_a_network_that_has_changed_is_downloaded_again(change, url, server, store, model):
    folder = resolve_handle(url, QUICK)
    if change == "changed":
        (folder / "saved_model.pb").write_bytes(b"evil")
    elif change == "added":
        (folder / "more").write_bytes(b"evil")
    elif change == "removed":
        (folder / "variables" / "variables.index").unlink()
    else:
        (store / (sha1(url) + ".retrain.json")).write_text("[]")
    heard = Heard()
    with listening(heard):
        assert resolve_handle(url, QUICK) == folder
    assert [w for w in heard.warnings if "has changed" in w]
    assert (folder / "saved_model.pb").read_bytes() == (model / "saved_model.pb").read_bytes()
    assert not (folder / "more").exists()
    assert len(server.requests) == 2
    server.failures = ["404"] * 9
    (folder / "saved_model.pb").write_bytes(b"evil")
    with pytest.raises(BackboneUnavailableError, match="answers 404"):
        resolve_handle(url, QUICK)


def refuse(url, match, **given):
    with pytest.raises(BackboneUnavailableError, match=match) as caught:
        resolve_handle(url, QUICK, **given)
    assert url in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_a_network_there_is_one_line_and_nothing_is_kept(store):
    refuse(
        refused() + "ours.tar.gz", r"backbone http://127.*ours\.tar\.gz can't be downloaded \(.*refused.*\): go online"
    )
    assert entries(store) == []


@pytest.mark.parametrize("cut", ["no length first 300", "no length first 512", "cut off"])
def test_an_archive_that_was_cut_off_is_never_taken_for_whole(cut, url, server, store, model):
    """Also without compression, without a length, and between two files."""
    server.body = pack(model, "w:")
    if cut.endswith("512"):
        with tarfile.open(fileobj=io.BytesIO(server.body)) as archive:
            cut = f"no length first {archive.getmember('variables').offset}"
    server.failures = [cut] * 3
    refuse(url, r"cut off|connection ended")
    assert entries(store) == []
    server.failures = []
    assert resolve_handle(url, QUICK).exists()


@pytest.mark.parametrize("what", ["page", "other", "hostile", "bomb"])
def test_what_is_no_network_is_refused_and_not_kept(what, url, server, store, tmp_path):
    given = {}
    if what == "page":
        server.body = b"<html>please log in</html>"
    elif what == "other":
        (tmp_path / "other" / "saved").mkdir(parents=True)
        server.body = pack(tmp_path / "other")
    else:
        with io.BytesIO() as stream:
            with tarfile.open(fileobj=stream, mode="w:gz") as archive:
                info = tarfile.TarInfo("../../evil" if what == "hostile" else "saved_model.pb")
                info.size = 2**20
                archive.addfile(info, io.BytesIO(bytes(2**20)))
            server.body = stream.getvalue()
        given = {"archive_limits": ArchiveLimits(ratio_from_bytes=2**16)} if what == "bomb" else {}
    match = {
        "page": "not a tar archive",
        "other": "no saved_model.pb at its top; found there: saved",
        "hostile": "leads out",
    }
    refuse(url, "is refused: .*" + match.get(what, "unpacks to more"), **given)
    assert entries(store) == []
    assert not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/model", "nothing://127.0.0.1/model", "file:///model"])
def test_an_unknown_protocol_is_an_error(url):
    with pytest.raises(BackboneError, match=rf"backbone {url} can't be had: .*give a TensorFlow Hub or Kaggle handle"):
        resolve_handle(url)


def test_a_folder_that_can_not_be_made_is_an_error(url, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "file" / "cache"))
    refuse(url, "can't be had: Not a directory: .*file")


def test_what_a_killed_run_left_is_no_trap(url, server, store):
    folder = resolve_handle(url, QUICK)
    for path in folder.rglob("*"):
        if path.is_file():
            path.unlink()
    os.rename(folder, store / (sha1(url) + ".unpacking"))
    (store / (sha1(url) + ".part")).write_bytes(b"half")
    assert (resolve_handle(url, QUICK) / "saved_model.pb").exists()
    assert entries(store) == [sha1(url), sha1(url) + ".retrain.json"]
    assert json.loads((store / (sha1(url) + ".retrain.json")).read_text())["handle"] == url


def test_of_two_that_want_the_same_one_downloads_and_the_other_waits(url, server):
    """In two threads, whose locks are as separate as those of two processes."""
    slow, found, heard = server.body, [], Heard()
    server.etag, server.failures = '"1"', ["stalls"]
    limits = Limits(silent_seconds=0.5, pause_seconds=0.0, tries=1)

    def first():
        with pytest.raises(BackboneUnavailableError):
            resolve_handle(url, limits)
        found.append("first")

    with listening(heard):
        thread = threading.Thread(target=first)
        thread.start()
        while not server.requests:
            time.sleep(0.01)
        resolve_handle(url, QUICK)
        found.append("second")
        thread.join()
    assert found == ["first", "second"]
    assert f"another process is downloading {url}: waiting for it" in heard.waits
    assert server.ranges == [None, f"bytes={len(slow) // 2}-"]  # what the first has, the second goes on from


def test_after_a_kill_in_the_middle_of_a_download_the_next_run_goes_on_from_there(url, server, store):
    code = "import sys; from retrain.backbones.sources.hub import resolve_handle; resolve_handle(sys.argv[1])"
    server.etag, server.failures = '"1"', ["stalls"]
    killed = subprocess.Popen([sys.executable, "-c", code, url])
    part = store / (sha1(url) + ".part")
    while not (part.exists() and part.stat().st_size) and killed.poll() is None:
        time.sleep(0.01)
    assert killed.poll() is None
    killed.kill()
    killed.wait()
    half = part.stat().st_size
    started = time.monotonic()
    assert (resolve_handle(url, QUICK) / "saved_model.pb").exists()
    assert time.monotonic() - started < 5
    assert server.ranges == [None, f"bytes={half}-"]
