"""A folder of pictures with its bottlenecks: what training, cross-validation and evaluation start from."""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from retrain.backbones.backbone import Backbone
from retrain.backbones.precision import choose_extractor
from retrain.cache.store import BottleneckCache
from retrain.cache.vectors import CachedVectors, LabelledBottlenecks, VectorSource, load_vectors
from retrain.data.image_folder import ImageFolder, Sample, read_image_folder
from retrain.data.labels import class_labels
from retrain.data.split import SETS, check_class_sizes
from retrain.errors import ImageFolderError
from retrain.evaluation.metrics import different
from retrain.events import Emit, StageBegan, Warned
from retrain.extraction.pass_one import Extraction, Extractor, extract_bottlenecks, open_cache
from retrain.options import RunOptions
from retrain.paths import display_path
from retrain.text import counted, listing

__all__ = [
    "FEW_PICTURES",
    "ClassRules",
    "Dataset",
    "check_leaks",
    "choose_extractor_for",
    "extract",
    "flat_warnings",
    "load_dataset",
    "load_training_data",
    "read_classes",
]

FEW_PICTURES = 20  # a class with fewer gets a warning, as in the original program


@dataclass(frozen=True)
class Dataset:
    """The readable pictures of a folder, and their bottlenecks, which are read when they are first asked for."""

    folder: ImageFolder
    extraction: Extraction
    chosen: NDArray[np.int64]  # (n,) numbers of the readable samples
    cached: CachedVectors  # (n, d)
    labels: NDArray[np.int32]  # (n,)
    keys: NDArray[np.uint8]  # (n, 32)
    max_memory: int | None = None  # MiB that the vectors may take
    copies: CachedVectors | None = None  # (m, d), of distorted copies
    origins: NDArray[np.int32] | None = None  # (m,) which picture each copy shows, in [0, n)

    @cached_property
    def bottlenecks(self) -> LabelledBottlenecks:
        """What heads are trained on: the pictures, then the copies."""
        if self.copies is None or self.origins is None:
            return LabelledBottlenecks(load_vectors([self.cached], self.max_memory), self.labels)
        origins = np.concatenate([np.arange(len(self.labels), dtype=np.int32), self.origins])
        vectors = load_vectors([self.cached, self.copies], self.max_memory)
        return LabelledBottlenecks(vectors, self.labels[origins], origins)

    @property
    def vectors(self) -> VectorSource:
        """(n, d), of the pictures."""
        vectors = self.bottlenecks.vectors
        return vectors[: len(self.labels)] if isinstance(vectors, np.ndarray) else self.cached

    @cached_property
    def samples(self) -> list[Sample]:
        """The readable samples."""
        return [self.folder.samples[number] for number in self.chosen]

    def hex_keys(self) -> list[str]:
        """The keys in hexadecimal."""
        return [key.tobytes().hex() for key in self.keys]


@dataclass(frozen=True)
class ClassRules:
    """Which folders are classes, and what their labels are, beyond what options say."""

    label_of: Callable[[str], str] = str  # the label of a class folder's name, if --labels-file does not have it
    exclude: Sequence[str | os.PathLike[str]] = ()  # folders in the image folder that are no classes, as is the cache


def read_classes(
    image_dir: str | os.PathLike[str], options: RunOptions, emit: Emit, rules: ClassRules = ClassRules()
) -> tuple[ImageFolder, tuple[str, ...]]:
    """The folder's classes and their labels, checked as far as possible without reading a picture.

    Raises ImageFolderError, LabelsFileError.
    """
    folder = read_image_folder(image_dir, [options.extraction.cache_dir, *rules.exclude], emit)
    labels = class_labels(folder.class_names, options.labels.labels_file, rules.label_of, emit)
    _check_counts(folder, folder.counts(), emit)
    return folder, labels


def load_training_data(folder: ImageFolder, extractor: Extractor, options: RunOptions, emit: Emit) -> Dataset:
    """Pass one, and what it shows of the folder."""
    data = load_dataset(folder, extractor, options, emit)
    if len(data.chosen) < len(folder.samples):
        _check_counts(folder, np.bincount(data.labels, minlength=len(folder.class_names)).tolist(), emit)
    _check_contradictions(data, emit)
    _check_copies(data, emit)
    return data


def choose_extractor_for(folder: ImageFolder, backbone: Backbone, options: RunOptions, emit: Emit) -> Extractor:
    """What computes the bottlenecks, in the precision asked for."""
    precision, cache_dir = options.backbone.precision, options.extraction.cache_dir
    return choose_extractor(backbone, precision, folder, cache_dir, options.images, emit)


