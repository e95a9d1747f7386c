"""Rows on their way to the cache: collected, and written in the background."""

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from retrain.cache.claims import Claims
from retrain.cache.segments import Rows
from retrain.cache.store import SEGMENT_ROWS, BottleneckCache

__all__ = ["SegmentWriter"]

FLUSH_SECONDS = 30.0  # a segment is written at least this often
_MOST_BYTES = 128 * 2**20  # of vectors in a segment; two are held in memory, and copied while they are written


@dataclass
class _Batch:
    """Rows for one segment."""

    parts: list[Rows] = field(default_factory=list)
    under_way: bytes | None = None  # the key of a picture of which more rows follow
    count: int = 0
    nbytes: int = 0  # of vectors
    is_written: bool = False


class SegmentWriter:
    """Collects rows; when there are enough, or after some time, a thread writes them as a segment.

    Args:
        cache: where they go.
        claims: given up once the rows are written.
        lock: held by that thread while the cache's list of segments changes, not while bytes go to the disk. Callers
            of the writer must not hold it.
    """

    def __init__(self, cache: BottleneckCache, claims: Claims, lock: threading.Lock) -> None:
        self._cache, self._claims, self._lock = cache, claims, lock
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="write")
        self._pool.submit(int)  # starts the thread; an interruption of that would leave one that nobody waits for
        self._writing: list[Future[None]] = []  # two at most, so that memory stays bounded
        self._batch = _Batch()
        self._last = time.monotonic()

    def append(self, rows: Rows, under_way: bytes | None = None) -> None:
        """Collect rows. Raises CacheError if earlier ones could not be written.

        Args:
            under_way: the key of a picture of which more rows follow; its claim is kept until then.
        """
        batch = self._batch
        batch.parts.append(rows)
        batch.under_way = under_way
        batch.count += len(rows.keys)
        batch.nbytes += rows.vectors.nbytes
        is_late = time.monotonic() - self._last > FLUSH_SECONDS
        if batch.count >= SEGMENT_ROWS or batch.nbytes > _MOST_BYTES or is_late:
            self._begin()

    def flush(self) -> None:
        """Write what was collected, and wait until all of it is on the disk. Raises CacheError."""
        self._begin()
        self._wait(0)

    def hand_over(self) -> list[Future[None]]:
        """Have all rows so far written; whoever waits for what is returned knows them on the disk, or why they aren't.

        Raises CacheError if earlier ones could not be written.
        """
        self._begin()
        return [*self._writing]

    def close(self) -> None:
        """Flush, and end the thread; an interruption is let through when all is on the disk. Raises CacheError."""
        try:
            self.flush()
        finally:
            self._pool.shutdown(wait=True)

    def _begin(self) -> None:
        if self._batch.parts:  # handed over before any waiting, or an interruption would lose them
            self._writing.append(self._pool.submit(self._write, self._batch))
        self._batch, self._last = _Batch(), time.monotonic()
        self._wait(1)

    def _wait(self, left: int) -> None:
        while len(self._writing) > left:
            self._writing[0].result()
            del self._writing[0]

    def _write(self, batch: _Batch) -> None:
        if batch.is_written:  # handed over twice, as an interruption came in between
            return
        parts = batch.parts
        keys = np.concatenate([part.keys for part in parts])
        copies = np.concatenate([part.copies for part in parts])
        self._cache.write(Rows(keys, copies, np.concatenate([part.vectors for part in parts])))
        batch.is_written = True
        with self._lock:
            self._cache.take_in()
            self._claims.release(key for key in {key.tobytes() for key in keys} if key != batch.under_way)
