"""Pictures that look alike to the network: nearest ones, near duplicates, and those unlike all of their class.

Likeness is the cosine of two bottlenecks. Vectors are read some thousands at a time, and none of the tables here grows
with the square of the pictures.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrain.cache import VectorSource, chunks

__all__ = ["Directions", "Pairs", "class_likeness", "close_pairs", "nearest"]

Vectors = NDArray[np.float32]

_SAMPLE = 4096  # vectors that the directions are taken from
_DIRECTIONS = 128
_BLOCK = 4096  # pictures on each side of a block of cosines
_ROUNDING = 1e-4  # of float32 products
_MOST_CLOSE = 5  # pairs of a picture
_MOST_COMPARED = 1000  # pictures of a class that each of its pictures is compared with
_NEIGHBOURS = 5  # of these, the nearest whose mean counts


def normalised(vectors: NDArray[np.floating]) -> Vectors:
    """(n, d) float32 vectors of length 1; zeros stay zeros."""
    wide = np.asarray(vectors, np.float32)
    lengths = np.sqrt(np.einsum("ij,ij->i", wide, wide))[:, None]
    return np.asarray(wide / np.where(lengths > 0, lengths, 1), np.float32)


@dataclass(frozen=True)
class Directions:
    """Vectors in few numbers, which bound cosines from above.

    With the part of two vectors in some orthonormal directions, p and q, and what is left of them, r and s, the cosine
    is p q + r s <= p q + |r| |s|. So a row here is p and |r|, the product of two rows is at least the cosine, and no
    close pair is missed.
    """

    rows: Vectors  # (n, directions + 1)

    @staticmethod
    def of(vectors: VectorSource) -> "Directions":
        """Take the directions that keep the most of a sample's length (its first singular vectors)."""
        count, size = vectors.shape
        sample = normalised(vectors[np.unique(np.linspace(0, count - 1, min(count, _SAMPLE)).astype(np.int64))])
        _, found = np.linalg.eigh(sample.T @ sample)
        basis = np.ascontiguousarray(found[:, -min(size, _DIRECTIONS) :], np.float32)
        rows = np.empty((count, basis.shape[1] + 1), np.float32)
        for part in chunks(count):
            unit = normalised(vectors[part])
            rows[part, :-1] = unit @ basis
            inside = np.einsum("ij,ij->i", rows[part, :-1], rows[part, :-1])
            lengths = np.einsum("ij,ij->i", unit, unit)
            rows[part, -1] = np.sqrt(np.maximum(lengths - inside, 0))
        return Directions(rows)


@dataclass(frozen=True)
class Pairs:
    """Pairs of pictures, the closest first."""

    first: NDArray[np.int64]  # (p,)
    second: NDArray[np.int64]  # (p,) each larger than the first
    cosines: NDArray[np.float32]  # (p,)


def close_pairs(vectors: VectorSource, least: float, most: int) -> Pairs:
    """Find pairs of pictures with a cosine of at least `least`.

    Args:
        vectors: (n, d), of different pictures.
        most: pairs in all. A picture has at most five with those after it.
    """
    rows = Directions.of(vectors).rows
    found = [_candidates(rows, block, least - _ROUNDING) for block in _blocks(len(rows))]
    first, second = (np.concatenate(side) if found else np.zeros(0, np.int64) for side in zip(*found, strict=True))
    cosines = np.empty(len(first), np.float32)
    for part in chunks(len(first)):
        pair = (normalised(vectors[numbers[part]]) for numbers in (first, second))
        cosines[part] = np.einsum("ij,ij->i", *pair)
    kept = np.flatnonzero(cosines >= least)
    kept = kept[np.lexsort([second[kept], first[kept], -cosines[kept]])][:most]
    return Pairs(first[kept], second[kept], cosines[kept])


def _blocks(count: int) -> Iterator[tuple[slice, slice]]:
    """Pairs of parts that have every pair of pictures once."""
    parts = [slice(start, min(start + _BLOCK, count)) for start in range(0, count, _BLOCK)]
    for number, rows in enumerate(parts):
        for columns in parts[number:]:
            yield rows, columns


def _candidates(rows: Vectors, block: tuple[slice, slice], least: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The pairs of a block whose bound reaches `least`; of each row, those with the highest bounds."""
    first, second = block
    bounds = rows[first] @ rows[second].T
    places = np.flatnonzero(bounds >= least)
    left, right = np.divmod(places, bounds.shape[1])
    kept = left + first.start < right + second.start
    left, right, values = left[kept], right[kept], bounds.ravel()[places[kept]]
    order = np.lexsort([-values, left])
    left, right = left[order], right[order]
    starts = np.searchsorted(left, left)  # of the row that each pair is in
    few = np.arange(len(left)) - starts < _MOST_CLOSE
    return (left[few] + first.start).astype(np.int64), (right[few] + second.start).astype(np.int64)


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
