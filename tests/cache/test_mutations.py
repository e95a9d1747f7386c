"""Damage of every kind to each file of the cache: what comes of it is right, made again, or one line."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.mutations import MUTATIONS, json_mutations, mutations, no_hang

from retrain.backbones.kept_exports import KeptExports
from retrain.cache import maintenance as cache_maintenance
from retrain.cache.picture_index import PictureIndex
from retrain.cache.segments import Rows
from retrain.cache.store import BottleneckCache
from retrain.cli import main as cli
from retrain.errors import CacheError

DESCRIPTION = {"weights": "w" * 64, "size": [16, 16], "precision": "float32"}
FINGERPRINT = "0123456789abcdef" * 4

pytestmark = pytest.mark.timeout(3600)  # with RETRAIN_SLOW=1, on a busy machine


@pytest.fixture(autouse=True)
def _no_flushing(monkeypatch):
    """Waiting for the disk proves nothing here."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def rows(start: int, count: int, dtype=np.float32) -> Rows:
    rng = np.random.default_rng(start)
    keys = rng.integers(0, 256, (count, 32)).astype(np.uint8)
    return Rows(keys, np.zeros(count, np.uint32), rng.normal(size=(count, 6)).astype(dtype))


def open_cache() -> BottleneckCache:
    return BottleneckCache("cache", "tiny", FINGERPRINT, DESCRIPTION)


def fill(dtype=np.float32) -> Rows:
    """A cache of three segments: all rows."""
    parts = [rows(start, 6, dtype) for start in range(3)]
    for part in parts:
        open_cache().add(part)
    return Rows(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("keys", "copies", "vectors")))


def damaged_notes(kind):
    """The note of the cache, damaged as a file or as a document."""
    data = Path("cache/tiny-01234567/extractor.json").read_bytes()
    if kind == "file":
        return mutations(data, MUTATIONS // 2)
    documents = json_mutations(json.loads(data), MUTATIONS // 2)
    return ((what, json.dumps(document).encode()) for what, document in documents)


@pytest.mark.parametrize("kind", ["file", "document"])
def test_no_damaged_note_costs_a_row(kind, capsys):
    wanted = fill()
    folder = open_cache().folder
    sound = {path.name: path.read_bytes() for path in folder.iterdir()}
    refusals = []
    for number, (what, damaged) in enumerate(damaged_notes(kind)):
        (folder / "extractor.json").write_bytes(damaged)
        with no_hang():
            try:
                look()
                if number % 20 == 0:
                    assert (cli.main(["cache", "info"]), "18 rows" in capsys.readouterr().out) == (0, True), what
                left = {path.name: path.read_bytes() for path in folder.iterdir()}
                assert left == sound | {"extractor.json": damaged}, what
                cache = open_cache()
                assert np.array_equal(cache.read(cache.find(wanted.keys)), wanted.vectors), what
                cache.prepare()
                note = json.loads((folder / "extractor.json").read_bytes())
                assert note["fingerprint"] == FINGERPRINT, what
                assert {key: note[key] for key in DESCRIPTION} == DESCRIPTION, what
            except CacheError as error:
                refusals.append(str(error))
        assert sorted(path.name for path in folder.iterdir()) == sorted(sound), what
    assert len(refusals) < 0.1 * number
    assert all("this program knows up to 1" in refusal for refusal in refusals)


def look() -> None:
    """What `retrain cache info` and `verify` do."""
    [cache] = cache_maintenance.extractors("cache")
    found = cache_maintenance.info(cache)
    assert (found.fingerprint, found.rows, found.segments) == (FINGERPRINT, 18, 3)
    assert cache_maintenance.verify(cache).sound == 18


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_no_damaged_segment_gives_a_wrong_row_or_takes_others_along(dtype):
    wanted = fill(dtype)
    [_, segment, _] = open_cache().segments
    its = {key.tobytes() for key in segment.keys}
    is_other = np.array([key.tobytes() not in its for key in wanted.keys])
    victim, data = segment.path, segment.path.read_bytes()
    for number, (what, damaged) in enumerate(mutations(data)):
        victim.write_bytes(damaged)
        with no_hang():
            cache = open_cache()
            found = cache.find(wanted.keys)
            assert np.array_equal(cache.read(found[found >= 0]), wanted.vectors[found >= 0]), what
            assert (found[is_other] >= 0).all(), what
            assert (found >= 0).all() or victim.name in " ".join(cache.warnings), what
            assert victim.read_bytes() == damaged, what
            if number % 20 == 0:
                shutil.copytree("cache", "kept")
                assert_all_can_be_extracted_again(wanted, what)
                shutil.rmtree("cache")
                os.rename("kept", "cache")


def assert_all_can_be_extracted_again(wanted: Rows, what: str) -> None:
    cache = open_cache()
    missing = cache.find(wanted.keys) < 0
    cache.add(Rows(wanted.keys[missing], wanted.copies[missing], wanted.vectors[missing]))
    cache.compact()
    cache = open_cache()
    assert np.array_equal(cache.read(cache.find(wanted.keys)), wanted.vectors), what
    assert not cache.warnings, what


def test_a_damaged_picture_index_gives_no_wrong_key(tmp_path):
    def entry(number: int) -> tuple[tuple[int, int, int, int], bytes]:
        return (number, 10**18 + number, 10**18, number), bytes([number]) * 32

    index = PictureIndex("cache", tmp_path)
    for number in range(40):
        index.enter(f"cat/{number}.png", *entry(number), 2 * 10**18)
    index.save(None)
    data = index.path.read_bytes()
    found = 0
    for what, damaged in mutations(data):
        index.path.write_bytes(damaged)
        with no_hang():
            again = PictureIndex("cache", tmp_path)
            for number in range(41):
                signature, key = entry(number)
                got = again.key(f"cat/{number}.png", signature)
                assert got is None or got == key, what
                found += got is not None
            again.enter("cat/new.png", *entry(7), 2 * 10**18)
            again.save(None)
            assert PictureIndex("cache", tmp_path).key("cat/new.png", entry(7)[0]) == entry(7)[1], what
    assert found < 40 * 100


class FakeBackbone:
    name = "tiny"
    fingerprint = FINGERPRINT
    description = DESCRIPTION


def test_a_damaged_export_is_made_again():
    exports = KeptExports(FakeBackbone(), "cache")
    details, content = {"height": 16, "layers": [["a", [1, 2]], ["b", []]]}, bytes(range(256)) * 4
    exports.keep("graph", details, [content])
    path = Path("cache/tiny-01234567/graph.export")
    data = path.read_bytes()
    line = data[: data.index(b"\n") + 1]
    damaged = [*mutations(data), *mutations(line, seed=1)]
    for what, document in json_mutations(json.loads(line)):
        damaged.append((what, json.dumps(document).encode() + b"\n" + content))
    for what, other in damaged:
        path.write_bytes(other)
        with no_hang():
            found = exports.find("graph"), exports.find_file("graph")
        for one in found:
            assert one is None or (one[0], bytes(one[1])) == (details, content), what
