"""Pictures with their classes, wherever they come from: what a folder of folders gives, and a manifest."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from retrain.data.folder_walk import UNREADABLE
from retrain.data.picture_file import Signature
from retrain.data.remote_files import is_url
from retrain.errors import UsageError
from retrain.options import Shard
from retrain.paths import display_path

__all__ = ["SEPARATOR", "STRANGERS", "LabelledPictures", "ManifestFile", "Sample"]

SEPARATOR = "|"  # between the labels of a picture that may have several: rose|leaf
STRANGERS = "_none_"  # what stands in place of a class for pictures of none


@dataclass(frozen=True, slots=True)  # there may be millions
class Sample:
    """A file with its class. Whether it is a picture becomes clear when it is read."""

    path: str  # relative to the root, with /; absolute if a manifest lists a file elsewhere
    label: int  # index into class_names; where a picture may have several labels, `labels` counts instead
    class_name: str  # that name; of several labels all, as in rose|leaf
    subset: str | None = None  # "train", "validation" or "test", if the pictures come with a split
    problem: str | None = None  # why it can't be a picture: a pipe, or a folder that can't be read; don't open it
    content: Callable[[], bytes] | None = None  # gives what a file would hold, of a picture that is in no file
    signature: Signature | None = None  # what shows that the file is unchanged, if listing it told
    group: str | None = None  # of pictures that must stay in one set, if a manifest says so
    labels: tuple[int, ...] | None = None  # indices of all its labels, rising, where a picture may have several or none

    @property
    def classes(self) -> tuple[int, ...]:
        """The indices of its labels: of one, or where a picture may have several, of any number."""
        return (self.label,) if self.labels is None else self.labels

    @property
    def names(self) -> tuple[str, ...]:
        """The names of these."""
        if self.labels is None:
            return (self.class_name,)
        return tuple(self.class_name.split(SEPARATOR)) if self.labels else ()

    @property
    def is_lost(self) -> bool:
        """Whether there may be pictures here that can't be read."""
        return (self.problem or "").startswith(UNREADABLE)


@dataclass(frozen=True)
class ManifestFile:
    """The manifest that pictures come from."""

    path: str
    sha256: str  # of its bytes


@dataclass(frozen=True)
class LabelledPictures:
    """Pictures and their classes."""

    root: Path  # the folder that paths are relative to; s3:/bucket/photos for a URL
    class_names: tuple[str, ...]  # sorted by name, in Unicode's composed form
    samples: tuple[Sample, ...]  # sorted by path
    empty_folders: tuple[str, ...] = ()  # sub-folders without files, which are not classes
    stray_files: tuple[str, ...] = ()  # files beside the class folders, in no class
    spelling: str = ""  # of the root, as the user gave it: the original program's split depends on it
    is_part: bool = False  # there may be more pictures below the root
    manifest: ManifestFile | None = None  # None: they come from a folder

    @property
    def source(self) -> str | os.PathLike[str]:
        """What lists the pictures: the manifest, or the folder."""
        return self.manifest.path if self.manifest else self.root

    @property
    def has_subsets(self) -> bool:
        """Whether the pictures come with a split of their own."""
        return any(sample.subset for sample in self.samples)

    @property
    def is_multi_label(self) -> bool:
        """Whether a picture may have several labels, or none."""
        return bool(self.samples) and self.samples[0].labels is not None  # all have them, or none

    @property
    def is_remote(self) -> bool:
        """Whether the pictures are on a server."""
        return is_url(self.root)

    def part(self, numbers: Iterable[int]) -> "LabelledPictures":
        """Only some of the samples."""
        return replace(self, samples=tuple(self.samples[number] for number in numbers), is_part=True)

    def shard(self, shard: Shard) -> "LabelledPictures":
        """The samples of one part of them all; there may be none."""
        return self.part(number for number, sample in enumerate(self.samples) if shard.has(sample.path))

    def without_strangers(self) -> tuple["LabelledPictures", "LabelledPictures | None"]:
        """The pictures of classes, and apart from them those of none; None if there are no such.

        Raises UsageError where a picture may have several labels, or none: such pictures have none.
        """
        if STRANGERS not in self.class_names:
            return self, None
        if self.is_multi_label:
            raise UsageError(
                f"{display_path(self.source)} has the label {STRANGERS}, and with --multi-label a picture of no class "
                "has no label: leave its labels empty"
            )
        number = self.class_names.index(STRANGERS)
        names = tuple(name for name in self.class_names if name != STRANGERS)
        others = (sample for sample in self.samples if sample.label != number)
        samples = tuple(replace(sample, label=sample.label - (sample.label > number)) for sample in others)
        strangers = tuple(replace(sample, label=0) for sample in self.samples if sample.label == number)
        return (
            replace(self, class_names=names, samples=samples, is_part=True),
            replace(self, class_names=(STRANGERS,), samples=strangers, is_part=True),
        )

    def counts(self) -> list[int]:
        """Files per class, in the order of class_names."""
        counts = [0] * len(self.class_names)
        for sample in self.samples:
            for label in sample.classes:
                counts[label] += 1
        return counts
