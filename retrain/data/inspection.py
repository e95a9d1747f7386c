"""Inspect an image folder: counts, sizes, formats, unreadable pictures, duplicates, imbalance."""

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from retrain.data.decoding import decode_image, is_one_colour, read_header
from retrain.data.label_sets import united
from retrain.data.labelled_pictures import SEPARATOR, LabelledPictures, Sample
from retrain.data.labels import class_labels
from retrain.data.left_out import LeftOut, summarize_left_out
from retrain.data.picture_file import picture_bytes
from retrain.data.picture_form import PictureForm
from retrain.data.source import read_source
from retrain.data.split import SETS, assign_sets
from retrain.errors import UnreadableImageError
from retrain.events import Emit, Inspected, Warned, ignore
from retrain.machine import cores
from retrain.options import ImageOptions, LabelOptions, PictureSource, SplitOptions
from retrain.paths import utf8_path

__all__ = ["ClassInspection", "FolderInspection", "PlacedPicture", "inspect_folder"]

# A folder is imbalanced if a class has this many times the pictures of another.
_IMBALANCE = 3

_SIDE = 8  # pixels: enough to find damage, and to see that most pictures are not one flat colour
_SIDE_OF_FLAT = 224  # about the size that training would see the rest at


@dataclass(frozen=True)
class ClassInspection:
    """One class of the folder."""

    label: str
    pictures: int  # readable
    unreadable: int
    train: int
    validation: int
    test: int


@dataclass(frozen=True)
class PlacedPicture:
    """The set and label of a readable picture."""

    set: str  # train, validation or test
    label: str
    path: str  # relative to the folder


@dataclass(frozen=True)
class FolderInspection:
    """What was found."""

    classes: tuple[ClassInspection, ...]
    formats: dict[str, int]  # format -> pictures, most frequent first
    width: tuple[int, int, int] | None  # smallest, median, largest, in pixels; None without pictures
    height: tuple[int, int, int] | None
    unreadable: dict[str, str]  # path -> reason
    duplicates: tuple[tuple[str, ...], ...]  # paths of byte-identical pictures in one class
    contradictions: tuple[tuple[str, ...], ...]  # paths of byte-identical pictures in different classes
    leaks: tuple[tuple[str, ...], ...]  # paths of byte-identical pictures in different ready-made sets
    empty_folders: tuple[str, ...]
    stray_files: tuple[str, ...]
    files: tuple[PlacedPicture, ...]  # sorted by path
    left_out: LeftOut  # a summary of the unreadable ones
    one_colour: tuple[str, ...] = ()  # paths of pictures that show one flat colour
    one_colour_classes: tuple[str, ...] = ()  # labels of classes that have no other pictures
    examples: tuple[tuple[str, str], ...] = ()  # label and path of the first training picture of each class

    @property
    def pictures(self) -> int:
        """Readable pictures in all classes."""
        return len(self.files)

    @property
    def different(self) -> int:
        """Readable pictures, with copies counted once."""
        return self.pictures - sum(len(group) - 1 for group in (*self.duplicates, *self.contradictions))

    @property
    def imbalance(self) -> float | None:
        """The size of the largest class over that of the smallest; None if a class has no pictures."""
        counts = sorted(c.pictures for c in self.classes)
        return counts[-1] / counts[0] if counts[0] else None

    @property
    def is_imbalanced(self) -> bool:
        """Whether the largest class has at least three times the pictures of the smallest."""
        return self.imbalance is None or self.imbalance >= _IMBALANCE

    def as_dict(self, with_files: bool = True) -> dict[str, Any]:
        """For JSON."""
        figures = asdict(self if with_files else replace(self, files=()))
        for name in ("examples", *(() if with_files else ("files",))):  # examples are paths to open, not to show
            figures.pop(name)
        totals = {"pictures": self.pictures, "different": self.different}
        summary = {"imbalance": self.imbalance, "left_out": self.left_out.as_dict()}
        return totals | figures | summary


@dataclass(frozen=True)
class _Picture:
    key: bytes
    format: str
    width: int
    height: int
    is_one_colour: bool


