"""Random batches of bottlenecks: which pictures a batch has is drawn inside the graph."""

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
    """The pictures of one set, class by class, as tensors or arrays."""

    pictures: NDArray[np.int32]  # (n,) numbers of pictures, those of one class side by side; what follows is padding
    starts: NDArray[np.int32]  # (c,) of each class that has any: where its pictures start
    counts: NDArray[np.int32]  # (c,) how many there are

    def as_tensors(self) -> "Members":
        """The same, ready for the graph."""
        return Members(*(tf.constant(part) for part in self))


def members_of(chosen: NDArray[np.int64], labels: NDArray[np.int32]) -> Members:
    """Chosen pictures in the form to draw from.

    Args:
        chosen: (m,) numbers of pictures, m >= 1.
        labels: (n,) of all pictures. Classes without a chosen picture are never drawn.
    """
    own = labels[chosen]
    counts = np.bincount(own)
    present = np.flatnonzero(counts)
    # as long for any choice of pictures, so that what is compiled for one serves for others
    pictures = np.zeros(len(labels), np.int32)
    pictures[: len(chosen)] = chosen[np.argsort(own, kind="stable")]
    starts = (np.cumsum(counts) - counts)[present].astype(np.int32)
    return Members(pictures, starts, counts[present].astype(np.int32))


def draw(members: Members, batch_size: int, seed: tf.Tensor, balanced: bool = True) -> tf.Tensor:
    """Numbers of pictures for a batch, drawn with replacement: (batch_size,) int32; the same seed gives the same.

    Args:
        members: what to draw from.
        batch_size: pictures in the batch.
        seed: (2,) int32.
        balanced: draw a class uniformly, then one of its pictures uniformly; else any picture uniformly.
    """
    # 24 random bits, the most that float32 holds exactly, would do for few pictures only: hence integers
    draws = tf.random.stateless_uniform([2, batch_size], seed, maxval=None, minval=None, dtype=tf.uint32)
    if not balanced:
        return tf.gather(members.pictures, _below(draws[1], tf.fill([batch_size], tf.reduce_sum(members.counts))))
    class_number = _below(draws[0], tf.fill([batch_size], tf.size(members.counts)))
    place = _below(draws[1], tf.gather(members.counts, class_number))
    return tf.gather(members.pictures, tf.gather(members.starts, class_number) + place)


def _below(random: tf.Tensor, limit: tf.Tensor) -> tf.Tensor:
    """Random 32-bit integers to integers in [0, limit), even to within limit / 2**32 (Lemire's multiply-shift)."""
    product = tf.cast(random, tf.uint64) * tf.cast(limit, tf.uint64)
    return tf.cast(tf.bitwise.right_shift(product, tf.constant(32, tf.uint64)), tf.int32)


class Source(NamedTuple):
    """Pictures that batches are drawn from; without members, the batches themselves, one after the other."""

    vectors: tf.Tensor  # (n, d) float32; activations float16
    labels: tf.Tensor  # (n,) int32
    members: Members | None


class Sources(NamedTuple):
    """What training and its evaluations draw from."""

    training: Source
    validation: Source | None = None  # None: there are no validation pictures


class Feed:
    """Pictures for training: their vectors in memory, or read from files as they are drawn.

    Args:
        data: vectors in an array are shared, not copied, where they begin at a multiple of 64 bytes.
    """

    def __init__(self, data: LabelledBottlenecks) -> None:
        self.vectors = _as_tensor(data.vectors) if isinstance(data.vectors, np.ndarray) else None  # None: in files
        self.labels = tf.constant(data.labels)
        self._data = data

    def steps_at_once(self, most: int, batch_size: int, most_bytes: int) -> int:
        """How many steps one block may have: `most`, fewer where what is read from files for them is too much."""
        if self.vectors is not None:
            return most
        return max(1, min(most, most_bytes // (self._data.vectors[:1].nbytes * batch_size)))

    def sources(
        self, members: Members, drawn: Callable[[Members, int], NDArray[np.int32]], blocks: Iterable[tuple[int, int]]
    ) -> Generator[Source, None, None]:
        """What each block of steps draws from; from files, it is read a block ahead.

        Args:
            members: the pictures that may be drawn, as tensors.
            drawn: the pictures in the batches of a block that begins at a step.
            blocks: first and last step (exclusive) of each.
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
    """The array as a tensor that shares its memory where TensorFlow can work on it there."""
    if vectors.ctypes.data % ALIGNMENT == 0 and vectors.flags.c_contiguous and vectors.flags.writeable:
        return tf.experimental.dlpack.from_dlpack(vectors.__dlpack__())
    return tf.convert_to_tensor(vectors)
