"""A folder of pictures with its bottlenecks."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from retrain.backbones import Backbone, Extractor, RepresentativePictures, choose_extractor
from retrain.cache import BottleneckCache, CachedVectors, LabelledBottlenecks, VectorSource, load_vectors
from retrain.data import LabelledPictures, Sample, label_sets_of, united
from retrain.errors import ImageFolderError
from retrain.events import Emit, StageBegan, Warned
from retrain.extraction.pass_one import Extraction, extract_bottlenecks, open_cache
from retrain.options import RunOptions
from retrain.paths import display_path
from retrain.text import counted, listing

__all__ = [
    "Dataset",
    "choose_extractor_for",
    "extract",
    "flat_warnings",
    "load_dataset",
    "load_listed",
    "load_unlabelled",
]

_MOST_TOLD = 3  # files that are left out, in a warning


@dataclass(frozen=True)
class Dataset:
    """The readable pictures of a folder, and their bottlenecks, which are read when first needed."""

    folder: LabelledPictures
    extraction: Extraction
    chosen: NDArray[np.int64]  # (n,) numbers of the readable samples
    cached: CachedVectors  # (n, d)
    labels: NDArray[np.int32]  # (n,)
    keys: NDArray[np.uint8]  # (n, 32)
    max_memory: int | None = None  # MiB that the vectors may take
    copies: CachedVectors | None = None  # (m, d), of distorted copies
    origins: NDArray[np.int32] | None = None  # (m,) which picture each copy shows, in [0, n)
    class_weights: tuple[float, ...] | None = None  # (classes,) how many pictures one of each class counts as
    # (sets, classes) if pictures have several labels: `labels` are numbers of these sets
    label_sets: NDArray[np.bool_] | None = None

    @cached_property
    def bottlenecks(self) -> LabelledBottlenecks:
        """What heads are trained on: the pictures, then the copies."""
        if self.copies is None or self.origins is None:
            return self._weighted(load_vectors([self.cached], self.max_memory), None)
        origins = np.concatenate([np.arange(len(self.labels), dtype=np.int32), self.origins])
        return self._weighted(load_vectors([self.cached, self.copies], self.max_memory), origins)

    def _weighted(self, vectors: VectorSource, origins: NDArray[np.int32] | None) -> LabelledBottlenecks:
        labels = self.labels if origins is None else self.labels[origins]
        data = LabelledBottlenecks(vectors, labels, origins, label_sets=self.label_sets)
        return data.weighted(self.class_weights)

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

    def with_classes(self, numbers: Sequence[int], classes: int) -> "Dataset":
        """The same, with the numbers that another model has for the classes.

        Args:
            numbers: of the folder's classes, in [0, classes).
            classes: how many the model has.
        """
        if self.label_sets is None:
            return replace(self, labels=np.array(numbers, np.int32)[self.labels])
        known = np.zeros((len(self.label_sets), classes), np.bool_)
        for column, number in enumerate(numbers):
            known[:, number] |= self.label_sets[:, column]  # two folders may be one label
        return replace(self, label_sets=known)

    def labels_in(self, chosen: NDArray[np.int64]) -> NDArray[np.int32]:
        """The numbers of all labels of (m,) pictures, one after the other; a label as often as pictures have it."""
        labels = self.labels[chosen]
        if self.label_sets is None:
            return labels
        return np.nonzero(self.label_sets[labels])[1].astype(np.int32)


def choose_extractor_for(folder: LabelledPictures, backbone: Backbone, options: RunOptions, emit: Emit) -> Extractor:
    """The extractor that the options ask for."""
    pictures = RepresentativePictures(folder, options.extraction.cache_dir, options.images)
    return choose_extractor(backbone, options.backbone.precision, pictures, emit)


def load_dataset(folder: LabelledPictures, extractor: Extractor, options: RunOptions, emit: Emit) -> Dataset:
    """Run pass one over all samples. Raises ImageFolderError if no picture can be read, CacheError, BackboneError."""
    cache = open_cache(extractor, options.extraction)
    extraction = extract(folder, extractor, cache, options, emit)
    if not extraction.readable.any():
        raise ImageFolderError(
            f"not one readable picture in {display_path(folder.source)}: skipped {extraction.left_out.told()}"
        )
    return _dataset(folder, extraction, cache, options, emit)


def load_unlabelled(folder: LabelledPictures, extractor: Extractor, options: RunOptions, emit: Emit) -> Dataset:
    """The same for pictures whose classes mean nothing: what is left out is told file by file, not class by class.

    Raises ImageFolderError if no picture can be read, CacheError, BackboneError.
    """
    data = load_listed(folder, extractor, options, emit)
    skipped = data.extraction.skipped
    if skipped:
        named = listing((f"{display_path(path)} ({reason})" for path, reason in skipped.items()), _MOST_TOLD)
        if not len(data.chosen):
            raise ImageFolderError(f"not one readable picture in {display_path(folder.source)}: {named}")
        of = counted(len(folder.samples), "file")
        emit(Warned(f"left out {len(skipped):,} of {of} that can't be read as pictures: {named}"))
    return data


def load_listed(folder: LabelledPictures, extractor: Extractor, options: RunOptions, emit: Emit) -> Dataset:
    """The same for pictures that someone has listed. Who calls tells what is left out, which may be all of them.

    Raises CacheError, BackboneError.
    """
    emit(StageBegan("extraction"))
    cache = open_cache(extractor, options.extraction)
    extraction = extract_bottlenecks(folder, extractor, cache, options, emit)
    for warning in cache.warnings:
        emit(Warned(warning))
    return _dataset(folder, extraction, cache, options, emit)


def _dataset(
    folder: LabelledPictures, extraction: Extraction, cache: BottleneckCache, options: RunOptions, emit: Emit
) -> Dataset:
    chosen = np.flatnonzero(extraction.readable)
    if folder.is_multi_label:
        folder, kept = united(folder, chosen, extraction.keys[chosen], emit)
        chosen = chosen[kept]
    keys = extraction.keys[chosen]
    rows = cache.find(keys)
    if (rows < 0).any():  # another process may have merged or pruned meanwhile
        cache.refresh()
        rows = cache.find(keys)
    cached, most = CachedVectors(cache, rows), options.training.max_memory
    if folder.is_multi_label:
        found = label_sets_of([folder.samples[number] for number in chosen], len(folder.class_names))
        return Dataset(folder, extraction, chosen, cached, found.numbers, keys, most, label_sets=found.members)
    labels = np.array([sample.label for sample in folder.samples], np.int32)[chosen]
    return Dataset(folder, extraction, chosen, cached, labels, keys, most)


def extract(
    folder: LabelledPictures, extractor: Extractor, cache: BottleneckCache, options: RunOptions, emit: Emit
) -> Extraction:
    """Put the bottleneck of every picture of a folder into the cache, and tell what was left out.

    Raises ImageFolderError, CacheError, BackboneError.
    """
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


def flat_warnings(folder: LabelledPictures, extraction: Extraction) -> Iterator[str]:
    """Warnings about pictures, and whole classes, that show one flat colour."""
    flat = set(extraction.one_colour)
    labels = [sample.classes for sample in folder.samples]
    readable = (own for own, is_readable in zip(labels, extraction.readable, strict=True) if is_readable)
    pictures = Counter(label for own in readable for label in own)
    by_class = Counter(label for number in flat for label in labels[number])
    nothing_else = {label for label in by_class if by_class[label] == pictures[label]}
    if nothing_else:
        yield (
            f"every picture of class {listing(folder.class_names[label] for label in sorted(nothing_else))} shows one "
            "flat colour, so there is nothing to learn: look at the files, and save them as 8-bit PNG or JPEG if other "
            "programs show more"
        )
    rest = sorted(number for number in flat if nothing_else.isdisjoint(labels[number]))
    if rest:
        yield (
            f"{counted(len(rest), 'picture', 'shows/show')} one flat colour, such as "
            f"{display_path(folder.samples[rest[0]].path)}: retrain inspect lists such pictures; remove those that "
            "show nothing"
        )
