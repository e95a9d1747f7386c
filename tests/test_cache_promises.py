"""Killed, crowded, out of space: what the cache promises, tried on processes of their own."""

import errno
import multiprocessing
import os
import resource
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import test_extraction
from test_extraction import CountingBackbone, run

from retrain import claims, segment_writer
from retrain.config import ExtractionOptions
from retrain.errors import CacheError
from retrain.extraction import open_cache


def start(target, *args):
    """A process that has what it needs imported: from a server that never ran a thread."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["test_extraction"])
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=target, args=(sending, os.getcwd(), *args))
    process.start()
    sending.close()
    return process, receiving


def extract(pipe, folder, root, pause):
    """Extract slowly, in many small segments; say when it begins and what was done."""
    os.chdir(folder)
    segment_writer.SEGMENT_ROWS, test_extraction.CountingBackbone.batch_size = 16, 4

    class Slow(CountingBackbone):
        def bottlenecks(self, pixels):
            time.sleep(pause)
            return super().bottlenecks(pixels)

    test_extraction.CountingBackbone = Slow
    pipe.send("begun")
    try:
        result, backbone, _ = run(root)
        pipe.send((backbone.count, result.cached))
    except CacheError as error:
        pipe.send(str(error))


def leftovers():
    """Files in the cache that are neither whole segments nor the owner's note."""
    [folder] = Path("cache").glob("counting-*")
    known = ("segment-", "extractor.json", ".claims")
    return [path for path in folder.iterdir() if not path.name.startswith(known)]


def test_killed_a_hundred_times_it_goes_on_from_what_was_written(make_folder):
    root = make_folder({"cat": 120, "dog": 120})
    whole, _, expected = run(root, cache_dir="untouched")
    rng = np.random.default_rng(5)
    kept = []
    for _ in range(10):
        shutil.rmtree("cache", ignore_errors=True)
        written, longest = 0, 0.12
        for _ in range(10):
            process, pipe = start(extract, root, 0.002)
            assert pipe.recv() == "begun"
            time.sleep(rng.uniform(0, longest))
            process.kill()
            process.join()
            cache = open_cache(CountingBackbone(), ExtractionOptions())
            there = int((cache.find(whole.keys) >= 0).sum())
            assert there >= written  # what was written stays
            assert not cache.warnings
            longest = 0.12 if there > written else 2 * longest  # on a busy machine nothing is written that soon
            written = there
        for path in leftovers():
            assert path.suffix == ".tmp"
            os.utime(path, (0, 0))
        result, backbone, vectors = run(root)
        assert backbone.count + result.cached == 240
        assert result.cached == written
        kept.append(written)
        assert np.array_equal(vectors, expected)
        open_cache(CountingBackbone(), ExtractionOptions()).compact()
        assert leftovers() == []
    assert sum(kept) > 100  # there was work to lose


def test_four_at_once_lose_nothing_and_share_the_work(make_folder):
    root = make_folder({"cat": 120, "dog": 120})
    _, _, expected = run(root, cache_dir="untouched")
    workers = [start(extract, root, 0.02) for _ in range(4)]
    for _, pipe in workers:
        assert pipe.recv() == "begun"
    counts = [pipe.recv() for _, pipe in workers]
    for process, _ in workers:
        process.join()
        assert process.exitcode == 0
    extracted = [count for count, _ in counts]
    assert all(count + cached == 240 for count, cached in counts)
    assert 240 <= sum(extracted) <= 260
    assert sum(count > 0 for count in extracted) >= 3
    _, backbone, vectors = run(root)
    assert backbone.count == 0
    assert np.array_equal(vectors, expected)


def test_what_a_killed_process_had_claimed_is_free(make_folder):
    root = make_folder({"cat": 30, "dog": 30})
    process, pipe = start(extract, root, 5.0)
    assert pipe.recv() == "begun"
    time.sleep(0.3)
    process.kill()
    process.join()
    _, backbone, _ = run(root)
    assert backbone.count == 60


def test_a_claim_holds_until_it_is_released_or_its_process_ends(tmp_path):
    mine = claims.Claims(tmp_path)
    key = bytes(range(32))
    assert mine.take(key)
    assert mine.take(key)  # one's own is no hindrance
    process, pipe = start(ask, tmp_path, key)
    assert pipe.recv() is False
    process.join()
    mine.release([key])
    process, pipe = start(ask, tmp_path, key)
    assert pipe.recv() is True
    process.join()
    mine.close()


def ask(pipe, folder, place, key):
    pipe.send(claims.Claims(place).take(key))


def test_where_locks_do_not_work_every_picture_is_free(tmp_path, monkeypatch):
    def refuse(*args):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(claims.fcntl, "lockf", refuse)
    assert claims.Claims(tmp_path).take(bytes(32))
    (tmp_path / "file").write_text("")
    assert claims.Claims(tmp_path / "file").take(bytes(32))


def extract_with_little_space(pipe, folder, root, limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    extract(pipe, folder, root, 0)


def test_a_limit_on_file_size_is_a_clear_error_and_what_was_there_stays(make_folder):
    small = make_folder({"cat": 3, "dog": 3}, "small")
    run(small)
    root = make_folder({"cat": 60, "owl": 60}, "large")
    process, pipe = start(extract_with_little_space, root, 1500)
    assert pipe.recv() == "begun"
    message = pipe.recv()
    process.join()
    assert "no space left for the bottleneck cache in cache/counting-c0c0c0c0" in message
    assert "make room and run the same command again" in message
    assert leftovers() == []
    _, backbone, _ = run(small)
    assert backbone.count == 0


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_is_a_clear_error_and_what_was_there_stays(make_folder, small_disk):
    root = make_folder({"cat": 10, "dog": 10})
    run(root, cache_dir=str(small_disk / "cache"))
    more = make_folder({"cat": 10, "dog": 1000}, "more")
    with pytest.raises(CacheError, match="no space left for the bottleneck cache"):
        run(more, cache_dir=str(small_disk / "cache"))
    [folder] = (small_disk / "cache").glob("counting-*")
    assert not list(folder.glob(".*.tmp"))
    _, backbone, _ = run(root, cache_dir=str(small_disk / "cache"))
    assert backbone.count == 0


def test_a_complete_read_only_cache_can_be_used(make_folder, small_disk):
    root = make_folder({"cat": 10, "dog": 10})
    _, _, expected = run(root, cache_dir=str(small_disk / "cache"))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    (root / "cat").rename(root / "tac")
    _, backbone, vectors = run(root, cache_dir=str(small_disk / "cache"))
    assert backbone.count == 0
    assert sorted(map(tuple, vectors)) == sorted(map(tuple, expected))
    test_extraction.draw_picture(777, 1).save(root / "tac" / "new.png")
    with pytest.raises(CacheError, match=r"can't write the bottleneck cache in .*Read-only file system"):
        run(root, cache_dir=str(small_disk / "cache"))
