"""Random batches of bottlenecks, drawn inside the graph: a class uniformly, then one of its pictures uniformly."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrain.quiet import tf

__all__ = ["LabelledBottlenecks", "Pool"]


@dataclass(frozen=True)
class LabelledBottlenecks:
    """The pictures of one set."""

    vectors: NDArray[np.float32]  # (n, d)
    labels: NDArray[np.int32]  # (n,), in [0, classes)

    def __len__(self) -> int:
        return len(self.labels)


class Pool:
    """The bottlenecks of one set, held as tensors for drawing batches.

    Args:
        data: n >= 1 pictures. Classes without a picture among them are never drawn.
    """

    def __init__(self, data: LabelledBottlenecks) -> None:
        self.size = len(data)
        counts = np.bincount(data.labels)
        present = np.flatnonzero(counts)
        self.vectors = tf.constant(data.vectors)
        self.labels = tf.constant(data.labels)
        self._members = tf.constant(np.argsort(data.labels, kind="stable").astype(np.int32))
        self._counts = tf.constant(counts[present].astype(np.int32))
        self._starts = tf.constant((np.cumsum(counts) - counts)[present].astype(np.int32))

    def draw(self, batch_size: int, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """A batch, with replacement; the same seed gives the same batch.

        Args:
            batch_size: pictures in the batch.
            seed: (2,) int32.
        Returns: (batch_size, d) float32 bottlenecks and (batch_size,) int32 labels.
        """
        # 24 random bits, the most that float32 holds exactly, would do for few pictures only: hence integers
        draws = tf.random.stateless_uniform([2, batch_size], seed, maxval=None, minval=None, dtype=tf.uint32)
        class_number = _below(draws[0], tf.fill([batch_size], tf.size(self._counts)))
        place = _below(draws[1], tf.gather(self._counts, class_number))
        chosen = tf.gather(self._members, tf.gather(self._starts, class_number) + place)
        return tf.gather(self.vectors, chosen), tf.gather(self.labels, chosen)

    def everything(self) -> tuple[tf.Tensor, tf.Tensor]:
        """All pictures: (n, d) float32 and (n,) int32."""
        return self.vectors, self.labels


def _below(random: tf.Tensor, limit: tf.Tensor) -> tf.Tensor:
    """Random 32-bit integers to integers in [0, limit), even to within limit / 2**32 (Lemire's multiply-shift)."""
    product = tf.cast(random, tf.uint64) * tf.cast(limit, tf.uint64)
    return tf.cast(tf.bitwise.right_shift(product, tf.constant(32, tf.uint64)), tf.int32)
