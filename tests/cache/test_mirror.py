"""A cache on a server, which is a file system in memory here."""

import errno
import os
import time

import numpy as np
import pytest

from retrain.cache import AppendedCache, BottleneckCache, Rows, local_cache_dir
from retrain.data import remote_files
from retrain.errors import CacheError

fsspec = pytest.importorskip("fsspec", reason="pip install 'retrain[remote]'")


@pytest.fixture
def server(monkeypatch):
    """The files on the server, by path."""
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    monkeypatch.setattr(remote_files, "_PAUSE_SECONDS", 0.0)
    return memory


@pytest.fixture
def on(monkeypatch, tmp_path):
    """Opens the cache on one of several machines."""

    def open_cache(machine, kind=BottleneckCache):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / machine))
        return kind(local_cache_dir("memory://bucket/cache"), "counting", "c0" * 32, {"a": 1})

    return open_cache


def some(start, count=3):
    """Rows with keys of their own."""
    keys = np.arange(start, start + count, dtype=np.uint32).repeat(8).view(np.uint8).reshape(count, 32)
    return Rows(keys, np.zeros(count, np.uint32), np.arange(count * 4, dtype=np.float32).reshape(count, 4) + start)


def segments(server):
    return sorted(os.path.basename(path) for path in server.find("/bucket/cache") if "segment-" in path)


def test_what_one_machine_writes_all_machines_have(server, on):
    one = on("one")
    one.add(some(0))
    two = on("two")
    assert np.array_equal(two.read(two.find(some(0).keys)), some(0).vectors)
    two.add(some(10))
    assert len(segments(server)) == 2
    assert len(one) == 3
    one.fetch()
    assert (one.find(some(10).keys) >= 0).all()
    assert one.url == "memory://bucket/cache"
    assert any(path.endswith("extractor.json") for path in server.find("/bucket/cache"))


def test_what_one_machine_merges_the_others_lose_and_find_again(server, on):
    one = on("one")
    for start in range(0, 40, 10):
        one.add(some(start))
    two = on("two")
    assert len(two.segment_paths()) == 4
    one.compact()
    assert len(segments(server)) == 1
    old = time.time() - 60
    for path in two.segment_paths():
        os.utime(path, (old, old))
    two.fetch()
    assert len(two.segment_paths()) == 1
    assert (two.find(np.concatenate([some(start).keys for start in range(0, 40, 10)])) >= 0).all()


def test_a_segment_that_cannot_be_sent_is_not_kept_here_either(server, on, monkeypatch):
    cache = on("one")
    cache.add(some(0))
    monkeypatch.setattr(type(server), "pipe_file", refuse)
    with pytest.raises(CacheError, match=r"can't write the bottleneck cache memory://bucket/cache/counting-c0c0c0c0: "):
        cache.add(some(10))
    assert len(cache.segment_paths()) == len(segments(server)) == 1


def refuse(*_, **__):
    raise PermissionError(errno.EACCES, "Access denied")


def test_a_server_that_cannot_be_asked_is_told(server, on, monkeypatch):
    on("one").add(some(0))
    monkeypatch.setattr(type(server), "find", refuse)
    with pytest.raises(CacheError, match=r"can't read the bottleneck cache memory://.*: Access denied; what is cached"):
        on("two")


def test_a_damaged_segment_is_set_aside_on_the_server_too(server, on):
    one = on("one")
    one.add(some(0))
    [name] = segments(server)
    path = f"/bucket/cache/{one.folder.name}/{name}"
    server.pipe_file(path, server.cat_file(path)[:200])
    two = on("two")
    assert "damaged segment" in two.warnings[0]
    two.add(some(10))
    assert f"{name}.corrupt" in segments(server)
    three = on("three")
    assert not three.warnings
    assert (three.find(some(10).keys) >= 0).all()


def test_a_server_where_files_grow_gets_them_under_another_name_first(tmp_path, monkeypatch):
    """As file:// and sftp:// are."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "here"))
    url = f"file://{tmp_path}/there"
    cache = BottleneckCache(local_cache_dir(url), "counting", "c0" * 32, {})
    cache.add(some(0))
    found = sorted(path.name for path in (tmp_path / "there" / "counting-c0c0c0c0").iterdir())
    assert found == ["extractor.json", cache.segment_paths()[0].name]


def test_a_cache_in_a_folder_is_what_it_was():
    assert local_cache_dir("cache") == "cache"
    with pytest.raises(CacheError, match=r"--cache-dir s3://b/c is a URL, which this command can't use: give a folder"):
        BottleneckCache("s3://b/c", "counting", "c0" * 32, {})


def test_what_a_cache_holds_is_what_is_sound(server, on):
    one = on("one")
    assert len(one.held()) == 0
    one.add(some(0))
    one.add(some(10))
    [path] = [segment.path for segment in one.segments if (segment.keys == some(0).keys).all()]
    content = bytearray(path.read_bytes())
    place = content.index(some(0).vectors[1].tobytes())
    content[place] ^= 1
    path.write_bytes(content)
    again = on("one")
    expected = sorted(key.tobytes() for key in np.concatenate([some(0).keys[[0, 2]], some(10).keys]))
    assert [key.ljust(36, b"\0") for key in again.held().tolist()] == [key + bytes(4) for key in expected]
    assert "1 damaged row" in again.warnings[0]


def test_who_only_appends_fetches_nothing_and_keeps_nothing_that_was_removed(server, on):
    one = on("one")
    for start in range(0, 40, 10):
        one.add(some(start))
    worker = on("two", AppendedCache)
    assert (len(worker), worker.segment_paths()) == (0, [])
    worker.elsewhere = one.held()
    keys = np.concatenate([some(start).keys for start in (50, 30, 0, 60, 10)])
    assert worker.has(keys, np.zeros(15, np.uint32)).tolist() == [False] * 3 + [True] * 6 + [False] * 3 + [True] * 3
    assert not worker.has(keys, np.ones(15, np.uint32)).any()
    worker.add(some(50))
    assert worker.has(keys[:3], np.zeros(3, np.uint32)).all()
    assert len(segments(server)) == 5
    one.fetch()
    assert (one.find(some(50).keys) >= 0).all()
    one.compact()
    old = time.time() - 60
    for path in worker.segment_paths():
        os.utime(path, (old, old))
    assert len(on("two", AppendedCache)) == 0
