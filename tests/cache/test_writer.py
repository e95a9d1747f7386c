"""Rows are written behind the work, and nothing that goes wrong there is lost."""

import threading
from pathlib import Path

import numpy as np
import pytest

from retrain.cache import writer as segment_writer
from retrain.cache.claims import Claims
from retrain.cache.segments import Rows
from retrain.cache.store import BottleneckCache
from retrain.cache.writer import SegmentWriter
from retrain.errors import CacheError


def rows(first: int, count: int) -> Rows:
    keys = np.zeros((count, 32), np.uint8)
    keys[:, 0] = np.arange(first, first + count)
    return Rows(keys, np.zeros(count, np.uint32), np.full((count, 4), first, np.float32))


def open_cache() -> BottleneckCache:
    return BottleneckCache("cache", "tiny", "ab" * 32, {})


class SlowCache(BottleneckCache):
    """Writes when it is let."""

    def __init__(self) -> None:
        super().__init__("cache", "tiny", "ab" * 32, {})
        self.let, self.begun = threading.Event(), threading.Event()

    def write(self, rows: Rows) -> None:
        self.begun.set()
        assert self.let.wait(10)
        super().write(rows)


def test_work_goes_on_while_a_segment_is_written(monkeypatch):
    monkeypatch.setattr(segment_writer, "SEGMENT_ROWS", 4)
    cache, lock = SlowCache(), threading.Lock()
    writer = SegmentWriter(cache, Claims(cache.folder), lock)
    writer.append(rows(0, 4))
    assert cache.begun.wait(10)
    writer.append(rows(4, 3))  # comes back although nothing is written yet, and the lock is free
    assert lock.acquire(timeout=10)
    lock.release()
    assert len(open_cache()) == 0
    cache.let.set()
    writer.close()
    assert len(open_cache()) == 7


def test_a_write_that_fails_is_reported_and_ends_the_run(monkeypatch):
    monkeypatch.setattr(segment_writer, "SEGMENT_ROWS", 4)
    cache = open_cache()
    writer = SegmentWriter(cache, Claims(cache.folder), threading.Lock())
    writer.append(rows(0, 4))
    writer.flush()

    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("retrain.cache.store.write_whole", full)
    writer.append(rows(4, 4))
    with pytest.raises(CacheError, match="no space left"):
        for first in range(8, 80, 4):
            writer.append(rows(first, 4))
    with pytest.raises(CacheError, match="no space left"):
        writer.close()
    assert len(open_cache()) == 4


def test_rows_that_an_interruption_finds_handed_over_are_written_once(monkeypatch):
    cache = open_cache()
    writer = SegmentWriter(cache, Claims(cache.folder), threading.Lock())
    submit = writer._pool.submit

    def interrupted(*given):
        submit(*given)
        raise KeyboardInterrupt

    writer.append(rows(0, 4))
    with monkeypatch.context() as patch:
        patch.setattr(writer._pool, "submit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            writer.flush()
    writer.close()
    assert len(open_cache()) == 4
