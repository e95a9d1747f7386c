"""Rejections for tests of heads, exports and predictions."""

import numpy as np

from retrain.model import Rejection

__all__ = ["some_rejection"]


def some_rejection(size: int, classes: int, seed: int = 0) -> Rejection:
    """One for bottlenecks of a length, with half of random pictures known.

    Args:
        seed: of its numbers.
    """
    rng = np.random.default_rng(seed)
    centres = rng.random((classes, size))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    directions = np.linalg.qr(rng.normal(size=(size, min(4, size))))[0] * [0.9, 0.8, 0.5, 0.1][: min(4, size)]
    rejection = Rejection.of_centres(centres, directions, 0, 0.1)
    middle = np.median(rejection.distances(rng.random((200, size), np.float32)))
    return Rejection.of_centres(centres, directions, float(middle), 0.1)
