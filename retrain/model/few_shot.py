"""A classifier from a few pictures of each class, without training: a linear map that is solved for.

Vectors are made unit vectors, less the mean of the examples, and unit vectors again: with few examples, what is common
to all pictures hides what differs (Y. Wang, W.-L. Chao, K. Weinberger and L. van der Maaten, SimpleShot, arXiv
1911.04623, 2019). On these, ridge regression fits 1 for the class of an example and 0 for the others (as L. Bertinetto,
J. Henriques, P. Torr and A. Vedaldi, Meta-learning with Differentiable Closed-form Solvers, ICLR 2019). One example of
each class makes this the nearest example, and a large penalty the nearest class mean; benchmarks/few_shot.py compares.
"""

import numpy as np
from numpy.typing import NDArray

from retrain.cache import VectorSource, chunks
from retrain.evaluation import normalised

__all__ = ["FewShotClassifier"]

_PENALTY = 0.5  # beside products of unit vectors; 0.1 to 1 are as accurate


class FewShotClassifier:
    """Tells how similar pictures are to the examples of each class. All classes count the same.

    Args:
        vectors: (m, d) bottlenecks of the examples.
        labels: (m,) int, in [0, classes), all of them present; classes >= 2.
    """

    def __init__(self, vectors: NDArray[np.floating], labels: NDArray[np.integer]) -> None:
        counts = np.bincount(labels)
        weights = 1 / (len(counts) * counts[labels])  # (m,) they add up to 1
        unit = normalised(vectors)
        self._mean = np.asarray(weights @ unit, np.float32)
        examples = normalised(unit - self._mean)
        wanted = np.eye(len(counts))[labels] - 1 / len(counts)
        # the dual form, because there are fewer examples than numbers in a vector
        products = examples.astype(np.float64) @ examples.T
        penalty = np.diag(_PENALTY / (len(labels) * weights))
        self._map = np.asarray(examples.T @ np.linalg.solve(products + penalty, wanted))  # (d, classes)

    def similarities(self, vectors: VectorSource) -> NDArray[np.float64]:
        """(n, d) bottlenecks to (n, classes): about 1 for the class of a picture, about 0 for others; no probabilities.

        They add up to 1, and may be below 0 or above 1.
        """
        classes = self._map.shape[1]
        found = [self._of(vectors[part]) for part in chunks(vectors.shape[0])]
        return np.concatenate([np.zeros((0, classes)), *found])

    def _of(self, vectors: NDArray[np.floating]) -> NDArray[np.float64]:
        return np.asarray(normalised(normalised(vectors) - self._mean) @ self._map + 1 / self._map.shape[1])
