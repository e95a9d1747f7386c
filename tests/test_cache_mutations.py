"""Damage of every kind to each file of the cache: what comes of it is right, made again, or one line."""

import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from mutations import json_mutations, mutations, no_hang

from retrain import cli, kept_exports
from retrain.bottleneck_cache import BottleneckCache
from retrain.errors import CacheError
from retrain.kept_exports import KeptExports
from retrain.picture_index import PictureIndex
from retrain.segments import Rows

DESCRIPTION = {"weights": "w" * 64, "size": [16, 16], "precision": "float32"}
FINGERPRINT = "0123456789abcdef" * 4


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


def notes():
    """The note of the cache, damaged as a file and as a document."""
    data = Path("cache/tiny-01234567/extractor.json").read_bytes()
    yield from mutations(data)
    for what, document in json_mutations(json.loads(data)):
        yield what, json.dumps(document).encode()


def test_no_damaged_note_costs_a_row(capsys):
    wanted = fill()
    folder = open_cache().folder
    sound = {path.name: path.read_bytes() for path in folder.iterdir()}
    refused = 0
    for what, damaged in notes():
        (folder / "extractor.json").write_bytes(damaged)
        with no_hang():
            for look in ("info", "verify"):
                code = cli.main(["cache", look])
                printed = capsys.readouterr()
                lines = printed.err.splitlines()
                assert len(lines) == (code == 1 and not printed.out), what
                assert bool(lines) or "18 " in printed.out, what
            left = {path.name: path.read_bytes() for path in folder.iterdir()}
            assert left == sound | {"extractor.json": damaged}, what
            try:
                cache = open_cache()
                assert np.array_equal(cache.read(cache.find(wanted.keys)), wanted.vectors), what
                cache.prepare()
                note = json.loads((folder / "extractor.json").read_bytes())
                assert note["fingerprint"] == FINGERPRINT, what
                assert {key: note[key] for key in DESCRIPTION} == DESCRIPTION, what
            except CacheError as error:
                assert "this program knows up to 1" in str(error), what
                refused += 1
        assert sorted(path.name for path in folder.iterdir()) == sorted(sound), what
    assert refused < 0.1 * sum(1 for _ in notes())


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_no_damaged_segment_gives_a_wrong_row_or_takes_others_along(dtype, capsys):
    wanted = fill(dtype)
    folder = open_cache().folder
    victim = sorted(folder.glob("segment-*.h5"))[1]
    data = victim.read_bytes()
    its = {key.tobytes() for key in BottleneckCache("cache", "tiny", FINGERPRINT, {}).segments[1].keys}
    others = np.array([key.tobytes() not in its for key in wanted.keys])
    for number, (what, damaged) in enumerate(mutations(data)):
        victim.write_bytes(damaged)
        with no_hang():
            try:
                cache = open_cache()
                found = cache.find(wanted.keys)
            except CacheError as error:
                assert "of format" in str(error), what
                continue
            assert np.array_equal(cache.read(found[found >= 0]), wanted.vectors[found >= 0]), what
            assert (found[others] >= 0).all(), what
            assert (found >= 0).all() or victim.name in " ".join(cache.warnings), what
            assert victim.read_bytes() == damaged
            if number % 20 == 0:
                assert_all_can_be_extracted_again(cache, wanted, what)
                for path in folder.glob("segment-*"):
                    path.unlink()
                fill(dtype)
                victim.unlink(missing_ok=True)
                sorted(folder.glob("segment-*.h5"))
    del capsys


def assert_all_can_be_extracted_again(cache: BottleneckCache, wanted: Rows, what: str) -> None:
    missing = cache.find(wanted.keys) < 0
    cache.add(Rows(wanted.keys[missing], wanted.copies[missing], wanted.vectors[missing]))
    cache.compact()
    cache = open_cache()
    assert np.array_equal(cache.read(cache.find(wanted.keys)), wanted.vectors), what
    assert not cache.warnings, what
