"""Pictures of no class: how well distances tell them from others."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["auroc"]


def auroc(known: NDArray[np.floating], strangers: NDArray[np.floating]) -> float:
    """The area under the ROC curve: the chance that a stranger is farther away than a known picture.

    Ties count half (J. Hanley and B. McNeil, The Meaning and Use of the Area under a ROC Curve, 1982).

    Args:
        known: (n,) distances of pictures of the classes, n >= 1.
        strangers: (m,) distances of others, m >= 1.
    """
    ordered = np.sort(known)
    nearer = np.searchsorted(ordered, strangers, "left") + np.searchsorted(ordered, strangers, "right")
    return float(nearer.mean() / 2 / len(known))
