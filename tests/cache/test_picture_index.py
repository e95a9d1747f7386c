import os
import time

import numpy as np

from retrain.cache.picture_index import PictureIndex
from retrain.data import signature_of

OLD = time.time_ns() - 10_000_000_000


def entry(path, content=b"x", age_ns=10_000_000_000):
    path.write_bytes(content)
    times = time.time_ns() - age_ns
    os.utime(path, ns=(times, times))
    size, mtime, _, inode = signature_of(path)
    return (size, mtime, mtime, inode)  # as if the change time were as old, which no call can set


def test_an_unchanged_file_keeps_its_key(tmp_path):
    signature = entry(tmp_path / "a")
    index = PictureIndex("cache", tmp_path)
    index.enter("a", signature, b"k" * 32, time.time_ns())
    index.save({"a": None})
    again = PictureIndex("cache", tmp_path)
    assert again.key("a", signature) == b"k" * 32
    assert again.key("b", signature) is None


def test_processes_that_save_one_after_the_other_keep_what_each_entered(tmp_path):
    signatures = {name: entry(tmp_path / name) for name in ("a", "b")}
    runs = {name: PictureIndex("cache", tmp_path) for name in signatures}
    for name, index in runs.items():
        index.enter(name, signatures[name], name.encode() * 32, time.time_ns())
    for index in runs.values():
        index.save(None)
    again = PictureIndex("cache", tmp_path)
    assert [again.key(name, signatures[name]) for name in signatures] == [b"a" * 32, b"b" * 32]


def test_any_change_of_the_signature_counts(tmp_path):
    signature = entry(tmp_path / "a")
    index = PictureIndex("cache", tmp_path)
    index.enter("a", signature, b"k" * 32, time.time_ns())
    index.save({"a": None})
    again = PictureIndex("cache", tmp_path)
    for place in range(4):
        changed = tuple(value + (i == place) for i, value in enumerate(signature))
        assert again.key("a", changed) is None


def test_a_file_that_was_changed_just_now_is_not_trusted(tmp_path):
    """A second change within the clock's grain could leave the same times."""
    (tmp_path / "a").write_bytes(b"x")
    signature = signature_of(tmp_path / "a")
    index = PictureIndex("cache", tmp_path)
    index.enter("a", signature, b"k" * 32, time.time_ns())
    index.save({"a": None})
    assert PictureIndex("cache", tmp_path).key("a", signature) is None


def test_two_files_of_one_size_and_time_that_change_places_are_told_apart(tmp_path):
    a, b = entry(tmp_path / "a", b"1"), entry(tmp_path / "b", b"2")
    index = PictureIndex("cache", tmp_path)
    index.enter("a", a, b"1" * 32, time.time_ns())
    index.enter("b", b, b"2" * 32, time.time_ns())
    index.save({"a": None, "b": None})
    os.rename(tmp_path / "a", tmp_path / "c")
    os.rename(tmp_path / "b", tmp_path / "a")
    assert PictureIndex("cache", tmp_path).key("a", signature_of(tmp_path / "a")) is None


def test_files_that_have_gone_are_forgotten(tmp_path):
    index = PictureIndex("cache", tmp_path)
    for name in "ab":
        index.enter(name, (1, OLD, OLD, 1), name.encode() * 32, time.time_ns())
    index.save({"b": None})
    again = PictureIndex("cache", tmp_path)
    assert again.key("a", (1, OLD, OLD, 1)) is None
    assert again.key("b", (1, OLD, OLD, 1)) == b"b" * 32


def test_names_that_are_no_utf8_are_kept(tmp_path):
    name = os.fsdecode(b"caf\xe9")
    index = PictureIndex("cache", tmp_path)
    index.enter(name, (1, OLD, OLD, 1), b"k" * 32, time.time_ns())
    index.save({name: None})
    assert PictureIndex("cache", tmp_path).key(name, (1, OLD, OLD, 1)) == b"k" * 32


def test_a_damaged_index_is_built_again(tmp_path):
    index = PictureIndex("cache", tmp_path)
    index.enter("a", (1, OLD, OLD, 1), b"k" * 32, time.time_ns())
    index.save({"a": None})
    content = index.path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(content)
        damaged[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
        index.path.write_bytes(damaged[: rng.integers(len(content) // 2, len(content) + 1)])
        assert PictureIndex("cache", tmp_path).key("a", (1, OLD, OLD, 1)) in (None, b"k" * 32)


def test_a_cache_that_cannot_be_written_does_no_harm(tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file, not a folder")
    index = PictureIndex("cache", tmp_path)
    index.enter("a", (1, OLD, OLD, 1), b"k" * 32, time.time_ns())
    index.save({"a": None})
    assert (tmp_path / "cache").read_text() == "a file, not a folder"


def test_a_file_that_changed_just_before_it_was_read_stays_distrusted_however_long_it_waits():
    index = PictureIndex("cache", ".")
    index.enter("a", (1, OLD, OLD, 1), b"k" * 32, OLD + 1)
    index.save({"a": None})
    assert PictureIndex("cache", ".").key("a", (1, OLD, OLD, 1)) is None


def test_times_and_inodes_beyond_63_bits_do_no_harm(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"x")
    real = os.stat

    class Odd:
        st_size, st_mtime_ns, st_ctime_ns, st_ino = 1, 2**64 + 5, OLD, 2**64 - 1

    monkeypatch.setattr(os, "stat", lambda path, **options: Odd() if str(path).endswith("a") else real(path, **options))
    signature = signature_of(tmp_path / "a")
    monkeypatch.undo()
    index = PictureIndex(tmp_path / "cache", tmp_path)
    index.enter("a", signature, b"k" * 32, time.time_ns())
    index.save({"a": None})
    assert PictureIndex(tmp_path / "cache", tmp_path).key("a", signature) == b"k" * 32
