"""Pictures and cache on an S3 server that answers late, too often, or wrongly."""

import json
from pathlib import Path

import numpy as np
import pytest
from support.command import retrain
from support.extraction import CountingBackbone, rows_of, run

from retrain.data import read_source, remote_files
from retrain.errors import ImageFolderError, ManifestError
from retrain.extraction.pass_one import extract_bottlenecks, open_cache
from retrain.options import ExtractionOptions, Manifest, RunOptions

pytestmark = [
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::PendingDeprecationWarning"
    ),
]


@pytest.fixture
def pictures(bucket, make_folder):
    """A folder with pictures, and its copy on the server."""
    import s3fs

    root = make_folder({"cat": 8, "dog": 8})
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
    assert (again.cached, backbone.count) == (16, 0)
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
    assert int(result.readable.sum()) == 15


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
    assert json.loads(done.stdout)["extracted"] == 16
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "two"))
    server.fault = lambda method, path, count: "cut" if method == "GET" and count == 0 and "segment-" in path else None
    done = retrain("train", url, *arguments, "--steps", 10, "--json", check=0)
    extraction = json.loads(done.stdout)["extraction"]
    assert (extraction["cached"], extraction["extracted"], extraction["skipped"]) == (16, 0, 1)
    assert not list(tmp_path.glob("s3:*"))
