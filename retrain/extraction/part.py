"""Extract some pictures of a folder on this machine: read, decode, run the backbone, write segments.

What a run on one machine does with all pictures, and each process of a run on many with one part after the other.
"""

import contextlib
import hashlib
import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from retrain.backbones import Extractor
from retrain.cache import BottleneckCache, Claims, FlatPictures, Rows, SegmentWriter
from retrain.data import PictureForm, Sample, Signature, decode_image, is_one_colour, is_url, signed_bytes
from retrain.errors import BackboneError, RetrainError, UnreadableImageError
from retrain.interruption import saving
from retrain.machine import cores
from retrain.options import ImageOptions

__all__ = ["CopyMaker", "Numbered", "Outcome", "PartExtractor", "PartListener", "copies_of", "rows_of"]

_BATCHES_AHEAD = 3  # decoded ahead of the backbone
_PRIORITY = 10  # of the decoding threads, on the scale of nice(1)
_WAITING_THREADS = 30  # more, where pictures come from a server: it takes 0.1 s to answer, and likes many questions
_PATIENCE_SECONDS = 120.0  # how long pictures that another process is extracting are waited for


@runtime_checkable
class CopyMaker(Protocol):
    """An extractor that makes copies of each picture and extracts these."""

    copies: tuple[int, ...]  # their numbers, the same for every picture

    def make_copies(
        self, data: bytes, key: bytes, copies: Sequence[int], form: PictureForm, max_pixels: int
    ) -> NDArray[np.uint8]:
        """A picture file, its SHA-256 and (m,) numbers to (m, height, width, 3) pixels. Raises UnreadableImageError."""


def copies_of(extractor: Extractor) -> tuple[int, ...]:
    """The numbers of what is extracted of each picture; 0 is the picture itself."""
    return extractor.copies if isinstance(extractor, CopyMaker) else (0,)


def rows_of(cache: BottleneckCache, keys: Sequence[bytes], copies: Sequence[int]) -> NDArray[np.int64]:
    """Where the rows of pictures are in a cache: (pictures, copies), -1 for those that are missing."""
    each = np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 32).repeat(len(copies), axis=0)
    return cache.find(each, np.tile(np.array(copies, np.uint32), len(keys))).reshape(-1, len(copies))


class Outcome(NamedTuple):
    """What became of a file. Its vectors are in the cache, or on their way there."""

    key: bytes  # SHA-256 of its content; empty if it could not be read
    signature: Signature | None  # None: it is in no file, or was not read
    read_at: int  # ns since 1970
    rows: int = 0  # of the cache that are made of it; 0 if they are there, or another file has the same content
    failure: str | None = None  # why it is skipped
    is_flat: bool = False  # it shows one flat colour


class PartListener(Protocol):
    """Who is told how a part goes on."""

    def picture(self, number: int, outcome: Outcome) -> None:
        """A file was read. What this raises ends the part."""

    def extracted(self, rows: int) -> None:
        """Rows went through the backbone."""


class _Read(NamedTuple):
    """A file that was read, and its pixels if they are needed."""

    outcome: Outcome
    copies: Sequence[int] = ()  # numbers of those to extract
    pixels: NDArray[np.uint8] | None = None  # (m, height, width, 3)
    is_elsewhere: bool = False  # another process is extracting it


class _Row(NamedTuple):
    """What one row of the cache is made from."""

    key: bytes
    copy: int
    pixels: NDArray[np.uint8]  # (height, width, 3)
    is_last: bool  # of its picture's


Numbered = tuple[int, Sample]  # a sample, and its number in the folder