def load_dataset(folder: ImageFolder, extractor: Extractor, options: RunOptions, emit: Emit) -> Dataset:
    """Pass one over all samples. Raises ImageFolderError if no picture can be read, CacheError, BackboneError."""
    cache = open_cache(extractor, options.extraction)
    extraction = extract(folder, extractor, cache, options, emit)
    chosen = np.flatnonzero(extraction.readable)
    if not len(chosen):
        raise ImageFolderError(
            f"not one readable picture in {display_path(folder.root)}: skipped {extraction.left_out.told()}"
        )
    keys = extraction.keys[chosen]
    rows = cache.find(keys)
    if (rows < 0).any():  # another process may have merged or pruned meanwhile
        cache.refresh()
        rows = cache.find(keys)
    labels = np.array([sample.label for sample in folder.samples], np.int32)[chosen]
    return Dataset(folder, extraction, chosen, CachedVectors(cache, rows), labels, keys, options.training.max_memory)


def extract(
    folder: ImageFolder, extractor: Extractor, cache: BottleneckCache, options: RunOptions, emit: Emit
) -> Extraction:
    """Pass one: put the bottleneck of every picture of a folder into the cache."""
    emit(StageBegan("extraction"))
    done = extract_bottlenecks(folder, extractor, cache, options, emit)
    for warning in cache.warnings:
        emit(Warned(warning))
    loss = done.left_out.warning()
    if loss:
        emit(Warned(loss))
    for warning in flat_warnings(folder, done):
        emit(Warned(warning))
    return done


def flat_warnings(folder: ImageFolder, extraction: Extraction) -> Iterator[str]:
    """What to say of pictures, and of whole classes, that show one flat colour."""
    flat = set(extraction.one_colour)
    labels = [sample.label for sample in folder.samples]
    pictures = Counter(label for label, is_readable in zip(labels, extraction.readable, strict=True) if is_readable)
    by_class = Counter(labels[number] for number in flat)
    nothing_else = {label for label in by_class if by_class[label] == pictures[label]}
    if nothing_else:
        yield (
            f"every picture of class {listing(folder.class_names[label] for label in sorted(nothing_else))} shows one "
            "flat colour: nothing can be learned from it; look at its files, and save them as 8-bit PNG or JPEG if "
            "they show more elsewhere"
        )
    rest = sorted(number for number in flat if labels[number] not in nothing_else)
    if rest:
        yield (
            f"{counted(len(rest), 'picture', 'shows/show')} one flat colour, such as "
            f"{display_path(folder.samples[rest[0]].path)}: retrain inspect lists such pictures; remove those that "
            "show nothing"
        )


def _check_counts(folder: ImageFolder, counts: Sequence[int], emit: Emit) -> None:
    check_class_sizes(folder.class_names, counts)
    few = [f"{name} ({n})" for name, n in zip(folder.class_names, counts, strict=True) if n < FEW_PICTURES]
    if few:
        emit(Warned(f"fewer than {FEW_PICTURES} pictures in class {listing(few)}: results may be poor, add more"))
    if folder.empty_folders:
        names = listing(map(display_path, folder.empty_folders))
        emit(
            Warned(f"{counted(len(folder.empty_folders), 'folder', 'holds/hold')} no files and make no class: {names}")
        )


def _check_contradictions(data: Dataset, emit: Emit) -> None:
    """Warn of pictures that lie in folders of different classes."""
    first: dict[bytes, int] = {}
    labels = zip(data.keys, data.labels.tolist(), strict=True)
    several = {key.tobytes() for key, label in labels if first.setdefault(key.tobytes(), label) != label}
    if several:
        emit(
            Warned(
                f"{counted(len(several), 'picture', 'is/are')} in folders of several classes: retrain inspect "
                "shows which, keep one of each"
            )
        )


def _check_copies(data: Dataset, emit: Emit) -> None:
    """Warn of classes that have pictures enough, but too few that differ."""
    files = np.bincount(data.labels, minlength=len(data.folder.class_names)).tolist()
    unique = np.bincount(data.labels[different(data.keys, data.labels)], minlength=len(files)).tolist()
    rows = zip(data.folder.class_names, files, unique, strict=True)
    few = [f"{name} ({own})" for name, count, own in rows if own < FEW_PICTURES <= count]
    if few:
        emit(
            Warned(
                f"fewer than {FEW_PICTURES} different pictures in class {listing(few)}, the others are copies of them: "
                "results may be poor, add more"
            )
        )


def check_leaks(data: Dataset, emit: Emit) -> None:
    """Warn of pictures that lie in more than one of the sets which the folder comes with."""
    found: dict[bytes, set[str]] = defaultdict(set)
    for key, sample in zip(data.keys, data.samples, strict=True):
        if sample.subset:
            found[key.tobytes()].add(sample.subset)
    several = [sets for sets in found.values() if len(sets) > 1]
    if several:
        names = [name for name in SETS if any(name in sets for sets in several)]
        emit(
            Warned(
                f"{counted(len(several), 'picture', 'is/are')} in more than one of the sets {', '.join(names)}: "
                "retrain inspect shows which; figures of pictures that were trained on are too good, keep one of each"
            )
        )
