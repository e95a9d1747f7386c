"""Pictures that look alike to the network: nearest ones, near duplicates, and those unlike all of their class.

Likeness is the cosine of two bottlenecks. Vectors are read some thousands at a time, and none of the tables here grows
with the square of the pictures.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrain.cache import VectorSource, chunks
from retrain.evaluation import normalised

__all__ = ["Pairs", "class_likeness", "near_pairs", "nearest"]

Vectors = NDArray[np.float32]

_SAMPLE = 4096  # vectors that the directions are taken from
_DIRECTIONS = 96
_CANDIDATES, _NEAREST = 8, 5  # of each picture: in those directions, and of these by whole vectors
_BLOCK_VALUES = 2**26  # products in memory at once: 256 MB
_ROUNDING = 1e-6  # of cosines in float32
_GROUP = 64  # columns of products that are looked at together
_MOST_COMPARED = 1000  # pictures of a class that each of its pictures is compared with
_NEIGHBOURS = 5  # of these, the nearest whose mean counts


@dataclass(frozen=True)
class Pairs:
    """Pairs of pictures that are near to each other. Each is there once."""

    first: NDArray[np.int64]  # (p,)
    second: NDArray[np.int64]  # (p,) each larger than the first
    cosines: NDArray[np.float32]  # (p,)
    # (p,) how many times nearer (by 1 - cosine) the two are to each other than to those that come next: copies of a
    # picture stand out, while a class of pictures that all look alike has cosines as high
    lead: NDArray[np.float32]


def near_pairs(vectors: VectorSource, numbers: NDArray[np.int64]) -> Pairs:
    """Pair every picture with the five that are nearest to it.

    Candidates are the nearest ones in the directions in which pictures differ most (principal components, Jolliffe,
    2002); of these, whole vectors decide. So 100,000 pictures take seconds, not hours, and a near picture is missed
    only if eight others are nearer in those directions.

    Args:
        vectors: (n, d).
        numbers: (m,) of the pictures, without copies.
    """
    if len(numbers) < 2:
        return Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros(0, np.float32))
    rows = _projected(vectors, numbers)
    found = [_nearest_rows(rows, start) for start in range(0, len(rows), _block_rows(len(rows)))]
    near = np.concatenate(found)
    cosines = np.empty(near.shape, np.float32)
    for part in chunks(len(near)):
        own = normalised(vectors[numbers[part]])
        for rank in range(near.shape[1]):
            other = normalised(vectors[numbers[near[part, rank]]])
            cosines[part, rank] = np.einsum("ij,ij->i", own, other)
    order = np.argsort(-cosines, axis=1, kind="stable")
    near, cosines = np.take_along_axis(near, order, 1), np.take_along_axis(cosines, order, 1)
    kept = min(_NEAREST, near.shape[1])
    first = np.repeat(np.arange(len(near)), kept)
    second, values = near[:, :kept].ravel(), cosines[:, :kept].ravel()
    lead = (np.float32(1) - np.repeat(cosines[:, -1], kept)) / np.maximum(1 - values, np.float32(_ROUNDING))
    low, high = numbers[np.minimum(first, second)], numbers[np.maximum(first, second)]
    best = np.lexsort((-lead, high, low))  # of a pair that is there twice, the larger lead
    once = np.ones(len(best), bool)
    once[1:] = (np.diff(low[best]) != 0) | (np.diff(high[best]) != 0)
    best = best[once]
    return Pairs(low[best], high[best], values[best], lead[best])


def _projected(vectors: VectorSource, numbers: NDArray[np.int64]) -> Vectors:
    """(m, directions) the pictures' unit vectors, less their mean, in the directions in which they differ most."""
    count = len(numbers)
    sample = normalised(vectors[numbers[np.unique(np.linspace(0, count - 1, min(count, _SAMPLE)).astype(np.int64))]])
    mean = sample.mean(axis=0)
    _, _, found = np.linalg.svd(sample - mean, full_matrices=False)
    basis = np.ascontiguousarray(found[:_DIRECTIONS].T)
    rows = np.empty((count, basis.shape[1]), np.float32)
    for part in chunks(count):
        rows[part] = (normalised(vectors[numbers[part]]) - mean) @ basis
    return normalised(rows)


