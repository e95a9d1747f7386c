"""Fit what tells pictures of no class, from the bottlenecks of the training pictures alone."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrain.cache import LabelledBottlenecks, SomeVectors, VectorSource, chunks
from retrain.evaluation import auroc, normalised
from retrain.model import Rejection

__all__ = ["RejectionFit", "StrangerFigures", "fewest_for", "figures_of_strangers", "fit_rejection"]

METHOD = "mahalanobis"  # what `Rejection` computes, in run.json

_MOST_DIRECTIONS = 128  # 64 to 256 are as good as all; 128 x 2,048 numbers are a megabyte
_MOST_PICTURES = 10_000  # that the covariance is estimated from
_SMALLEST_SCALE = 0.01  # distances are exact to about 1e-6
_ROUNDS, _MORE = 8, 8  # of the subspace iteration, and directions that it works with beyond those wanted


@dataclass(frozen=True)
class StrangerFigures:
    """How a model does on pictures of no class, none of which it was fitted to."""

    n: int
    refused: int
    auroc: float  # against the test pictures, or those for validation if there are none

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class RejectionFit:
    """What was fitted to the training pictures, and how it does."""

    rejection: Rejection
    share: float  # of validation pictures that it was to keep
    pictures: int  # validation pictures that the threshold was chosen by
    known: Mapping[str, tuple[int, int]]  # set -> pictures, and how many of them are known
    strangers: StrangerFigures | None = None  # if there are pictures of no class

    @property
    def has_enough(self) -> bool:
        """Whether there were enough validation pictures for the share."""
        return self.pictures >= fewest_for(self.share)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "method": METHOD,
            "share": self.share,
            "validation_pictures": self.pictures,
            **asdict(self.rejection.limit),
            "known": {name: {"n": n, "known": known} for name, (n, known) in self.known.items()},
            "strangers": None if self.strangers is None else self.strangers.as_dict(),
        }


def fewest_for(share: float) -> int:
    """How many validation pictures it takes to keep a share of new ones: 19 for 0.95.

    With fewer, not even the largest of their distances is above that of the share of new pictures on average.
    """
    return math.ceil(round(share / (1 - share), 6))


def fit_rejection(
    data: LabelledBottlenecks, members: Mapping[str, NDArray[np.int64]], classes: int, share: float
) -> RejectionFit:
    """Fit class means and their shared covariance to training pictures, and the threshold to validation pictures.

    The covariance is shrunk as O. Ledoit and M. Wolf do it (A Well-Conditioned Estimator for Large-Dimensional
    Covariance Matrices, 2004). The threshold keeps the share of new pictures on average, as in split conformal
    prediction: it lies above ceil(share (n + 1)) of the n validation distances.

    Args:
        data: bottlenecks and labels of all pictures.
        members: set -> numbers of its pictures. There are some for validation, and some of each class for training.
        share: of pictures to keep, in (0, 1).
    """
    train = members["train"]
    centres = _class_means(SomeVectors(data.vectors, train), data.labels[train], classes)
    some = train[np.linspace(0, len(train) - 1, min(len(train), _MOST_PICTURES)).astype(np.int64)]
    unit = normalised(SomeVectors(data.vectors, some)[:])
    directions = _directions(unit - centres[data.labels[some]].astype(np.float32))
    rejection = Rejection.of_centres(centres, directions, 0.0, 1.0)
    held_out = np.sort(rejection.distances(SomeVectors(data.vectors, members["validation"])).astype(np.float64))
    place = min(math.ceil(round(share * (len(held_out) + 1), 6)), len(held_out))
    threshold = (held_out[place - 1] + held_out[min(place, len(held_out) - 1)]) / 2  # no picture is on the edge
    scale = max(math.sqrt(3) / math.pi * float(held_out.std()), _SMALLEST_SCALE)  # of the logistic distribution
    rejection = Rejection.of_centres(centres, directions, threshold, scale)
    known = {name: (len(chosen), _count_known(rejection, data.vectors, chosen)) for name, chosen in members.items()}
    return RejectionFit(rejection, share, len(held_out), known)


def figures_of_strangers(rejection: Rejection, known: VectorSource, strangers: VectorSource) -> StrangerFigures:
    """Measure a rejection on pictures of no class.

    Args:
        known: (n, d) bottlenecks of pictures of the classes, n >= 1, that it was not fitted to.
        strangers: (m, d) bottlenecks of others, m >= 1.
    """
    distances = rejection.distances(strangers)
    refused = int((distances > rejection.limit.threshold).sum())
    return StrangerFigures(len(distances), refused, auroc(rejection.distances(known), distances))


def _count_known(rejection: Rejection, vectors: VectorSource, chosen: NDArray[np.int64]) -> int:
    return int((rejection.distances(SomeVectors(vectors, chosen)) <= rejection.limit.threshold).sum())


def _class_means(vectors: VectorSource, labels: NDArray[np.int32], classes: int) -> NDArray[np.float64]:
    """(classes, d) means of vectors of length 1."""
    sums = np.zeros((classes, vectors.shape[1]))
    for rows in chunks(len(labels)):
        np.add.at(sums, labels[rows], normalised(vectors[rows]))
    means: NDArray[np.float64] = sums / np.bincount(labels, minlength=classes)[:, np.newaxis]
    return means


def _directions(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """The directions of `Rejection`, (d, k), from (n, d) differences of pictures to the means of their classes."""
    n, size = rows.shape
    covariance = (rows.T @ rows).astype(np.float64) / n
    shrinkage, mean = _shrinkage(covariance, (rows.astype(np.float64) ** 2).sum(axis=1))
    values, directions = _largest(covariance, max(1, min(_MOST_DIRECTIONS, size - 1)))
    values = (1 - shrinkage) * np.maximum(values, 0) + shrinkage * mean
    rest = max(0.0, mean * size - values.sum()) / max(1, size - len(values))  # the variance of every other direction
    kept_on = np.ones_like(values)  # where a direction has no more variance than others
    np.divide(rest, values, out=kept_on, where=values > rest)
    scaled: NDArray[np.float64] = directions * np.sqrt(1 - kept_on)
    return scaled


def _shrinkage(covariance: NDArray[np.float64], squares: NDArray[np.float64]) -> tuple[float, float]:
    """Ledoit's and Wolf's share of the multiple of the identity, in [0, 1], and the mean variance of a direction.

    Args:
        squares: (n,) squared lengths of the rows that the covariance is of.
    """
    mean, norm = float(np.trace(covariance)) / len(covariance), float((covariance**2).sum())
    spread = norm - len(covariance) * mean**2
    noise = (float((squares**2).mean()) - norm) / len(squares)
    return (min(max(noise / spread, 0.0), 1.0) if spread > 0 else 1.0), mean


def _largest(covariance: NDArray[np.float64], count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The largest eigenvalues, and their directions (d, count).

    By subspace iteration (N. Halko, P. Martinsson and J. Tropp, Finding Structure with Randomness, 2011): all of 2,048
    take seconds.
    """
    width = min(count + _MORE, len(covariance))
    basis = np.random.default_rng(0).normal(size=(len(covariance), width))
    for _ in range(_ROUNDS):
        basis = np.linalg.qr(covariance @ basis)[0]
    values, inside = np.linalg.eigh(basis.T @ covariance @ basis)
    return values[-count:], basis @ inside[:, -count:]
