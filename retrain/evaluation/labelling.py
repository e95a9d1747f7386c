"""Which pictures to label next: those that speak for many pictures that the classifier is unsure of.

Chosen are pictures S that make sum over j of w_j max(over i in S and the labelled pictures) cos(x_i, x_j) large, where
x are bottlenecks and w_j is one less the margin of picture j, the difference of its two highest scores. This is
facility location, a measure of how well some pictures stand for all (K. Wei, R. Iyer and J. Bilmes, Submodularity in
Data Subset Selection and Active Learning, ICML 2015), weighted by how unsure the classifier is (margin: T. Scheffer, C.
Decomain and S. Wrobel, Active Hidden Markov Models for Information Extraction, IDA 2001). The picture that adds most
comes first, then the one that adds most to that, and so on, so that the first k are a good choice of k for every k: at
least 63% of the largest possible sum (G. Nemhauser, L. Wolsey and M. Fisher, Mathematical Programming 14, 1978).

Where nothing is labelled, all weights are 1, and the first pictures are typical ones of different kinds. With few
labels these help more than uncertain ones do (G. Hacohen, A. Dekel and D. Weinshall, Active Learning on a Budget, ICML
2022); benchmarks/label_next.py measures both.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrain.cache import VectorSource, chunks
from retrain.evaluation.likeness import likeness_to, normalised

__all__ = ["LabellingOrder", "labelling_order"]

Floats = NDArray[np.float32]

# A picture is taken for a copy of a labelled one if it is this many times nearer to it (by 1 - cosine) than a picture
# usually is to the nearest other one. Of 1,300 photographs by Inception v3, whose usual cosine is 0.83, two are as near
# to each other; 93% of copies that are 10% brighter are, and half of those that are cropped by 3%.
_NEARER = 8
_ROUNDING = 1e-6  # of cosines in float32

_MOST_HEARD = 2048  # pictures that stand for all in the sum
_MOST_ALONE = 2048  # others to choose from: those that add most by themselves


@dataclass(frozen=True)
class LabellingOrder:
    """Unlabelled pictures in the order in which their labels would help most."""

    numbers: NDArray[np.int64]  # (n,) the most helpful one first; each picture once
    # The following are in the order in which the pictures were given.
    margins: NDArray[np.float64]  # (n,) the highest score less the second highest; 0 with fewer than two classes
    likeness: Floats  # (n,) cosine with the nearest labelled picture; 0 if there is none
    # (n,) about how many unlabelled pictures are nearer to this one than to any labelled or other chosen picture; 0 for
    # those that were not chosen
    stands_for: NDArray[np.int64]
    is_copy: NDArray[np.bool_]  # (n,) whether a labelled picture looks almost the same


def labelling_order(
    scores: NDArray[np.floating], vectors: VectorSource, known: VectorSource, most: int = 100
) -> LabellingOrder:
    """Order pictures by how much their labels would help.

    Near copies of labelled pictures come last. With more than 2,048 pictures, a random sample of these (always the
    same) stands for all in the sum.

    Args:
        scores: (n, classes) of the unlabelled pictures; each row adds up to 1. classes >= 0, n may be 0.
        vectors: (n, d) their bottlenecks.
        known: (m, d) bottlenecks of the labelled pictures; m may be 0.
        most: pictures that are chosen one after the other; the rest follow by what each would add to these alone.
    """
    count = len(scores)
    margins = _margins(scores)
    heard = np.sort(np.random.default_rng(0).permutation(count)[:_MOST_HEARD])
    audience = _Audience(normalised(vectors[heard]), np.asarray(1 - margins[heard], np.float32), known)
    likeness, gains = np.zeros(count, np.float32), np.zeros(count, np.float32)
    for part in chunks(count):
        own = vectors[part]
        likeness[part], gains[part] = likeness_to(own, known), audience.gains(normalised(own))
    is_copy = likeness >= audience.copy_likeness()
    candidates = _candidates(heard, gains, is_copy)
    choice = _choose(audience, normalised(vectors[candidates]), most)
    chosen = candidates[choice.chosen]
    gains[candidates] = choice.gains
    stands_for, rank = np.zeros(count, np.int64), np.full(count, len(chosen))
    stands_for[chosen] = np.ceil(choice.heard_by * (count / max(1, len(heard))))
    rank[chosen] = np.arange(len(chosen))
    order = np.lexsort((margins, -gains, rank, is_copy))
    return LabellingOrder(order.astype(np.int64), margins, likeness, stands_for, is_copy)


def _candidates(heard: NDArray[np.int64], gains: Floats, is_copy: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Numbers of the pictures to choose from: those that stand for all, and others that add most by themselves."""
    others = np.setdiff1d(np.arange(len(gains)), heard)
    others = others[np.argsort(-gains[others], kind="stable")[:_MOST_ALONE]]
    candidates = np.concatenate([heard, others]).astype(np.int64)
    return np.asarray(candidates[~is_copy[candidates]])


