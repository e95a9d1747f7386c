"""How much pictures look alike to the network: the cosine of two bottlenecks."""

import numpy as np
from numpy.typing import NDArray

from retrain.cache import VectorSource, chunks

__all__ = ["likeness_to", "normalised"]

_BLOCK = 2**24  # products in memory at once: 64 MB


def normalised(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    """(n, d) float32 vectors of length 1; zeros stay zeros."""
    wide = np.asarray(vectors, np.float32)
    lengths = np.sqrt(np.einsum("ij,ij->i", wide, wide))[:, None]
    return np.asarray(wide / np.where(lengths > 0, lengths, 1), np.float32)


def likeness_to(vectors: NDArray[np.floating], known: VectorSource) -> NDArray[np.float32]:
    """(n,) the cosine of each of (n, d) vectors with the nearest of (m, d) others; 0 if there are none."""
    best = np.zeros(len(vectors), np.float32)
    if not known.shape[0]:
        return best
    best[:] = -1
    unit = normalised(vectors)
    for part in chunks(known.shape[0]):
        others = np.ascontiguousarray(normalised(known[part]).T)
        rows = max(1, _BLOCK // others.shape[1])
        for start in range(0, len(unit), rows):
            own = slice(start, start + rows)
            np.maximum(best[own], (unit[own] @ others).max(axis=1), out=best[own])
    return best
