"""Assign samples to training, validation and test sets, by a hash: adding pictures never moves the others."""

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from retrain.data.groups import GROUP_MARKER, inseparable_units
from retrain.data.labelled_pictures import Sample
from retrain.errors import ImageFolderError, UsageError
from retrain.options import SplitOptions
from retrain.text import listing, shown

__all__ = [
    "FEWEST_PICTURES",
    "SETS",
    "assign_sets",
    "check_class_sizes",
    "check_counts",
    "check_groups",
    "original_set",
]

SETS = ("train", "validation", "test")

FEWEST_PICTURES = 3  # per class: one each for training, validation and test

# tensorflow/hub, examples/image_retraining/retrain.py: MAX_NUM_IMAGES_PER_CLASS
_ORIGINAL_BUCKETS = 2**27 - 1


def assign_sets(
    samples: Sequence[Sample],
    keys: NDArray[np.uint8],
    options: SplitOptions,
    spelling: str = "",
) -> list[str]:
    """The set of every sample: "train", "validation" or "test".

    The SHA-256 of a sample's content, read as a fraction in [0, 1), decides: below the validation percentage it is
    validation, within the next test percentage test, else training. Samples of a group, or whose file names share the
    part before `_nohash_`, are decided together, by the SHA-256 of the group's name or that part. If that leaves a
    class of three or more different pictures without validation, test or training pictures, those with the lowest
    fractions fill the gap; a smaller class has at least one training picture. Samples that come with a set keep it; a
    set that none comes with stays empty.

    If the options have numbers of pictures per class, validation gets the lowest fractions, test the next, and
    training the highest; see _assign_by_counts.

    Args:
        samples: (n,) of one image folder.
        keys: (n, 32) uint8, SHA-256 of each picture's bytes.
        options: the percentages, or numbers, and the rule.
        spelling: of the image folder, as the user gave it; the original rule hashes it with the path.
    Raises ImageFolderError if a class has too few pictures for the numbers, UsageError if the rule knows no groups.
    """
    if any(sample.subset for sample in samples):
        return [sample.subset or "train" for sample in samples]
    check_groups(samples, options)
    if options.split == "original":
        return [
            original_set(os.path.join(spelling, s.path), options.validation_percentage, options.test_percentage)
            for s in samples
        ]
    units = inseparable_units(samples, keys)
    if options.has_counts:
        different = {(sample.class_name, key.tobytes()) for sample, key in zip(samples, keys, strict=True)}
        check_counts(Counter(name for name, _ in different), options)
        by_unit = _assign_by_counts([sample.label for sample in samples], units, options)
        return [by_unit[unit] for unit in units]
    fractions = {unit: _fraction(unit) for unit in set(units)}
    sets = {unit: _set_of(fraction, options) for unit, fraction in fractions.items()}
    members: dict[int, set[bytes]] = defaultdict(set)
    for sample, unit in zip(samples, units, strict=True):
        for label in sample.classes:
            members[label].add(unit)
    for label in sorted(members):
        _fill_empty_sets(sorted(members[label], key=lambda unit: (fractions[unit], unit)), sets, options)
    return [sets[unit] for unit in units]


def original_set(path: str, validation_percentage: float, test_percentage: float) -> str:
    """The set of a path by the rule of the original program (tensorflow/hub, examples/image_retraining/retrain.py).

    It is the SHA-1 of the path, as given, up to `_nohash_`: the same folder under another path is split differently.
    """
    digest = hashlib.sha1(path.split(GROUP_MARKER)[0].encode("utf-8", "surrogateescape")).hexdigest()
    percentage = int(digest, 16) % (_ORIGINAL_BUCKETS + 1) * (100.0 / _ORIGINAL_BUCKETS)
    if percentage < validation_percentage:
        return "validation"
    return "test" if percentage < validation_percentage + test_percentage else "train"


def _fraction(unit: bytes) -> float:
    """A hash as a number in [0, 1)."""
    return int.from_bytes(unit[:8], "big") / 2**64


def _set_of(fraction: float, options: SplitOptions) -> str:
    if fraction * 100 < options.validation_percentage:
        return "validation"
    return "test" if fraction * 100 < options.validation_percentage + options.test_percentage else "train"