def _margins(scores: NDArray[np.floating]) -> NDArray[np.float64]:
    if scores.shape[1] < 2:
        return np.zeros(len(scores))
    best = np.partition(np.asarray(scores, np.float64), -2, axis=1)
    return np.asarray(best[:, -1] - best[:, -2], np.float64)


class _Audience:
    """The pictures that are to be stood for.

    Args:
        vectors: (a, d) unit vectors.
        weights: (a,) in [0, 1], what each counts.
        known: (m, d) bottlenecks that stand for them already.
    """

    def __init__(self, vectors: Floats, weights: Floats, known: VectorSource) -> None:
        self.vectors, self.weights = vectors, weights
        self.near = np.maximum(likeness_to(vectors, known), 0)  # (a,) cosine with what is nearest so far

    def copy_likeness(self) -> float:
        """The cosine from which on a picture is a copy."""
        if len(self.vectors) < 2:
            return 1 - _ROUNDING
        products = self.likeness(self.vectors)
        np.fill_diagonal(products, -1)
        return 1 - max(_ROUNDING, (1 - float(np.median(products.max(axis=1)))) / _NEARER)

    def likeness(self, unit: Floats) -> Floats:
        """(a, n) cosines with (n, d) unit vectors."""
        return np.asarray(self.vectors @ unit.T, np.float32)

    def gains(self, unit: Floats) -> Floats:
        """(n,) what each of (n, d) unit vectors would add to the sum by itself."""
        rise = self.likeness(unit)
        rise -= self.near[:, None]
        return np.asarray(self.weights @ np.maximum(rise, 0, out=rise), np.float32)


@dataclass(frozen=True)
class _Choice:
    chosen: NDArray[np.int64]  # (k,) in the order in which they were chosen
    heard_by: NDArray[np.int64]  # (k,) how many of the audience each stands for
    gains: Floats  # (n,) what each candidate would add to what is chosen


def _choose(audience: _Audience, unit: Floats, most: int) -> _Choice:
    """Choose up to `most` of (n, d) unit vectors, each time the one that adds most."""
    products = audience.likeness(unit)
    near, rise = audience.near.copy(), np.empty_like(products)
    nearest = np.full(len(near), -1)  # which of the chosen
    is_left = np.ones(len(unit), bool)

    def gains() -> Floats:
        np.subtract(products, near[:, None], out=rise)
        return np.asarray(audience.weights @ np.maximum(rise, 0, out=rise), np.float32)

    chosen: list[int] = []
    for place in range(min(most, len(unit))):
        number = int(np.where(is_left, gains(), -1).argmax())
        chosen.append(number)
        is_left[number] = False
        nearest[products[:, number] > near] = place
        np.maximum(near, products[:, number], out=near)
    heard_by = np.bincount(nearest[nearest >= 0], minlength=len(chosen))
    return _Choice(np.array(chosen, np.int64), heard_by.astype(np.int64), gains())
