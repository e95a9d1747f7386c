"""Pictures of the user's own, which other forms of a network are made from and compared on."""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrain.cache import PictureIndex
from retrain.data import LabelledPictures, PictureForm, Sample, decode_image, read_picture
from retrain.errors import UnreadableImageError
from retrain.events import Emit, Prepared
from retrain.options import ImageOptions

__all__ = ["RepresentativePictures"]


@dataclass(frozen=True)
class RepresentativePictures:
    """The pictures of a folder, and the cache where what is made with their help is kept."""

    folder: LabelledPictures
    cache_dir: str | os.PathLike[str]
    images: ImageOptions = field(default_factory=ImageOptions)

    @property
    def cache(self) -> Path:
        """The cache folder."""
        return Path(self.cache_dir)

    def first(self, form: PictureForm, count: int) -> NDArray[np.uint8]:
        """(m, height, width, 3) uint8, m <= count: the first readable pictures of the folder."""
        return self._decoded((sample for sample in self.folder.samples if sample.problem is None), form, count)

    def at_random(self, form: PictureForm, count: int, emit: Emit) -> NDArray[np.uint8]:
        """(m, height, width, 3) uint8, m <= count: the readable pictures with the lowest SHA-256, copies counted once.

        Reads every file that the cache does not know yet.
        """
        by_key: dict[bytes, Sample] = {}
        samples = [sample for sample in self.folder.samples if sample.problem is None]
        files = [sample.path for sample in samples if sample.content is None]
        of_files = PictureIndex(self.cache, self.folder.root).current_keys(files)
        for number, sample in enumerate(samples, 1):
            key = next(of_files) if sample.content is None else hashlib.sha256(sample.content()).digest()
            if isinstance(key, bytes):  # extraction will say so
                by_key[key] = sample
            emit(Prepared("choosing pictures", number, len(samples)))
        return self._decoded((by_key[key] for key in sorted(by_key)), form, count)

    def _decoded(self, samples: Iterator[Sample], form: PictureForm, count: int) -> NDArray[np.uint8]:
        chosen: list[NDArray[np.uint8]] = []
        for sample in samples:
            with contextlib.suppress(UnreadableImageError):
                chosen.append(decode_image(self._content(sample), form, self.images.max_pixels))
            if len(chosen) == count:
                break
        return np.stack(chosen) if chosen else np.empty((0, *form.size, 3), np.uint8)

    def _content(self, sample: Sample) -> bytes:
        if sample.content is not None:
            return sample.content()
        return read_picture(self.folder.root / sample.path, self.images.max_file_size)
