"""Random batches of bottlenecks. The graph itself draws the pictures of a batch."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrain._tensorflow import tf
from retrain.cache.segments import ALIGNMENT, Vectors
from retrain.cache.vectors import LabelledBottlenecks

__all__ = ["Feed", "Members", "Source", "Sources", "draw", "members_of"]


class Members(NamedTuple):
    """The pictures of a set, grouped by class, as tensors or arrays."""

    pictures: NDArray[np.int32]  # (n,) numbers of pictures, one class after the other, then padding
    starts: NDArray[np.int32]  # (c,) where each class's pictures start; only classes that have any
    counts: NDArray[np.int32]  # (c,) how many pictures each of these classes has

    def as_tensors(self) -> "Members":
        """Return the same as tensors, ready for the graph."""
        return Members(*(tf.constant(part) for part in self))


def members_of(chosen: NDArray[np.int64], labels: NDArray[np.int32]) -> Members:
    """Group chosen pictures by class, so that batches can be drawn from them.

    Args:
        chosen: (m,) numbers of pictures, m >= 1.
        labels: (n,) of all pictures. A class without a chosen picture is never drawn.
    """
    own = labels[chosen]
    counts = np.bincount(own)
    present = np.flatnonzero(counts)
    # always of the same length, so that a compiled loop works for any choice of pictures
    pictures = np.zeros(len(labels), np.int32)
    pictures[: len(chosen)] = chosen[np.argsort(own, kind="stable")]
    starts = (np.cumsum(counts) - counts)[present].astype(np.int32)
    return Members(pictures, starts, counts[present].astype(np.int32))


def draw(members: Members, batch_size: int, seed: tf.Tensor, balanced: bool = True) -> tf.Tensor:
    """Draw the numbers of a batch's pictures, with replacement: (batch_size,) int32. Equal seeds give equal batches.

    Args:
        members: the pictures to draw from.
        batch_size: number of pictures in the batch.
        seed: (2,) int32.
        balanced: draw a class uniformly, then one of its pictures uniformly. Otherwise draw any picture uniformly.
    """
    # integers, because float32 holds only 24 random bits, too few for many pictures
    draws = tf.random.stateless_uniform([2, batch_size], seed, maxval=None, minval=None, dtype=tf.uint32)
    if not balanced:
        return tf.gather(members.pictures, _below(draws[1], tf.fill([batch_size], tf.reduce_sum(members.counts))))
    class_number = _below(draws[0], tf.fill([batch_size], tf.size(members.counts)))
    place = _below(draws[1], tf.gather(members.counts, class_number))
    return tf.gather(members.pictures, tf.gather(members.starts, class_number) + place)


def _below(random: tf.Tensor, limit: tf.Tensor) -> tf.Tensor:
    """Map random 32-bit integers to [0, limit), uniformly to within limit / 2**32 (Lemire's multiply-shift)."""
    product = tf.cast(random, tf.uint64) * tf.cast(limit, tf.uint64)
    return tf.cast(tf.bitwise.right_shift(product, tf.constant(32, tf.uint64)), tf.int32)


class Source(NamedTuple):
    """Pictures to draw batches from. Without members, these are the batches themselves, one after the other."""

    vectors: tf.Tensor  # (n, d) float32; activations float16
    labels: tf.Tensor  # (n,) int32
    members: Members | None


class Sources(NamedTuple):
    """The pictures that training and its evaluations draw from."""

    training: Source
    validation: Source | None = None  # None: there are no validation pictures


class Feed:
    """Feeds pictures to training, with vectors in memory or read from files as they are drawn.

    Args:
        data: vectors in an array are shared, not copied, if they begin at a multiple of 64 bytes.
    """

    def __init__(self, data: LabelledBottlenecks) -> None:
        self.vectors = _as_tensor(data.vectors) if isinstance(data.vectors, np.ndarray) else None  # None: in files
        self.labels = tf.constant(data.labels)
        self._data = data

    def steps_at_once(self, most: int, batch_size: int, most_bytes: int) -> int:
        """Return how many steps a block may have: `most`, or fewer if files would give more than `most_bytes`."""
        if self.vectors is not None:
            return most
        return max(1, min(most, most_bytes // (self._data.vectors[:1].nbytes * batch_size)))

    def sources(
        self, members: Members, drawn: Callable[[Members, int], NDArray[np.int32]], blocks: Iterable[tuple[int, int]]
    ) -> Generator[Source, None, None]:
        """Yield the source of each block of steps. Files are read one block ahead.

        Args:
            members: the pictures that may be drawn, as tensors.
            drawn: returns the pictures in the batches of the block that begins at a step.
            blocks: first and last step (exclusive) of each block.
        """
        if self.vectors is not None:
            yield from (Source(self.vectors, self.labels, members) for _ in blocks)
            return

        def read(first: int) -> Source:
            numbers = drawn(members, first)
            return Source(_as_tensor(self._data.vectors[numbers]), tf.constant(self._data.labels[numbers]), None)

        reader = ThreadPoolExecutor(1)
        try:
            coming: deque[Future[Source]] = deque()
            for first, _ in blocks:
                coming.append(reader.submit(read, first))
                if len(coming) > 1:
                    yield coming.popleft().result()
            if coming:
                yield coming.popleft().result()
        finally:
            reader.shutdown(cancel_futures=True)


def _as_tensor(vectors: Vectors) -> tf.Tensor:
    """Return the array as a tensor, which shares its memory if TensorFlow can work on it there."""
    if vectors.ctypes.data % ALIGNMENT == 0 and vectors.flags.c_contiguous and vectors.flags.writeable:
        return tf.experimental.dlpack.from_dlpack(vectors.__dlpack__())
    return tf.convert_to_tensor(vectors)
