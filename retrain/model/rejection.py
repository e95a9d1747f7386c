"""Whether a picture is of any class at all: how far its bottleneck is from the nearest class.

The distance is Mahalanobis' with one covariance for all classes (K. Lee, K. Lee, H. Lee and J. Shin, A Simple Unified
Framework for Detecting Out-of-Distribution Samples, NeurIPS 2018), on bottlenecks of length 1. The covariance is that
of a few directions in which pictures of one class differ most, and the same in all others (M. Tipping and C. Bishop,
Probabilistic Principal Component Analysis, 1999), so that there is no matrix of d x d numbers. With u = bottleneck /
|bottleneck|, the mean c of such vectors of a class, and directions V (d, k) that are orthogonal, each scaled by what is
taken off it, a number in [0, 1):

    distance = |u - c|² - |(u - c) V|²

Multiplied out, this is `u @ slopes + offsets - |u @ V|²`, which all exports compute. benchmarks/rejection.py compares
it with other ways.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrain.cache import VectorSource, chunks
from retrain.evaluation import logistic, normalised

__all__ = ["KNOWN", "KNOWN_FROM", "UNKNOWN", "Limit", "Rejection"]

KNOWN = "known"  # the output of this name, in all forms of a model
KNOWN_FROM = 0.5  # the least value of it for a picture of a class
UNKNOWN = "unknown"  # the answer to a picture of none of the classes


@dataclass(frozen=True)
class Limit:
    """How far from its classes a model knows pictures. Both numbers are values of float32."""

    threshold: float  # the largest distance of a picture that is known
    scale: float  # > 0, the difference in distance that takes `known` from 0.5 to 0.27

    def known(self, distances: NDArray[np.floating]) -> NDArray[np.float64]:
        """Map (n,) distances to (n, 1) in [0, 1]: at least 0.5 for pictures of a class.

        It is the logistic function of (threshold - distance) / scale, and no probability.
        """
        return logistic((self.threshold - distances.astype(np.float64)) / self.scale)[:, np.newaxis]

    def distance(self, known: float) -> float:
        """The distance that a value of `known` comes from. Near 0 and 1, float32 tells distances less exactly."""
        inside = min(max(known, float(np.finfo(np.float32).tiny)), 1 - float(np.finfo(np.float32).epsneg))
        return self.threshold - self.scale * float(np.log(inside) - np.log1p(-inside))


@dataclass(frozen=True)
class Rejection:
    """Tells pictures of a model's classes from others."""

    directions: NDArray[np.float32]  # (d, k) V above
    slopes: NDArray[np.float32]  # (d, classes)
    offsets: NDArray[np.float32]  # (classes,)
    limit: Limit

    @classmethod
    def of_centres(
        cls, centres: NDArray[np.floating], directions: NDArray[np.floating], threshold: float, scale: float
    ) -> "Rejection":
        """Multiply the distance out.

        Args:
            centres: (classes, d) means of bottlenecks of length 1.
            directions: (d, k) V above.
            threshold, scale: of the limit, to be rounded to float32.
        """
        c, v = centres.astype(np.float64), directions.astype(np.float64)
        along = c @ v
        slopes = -2 * (c - along @ v.T).T
        offsets = 1 + (c**2).sum(axis=1) - (along**2).sum(axis=1)
        arrays = [np.ascontiguousarray(array, np.float32) for array in (v, slopes, offsets)]
        limit = Limit(float(np.float32(threshold)), float(np.float32(scale)))
        return cls(arrays[0], arrays[1], arrays[2], limit)

    def distances(self, bottlenecks: VectorSource) -> NDArray[np.float32]:
        """Map (n, d) float32 bottlenecks to (n,) float32: the squared distance to the nearest class, about 0 to 2."""
        found = np.empty(bottlenecks.shape[0], np.float32)
        for rows in chunks(len(found)):
            unit = normalised(bottlenecks[rows])
            along = unit @ self.directions
            found[rows] = (unit @ self.slopes + self.offsets).min(axis=1) - (along**2).sum(axis=1)
        return found

    def known(self, bottlenecks: VectorSource) -> NDArray[np.float64]:
        """Map (n, d) float32 bottlenecks to (n, 1) in [0, 1], as `Limit.known` says."""
        return self.limit.known(self.distances(bottlenecks))
