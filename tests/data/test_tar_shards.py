"""Pictures in .tar shards, as WebDataset writes them."""

import hashlib
import io
import json
import os
import shutil
import tarfile

import numpy as np
import pytest
from support.extraction import CountingBackbone, rows_of, run
from support.hearing import warnings_to
from support.pictures import draw_picture

from retrain.data import hash_picture, picture_bytes, read_source, signature_of
from retrain.errors import ImageFolderError, UnreadableImageError


def png(number, label=0):
    """The bytes of a picture."""
    buffer = io.BytesIO()
    draw_picture(number, label).save(buffer, "png")
    return buffer.getvalue()


def write_tar(path, files):
    """An archive of some files, by name."""
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


@pytest.fixture
def shards(tmp_path):
    """Two archives with classes by folder."""
    folder = tmp_path / "shards"
    folder.mkdir()
    for shard in range(2):
        write_tar(
            folder / f"part-{shard:03}.tar",
            {
                f"./{name}/{shard}{n}.png": png(10 * shard + n, label)
                for label, name in enumerate("ab")
                for n in range(5)
            },
        )
    return folder


def told(folder):
    return [(sample.path, sample.class_name, sample.subset) for sample in folder.samples]


def test_the_folder_of_a_picture_is_its_class(shards):
    folder = read_source(shards)
    assert folder.class_names == ("a", "b")
    assert (folder.counts(), folder.is_part, len(folder.samples)) == ([10, 10], False, 20)
    assert told(folder)[0] == ("part-000.tar/a/00.png", "a", None)
    one = read_source(shards / "part-001.tar")
    assert (one.counts(), one.is_part, one.root) == ([5, 5], True, shards)


def test_a_file_beside_the_picture_names_its_class(tmp_path):
    write_tar(
        "mixed.tar",
        {
            "train/01.png": png(1), "train/01.cls": b"7\n",
            "train/02.v1.png": png(2), "train/02.json": json.dumps({"caption": "x", "label": "red  fox"}).encode(),
            "val/03.png": png(3), "val/03.json": b"4",
            "val/wolf/04.png": png(4), "val/wolf/04.json": b"{broken",
            "05.png": png(5), "05.txt": b"a caption", "._06.png": b"", "07.json": b"{}",
        },
    )  # fmt: skip
    said = []
    folder = read_source("mixed.tar", emit=warnings_to(said.append))
    assert told(folder) == [
        ("mixed.tar/train/01.png", "7", None),
        ("mixed.tar/train/02.v1.png", "red fox", None),
        ("mixed.tar/val/03.png", "4", None),
        ("mixed.tar/val/wolf/04.png", "wolf", "validation"),
    ]
    assert said == ["1 picture has no class, and will not be used: mixed.tar/05.png"]


def test_it_extracts_what_the_folder_would(shards, tmp_path, monkeypatch):
    monkeypatch.setattr("retrain.cache.picture_index._SETTLED_NS", -1)
    result, backbone, vectors = run_source(shards)
    assert (backbone.count, result.skipped) == (20, {})
    for archive in sorted(shards.iterdir()):
        with tarfile.open(archive) as tar:
            tar.extractall(tmp_path / "plain", filter="data")
    run(tmp_path / "plain", cache_dir="plain_cache")
    assert rows_of(tmp_path / "cache") == rows_of(tmp_path / "plain_cache")
    again, backbone, same = run_source(shards)
    assert (backbone.count, backbone.loaded, again.cached) == (0, False, 20)
    assert np.array_equal(vectors, same)


def run_source(source):
    """Pass one over what the user names."""
    from retrain.extraction.pass_one import extract_bottlenecks, open_cache
    from retrain.options import ExtractionOptions

    backbone = CountingBackbone()
    cache = open_cache(backbone, ExtractionOptions())
    result = extract_bottlenecks(read_source(source), backbone, cache)
    return result, backbone, cache.read(cache.find(result.keys[result.readable]))


def test_damage_in_an_archive_costs_the_pictures_that_it_hits(shards):
    archive = shards / "part-001.tar"
    names = sorted(sample.path for sample in read_source(shards).samples if "part-001" in sample.path)
    content = archive.read_bytes()
    with tarfile.open(archive) as tar:
        [last] = [member for member in tar if member.name == "./b/14.png"]
    archive.write_bytes(content[: last.offset_data + 40])
    result, _, _ = run_source(shards)
    assert result.skipped == {"part-001.tar/b/14.png": "can't be read: the archive ends early"}
    assert len(names) == 10
    content = bytearray(content)
    content[last.offset_data + 60] ^= 0xFF
    archive.write_bytes(content)
    result, _, _ = run_source(shards)
    assert list(result.skipped) == ["part-001.tar/b/14.png"]
    assert "damaged" in result.skipped["part-001.tar/b/14.png"]


def test_what_is_no_archive_is_told(tmp_path):
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "a.tar").write_bytes(b"hello" * 500)
    with pytest.raises(ImageFolderError, match=r"a\.tar: not a tar archive: .*; make the archive again, or move it"):
        read_source("shards")
    write_tar("empty.tar", {"readme.txt": b"x"})
    with pytest.raises(ImageFolderError, match=r"no pictures with a class in 1 archive of .*: put them into folders"):
        read_source("empty.tar")


def test_a_path_may_lead_through_an_archive(shards):
    path = shards / "part-000.tar" / "a" / "03.png"
    with picture_bytes(path) as data:
        assert data == png(3)
    assert hash_picture(path) == hashlib.sha256(png(3)).digest()
    before = signature_of(path)
    assert before[0] == len(png(3))
    shutil.copy(shards / "part-001.tar", shards / "part-000.tar")
    assert signature_of(shards / "part-000.tar" / "a" / "13.png") != before
    with pytest.raises(UnreadableImageError, match="can't be read: no such file in the archive"):
        signature_of(path)
    with (
        pytest.raises(UnreadableImageError, match="1 MiB: larger than --max-file-size 0"),
        picture_bytes(shards / "part-000.tar" / "a" / "13.png", 0),
    ):
        pass


def test_a_folder_may_be_called_like_an_archive(make_folder):
    root = make_folder({"cat.tar": 3, "dog": 3})
    result, backbone, _ = run(root)
    assert (backbone.count, result.skipped) == (6, {})


def test_names_that_lead_out_of_an_archive_and_links_are_left_out():
    with tarfile.open("odd.tar", "w") as tar:
        for name in ("/abs/1.png", "../up/2.png", "cat/3.png"):
            member = tarfile.TarInfo(name)
            member.size = 10
            tar.addfile(member, io.BytesIO(b"0123456789"))
        link = tarfile.TarInfo("cat/link.png")
        link.type, link.linkname = tarfile.SYMTYPE, os.path.abspath("odd.tar")
        tar.addfile(link)
    assert [sample.path for sample in read_source("odd.tar").samples] == ["odd.tar/cat/3.png"]