def _block_rows(count: int) -> int:
    return max(1, min(count, _BLOCK_VALUES // max(1, count)))


def _nearest_rows(rows: Vectors, start: int) -> NDArray[np.int64]:
    """(b, 8) for a block of rows: those with the largest products, in no order; fewer where there are fewer rows.

    The largest products of a row lie in the groups of columns with the largest maxima, so only these are looked into.
    """
    count = len(rows)
    own = np.arange(start, min(start + _block_rows(count), count))
    products = np.full((len(own), -(-count // _GROUP) * _GROUP), -2, np.float32)
    np.matmul(rows[own], rows.T, out=products[:, :count])
    products[np.arange(len(own)), own] = -2  # itself
    most = min(_CANDIDATES, count - 1)
    groups = products.reshape(len(own), -1, _GROUP)
    tops = groups.max(axis=2)
    best = np.argpartition(-tops, min(most, tops.shape[1]) - 1, axis=1)[:, :most] if most else tops[:, :0].astype(int)
    inside = np.take_along_axis(groups, best[:, :, None], 1).reshape(len(own), -1)
    names = (best[:, :, None] * _GROUP + np.arange(_GROUP)).reshape(len(own), -1)
    chosen = np.argpartition(-inside, most - 1, axis=1)[:, :most] if most else names[:, :0]
    return np.asarray(np.take_along_axis(names, chosen, 1), np.int64)


def nearest(
    vectors: VectorSource, wanted: NDArray[np.int64], among: NDArray[np.int64], keys: NDArray[np.uint8]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Find the three nearest pictures of some, without copies of the picture itself.

    Args:
        vectors: (n, d).
        wanted: (m,) numbers of the pictures.
        among: (a,) numbers of those to choose from.
        keys: (n, 32) SHA-256 of each picture.
    Returns: (m, 3) numbers and (m, 3) cosines, nearest first; -1 and 0 where there are no more.
    """
    best = np.full((len(wanted), 3), -1, np.int64)
    cosines = np.full((len(wanted), 3), -2, np.float32)
    own = normalised(vectors[wanted])
    for part in chunks(len(among)):
        numbers = among[part]
        products = own @ normalised(vectors[numbers]).T
        products[(keys[wanted][:, None, :8] == keys[numbers][None, :, :8]).all(axis=2)] = -2
        joined = np.concatenate([cosines, products], axis=1)
        names = np.concatenate([best, np.broadcast_to(numbers, products.shape)], axis=1)
        order = np.argsort(-joined, axis=1, kind="stable")[:, :3]
        cosines, best = np.take_along_axis(joined, order, 1), np.take_along_axis(names, order, 1)
    missing = cosines < -1.5
    return np.where(missing, -1, best), np.where(missing, np.float32(0), cosines)


def class_likeness(vectors: VectorSource, members: NDArray[np.int64], seed: int) -> NDArray[np.float32]:
    """How much each picture of a class looks like its fellows: the mean cosine of the five nearest of up to 1,000.

    Args:
        vectors: (n, d).
        members: (m,) numbers of the class's pictures, without copies.
        seed: for the choice of the 1,000.
    Returns: (m,); 0 for a picture alone.
    """
    count = len(members)
    drawn = np.random.default_rng(seed).permutation(count)[:_MOST_COMPARED]
    fellows = normalised(vectors[members[drawn]])
    likeness = np.zeros(count, np.float32)
    near = min(_NEIGHBOURS, len(drawn) - 1)
    if near < 1:
        return likeness
    place = np.full(count, -1)
    place[drawn] = np.arange(len(drawn))
    for part in chunks(count):
        products = normalised(vectors[members[part]]) @ fellows.T
        own = np.flatnonzero(place[part] >= 0)
        products[own, place[part][own]] = -2  # itself
        likeness[part] = np.partition(products, -near, axis=1)[:, -near:].mean(axis=1)
    return likeness
