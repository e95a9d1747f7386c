"""Pictures with several labels: which sets of labels there are, and one picture for all files of the same content."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from retrain.data.labelled_pictures import SEPARATOR, LabelledPictures, Sample
from retrain.errors import ImageFolderError
from retrain.events import Emit, Noted
from retrain.text import counted, listing

__all__ = ["LabelSets", "check_separable", "label_sets_of", "united", "with_several_labels"]


@dataclasses.dataclass(frozen=True)
class LabelSets:
    """The sets of labels that pictures have, numbered."""

    members: NDArray[np.bool_]  # (sets, classes) which labels each set has
    numbers: NDArray[np.int32]  # (n,) the set of each picture, in [0, sets)


def label_sets_of(samples: Sequence[Sample], classes: int) -> LabelSets:
    """Number the sets of labels of samples, in the order in which they first come.

    Args:
        samples: (n,).
        classes: number of labels.
    """
    sets: dict[tuple[int, ...], int] = {}
    numbers = np.array([sets.setdefault(sample.classes, len(sets)) for sample in samples], np.int32)
    members = np.zeros((len(sets), classes), np.bool_)
    for labels, number in sets.items():
        members[number, list(labels)] = True
    return LabelSets(members, numbers)


def check_separable(names: Sequence[str]) -> None:
    """Refuse names that can't stand in a list of labels. Raises ImageFolderError."""
    wrong = [name for name in names if SEPARATOR in name]
    if wrong:
        raise ImageFolderError(
            f"--multi-label writes several labels as rose{SEPARATOR}leaf, and "
            f"{counted(len(wrong), 'label', 'has/have')} a {SEPARATOR} in it: {listing(wrong)}; use another character"
        )


def with_several_labels(folder: LabelledPictures) -> LabelledPictures:
    """The same pictures, each of which may have several labels; so far it has its own.

    Raises ImageFolderError for a class whose name can't stand in a list of labels.
    """
    if folder.is_multi_label:
        return folder
    check_separable(folder.class_names)
    own = [(label,) for label in range(len(folder.class_names))]  # tuples that all samples of a class share
    samples = tuple(dataclasses.replace(sample, labels=own[sample.label]) for sample in folder.samples)
    return dataclasses.replace(folder, samples=samples)


def united(
    folder: LabelledPictures, chosen: NDArray[np.int64], keys: NDArray[np.uint8], emit: Emit
) -> tuple[LabelledPictures, NDArray[np.int64]]:
    """Make one picture of all files of the same content, with the labels of all of them.

    Of files in several of the sets that the pictures come with, one stays in each.

    Args:
        chosen: (n,) numbers of the readable samples.
        keys: (n, 32) uint8, SHA-256 of each file's bytes.
        emit: told how many pictures have labels of several files.
    Returns: the folder, whose samples have all labels of their content; and places (m,) in [0, n) of those that stay,
    rising: the first of each content.
    """
    labels: dict[bytes, set[int]] = {}
    first: dict[tuple[bytes, str | None], int] = {}
    contents = [key.tobytes() for key in keys]
    samples = list(folder.samples)
    grown = set[bytes]()
    for place, (number, content) in enumerate(zip(chosen.tolist(), contents, strict=True)):
        sample = samples[number]
        known = labels.setdefault(content, {*sample.classes})
        if not known.issuperset(sample.classes):
            known.update(sample.classes)
            grown.add(content)
        elif len(known) > len(sample.classes):
            grown.add(content)
        first.setdefault((content, sample.subset), place)
    kept = np.array(sorted(first.values()), np.int64)
    tuples: dict[tuple[int, ...], tuple[int, ...]] = {}
    for place in kept.tolist():
        number, own = int(chosen[place]), tuple(sorted(labels[contents[place]]))
        if own != samples[number].labels:
            name = SEPARATOR.join(folder.class_names[label] for label in own)
            samples[number] = dataclasses.replace(samples[number], labels=tuples.setdefault(own, own), class_name=name)
    if grown:
        emit(Noted(f"{counted(len(grown), 'picture', 'has/have')} labels of several files with the same content"))
    return dataclasses.replace(folder, samples=tuple(samples)), kept
