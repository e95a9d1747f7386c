"""Pass one: find which pictures have no bottleneck yet, decode them, run the backbone, write the cache."""

import contextlib
import hashlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from retrain.backbones import Extractor
from retrain.cache import (
    BottleneckCache,
    Claims,
    FlatPictures,
    PictureIndex,
    Rows,
    SegmentWriter,
    Signature,
    signature_of,
)
from retrain.data import (
    LabelledPictures,
    LeftOut,
    Sample,
    decode_image,
    is_one_colour,
    picture_bytes,
    summarize_left_out,
)
from retrain.errors import ImageFolderError, RetrainError, UnreadableImageError
from retrain.events import Emit, Extracted, ignore
from retrain.interruption import saving, unsaved
from retrain.machine import cores
from retrain.options import ExtractionOptions, ImageOptions, RunOptions
from retrain.paths import display_path, utf8_path

__all__ = ["CopyMaker", "Extraction", "extract_bottlenecks", "open_cache"]

logger = logging.getLogger(__name__)

_BATCHES_AHEAD = 3  # decoded ahead of the backbone
_PRIORITY = 10  # of the decoding threads, on the scale of nice(1)
_PATIENCE_SECONDS = 120.0  # how long pictures that another process is extracting are waited for


@runtime_checkable
class CopyMaker(Protocol):
    """An extractor that makes copies of each picture and extracts these."""

    copies: tuple[int, ...]  # their numbers, the same for every picture

    def make_copies(
        self, data: bytes, key: bytes, copies: Sequence[int], size: tuple[int, int], max_pixels: int
    ) -> NDArray[np.uint8]:
        """A picture file, its SHA-256 and (m,) numbers to (m, height, width, 3) pixels. Raises UnreadableImageError."""


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
    run = _Run(folder, backbone, cache, index, options.images, options.extraction, emit)
    try:
        run.execute()
    finally:
        index.save(None if folder.is_part else {sample.path: None for sample in folder.samples})
    cache.tidy_up()
    return run.result()


@dataclass(frozen=True)
class _Picture:
    """A file that was read: its key, and its pixels if they are needed."""

    key: bytes
    signature: Signature | None  # None: it is in no file
    read_at: int  # ns since 1970
    copies: Sequence[int] = ()  # numbers of those to extract; none if another picture has, or gets, the same
    pixels: NDArray[np.uint8] | None = None  # (m, height, width, 3)
    failure: str | None = None  # why it is skipped
    is_elsewhere: bool = False  # another process is extracting it


class _Row(NamedTuple):
    """What one row of the cache is made from."""

    key: bytes
    copy: int
    pixels: NDArray[np.uint8]  # (height, width, 3)
    is_last: bool  # of its picture's


