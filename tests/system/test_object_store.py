"""Pictures and cache on an S3 server that answers late, too often, or wrongly."""

import functools
import hashlib
import json
import shutil
import tarfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from support.command import retrain
from support.extraction import CountingBackbone, rows_of, run

from retrain.data import archive_copies, read_source, remote_files
from retrain.errors import ImageFolderError, ManifestError
from retrain.extraction.pass_one import extract_bottlenecks, open_cache
from retrain.options import ExtractionOptions, Manifest, RunOptions

pytestmark = [
    pytest.mark.object_store,
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::PendingDeprecationWarning"
    ),
]


@pytest.fixture
def pictures(bucket, make_folder):
    """A folder with pictures, and its copy on the server."""
    import s3fs

    root = make_folder({"cat": 5, "dog": 5})
    (root / "dog" / "broken.png").write_bytes((root / "dog" / "dog_001.png").read_bytes()[:90])
    s3fs.S3FileSystem().put(str(root), f"s3://{bucket}/photos", recursive=True)
    return root, f"s3://{bucket}/photos"


def extract(source, cache_dir="cache"):
    """Pass one over what the user names; the result, and the backbone."""
    backbone, extraction = CountingBackbone(), ExtractionOptions(cache_dir=cache_dir)
    cache = open_cache(backbone, extraction)
    folder = read_source(source)
    return extract_bottlenecks(folder, backbone, cache, RunOptions(extraction=extraction)), backbone


def test_pictures_on_a_server_give_what_those_of_a_disk_give(server, pictures, tmp_path, monkeypatch):
    monkeypatch.setattr("retrain.cache.picture_index._SETTLED_NS", -(10**12))
    root, url = pictures
    result, backbone = extract(url)
    expected, _, _ = run(root, cache_dir="alone")
    assert np.array_equal(result.keys, expected.keys)
    assert result.skipped == expected.skipped
    assert rows_of(tmp_path / "cache") == rows_of(tmp_path / "alone")
    server.asked.clear()
    again, backbone = extract(url)
    assert (again.cached, backbone.count) == (10, 0)
    assert not [path for method, path in server.asked if method == "GET" and path.endswith(".png")
                and "broken" not in path]  # fmt: skip


def test_a_server_that_is_asked_too_often_is_asked_again(server, pictures, tmp_path):
    root, url = pictures
    server.fault = lambda method, path, count: "slow" if count < 2 else None
    result, _ = extract(url)
    assert list(result.skipped) == ["dog/broken.png"]
    run(root, cache_dir="alone")
    assert rows_of(tmp_path / "cache") == rows_of(tmp_path / "alone")


def test_what_comes_cut_short_is_read_again(server, pictures, tmp_path):
    root, url = pictures
    server.fault = lambda method, path, count: (
        "cut" if method == "GET" and path.endswith(".png") and count == 0 else None
    )
    result, _ = extract(url)
    assert list(result.skipped) == ["dog/broken.png"]
    run(root, cache_dir="alone")
    assert rows_of(tmp_path / "cache") == rows_of(tmp_path / "alone")


def test_a_wrong_etag_costs_a_second_reading_and_no_picture(server, pictures, tmp_path):
    root, url = pictures
    server.fault = lambda method, path, count: "etag" if path.endswith(".png") else None
    result, _ = extract(url)
    assert list(result.skipped) == ["dog/broken.png"]
    assert all(count == 2 for (method, path), count in server.asked.items() if method == "GET" and ".png" in path)
    run(root, cache_dir="alone")
    assert rows_of(tmp_path / "cache") == rows_of(tmp_path / "alone")


def test_a_picture_that_never_comes_is_skipped_with_its_reason(server, pictures, monkeypatch):
    monkeypatch.setattr(remote_files, "_TRIES", 2)
    _, url = pictures
    server.fault = lambda method, path, count: "cut" if method == "GET" and "cat_003" in path else None
    result, _ = extract(url)
    assert sorted(result.skipped) == ["cat/cat_003.png", "dog/broken.png"]
    assert "can't be read: " in result.skipped["cat/cat_003.png"]
    assert int(result.readable.sum()) == 9


def test_a_manifest_may_list_urls(pictures):
    _, url = pictures
    names = [f"{label}/{label}_{number:03}.png" for label in ("cat", "dog") for number in range(4)]
    Path("urls.csv").write_text("path,label\n" + "".join(f"{url}/{name},{name[:3]}\n" for name in names))
    Path("paths.csv").write_text("path,label\n" + "".join(f"{name},{name[:3]}\n" for name in names))
    result, backbone = extract("urls.csv")
    assert (backbone.count, result.skipped) == (8, {})
    again, backbone = extract(Manifest("paths.csv", url))
    assert (again.cached, backbone.count) == (8, 0)
    Path("two.csv").write_text(f"path,label\n{url}/{names[0]},x\ns3://other/b.jpg,y\n")
    with pytest.raises(
        ManifestError, match=r"'s3://other/b\.jpg' is not below s3://bucket-\d+: a manifest lists pictures"
    ):
        read_source("two.csv")
    with pytest.raises(ManifestError, match=r"'\.\./up\.jpg' is not below s3://"):
        Path("up.csv").write_text("path,label\n../up.jpg,x\n")
        read_source(Manifest("up.csv", url))


