"""Random batches: which pictures are in them, and their bottlenecks."""

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrain.cache import LabelledBottlenecks, Vectors, VectorSource, new_vectors
from retrain.training.random_streams import Stream, random_words

__all__ = ["Batch", "Draws", "Members", "RowCopier", "members_of", "read_batches"]

_WORDS_AT_ONCE = 2**15  # of random numbers: 256 KB, which stay in the processor's cache
_BYTES_AT_ONCE = 24 * 2**20  # of vectors to read from files at once


class Members(NamedTuple):
    """The pictures of a set, grouped by class."""

    pictures: NDArray[np.int64]  # (n,) numbers of pictures, one class after the other
    starts: NDArray[np.uint64]  # (c,) where each class's pictures start; only classes that have any
    counts: NDArray[np.uint64]  # (c,) how many pictures each of these classes has


def members_of(chosen: NDArray[np.int64], labels: NDArray[np.int32]) -> Members:
    """Group chosen pictures by class, so that batches can be drawn from them.

    Args:
        chosen: (m,) numbers of pictures, m >= 1.
        labels: (n,) of all pictures. A class without a chosen picture is never drawn.
    """
    own = labels[chosen]
    counts = np.bincount(own)
    counts = counts[counts > 0]
    starts = np.cumsum(counts) - counts
    return Members(chosen[np.argsort(own, kind="stable")], starts.astype(np.uint64), counts.astype(np.uint64))


@dataclass(frozen=True)
class Draws:
    """The pictures in the batch of every step, drawn with replacement.

    Balanced draws take a class uniformly, then one of its pictures uniformly. Others take any picture uniformly.
    """

    members: Members
    batch_size: int
    seed: int
    stream: Stream
    is_balanced: bool = True

    def pictures(self, steps: range) -> NDArray[np.int64]:
        """Return (steps, batch_size) numbers of pictures. Those of a step depend on nothing but its number."""
        words = random_words(self.seed, self.stream, steps, self.batch_size)
        low = words & np.uint64(2**32 - 1)
        places = _below(low, np.uint64(len(self.members.pictures)))
        if self.is_balanced:
            classes = _below(words >> np.uint64(32), np.uint64(len(self.members.counts)))
            places = self.members.starts[classes] + _below(low, self.members.counts[classes])
        pictures: NDArray[np.int64] = self.members.pictures[places]
        return pictures


def _below(random: NDArray[np.uint64], limit: NDArray[np.uint64] | np.uint64) -> NDArray[np.uint64]:
    """Map random 32-bit integers to [0, limit), uniformly to within limit / 2**32 (Lemire's multiply-shift)."""
    places: NDArray[np.uint64] = (random * limit) >> np.uint64(32)
    return places


class Batch(NamedTuple):
    """The pictures that a step trains on."""

    vectors: Vectors  # (n, d); valid until the next batch is asked for
    labels: NDArray[np.int32]  # (n,)
    weights: NDArray[np.float32] | None = None  # (n,) how much each counts; None: all the same


def read_batches(data: LabelledBottlenecks, draws: Draws, steps: range) -> Generator[Batch, None, None]:
    """Yield the batch of each step. Vectors in files are read ahead on a thread, which ends with the generator."""
    if isinstance(data.vectors, np.ndarray):
        return _from_memory(data.vectors, data, draws, steps)
    return _from_files(data.vectors, data, draws, steps)


def _from_memory(
    vectors: Vectors, data: LabelledBottlenecks, draws: Draws, steps: range
) -> Generator[Batch, None, None]:
    """Copy each batch when it is wanted.

    A thread that copies ahead is no faster: a batch copied by the same core is still in its cache when it is used.
    """
    copy = RowCopier(vectors, draws.batch_size)
    for some in _parts(steps, _WORDS_AT_ONCE // draws.batch_size):
        drawn = draws.pictures(some)
        for pictures, own in zip(drawn, data.labels[drawn], strict=True):
            yield Batch(copy(pictures), own, data.weights_of(pictures))


def _from_files(
    vectors: VectorSource, data: LabelledBottlenecks, draws: Draws, steps: range
) -> Generator[Batch, None, None]:
    size = draws.batch_size

    def read(some: range) -> list[Batch]:
        drawn = draws.pictures(some)
        together = vectors[drawn.reshape(-1)]
        return [
            Batch(together[start : start + size], data.labels[pictures], data.weights_of(pictures))
            for start, pictures in zip(range(0, len(together), size), drawn, strict=True)
        ]

    reader = ThreadPoolExecutor(1)
    try:
        coming: deque[Future[list[Batch]]] = deque()
        for some in _parts(steps, _BYTES_AT_ONCE // (size * vectors[:1].nbytes)):
            coming.append(reader.submit(read, some))
            if len(coming) > 1:
                yield from coming.popleft().result()
        if coming:
            yield from coming.popleft().result()
    finally:
        reader.shutdown(cancel_futures=True)


def _parts(steps: range, most: int) -> Iterator[range]:
    """Yield the steps in parts of at most so many, and at least one."""
    for start in range(steps.start, steps.stop, max(1, most)):
        yield range(start, min(start + max(1, most), steps.stop))


class RowCopier:
    """Copies rows of an array into a room that is used again.

    Args:
        vectors: (n, d).
        most: rows at once.
    """

    def __init__(self, vectors: Vectors, most: int) -> None:
        self._vectors = vectors
        self._room = new_vectors(most, vectors.shape[1], vectors.dtype)

    def __call__(self, numbers: NDArray[np.int64]) -> Vectors:
        """Return (m, d) the rows of (m,) numbers in [0, n); valid until the next call."""
        room = self._room if len(numbers) == len(self._room) else self._room[: len(numbers)]
        # "clip" writes straight into the room; "raise", the default, would copy once more
        return self._vectors.take(numbers, axis=0, out=room, mode="clip")