def _fill_empty_sets(units: list[bytes], sets: dict[bytes, str], options: SplitOptions) -> None:
    """Give a class that has enough pictures at least one unit in each wanted set.

    Args:
        units: the units of one class, by rising fraction.
        sets: the set of every unit; changed in place.
        options: a set with a percentage of 0 is not wanted.
    """
    wanted = {name for name in SETS if options.wants(name)}
    if len(units) < len(wanted):
        if not any(sets[unit] == "train" for unit in units):
            sets[units[-1]] = "train"
        return
    for name in ("validation", "test", "train"):
        if name not in wanted or any(sets[unit] == name for unit in units):
            continue
        held = Counter(sets[unit] for unit in units)
        spare = [unit for unit in units if held[sets[unit]] > 1]
        sets[spare[-1] if name == "train" else spare[0]] = name


def _assign_by_counts(labels: Sequence[int], units: Sequence[bytes], options: SplitOptions) -> dict[bytes, str]:
    """The set of every unit, if one of the sets gets a number of pictures of each class.

    Validation takes units by rising fraction, as long as they fit its numbers in all their classes; then test takes
    from what is left in the same way. If training has a number, it takes from the highest fraction down, and the test
    gets the rest. If units are single pictures, a picture that comes or goes moves at most one picture out of each set.
    Names, labels and the order of classes make no difference.
    """
    sizes: dict[bytes, Counter[int]] = defaultdict(Counter)
    for label, unit in zip(labels, units, strict=True):
        sizes[unit][label] += 1
    totals = Counter(labels)
    order = sorted(sizes, key=lambda unit: (_fraction(unit), unit))
    shares: dict[str, Counter[int]] = defaultdict(Counter)  # set -> label -> pictures, by the percentages
    for unit in order:
        shares[_set_of(_fraction(unit), options)].update(sizes[unit])

    counted = sum(getattr(options, f"{name}_per_class") or 0 for name in SETS)
    rest = "train" if options.train_per_class is None else "test"
    sets = dict.fromkeys(order, rest)
    room = {label: total - counted - 1 for label, total in totals.items()}  # at least one is for the rest
    for name in ("validation", "test", "train"):
        if name == rest:
            continue
        count = getattr(options, f"{name}_per_class")
        wanted = {}
        for label in totals:
            share = min(max(shares[name][label], 1), room[label]) if options.wants(name) else 0
            wanted[label] = share if count is None else count
            room[label] -= 0 if count is not None else share
        for unit in reversed(order) if name == "train" else order:
            fits = all(wanted[label] >= size for label, size in sizes[unit].items())
            if sets[unit] == rest and fits:
                sets[unit] = name
                for label, size in sizes[unit].items():
                    wanted[label] -= size
    return sets


def check_groups(samples: Sequence[Sample], options: SplitOptions) -> None:
    """Refuse a split that would take groups apart. Raises UsageError."""
    if options.split == "original" and any(sample.group is not None for sample in samples):
        raise UsageError(
            "--split original assigns each picture by its path alone, and would take the manifest's groups apart: "
            "leave it out, or remove the column group"
        )


def check_counts(pictures: Mapping[str, int], options: SplitOptions) -> None:
    """Refuse classes that have no picture left after the sets' numbers.

    Args:
        pictures: name of a class -> its different pictures, or before these are known, its files.
    Raises ImageFolderError.
    """
    counts = {name: getattr(options, f"{name}_per_class") for name in SETS}
    needed = sum(count or 0 for count in counts.values()) + 1
    few = [f"{name} ({found})" for name, found in sorted(pictures.items()) if options.has_counts and found < needed]
    if few:
        flags = " and ".join(f"--{name}-per-class {count}" for name, count in counts.items() if count is not None)
        raise ImageFolderError(
            f"too few different pictures in class {listing(few)}: {flags} take {needed - 1}, and "
            f"{'training' if options.train_per_class is None else 'the test'} needs at least one more; lower the "
            "numbers or add pictures"
        )


def check_class_sizes(class_names: Sequence[str], counts: Sequence[int]) -> None:
    """Refuse classes that can't be split: fewer than two classes, or a class with fewer than three pictures.

    Raises ImageFolderError.
    """
    if len(class_names) < 2:
        raise ImageFolderError(
            f"only one class ({shown(class_names[0])}): a classifier needs two or more; add pictures of another"
        )
    pairs = zip(class_names, counts, strict=True)
    small = [f"{name} ({count})" for name, count in pairs if count < FEWEST_PICTURES]
    if small:
        raise ImageFolderError(
            f"fewer than {FEWEST_PICTURES} pictures in class {listing(small)}: training, validation and test need "
            "one each; add pictures or leave the class out"
        )