@dataclass
class PartExtractor:
    """Extracts one part of a folder after the other, inside a `with` block, which saves what was done.

    The backbone is loaded when a picture must go through it.
    """

    root: Path  # of the folder
    extractor: Extractor
    cache: BottleneckCache
    images: ImageOptions
    flat: FlatPictures
    claimed: set[bytes] = field(default_factory=set)  # keys that are being extracted
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.maker = self.extractor if isinstance(self.extractor, CopyMaker) else None
        self.copies = copies_of(self.extractor)
        self.claims = Claims(self.cache.folder)
        self.writer = SegmentWriter(self.cache, self.claims, self.lock)
        self.batch_size = 1  # until the backbone is loaded
        self.loading = 0.0  # seconds spent on loading the backbone
        self.load_error: RetrainError | None = None

    def __enter__(self) -> "PartExtractor":
        self.threads = cores() + 1  # one per core that this process may use, and one for waiting on the disk
        if is_url(self.root):
            self.threads += _WAITING_THREADS
        self.pool = ThreadPoolExecutor(self.threads, "decode")
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            # after an interruption, one of the threads may be loading the network, for seconds
            self.pool.shutdown(wait=kind is not KeyboardInterrupt, cancel_futures=True)
        finally:  # also where a second Ctrl-C ends the waiting
            with saving():
                self._save()

    def _save(self) -> None:
        try:
            self.writer.close()
        finally:
            self.claims.close()

    def extract(self, part: Sequence[Numbered], listener: PartListener) -> None:
        """Put the rows of a part's pictures into the cache, or hand them to the writer.

        Raises CacheError, BackboneError, and what the listener raises.
        """
        samples = dict(part)
        elsewhere = self._extract(self._read_ahead(part), listener)
        waited, pause = 0.0, 0.1
        while elsewhere:  # take over what other processes extract, or do it here if they fail to
            self.writer.flush()  # since they may wait for us, too
            time.sleep(pause)
            waited, pause = waited + pause, min(2 * pause, 2.0)
            if waited > _PATIENCE_SECONDS:
                self.claims.ignore()
            with self.lock:
                self.cache.refresh()
            elsewhere = self._extract(self._read_ahead([(n, samples[n]) for n in elsewhere]), listener)

    def forget(self, keys: Iterable[bytes]) -> None:
        """Forget that pictures are being extracted, since the cache knows them now."""
        with self.lock:
            self.claimed.difference_update(keys)

    def _read_ahead(self, part: Sequence[Numbered]) -> Iterator[tuple[int, _Read]]:
        """Read, hash and decode on the pool's threads; results in the order of the part."""
        under_way: deque[tuple[int, Future[_Read]]] = deque()
        for number, sample in part:
            while len(under_way) >= max(_BATCHES_AHEAD * self.batch_size // len(self.copies), 2 * self.threads):
                done, future = under_way.popleft()
                yield done, future.result()
            under_way.append((number, self.pool.submit(self._read, sample)))
        for done, future in under_way:
            yield done, future.result()

    def _read(self, sample: Sample) -> _Read:
        path = self.root / sample.path
        now = time.time_ns()
        if sample.problem is not None:
            return _Read(Outcome(b"", None, now, failure=sample.problem))
        try:
            if sample.content is not None:
                return self._decoded(sample.content(), None, now)
            with signed_bytes(path, self.images.max_file_size) as (data, signature):
                return self._decoded(data, signature, now)
        except OSError as error:
            return _Read(Outcome(b"", None, now, failure=f"can't be read: {error.strerror}"))
        except UnreadableImageError as error:
            return _Read(Outcome(b"", None, now, failure=str(error)))

    def _decoded(self, data: bytes, signature: Signature | None, now: int) -> _Read:
        key = hashlib.sha256(data).digest()
        found = Outcome(key, signature, now)
        with self.lock:
            missing = [] if key in self.claimed else self._missing(key)
            if not missing:
                return _Read(found._replace(is_flat=key in self.flat))
            if not self.claims.take(key):
                return _Read(found, is_elsewhere=True)
            # another process may have written it, and given up its claim, since we looked
            if self.cache.refresh_if_changed():
                missing = self._missing(key)
            if not missing:
                self.claims.release([key])
                return _Read(found._replace(is_flat=key in self.flat))
            self.claimed.add(key)
        form = self._form()
        _give_way()  # not earlier: the backbone's threads begin with the priority of the thread that loads it
        try:
            if self.maker:
                pixels = self.maker.make_copies(data, key, missing, form, self.images.max_pixels)
                return _Read(found._replace(rows=len(missing)), missing, pixels)
            pixels = decode_image(data, form, self.images.max_pixels)[np.newaxis]
            is_flat = is_one_colour(pixels[0])
            if is_flat:
                self.flat.note(key)  # now, since later runs don't decode it again
            return _Read(found._replace(rows=1, is_flat=is_flat), missing, pixels)
        except UnreadableImageError as error:
            self.claims.release([key])
            return _Read(found._replace(failure=str(error)))

    def _missing(self, key: bytes) -> list[int]:
        """The numbers of a picture's copies that are not in the cache."""
        each = np.frombuffer(key, np.uint8).reshape(1, 32).repeat(len(self.copies), axis=0)
        there = self.cache.has(each, np.array(self.copies, np.uint32)).tolist()
        return [copy for copy, is_there in zip(self.copies, there, strict=True) if not is_there]

    def _form(self) -> PictureForm:
        """The form of the backbone's pictures; loads the backbone, once."""
        with self.lock:
            if self.load_error is not None:
                raise self.load_error
            before = time.monotonic()
            try:
                if not self.loading:
                    self.cache.prepare()  # find out before the work if the cache can't be written
                network = self.extractor.network
            except OSError as error:  # not one of the picture, which is only skipped
                self.load_error = BackboneError(f"the backbone {self.extractor.name} can't be loaded: {error}")
                raise self.load_error from error
            except RetrainError as error:
                self.load_error = error  # so that the other threads don't try, too
                raise
            self.batch_size = network.batch_size
            self.loading += time.monotonic() - before
        return self.extractor.form

    def _extract(self, pictures: Iterator[tuple[int, _Read]], listener: PartListener) -> list[int]:
        """Run the backbone over what was read; return the numbers of samples that other processes are extracting."""
        rows: deque[_Row] = deque()
        elsewhere: list[int] = []
        for number, read in pictures:
            if read.is_elsewhere:
                elsewhere.append(number)
                continue
            listener.picture(number, read.outcome)
            if read.pixels is not None:
                last = read.copies[-1]
                rows.extend(
                    _Row(read.outcome.key, copy, pixels, copy == last)
                    for copy, pixels in zip(read.copies, read.pixels, strict=True)
                )
            while len(rows) >= self.batch_size:
                self._run_backbone([rows.popleft() for _ in range(self.batch_size)], listener)
        if rows:
            self._run_backbone(rows, listener)
        return elsewhere

    def _run_backbone(self, rows: Sequence[_Row], listener: PartListener) -> None:
        vectors = self.extractor.network.bottlenecks(np.stack([row.pixels for row in rows]))
        keys = np.frombuffer(b"".join(row.key for row in rows), np.uint8).reshape(-1, 32)
        copies = np.array([row.copy for row in rows], np.uint32)
        self.writer.append(Rows(keys, copies, vectors), under_way=None if rows[-1].is_last else rows[-1].key)
        listener.extracted(len(rows))


def _give_way() -> None:
    """Let the threads of the backbone go before this one: they share out each operation, and the last one counts.

    Decoding then goes where they wait for each other. Not the lowest priority, for other programs run, too.
    """
    thread = threading.get_native_id()
    with contextlib.suppress(OSError):
        if os.getpriority(os.PRIO_PROCESS, thread) < _PRIORITY:
            os.setpriority(os.PRIO_PROCESS, thread, _PRIORITY)
