"""Killed, crowded, out of space: what the cache promises, tried on processes of their own."""

import contextlib
import errno
import json
import multiprocessing
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from support import extraction as extraction_support
from support.extraction import CountingBackbone, run
from support.onnx_networks import save_network
from support.pictures import draw_picture

from retrain.cache import claims
from retrain.cache import maintenance as cache_maintenance
from retrain.cache import writer as segment_writer
from retrain.cli import main as cli
from retrain.errors import CacheError
from retrain.extraction.pass_one import open_cache
from retrain.options import ExtractionOptions

# of processes, at random moments; with RETRAIN_SLOW=1 in the environment there are 500 of one and 500 of one among four
KILLS, TRAINING_KILLS = (500, 20) if os.environ.get("RETRAIN_SLOW") == "1" else (50, 2)


def start(target, *args):
    """A process that has what it needs imported: from a server that never ran a thread."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=target, args=(sending, os.getcwd(), *args))
    with pytest.MonkeyPatch.context() as patch:
        # Where the server finds it. Before Python 3.13 it is not told of sys.path, and then imports nothing, silently.
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        process.start()
    sending.close()
    return process, receiving


def extract(pipe, folder, root, pause):
    """Extract slowly, in many small segments; say when it begins and what was done."""
    os.chdir(folder)
    segment_writer.SEGMENT_ROWS, extraction_support.CountingBackbone.batch_size = 16, 4

    class Slow(CountingBackbone):
        def bottlenecks(self, pixels):
            time.sleep(pause)
            return super().bottlenecks(pixels)

    extraction_support.CountingBackbone = Slow
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


def compact(pipe, folder):
    """Merge what others write, again and again."""
    os.chdir(folder)
    pipe.send("begun")
    while True:
        with contextlib.suppress(CacheError):  # nothing there yet, or another one is at it
            open_cache(CountingBackbone(), ExtractionOptions()).compact()
        time.sleep(0.005)


class Crowd:
    """Processes that extract one folder into one cache, or compact it, to be killed."""

    def __init__(self, root, size, rng):
        self.root, self.size, self.rng, self.running = root, size, rng, []

    def fill(self):
        """Start as many as are missing; the first extracts."""
        while len(self.running) < self.size:
            extracts = not self.running or self.rng.random() < 0.7
            process, pipe = start(extract, self.root, 0.002) if extracts else start(compact)
            assert pipe.recv() == "begun"
            self.running.append((process, pipe))

    def kill(self, number):
        process, _ = self.running.pop(number)
        process.kill()
        process.join()


@pytest.mark.slow
@pytest.mark.timeout(7200)  # with RETRAIN_SLOW=1, on a busy machine
@pytest.mark.parametrize("size", [1, 4])
def test_killed_at_any_moment_they_lose_nothing_that_was_written(make_folder, size):
    root = make_folder({"cat": 120, "dog": 120})
    whole, _, expected = run(root, cache_dir="untouched")
    rng = np.random.default_rng(size)
    crowd, kills = Crowd(root, size, rng), 0
    while kills < KILLS:
        shutil.rmtree("cache", ignore_errors=True)
        there, longest = np.zeros(240, bool), 0.12
        while not there.all() and kills < KILLS:
            crowd.fill()
            time.sleep(rng.uniform(0, longest))
            crowd.kill(int(rng.integers(size)))
            kills += 1
            cache = open_cache(CountingBackbone(), ExtractionOptions())
            rows = cache.find(whole.keys)
            found = rows >= 0
            assert (found >= there).all()  # what was written stays
            if found.any():
                assert np.array_equal(cache.read(rows[found]), expected[found])
            assert not cache.warnings
            longest = (
                0.12 if found.sum() > there.sum() else 2 * longest
            )  # on a busy machine nothing is written that soon
            there = found
        while crowd.running:
            crowd.kill(0)
        result, backbone, vectors = run(root)
        assert result.cached >= there.sum()
        assert backbone.count + result.cached == 240
        assert np.array_equal(vectors, expected)
        for path in leftovers():
            assert path.suffix == ".tmp"
            os.utime(path, (0, 0))
        open_cache(CountingBackbone(), ExtractionOptions()).compact()
        assert leftovers() == []
        assert not list(Path("cache").glob("*/*.corrupt"))


@pytest.mark.slow
def test_a_training_that_is_killed_leaves_a_sound_cache(make_folder):
    """When it has written its first rows, and at random moments; a network of ONNX starts soonest."""
    root = make_folder({"cat": 60, "dog": 60})
    options = ["train", str(root), "--backbone", str(save_network("network.onnx")), "--steps", "20", "--quiet"]
    command = [sys.executable, "-m", "retrain", *options]
    rng, written = np.random.default_rng(0), 0
    for number in range(TRAINING_KILLS):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if number == 0:
            while process.poll() is None and not [*Path(".").glob("cache/*/segment-*.h5")]:
                time.sleep(0.002)
            assert process.poll() is None
        else:
            with contextlib.suppress(subprocess.TimeoutExpired):  # it may have ended
                process.wait(rng.uniform(0.1, 4))
        process.kill()
        process.wait()
        caches = cache_maintenance.extractors("cache") if Path("cache").is_dir() else []
        reports = [cache_maintenance.verify(cache) for cache in caches]
        assert all(report.sound == report.rows and not report.damage for report in reports)
        assert sum(report.rows for report in reports) >= written
        written = sum(report.rows for report in reports)
        assert written > 0
    assert cli.main(options) == 0
    assert sum(cache_maintenance.verify(cache).rows for cache in cache_maintenance.extractors("cache")) == 120


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


@pytest.mark.parametrize("command", ["compact", "prune", "import", "verify --recover"])
def test_on_a_full_disk_no_command_loses_a_row_or_claims_success(command, make_folder, small_disk, capsys):
    place = str(small_disk / "cache")
    root = make_folder({"cat": 4, "dog": 4})
    for number in range(3):
        run(make_folder({"cat": 2 + number, "dog": 2 + number}, f"part{number}"), cache_dir=place)
    [folder] = (small_disk / "cache").glob("counting-*")
    before = {path.name: path.read_bytes() for path in folder.glob("segment-*")}
    assert len(before) == 3
    if command == "verify --recover":
        note = folder / "extractor.json"
        note.write_text(note.read_text().replace("c0c0c0c0c0", "c0c0c0c0d0", 1))
    for path in root.glob("*/*_000.png"):
        text = Path("texts", path.parent.name, f"{path.name}_inception_v3.txt")
        text.parent.mkdir(parents=True, exist_ok=True)
        text.write_text("1,2,3,4")
        path.unlink()
    with contextlib.suppress(OSError), open(small_disk / "filler", "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    words = {"prune": ["--keep", str(root), "--yes"], "import": ["texts", "--image-dir", "part0"]}.get(command, [])
    code = cli.main(["cache", *command.split(), "--cache-dir", place, *words])
    printed = capsys.readouterr()
    assert (code, printed.err.count("\n")) == (1, 1)
    assert "no space left for the bottleneck cache" in printed.err
    assert " became " not in printed.out
    assert "dropped" not in printed.out
    assert {path.name: path.read_bytes() for path in folder.glob("segment-*")} == before
    (small_disk / "filler").unlink()
    assert cli.main(["cache", *command.split(), "--cache-dir", place, *words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)


def test_a_complete_read_only_cache_can_be_used(make_folder, small_disk):
    root = make_folder({"cat": 10, "dog": 10})
    _, _, expected = run(root, cache_dir=str(small_disk / "cache"))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    (root / "cat").rename(root / "tac")
    _, backbone, vectors = run(root, cache_dir=str(small_disk / "cache"))
    assert backbone.count == 0
    assert sorted(map(tuple, vectors)) == sorted(map(tuple, expected))
    draw_picture(777, 1).save(root / "tac" / "new.png")
    with pytest.raises(CacheError, match=r"can't write the bottleneck cache in .*Read-only file system"):
        run(root, cache_dir=str(small_disk / "cache"))
