"""Assign samples to folds for cross-validation: each class evenly, and what belongs together to one fold."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from retrain.data.groups import inseparable_units
from retrain.data.labelled_pictures import Sample
from retrain.errors import ImageFolderError
from retrain.text import listing

__all__ = ["assign_folds", "most_folds", "stable_folds"]


def assign_folds(samples: Sequence[Sample], keys: NDArray[np.uint8], folds: int, seed: int) -> NDArray[np.int32]:
    """The fold of every sample: each class in equal shares, identical pictures and groups in one fold.

    Greedy, class by class, the largest units first: each goes to the fold with the fewest pictures of its class; among
    these, to the one with the fewest pictures in all; among these, a hash of the seed and the unit decides. If all
    units are single pictures, no two folds differ by more than one picture, per class or in all. Sets that the samples
    come with are ignored.

    Args:
        samples: (n,) of one image folder; their order does not matter.
        keys: (n, 32) uint8, SHA-256 of each picture's bytes.
        folds: 2 or more.
        seed: decides ties.
    Returns: (n,) int32, in [0, folds).
    Raises ImageFolderError if a class has fewer units than folds.
    """
    units = inseparable_units(samples, keys)
    members: dict[bytes, dict[int, int]] = {}  # unit -> label -> pictures
    for sample, unit in zip(samples, units, strict=True):
        counts = members.setdefault(unit, {})
        for label in sample.classes:
            counts[label] = counts.get(label, 0) + 1
    _check_units(samples, members, folds)
    totals = Counter(label for sample in samples for label in sample.classes)
    hashes = {unit: hashlib.sha256(seed.to_bytes(8, "big") + unit).digest() for unit in members}
    order = sorted(
        members, key=lambda unit: (-sum(members[unit].values()), min(members[unit], default=0), hashes[unit])
    )
    held: dict[int, list[int]] = {label: [0] * folds for label in totals}  # label -> fold -> pictures
    sizes = [0] * folds
    chosen: dict[bytes, int] = {}
    for unit in order:
        # pictures of its classes that each fold has, as shares of the classes, so that a rare class is not outvoted
        crowds = [0.0] * folds
        for label, count in sorted(members[unit].items()):
            crowds = [crowd + count * there / totals[label] for crowd, there in zip(crowds, held[label], strict=True)]
        start = int.from_bytes(hashes[unit][:8], "big")  # ties go to the first fold from here on
        turns = [(fold - start) % folds for fold in range(folds)]
        fold = min(zip(crowds, sizes, turns, range(folds), strict=True))[-1]
        for label, count in members[unit].items():
            held[label][fold] += count
            sizes[fold] += count
        sizes[fold] += not members[unit]  # pictures without a label
        chosen[unit] = fold
    return np.array([chosen[unit] for unit in units], np.int32)


def most_folds(samples: Sequence[Sample], keys: NDArray[np.uint8]) -> int:
    """The most folds that the samples can be split into: as many as the smallest class has units."""
    units = zip(inseparable_units(samples, keys), samples, strict=True)
    return min(Counter(label for _, label in {(unit, label) for unit, own in units for label in own.classes}).values())


def stable_folds(samples: Sequence[Sample], keys: NDArray[np.uint8], folds: int) -> NDArray[np.int32]:
    """The fold of every sample, by a hash of its unit alone: what comes, goes or is relabelled moves no other.

    Folds are equal in the mean only. If all units of a class fall into one fold, the one with the highest hash goes to
    the next fold, so that heads of all folds learn the class. Units of a class that has no other are in no fold.

    Args:
        samples, keys: as for `assign_folds`.
        folds: 2 or more.
    Returns: (n,) int32, in [0, folds), or -1.
    """
    units = inseparable_units(samples, keys)
    hashes = {unit: int.from_bytes(hashlib.sha256(b"fold" + unit).digest()[:8], "big") for unit in set(units)}
    members: dict[int, set[bytes]] = defaultdict(set)
    for sample, unit in zip(samples, units, strict=True):
        members[sample.label].add(unit)
    chosen = {unit: number % folds for unit, number in hashes.items()}
    for own in members.values():
        if len(own) == 1:
            chosen[next(iter(own))] = -1
    for label in sorted(members):
        own = {unit for unit in members[label] if chosen[unit] >= 0}
        if len(own) > 1 and len({chosen[unit] for unit in own}) == 1:
            last = max(own, key=lambda unit: (hashes[unit], unit))
            chosen[last] = (chosen[last] + 1) % folds
    return np.array([chosen[unit] for unit in units], np.int32)


def _check_units(samples: Sequence[Sample], members: dict[bytes, dict[int, int]], folds: int) -> None:
    found = Counter(label for unit in members.values() for label in unit)
    names = {label: name for sample in samples for label, name in zip(sample.classes, sample.names, strict=True)}
    few = [f"{names[label]} ({found[label]})" for label in sorted(found) if found[label] < folds]
    if few:
        raise ImageFolderError(
            f"fewer than {folds} different pictures in class {listing(few)} (copies, names that share the part before "
            "_nohash_, and pictures of one group count as one): each fold needs one; lower --folds or add pictures"
        )