@dataclass
class _Run:
    """One pass over a folder."""

    folder: LabelledPictures
    backbone: Extractor
    cache: BottleneckCache
    index: PictureIndex
    images: ImageOptions
    options: ExtractionOptions
    emit: Emit
    claimed: set[bytes] = field(default_factory=set)  # keys that are being extracted
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        samples = self.folder.samples
        self.keys: list[bytes | None] = [None] * len(samples)
        self.failures: dict[int, str] = {}  # sample number -> reason
        self.failed_keys: dict[bytes, str] = {}
        self.maker = self.backbone if isinstance(self.backbone, CopyMaker) else None
        self.copies = self.maker.copies if self.maker else (0,)
        self.numbers = np.array(self.copies, np.uint32)
        self.partly: dict[int, int] = {}  # sample number -> how many of its copies were there at the start
        self.done = self.extracted = 0  # as in the event Extracted
        self.seconds = 0.0
        self.flat = FlatPictures(self.options.cache_dir)
        self.claims = Claims(self.cache.folder)
        self.writer = SegmentWriter(self.cache, self.claims, self.lock)
        self.batch_size = 1  # until the backbone is loaded
        self.started = time.monotonic()
        self.loading = 0.0  # seconds spent on loading the backbone
        self.load_error: RetrainError | None = None

    def execute(self) -> None:
        """Deal with every sample."""
        unread = self._take_known()
        self._report(0)
        pool = ThreadPoolExecutor(_threads(), "decode")
        is_interrupted = False
        with unsaved():
            try:
                elsewhere = self._extract(self._read_ahead(pool, unread))
                self._wait_for(pool, elsewhere)
            except KeyboardInterrupt:
                is_interrupted = True  # one of the threads may be loading the network, for seconds
                raise
            finally:
                try:
                    pool.shutdown(wait=not is_interrupted, cancel_futures=True)
                finally:  # also where a second Ctrl-C ends the waiting
                    with saving():
                        self._save()
        self.seconds = time.monotonic() - self.started - self.loading

    def _save(self) -> None:
        try:
            self.writer.close()
        finally:
            self.claims.close()

    def result(self) -> Extraction:
        readable = np.array([key is not None and key not in self.failed_keys for key in self.keys], bool)
        blank = bytes(32)
        keys = np.frombuffer(b"".join(key or blank for key in self.keys), np.uint8).reshape(-1, 32).copy()
        skipped = {self.folder.samples[number].path: reason for number, reason in sorted(self.failures.items())}
        for number, key in enumerate(self.keys):
            if key is not None and key in self.failed_keys:
                skipped[self.folder.samples[number].path] = self.failed_keys[key]
        left_out = summarize_left_out(self.folder, skipped)
        flat = () if self.maker else tuple(n for n, key in enumerate(self.keys) if key in self.flat)
        return Extraction(keys, readable, skipped, self.extracted, self.seconds, len(self.copies), left_out, flat)

    def _take_known(self) -> list[int]:
        """Fill in the samples with an unchanged file and a cached bottleneck; return the numbers of the others."""
        known: list[int] = []
        keys: list[bytes] = []
        unread: list[int] = []
        for number, sample in enumerate(self.folder.samples):
            key = None
            if not self.options.rehash and sample.content is None:
                with contextlib.suppress(OSError):  # reading the file will tell what is wrong
                    key = self.index.key(sample.path, signature_of(self.folder.root / sample.path))
            if key is None:
                unread.append(number)
            else:
                known.append(number)
                keys.append(key)
        found = (self._rows(keys) >= 0).sum(axis=1).tolist()
        for number, key, count in zip(known, keys, found, strict=True):
            if count == len(self.copies):
                self.keys[number] = key
            else:
                unread.append(number)
                if count:
                    self.partly[number] = count
        self.done = sum(found)
        return sorted(unread)

    def _wait_for(self, pool: ThreadPoolExecutor, numbers: list[int]) -> None:
        """Take over what other processes extract, or do it here if they fail to."""
        waited, pause = 0.0, 0.1
        while numbers:
            self.writer.flush()  # since they may wait for us, too
            time.sleep(pause)
            waited, pause = waited + pause, min(2 * pause, 2.0)
            if waited > _PATIENCE_SECONDS:
                self.claims.ignore()
            with self.lock:
                self.cache.refresh()
            numbers = self._extract(self._read_ahead(pool, numbers))

    def _read_ahead(self, pool: ThreadPoolExecutor, numbers: Sequence[int]) -> Iterator[tuple[int, _Picture]]:
        """Read, hash and decode on the pool's threads; results in the order of numbers."""
        under_way: deque[tuple[int, Future[_Picture]]] = deque()
        for number in numbers:
            while len(under_way) >= max(_BATCHES_AHEAD * self.batch_size // len(self.copies), 2 * _threads()):
                done, future = under_way.popleft()
                yield done, future.result()
            under_way.append((number, pool.submit(self._read, self.folder.samples[number])))
        for done, future in under_way:
            yield done, future.result()

    def _read(self, sample: Sample) -> _Picture:
        path = self.folder.root / sample.path
        now = time.time_ns()
        if sample.problem is not None:
            return _Picture(b"", None, now, failure=sample.problem)
        if sample.content is not None:
            return self._decoded(sample.content(), None, now)
        try:
            signature = signature_of(path)
            with picture_bytes(path, self.images.max_file_size) as data:
                return self._decoded(data, signature, now)
        except OSError as error:
            return _Picture(b"", None, now, failure=f"can't be read: {error.strerror}")
        except UnreadableImageError as error:
            return _Picture(b"", None, now, failure=str(error))

    def _decoded(self, data: bytes, signature: Signature | None, now: int) -> _Picture:
        key = hashlib.sha256(data).digest()
        with self.lock:
            missing = [] if key in self.claimed else self._missing(key)
            if not missing:
                return _Picture(key, signature, now)
            if not self.claims.take(key):
                return _Picture(key, signature, now, is_elsewhere=True)
            # another process may have written it, and given up its claim, since we looked
            if self.cache.refresh_if_changed():
                missing = self._missing(key)
            if not missing:
                self.claims.release([key])
                return _Picture(key, signature, now)
            self.claimed.add(key)
        size = self._size()
        _give_way()  # not earlier: the backbone's threads begin with the priority of the thread that loads it
        try:
            if self.maker:
                pixels = self.maker.make_copies(data, key, missing, size, self.images.max_pixels)
            else:
                pixels = decode_image(data, *size, self.images.max_pixels)[np.newaxis]
                if is_one_colour(pixels[0]):
                    self.flat.note(key)  # now, since later runs don't decode it again
            return _Picture(key, signature, now, missing, pixels)
        except UnreadableImageError as error:
            self.claims.release([key])
            return _Picture(key, signature, now, failure=str(error))

    def _rows(self, keys: Sequence[bytes]) -> NDArray[np.int64]:
        """Where the rows of pictures are in the cache: (pictures, copies), -1 for those that are missing."""
        each = np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 32).repeat(len(self.copies), axis=0)
        return self.cache.find(each, np.tile(self.numbers, len(keys))).reshape(-1, len(self.copies))

    def _missing(self, key: bytes) -> list[int]:
        """The numbers of a picture's copies that are not in the cache."""
        return [copy for copy, row in zip(self.copies, self._rows([key])[0].tolist(), strict=True) if row < 0]

    def _size(self) -> tuple[int, int]:
        """Height and width of the backbone's pictures; loads the backbone, once."""
        with self.lock:
            if self.load_error is not None:
                raise self.load_error
            before = time.monotonic()
            try:
                if not self.loading:
                    self.cache.prepare()  # find out before the work if the cache can't be written
                network = self.backbone.network
            except RetrainError as error:
                self.load_error = error  # so that the other threads don't try, too
                raise
            self.batch_size = network.batch_size
            self.loading += time.monotonic() - before
        return network.height, network.width

    def _extract(self, pictures: Iterator[tuple[int, _Picture]]) -> list[int]:
        """Run the backbone over what was read; return the numbers of samples that other processes are extracting."""
        rows: deque[_Row] = deque()
        elsewhere: list[int] = []
        for number, picture in pictures:
            if picture.is_elsewhere:
                elsewhere.append(number)
                continue
            path = self.folder.samples[number].path
            if not picture.key:
                self._skip(number, str(picture.failure))
            else:
                self.keys[number] = picture.key
            if picture.signature is not None:
                self.index.enter(path, picture.signature, picture.key, picture.read_at)
            if picture.key and picture.failure:
                self.failed_keys[picture.key] = picture.failure
                self._complain(path, picture.failure)
            without_work = len(self.copies) - len(picture.copies) - self.partly.pop(number, 0)
            if picture.pixels is None:
                self._report(without_work)
            else:
                self.done += without_work
                last = picture.copies[-1]
                rows.extend(
                    _Row(picture.key, copy, pixels, copy == last)
                    for copy, pixels in zip(picture.copies, picture.pixels, strict=True)
                )
            while len(rows) >= self.batch_size:
                self._run_backbone([rows.popleft() for _ in range(self.batch_size)])
        if rows:
            self._run_backbone(rows)
        return elsewhere

    def _run_backbone(self, rows: Sequence[_Row]) -> None:
        vectors = self.backbone.network.bottlenecks(np.stack([row.pixels for row in rows]))
        keys = np.frombuffer(b"".join(row.key for row in rows), np.uint8).reshape(-1, 32)
        copies = np.array([row.copy for row in rows], np.uint32)
        self.writer.append(Rows(keys, copies, vectors), under_way=None if rows[-1].is_last else rows[-1].key)
        self.extracted += len(rows)
        self._report(len(rows))

    def _skip(self, number: int, reason: str) -> None:
        self.failures[number] = reason
        self._complain(self.folder.samples[number].path, reason)

    def _complain(self, path: str, reason: str) -> None:
        if self.options.strict:
            raise ImageFolderError(
                f"{display_path(self.folder.root / path)}: {reason} (--strict ends the run at the first such file)"
            )
        logger.info("skipped %s: %s", display_path(path), reason)

    def _report(self, more: int) -> None:
        self.done += more
        self.seconds = time.monotonic() - self.started - self.loading
        total = len(self.folder.samples) * len(self.copies)
        self.emit(Extracted(total, self.done, self.extracted, self.seconds, counts_copies=self.maker is not None))


def _threads() -> int:
    """Threads for reading and decoding: one per core that this process may use, and one for waiting on the disk."""
    return cores() + 1


def _give_way() -> None:
    """Let the threads of the backbone go before this one: they share out each operation, and the last one counts.

    Decoding then goes where they wait for each other. Not the lowest priority, for other programs run, too.
    """
    thread = threading.get_native_id()
    with contextlib.suppress(OSError):
        if os.getpriority(os.PRIO_PROCESS, thread) < _PRIORITY:
            os.setpriority(os.PRIO_PROCESS, thread, _PRIORITY)
