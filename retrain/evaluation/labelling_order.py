"""Which pictures to label next: those that the classifier is least sure of."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["LabellingOrder", "labelling_order"]


_COPY = 0.98  # cosine of two bottlenecks from which on two pictures are taken for copies of each other
_ROWS = 1024


@dataclass(frozen=True)
class LabellingOrder:
    """Unlabelled pictures in the order in which their labels would help most."""

    numbers: NDArray[np.int64]  # (n,) the most helpful one first; each picture once
    margins: NDArray[np.float64]  # (n,) of each picture, in the order given: its highest score less its second highest
    likeness: NDArray[np.float32]  # (n,) cosine with the nearest labelled picture; 0 if there is none


def labelling_order(
    scores: NDArray[np.floating], vectors: NDArray[np.floating], known: NDArray[np.floating]
) -> LabellingOrder:
    """Order pictures by how much their labels would help. Near copies of labelled pictures come last.

    Args:
        scores: (n, classes) of the unlabelled pictures; each row adds up to 1. classes >= 1, n may be 0.
        vectors: (n, d) their bottlenecks.
        known: (m, d) bottlenecks of the labelled pictures; m may be 0.
    """
    best = -np.sort(-np.asarray(scores, np.float64), axis=1)[:, :2]
    margins = best[:, 0] - best[:, 1] if best.shape[1] > 1 else np.zeros(len(best))
    likeness = np.zeros(len(margins), np.float32)
    unit = _normalised(known)
    for start in range(0, len(margins) if len(unit) else 0, _ROWS):
        part = slice(start, start + _ROWS)
        likeness[part] = (_normalised(vectors[part]) @ unit.T).max(axis=1)
    return LabellingOrder(np.lexsort([margins, likeness >= _COPY]).astype(np.int64), margins, likeness)


def _normalised(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    """(n, d) vectors of length 1; zeros stay zeros."""
    rows = np.asarray(vectors, np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, 1), np.float32)
