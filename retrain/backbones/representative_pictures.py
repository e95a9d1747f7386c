"""Pictures of the user's own, which other forms of a network are made from and compared on."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrain.cache import PictureIndex
from retrain.data import ImageFolder, decode_image, read_picture
from retrain.errors import UnreadableImageError
from retrain.events import Emit, Prepared
from retrain.options import ImageOptions

__all__ = ["RepresentativePictures"]


@dataclass(frozen=True)
class RepresentativePictures:
    """The pictures of a folder, and the cache where what is made with their help is kept."""

    folder: ImageFolder
    cache_dir: str | os.PathLike[str]
    images: ImageOptions = field(default_factory=ImageOptions)

    @property
    def cache(self) -> Path:
        """The cache folder."""
        return Path(self.cache_dir)

    def first(self, size: tuple[int, int], count: int) -> NDArray[np.uint8]:
        """(m, height, width, 3) uint8, m <= count: the first readable pictures of the folder."""
        paths = (self.folder.root / sample.path for sample in self.folder.samples if sample.problem is None)
        return self._decoded(paths, size, count)

    def at_random(self, size: tuple[int, int], count: int, emit: Emit) -> NDArray[np.uint8]:
        """(m, height, width, 3) uint8, m <= count: the readable pictures with the lowest SHA-256, copies counted once.

        Reads every file that the cache does not know yet.
        """
        by_key: dict[bytes, Path] = {}
        paths = [sample.path for sample in self.folder.samples if sample.problem is None]
        keys = PictureIndex(self.cache, self.folder.root).current_keys(paths)
        for number, (path, key) in enumerate(zip(paths, keys, strict=True), 1):
            if isinstance(key, bytes):  # extraction will say so
                by_key[key] = self.folder.root / path
            emit(Prepared("choosing pictures", number, len(paths)))
        return self._decoded((file for _, file in sorted(by_key.items())), size, count)

    def _decoded(self, files: Iterator[Path], size: tuple[int, int], count: int) -> NDArray[np.uint8]:
        chosen: list[NDArray[np.uint8]] = []
        for file in files:
            with contextlib.suppress(UnreadableImageError):
                chosen.append(
                    decode_image(read_picture(file, self.images.max_file_size), *size, self.images.max_pixels)
                )
            if len(chosen) == count:
                break
        return np.stack(chosen) if chosen else np.empty((0, *size, 3), np.uint8)
