"""Pass one: find which pictures have no bottleneck yet, have them extracted, and keep account of all."""

import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrain.backbones import Extractor
from retrain.cache import BottleneckCache, FlatPictures, PictureIndex, local_cache_dir
from retrain.data import LabelledPictures, LeftOut, Signature, signature_of, summarize_left_out
from retrain.errors import ImageFolderError, UnreadableImageError
from retrain.events import Emit, Extracted, ignore
from retrain.extraction.part import Numbered, Outcome, PartExtractor, copies_of, rows_of
from retrain.interruption import unsaved
from retrain.options import ExtractionOptions, RunOptions
from retrain.paths import display_path, utf8_path

__all__ = ["Extraction", "extract_bottlenecks", "open_cache", "with_local_cache"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Extraction:
    """What pass one found and did."""

    keys: NDArray[np.uint8]  # (n, 32), SHA-256 of each sample's file; zeros if it could not be read
    readable: NDArray[np.bool_]  # (n,), whether the sample has a bottleneck
    skipped: dict[str, str]  # relative path -> reason
    extracted: int  # pictures that went through the backbone
    seconds: float  # from the first file to the last, without loading the backbone
    copies: int = 1  # bottlenecks of each picture
    left_out: LeftOut = field(default_factory=LeftOut)  # summary of what was skipped
    one_colour: tuple[int, ...] = ()  # numbers of the samples that show one flat colour

    @property
    def cached(self) -> int:
        """Pictures (or copies) that needed no work: already cached, or the same as another picture."""
        return int(self.readable.sum()) * self.copies - self.extracted

    @property
    def different(self) -> int:
        """Readable pictures, copies counted once."""
        return len({key.tobytes() for key in self.keys[self.readable]})

    @property
    def pictures_per_second(self) -> float | None:
        """Extracted pictures per second of extracting; None if nothing was extracted."""
        return self.extracted / self.seconds if self.extracted and self.seconds > 0 else None

    def figures(self) -> dict[str, Any]:
        """Pass one in figures, for JSON."""
        rate = self.pictures_per_second
        return {
            "pictures": len(self.readable),
            "different": self.different,
            "cached": self.cached,
            "extracted": self.extracted,
            "skipped": len(self.skipped),
            "left_out": self.left_out.as_dict(),
            "seconds": round(self.seconds, 3),
            "pictures_per_second": None if rate is None else round(rate, 2),
        }

    def losses(self) -> dict[str, Any]:
        """What was left out, as a summary and file by file, for JSON."""
        skipped = {utf8_path(path): reason for path, reason in self.skipped.items()}
        return {"left_out": self.left_out.as_dict(), "skipped_files": skipped}


def with_local_cache(options: RunOptions) -> RunOptions:
    """Options whose cache is a folder: of one by URL, its local copy. Raises CacheError."""
    folder = local_cache_dir(options.extraction.cache_dir)
    return dataclasses.replace(options, extraction=dataclasses.replace(options.extraction, cache_dir=folder))


def open_cache(backbone: Extractor, options: ExtractionOptions) -> BottleneckCache:
    """The cache of a backbone's bottlenecks."""
    return BottleneckCache(options.cache_dir, backbone.name, backbone.fingerprint, backbone.description)


def extract_bottlenecks(
    folder: LabelledPictures,
    backbone: Extractor,
    cache: BottleneckCache,
    options: RunOptions = RunOptions(),
    emit: Emit = ignore,
) -> Extraction:
    """Put the bottleneck of every readable picture of a folder into the cache, or those of its copies.

    The backbone is loaded only if a bottleneck is missing. Interrupted at any moment (KeyboardInterrupt), it writes
    what is done before it lets the interruption pass; the same call later continues from there.

    Raises ImageFolderError for an unreadable picture if options are strict, CacheError, BackboneError.
    """
    index = PictureIndex(options.extraction.cache_dir, folder.root)
    if index.warning:
        cache.warnings.append(index.warning)
    run = _Run(folder, backbone, cache, index, options, emit)
    try:
        run.execute()
    finally:
        index.save(None if folder.is_part else {sample.path: None for sample in folder.samples})
    cache.tidy_up()
    return run.result()


@dataclass
class _Run:
    """One pass over a folder."""

    folder: LabelledPictures
    extractor: Extractor
    cache: BottleneckCache
    index: PictureIndex
    options: RunOptions
    emit: Emit

    def __post_init__(self) -> None:
        samples = self.folder.samples
        self.keys: list[bytes | None] = [None] * len(samples)
        self.failures: dict[int, str] = {}  # sample number -> reason
        self.failed_keys: dict[bytes, str] = {}
        self.copies = copies_of(self.extractor)
        self.partly: dict[int, int] = {}  # sample number -> how many of its copies were there at the start
        self.done = self.rows = 0  # as in the event Extracted
        self.seconds = 0.0
        self.flat = FlatPictures(self.options.extraction.cache_dir)
        self.started = time.monotonic()
        self.loading: Callable[[], float] = lambda: 0.0  # gives the seconds spent on loading the backbone

    def execute(self) -> None:
        """Deal with every sample."""
        unread = self._take_known()
        self._report(0)
        part = [(number, self.folder.samples[number]) for number in unread]
        if part and self.options.cluster.ray is not None:
            self._extract_on_ray(part)
        else:
            self._extract_here(part)
        self.seconds = time.monotonic() - self.started - self.loading()

    def _extract_here(self, part: Sequence[Numbered]) -> None:
        here = PartExtractor(self.folder.root, self.extractor, self.cache, self.options.images, self.flat)
        self.loading = lambda: here.loading
        with unsaved(), here:
            here.extract(part, self)

    def _extract_on_ray(self, part: Sequence[Numbered]) -> None:
        from retrain.extraction.ray_actor import Job
        from retrain.extraction.ray_cluster import RayExtraction

        self.cache.prepare()  # find out before the work if the cache can't be written
        job = Job.of(self.folder.root, self.extractor, self.cache, self.options)
        with RayExtraction(job, self.options.cluster, self.emit) as cluster:
            self.loading = lambda: cluster.loading
            cluster.extract(part, self)
        self.cache.fetch()

    def result(self) -> Extraction:
        """What was found and done."""
        readable = np.array([key is not None and key not in self.failed_keys for key in self.keys], bool)
        blank = bytes(32)
        keys = np.frombuffer(b"".join(key or blank for key in self.keys), np.uint8).reshape(-1, 32).copy()
        skipped = {self.folder.samples[number].path: reason for number, reason in sorted(self.failures.items())}
        for number, key in enumerate(self.keys):
            if key is not None and key in self.failed_keys:
                skipped[self.folder.samples[number].path] = self.failed_keys[key]
        left_out = summarize_left_out(self.folder, skipped)
        is_whole = self.copies == (0,)
        flat = tuple(n for n, key in enumerate(self.keys) if key in self.flat) if is_whole else ()
        return Extraction(keys, readable, skipped, self.rows, self.seconds, len(self.copies), left_out, flat)

    def _take_known(self) -> list[int]:
        """Fill in the samples with an unchanged file and a cached bottleneck; return the numbers of the others."""
        known: list[int] = []
        keys: list[bytes] = []
        unread: list[int] = []
        for number, sample in enumerate(self.folder.samples):
            key = None
            if not self.options.extraction.rehash and sample.content is None:
                with contextlib.suppress(OSError, UnreadableImageError):  # reading the file will tell what is wrong
                    key = self.index.key(sample.path, sample.signature or self._signature_of(sample.path))
            if key is None:
                unread.append(number)
            else:
                known.append(number)
                keys.append(key)
        found = (rows_of(self.cache, keys, self.copies) >= 0).sum(axis=1).tolist()
        for number, key, count in zip(known, keys, found, strict=True):
            if count == len(self.copies):
                self.keys[number] = key
            else:
                unread.append(number)
                if count:
                    self.partly[number] = count
        self.done = sum(found)
        return sorted(unread)

    def _signature_of(self, path: str) -> Signature:
        return signature_of(self.folder.root / path)

    def picture(self, number: int, outcome: Outcome) -> None:
        """A file was read. Raises ImageFolderError if it is no picture and options are strict."""
        path = self.folder.samples[number].path
        if outcome.signature is not None:
            self.index.enter(path, outcome.signature, outcome.key, outcome.read_at)
        if outcome.key:
            self.keys[number] = outcome.key
            if outcome.is_flat:
                self.flat.note(outcome.key)
        if outcome.failure is not None:
            if outcome.key:
                self.failed_keys[outcome.key] = outcome.failure
            else:
                self.failures[number] = outcome.failure
            self._complain(path, outcome.failure)
        without_work = len(self.copies) - outcome.rows - self.partly.pop(number, 0)
        if outcome.rows:
            self.done += without_work
        else:
            self._report(without_work)

    def extracted(self, rows: int) -> None:
        """Rows went through the backbone."""
        self.rows += rows
        self._report(rows)

    def _complain(self, path: str, reason: str) -> None:
        if self.options.extraction.strict:
            raise ImageFolderError(
                f"{display_path(self.folder.root / path)}: {reason} (--strict ends the run at the first such file)"
            )
        logger.info("skipped %s: %s", display_path(path), reason)

    def _report(self, more: int) -> None:
        self.done += more
        self.seconds = time.monotonic() - self.started - self.loading()
        total = len(self.folder.samples) * len(self.copies)
        self.emit(Extracted(total, self.done, self.rows, self.seconds, counts_copies=self.copies != (0,)))
