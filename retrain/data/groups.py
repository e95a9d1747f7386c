"""Pictures that belong together: the same picture twice, and several pictures of one thing.

Pictures whose file names share the part before `_nohash_` are a group, as in TensorFlow's retrain.py: a_nohash_1.jpg
and a_nohash_2.jpg may show the same leaf. A model that was trained on one of them must not be tested on the other.
A manifest may name the group of each picture, whatever its file is called.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from retrain.data.labelled_pictures import Sample

__all__ = ["GROUP_MARKER", "group_name", "inseparable_units"]

GROUP_MARKER = "_nohash_"  # in a file name, after the name of its group


def group_name(path: str) -> str | None:
    """The group that a file belongs to, by its name; None if it belongs to none."""
    name, marker, _ = path.rpartition("/")[2].partition(GROUP_MARKER)
    return name if marker else None


def inseparable_units(samples: Sequence[Sample], keys: NDArray[np.uint8]) -> list[bytes]:
    """The unit of every sample. Samples of one unit stay together in every split, and in every fold.

    Identical pictures are one unit, and so are the pictures of a group. Units that share a picture are one.

    Args:
        samples: (n,) of one image folder.
        keys: (n, 32) uint8, SHA-256 of each picture's bytes.
    Returns: (n,) 32 bytes each, equal for samples of one unit, whatever the order of the samples.
    """
    parent: dict[bytes, bytes] = {}  # of groups
    group_of: dict[bytes, bytes] = {}  # content -> one of its groups

    def find(unit: bytes) -> bytes:
        while parent.setdefault(unit, unit) != unit:
            unit = parent[unit]
        return unit

    own = [key.tobytes() for key in keys]
    for sample, content in zip(samples, own, strict=True):
        for group in (group_name(sample.path), sample.group):
            if group is None:
                continue
            # one picture in two groups ties them together; the smaller hash stands for both
            unit = _group_hash(group)
            first, second = sorted((find(unit), find(group_of.get(content, unit))))
            parent[second] = group_of[content] = first
    return [find(group_of[content]) if content in group_of else content for content in own]


def _group_hash(group: str) -> bytes:
    return hashlib.sha256(group.encode("utf-8", "surrogateescape")).digest()