def test_what_is_not_there_is_told(bucket):
    with pytest.raises(ImageFolderError, match=f"no files below s3://{bucket}/nothing; give a folder"):
        read_source(f"s3://{bucket}/nothing")
    with pytest.raises(
        ImageFolderError, match=r"can't list s3://no-such-bucket-here/p: .*; check the address, and what"
    ):
        read_source("s3://no-such-bucket-here/p")
    with pytest.raises(
        ImageFolderError, match=r"https://a\.b/c can't be listed as a folder: download the pictures first"
    ):
        read_source("https://a.b/c")


@pytest.mark.slow
def test_a_cache_on_the_server_is_shared_by_machines(server, pictures, tiny_backbone, tmp_path, monkeypatch):
    """One extracts, on a server that is asked too often now and then; another one trains, and extracts nothing."""
    _, url = pictures
    cache = url.replace("photos", "cache")
    server.fault = lambda method, path, count: "slow" if count == 0 and "segment-" in path else None
    arguments = ["--backbone", tiny_backbone, "--cache-dir", cache]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "one"))
    done = retrain("extract", url, *arguments, "--json", check=0)
    assert json.loads(done.stdout)["extracted"] == 10
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "two"))
    server.fault = lambda method, path, count: "cut" if method == "GET" and count == 0 and "segment-" in path else None
    done = retrain("train", url, *arguments, "--steps", 10, "--json", check=0)
    extraction = json.loads(done.stdout)["extraction"]
    assert (extraction["cached"], extraction["extracted"], extraction["skipped"]) == (10, 0, 1)
    assert not list(tmp_path.glob("s3:*"))


@pytest.fixture
def shards(pictures, monkeypatch, tmp_path):
    """The pictures in two archives on the server."""
    import s3fs

    root, url = pictures
    for number, label in enumerate(("cat", "dog")):
        with tarfile.open(f"part-{number}.tar", "w") as tar:
            tar.add(root / label, label)
        s3fs.S3FileSystem().put(f"part-{number}.tar", url.replace("photos", f"shards/part-{number}.tar"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    return root, url.replace("photos", "shards")


def test_archives_on_a_server_are_copied_once_and_again_when_they_change(server, shards, tmp_path, monkeypatch):
    import s3fs

    monkeypatch.setattr("retrain.cache.picture_index._SETTLED_NS", -(10**12))
    root, url = shards
    server.fault = lambda method, path, count: (
        "cut" if method == "GET" and count == 0 and path.endswith("1.tar") else None
    )
    result, _ = extract(url)
    assert list(result.skipped) == ["part-1.tar/dog/broken.png"]
    run(root, cache_dir="alone")
    assert rows_of(tmp_path / "cache") == rows_of(tmp_path / "alone")
    server.asked.clear()
    archive_copies._known.clear()  # as in another process
    again, backbone = extract(f"{url}/part-0.tar")
    assert (again.cached, backbone.count) == (5, 0)
    assert not [path for method, path in server.asked if method == "GET" and path.endswith(".tar")]
    with tarfile.open("part-0.tar", "w") as tar:
        tar.add(root / "dog" / "dog_001.png", "cat/cat_001.png")
        tar.add(root / "cat" / "cat_002.png", "cat/cat_003.png")
    s3fs.S3FileSystem().put("part-0.tar", f"{url}/part-0.tar")
    changed, backbone = extract(f"{url}/part-0.tar")
    assert (changed.cached, backbone.count, len(changed.keys)) == (2, 0, 2)
    assert changed.keys[0].tobytes() == hashlib.sha256((root / "dog" / "dog_001.png").read_bytes()).digest()


def test_a_folder_on_a_server_may_be_called_like_an_archive(bucket, make_folder):
    import s3fs

    root = make_folder({"cat.tar": 3, "dog": 3})
    s3fs.S3FileSystem().put(str(root), f"s3://{bucket}/photos", recursive=True)
    result, backbone = extract(f"s3://{bucket}/photos")
    assert (backbone.count, result.skipped) == (6, {})


def test_a_copy_of_an_archive_that_was_removed_is_fetched_again(shards, tmp_path):
    _, url = shards
    folder = read_source(f"{url}/part-0.tar")
    shutil.rmtree(tmp_path / "user")
    backbone, cache = CountingBackbone(), open_cache(CountingBackbone(), ExtractionOptions())
    assert len(extract_bottlenecks(folder, backbone, cache).skipped) == 0
    assert backbone.count == 5


def test_an_archive_that_cannot_be_copied_is_told(shards, tmp_path):
    _, url = shards
    (tmp_path / "user").write_text("")
    with pytest.raises(ImageFolderError, match=r"can't copy s3://.*/part-0\.tar to .*archives: Not a directory; check"):
        read_source(url)


def test_an_archive_of_a_web_server_that_can_only_send_all_of_it(make_folder, monkeypatch, tmp_path):
    pytest.importorskip("aiohttp", reason="pip install 'retrain[remote]'")
    monkeypatch.setattr(remote_files, "_BLOCK_BYTES", 1000)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    root = make_folder({"cat": 4, "dog": 4})
    (tmp_path / "www").mkdir()
    with tarfile.open("www/part-0.tar", "w") as tar:
        for label in ("cat", "dog"):
            tar.add(root / label, label)
    handler = functools.partial(SimpleHTTPRequestHandler, directory="www")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        result, _ = extract(f"http://127.0.0.1:{http.server_port}/part-0.tar")
        http.shutdown()
    run(root, cache_dir="alone")
    assert (len(result.keys), result.skipped) == (8, {})
    assert rows_of(tmp_path / "cache") == rows_of(tmp_path / "alone")
