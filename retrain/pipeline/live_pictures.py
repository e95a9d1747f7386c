"""The pictures of a folder that changes: only what is new is read, and vectors stay in memory."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from retrain.backbones import Extractor
from retrain.cache import (
    BottleneckCache,
    CachedVectors,
    Vectors,
    VectorSource,
    fits_in_memory,
    new_vectors,
)
from retrain.data import LabelledPictures, Sample, Signature, signature_of
from retrain.events import Emit, StageBegan, Warned
from retrain.extraction import Extraction, extract_bottlenecks, open_cache
from retrain.options import RunOptions

__all__ = ["LivePictures", "Look"]

_FRESH_SECONDS = 2.0  # since a file was last written: it may be written still
_REST_SECONDS = 0.25  # without a change: it is complete
_YOUNG_SECONDS = 10.0  # since a file came or changed: if it can't be read, it may be incomplete
_ROOM = 1.5  # times as many vectors as there are pictures, at first


@dataclass(frozen=True)
class Look:
    """The pictures of a folder at one moment."""

    folder: LabelledPictures
    chosen: NDArray[np.int64]  # (n,) numbers of the readable samples
    keys: NDArray[np.uint8]  # (n, 32)
    labels: NDArray[np.int32]  # (n,)
    skipped: dict[str, str]  # path -> why it can't be read
    waiting: tuple[str, ...]  # paths of files that may be incomplete
    extracted: int  # pictures that went through the network

    @property
    def samples(self) -> list[Sample]:
        """The readable samples."""
        return [self.folder.samples[number] for number in self.chosen.tolist()]

    def counts(self) -> list[int]:
        """Readable pictures per class."""
        counts: list[int] = np.bincount(self.labels, minlength=len(self.folder.class_names)).tolist()
        return counts

    def is_like(self, other: "Look") -> bool:
        """Whether a model of these pictures would be the same, and be told with the same warnings."""
        mine, theirs = self.folder, other.folder
        return (
            mine.class_names == theirs.class_names
            and mine.empty_folders == theirs.empty_folders
            and mine.stray_files == theirs.stray_files
            and self.samples == other.samples
            and np.array_equal(self.keys, other.keys)
            and self.skipped == other.skipped
        )


@dataclass(frozen=True, slots=True)
class _File:
    """What is known of a file that was read."""

    signature: Signature | None
    key: bytes | None  # None: it can't be read
    reason: str = ""  # why


@dataclass
class LivePictures:
    """Knows the files of a folder, and the vectors of its pictures, from one look to the next."""

    extractor: Extractor
    options: RunOptions
    _files: dict[str, _File] = field(default_factory=dict)  # path -> what is known of it

    def __post_init__(self) -> None:
        self._cache: BottleneckCache = open_cache(self.extractor, self.options.extraction)
        self._memory = _VectorMemory(self._cache, self.options.training.max_memory)

    def look(self, folder: LabelledPictures, emit: Emit) -> Look:
        """Read what is new in a folder. Raises ImageFolderError for an unreadable picture if options are strict,
        CacheError, BackboneError.
        """
        root = os.fspath(folder.root)  # joining paths as text takes a third of the time
        signatures = [_signature(root, sample) for sample in folder.samples]
        unknown = [
            number
            for number, (sample, signature) in enumerate(zip(folder.samples, signatures, strict=True))
            if (known := self._files.get(sample.path)) is None or known.signature != signature
        ]
        unwritten = self._unwritten(folder, unknown, signatures)
        taken = [number for number in unknown if number not in unwritten]
        extracted, doubtful = self._extract(folder, taken, signatures, emit)
        waiting = unwritten | doubtful
        samples = folder.samples
        known_files = {sample.path: self._files[sample.path] for sample in samples if sample.path in self._files}
        self._files = known_files
        keys: list[bytes] = []
        chosen: list[int] = []
        skipped: dict[str, str] = {}
        for number, sample in enumerate(samples):
            file = known_files.get(sample.path)
            if number in waiting or file is None:
                continue
            if file.key is None:
                skipped[sample.path] = file.reason
            else:
                keys.append(file.key)
                chosen.append(number)
        return Look(
            folder,
            np.array(chosen, np.int64),
            np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 32),
            np.array([samples[number].label for number in chosen], np.int32),
            skipped,
            tuple(samples[number].path for number in sorted(waiting)),
            extracted,
        )

    def vectors(self, keys: NDArray[np.uint8]) -> VectorSource:
        """(n, 32) keys of pictures of the last look to (n, d) vectors. Raises CacheError."""
        return self._memory.vectors(keys)

    def _unwritten(
        self, folder: LabelledPictures, numbers: Sequence[int], signatures: Sequence[Signature | None]
    ) -> set[int]:
        """The numbers of new files that change while they are watched for a moment."""
        now = time.time()
        # a clock that is ahead, as of another machine, says nothing
        fresh = [n for n in numbers if (s := signatures[n]) is not None and now - s[1] / 1e9 < _FRESH_SECONDS]
        if not fresh:
            return set()
        time.sleep(_REST_SECONDS)
        return {n for n in fresh if _signature(os.fspath(folder.root), folder.samples[n]) != signatures[n]}

    def _extract(
        self, folder: LabelledPictures, numbers: Sequence[int], signatures: Sequence[Signature | None], emit: Emit
    ) -> tuple[int, set[int]]:
        """Put what is new into the cache and into memory.

        Returns: pictures that went through the network, and the numbers of files that can't be read yet.
        """
        if not numbers:
            return 0, set()
        emit(StageBegan("extraction"))
        part = folder if len(numbers) == len(folder.samples) else folder.part(numbers)
        done = extract_bottlenecks(part, self.extractor, self._cache, self.options, emit)
        for warning in self._cache.warnings:
            emit(Warned(warning))
        self._cache.warnings.clear()
        return done.extracted, self._take(part, numbers, signatures, done)

    def _take(
        self, part: LabelledPictures, numbers: Sequence[int], signatures: Sequence[Signature | None], done: Extraction
    ) -> set[int]:
        self._memory.add(done.keys[done.readable])
        doubtful = set()
        for place, (number, sample) in enumerate(zip(numbers, part.samples, strict=True)):
            if done.readable[place]:
                self._files[sample.path] = _File(signatures[number], done.keys[place].tobytes())
            elif _is_young(signatures[number]):
                doubtful.add(number)
            else:
                self._files[sample.path] = _File(signatures[number], None, done.skipped[sample.path])
        return doubtful


class _VectorMemory:
    """The vectors of all pictures that were asked for, as long as they fit into memory."""

    def __init__(self, cache: BottleneckCache, max_memory: int | None) -> None:
        self._cache, self._max_memory = cache, max_memory
        self._rows: dict[bytes, int] = {}  # key -> row
        self._array: Vectors | None = None  # (room, d)

    def add(self, keys: NDArray[np.uint8]) -> None:
        """Take the vectors of (n, 32) keys from the cache. Raises CacheError."""
        new = [*{key.tobytes(): None for key in keys if key.tobytes() not in self._rows}]
        if not new:
            return
        found = self._find(np.frombuffer(b"".join(new), np.uint8).reshape(-1, 32))
        start, length, dtype = len(self._rows), self._cache.bottleneck_size or 0, self._cache.dtype
        if self._fits(start + len(new)):
            if self._array is None or len(self._array) < start + len(new):
                larger = new_vectors(int(_ROOM * (start + len(new))), length, dtype)
                if self._array is not None:
                    larger[:start] = self._array[:start]
                self._array = larger
            self._cache.read(found, self._array[start : start + len(new)])
        else:
            self._array = None
        self._rows.update(zip(new, range(start, start + len(new)), strict=True))

    def vectors(self, keys: NDArray[np.uint8]) -> VectorSource:
        """(n, 32) keys to (n, d) vectors, or where they are read from. Raises CacheError."""
        if self._array is None:
            return CachedVectors(self._cache, self._find(keys))
        chosen = np.array([self._rows[key.tobytes()] for key in keys], np.int64)
        vectors = new_vectors(len(chosen), self._array.shape[1], self._array.dtype)
        np.take(self._array, chosen, axis=0, out=vectors)
        return vectors

    def _fits(self, count: int) -> bool:
        if self._rows and self._array is None:
            return False  # it did not before
        size = (self._cache.bottleneck_size or 0) * self._cache.dtype.itemsize
        return fits_in_memory(int(_ROOM * count) * size, self._max_memory)

    def _find(self, keys: NDArray[np.uint8]) -> NDArray[np.int64]:
        rows = self._cache.find(keys)
        if (rows < 0).any():  # another process may have merged or pruned meanwhile
            self._cache.refresh()
            rows = self._cache.find(keys)
        return rows


def _signature(root: str, sample: Sample) -> Signature | None:
    """None: it is no file, or a link to nothing."""
    if sample.problem is not None:
        return None
    try:
        return signature_of(os.path.join(root, sample.path))
    except OSError:
        return None


def _is_young(signature: Signature | None) -> bool:
    """Whether a file came or changed so lately that it may be incomplete."""
    return signature is not None and abs(time.time() - max(signature[1], signature[2]) / 1e9) < _YOUNG_SECONDS