def inspect_folder(
    source: PictureSource,
    images: ImageOptions = ImageOptions(),
    split: SplitOptions = SplitOptions(),
    labels: LabelOptions = LabelOptions(),
    emit: Emit = ignore,
) -> FolderInspection:
    """Read and decode every file of a folder or manifest, and report what was found.

    Args:
        source: an image folder, or a manifest.
        emit: told of warnings, and with every file how many were inspected.
    Raises ImageFolderError, ManifestError, LabelsFileError.
    """
    folder = read_source(source, emit=emit, multi_label=labels.multi_label)
    names = class_labels(folder.class_names, labels.labels_file, emit=emit)
    found: list[_Picture | str] = []
    with ThreadPoolExecutor(cores() + 1) as pool:
        for result in pool.map(lambda sample: _look_at(folder, sample, images), folder.samples):
            found.append(result)
            emit(Inspected(len(found), len(folder.samples)))
    readable = [(s, p) for s, p in zip(folder.samples, found, strict=True) if isinstance(p, _Picture)]
    unreadable = {s.path: p for s, p in zip(folder.samples, found, strict=True) if isinstance(p, str)}
    left_out = summarize_left_out(folder, unreadable)
    loss = left_out.warning()
    if loss:
        emit(Warned(loss))
    duplicates, contradictions, leaks = _repeated(readable)
    unusable = [sample for sample, picture in zip(folder.samples, found, strict=True) if isinstance(picture, str)]
    if labels.multi_label:  # what is there several times is one picture, with all its labels
        readable, duplicates, contradictions = _once(folder, found, emit), (), ()
    keys = np.frombuffer(b"".join(picture.key for _, picture in readable), np.uint8).reshape(-1, 32)
    samples = [sample for sample, _ in readable]
    sets = assign_sets(samples, keys, split, folder.spelling)
    return FolderInspection(
        _classes(names, samples, sets, unusable),
        dict(Counter(picture.format for _, picture in readable).most_common()),
        _spread([picture.width for _, picture in readable]),
        _spread([picture.height for _, picture in readable]),
        {utf8_path(path): reason for path, reason in unreadable.items()},
        duplicates,
        contradictions,
        leaks,
        folder.empty_folders,
        tuple(utf8_path(path) for path in folder.stray_files),
        tuple(_placed(sample, set_, names) for sample, set_ in zip(samples, sets, strict=True)),
        left_out,
        tuple(utf8_path(sample.path) for sample, picture in readable if picture.is_one_colour),
        _classes_of_one_colour(names, readable),
        _examples(folder, names, samples, sets),
    )


def _look_at(folder: LabelledPictures, sample: Sample, images: ImageOptions) -> _Picture | str:
    if sample.problem is not None:
        return sample.problem
    try:
        with picture_bytes(folder.root / sample.path, images.max_file_size) as data:
            header = read_header(data, images.max_pixels)
            # damage only shows when the pixels are read
            is_flat = all(
                is_one_colour(decode_image(data, PictureForm(side, side), images.max_pixels))
                for side in (_SIDE, _SIDE_OF_FLAT)
            )
            key = hashlib.sha256(data).digest()
    except UnreadableImageError as error:
        return str(error)
    return _Picture(key, header.format, header.width, header.height, is_flat)


def _once(folder: LabelledPictures, found: Sequence[_Picture | str], emit: Emit) -> list[tuple[Sample, _Picture]]:
    """The readable pictures, each content once, with the labels of all files that have it."""
    readable = {number: picture for number, picture in enumerate(found) if isinstance(picture, _Picture)}
    keys = np.frombuffer(b"".join(picture.key for picture in readable.values()), np.uint8).reshape(-1, 32)
    folder, kept = united(folder, np.array([*readable], np.int64), keys, emit)
    numbers = [*readable]
    return [(folder.samples[numbers[place]], readable[numbers[place]]) for place in kept.tolist()]


def _placed(sample: Sample, set_: str, names: Sequence[str]) -> PlacedPicture:
    return PlacedPicture(set_, SEPARATOR.join(names[label] for label in sample.classes), utf8_path(sample.path))


def _classes(
    labels: Sequence[str], samples: Sequence[Sample], sets: Sequence[str], unusable: Sequence[Sample]
) -> tuple[ClassInspection, ...]:
    placed = zip(samples, sets, strict=True)
    counts = Counter((label, name) for sample, name in placed for label in sample.classes)
    lost = Counter(label for sample in unusable for label in sample.classes)
    classes = []
    for label, name in enumerate(labels):
        train, validation, test = (counts[label, set_] for set_ in SETS)
        classes.append(ClassInspection(name, train + validation + test, lost[label], train, validation, test))
    return tuple(classes)


def _classes_of_one_colour(labels: Sequence[str], readable: list[tuple[Sample, _Picture]]) -> tuple[str, ...]:
    shown = {label for sample, _ in readable for label in sample.classes}
    more = {label for sample, picture in readable if not picture.is_one_colour for label in sample.classes}
    return tuple(labels[label] for label in sorted(shown - more))


def _examples(
    folder: LabelledPictures, labels: Sequence[str], samples: list[Sample], sets: Sequence[str]
) -> tuple[tuple[str, str], ...]:
    first: dict[int, str] = {}
    for sample, name in zip(samples, sets, strict=True):
        if name == "train":
            for label in sample.classes:
                first.setdefault(label, os.fspath(folder.root / sample.path))
    return tuple((labels[label], path) for label, path in sorted(first.items()))


def _repeated(readable: list[tuple[Sample, _Picture]]) -> tuple[tuple[tuple[str, ...], ...], ...]:
    """Groups of byte-identical pictures: within a class, across classes, across ready-made sets."""
    groups: dict[bytes, list[Sample]] = defaultdict(list)
    for sample, picture in readable:
        groups[picture.key].append(sample)
    repeated = [group for group in groups.values() if len(group) > 1]

    def paths(chosen: list[list[Sample]]) -> tuple[tuple[str, ...], ...]:
        return tuple(tuple(utf8_path(sample.path) for sample in group) for group in chosen)

    same = [g for g in repeated if len({s.label for s in g}) == 1]
    across = [g for g in repeated if len({s.label for s in g}) > 1]
    leaks = [g for g in repeated if len({s.subset for s in g}) > 1]
    return paths(same), paths(across), paths(leaks)


def _spread(values: list[int]) -> tuple[int, int, int] | None:
    return (min(values), sorted(values)[len(values) // 2], max(values)) if values else None
