"""Distorted copies of training pictures: extracted like pictures, into a part of the cache of their own."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrain.backbones import Extractor
from retrain.cache import CachedVectors
from retrain.data import DISTORTIONS_VERSION, Distorter, PictureForm
from retrain.events import Emit, Event, Extracted, Warned
from retrain.extraction.dataset import Dataset, extract
from retrain.extraction.pass_one import open_cache
from retrain.options import AugmentationOptions, RunOptions

__all__ = ["Augmentation", "DistortedExtractor", "add_copies"]

_AT_ONCE = 8  # copies of a picture in memory; for more, the picture is decoded again


class DistortedExtractor(Extractor):
    """An extractor of distorted copies. How many there are is no part of its identity: it does not change any of them.

    Args:
        extractor: what the copies go through.
        options: what distorts them.
        copies: their numbers, from 1 on; by default, all that the options ask for.
    """

    def __init__(self, extractor: Extractor, options: AugmentationOptions, copies: Sequence[int] = ()) -> None:
        details = {
            "distortions": options.distortions(),
            "augment_seed": options.augment_seed,
            "distortions_version": DISTORTIONS_VERSION,
        }
        name = f"{extractor.name}_augmented"
        super().__init__(name, lambda: extractor.description | details, lambda: extractor.network)
        self.copies = tuple(copies or range(1, options.augment + 1))
        self._options = options

    def make_copies(
        self, data: bytes, key: bytes, copies: Sequence[int], form: PictureForm, max_pixels: int
    ) -> NDArray[np.uint8]:
        """A picture file, its SHA-256 and (m,) numbers to (m, height, width, 3) pixels. Raises UnreadableImageError."""
        return Distorter(self._options, form, max_pixels).copies(data, key, copies)


@dataclass(frozen=True)
class Augmentation:
    """The distorted copies that were trained on."""

    copies: int  # of each training picture
    rows: int  # in all
    extracted: int  # that were not cached
    seconds: float  # of extracting them

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self) | {"seconds": round(self.seconds, 3)}


def add_copies(
    data: Dataset, pictures: NDArray[np.int64], extractor: Extractor, options: RunOptions, emit: Emit
) -> tuple[Dataset, Augmentation | None]:
    """Extract the distorted copies of some pictures, if the options ask for any; returns the data with them.

    Args:
        pictures: (m,) numbers of those that will be trained on.
        extractor: that of the pictures themselves.
    Raises ImageFolderError, CacheError, BackboneError, as pass one does.
    """
    count = options.augmentation.augment
    if not count:
        return data, None
    folder = data.folder.part(data.chosen[pictures].tolist())
    extracted, seconds, skipped = 0, 0.0, dict[str, str]()
    for first in range(1, count + 1, _AT_ONCE):
        numbers = range(first, min(first + _AT_ONCE, count + 1))
        part = DistortedExtractor(extractor, options.augmentation, numbers)
        cache = open_cache(part, options.extraction)
        shown = _shifted(emit, (first - 1) * len(pictures), count * len(pictures))
        done = extract(folder, part, cache, options, shown)
        extracted, seconds = extracted + done.extracted, seconds + done.seconds
        skipped |= done.skipped
    keys = data.keys[pictures].repeat(count, axis=0)
    copies = np.tile(np.arange(1, count + 1, dtype=np.uint32), len(pictures))
    cache.refresh()
    rows = cache.find(keys, copies)
    there = rows >= 0  # all, except of files that changed or went since they were read
    if not there.all():
        reason = next(iter(skipped.values()), "their pictures changed or went while they were extracted: run again")
        emit(Warned(f"{int((~there).sum())} of {len(rows)} distorted copies are missing: {reason}"))
    if not there.any():
        return data, Augmentation(count, 0, extracted, seconds)
    origins = pictures.repeat(count)[there].astype(np.int32)
    data = dataclasses.replace(data, copies=CachedVectors(cache, rows[there]), origins=origins)
    return data, Augmentation(count, len(origins), extracted, seconds)


def _shifted(emit: Emit, before: int, total: int) -> Emit:
    """Report the extraction of some copies as a part of that of all."""

    def shifted(event: Event) -> None:
        if isinstance(event, Extracted):
            event = dataclasses.replace(event, pictures=total, done=before + event.done)
        emit(event)

    return shifted
