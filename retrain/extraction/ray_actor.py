"""A process of a Ray cluster that extracts: what it must know, what it does, what it gives back."""

import contextlib
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrain import __version__
from retrain.backbones import Extractor
from retrain.cache import AppendedCache, BottleneckCache, FlatPictures, local_cache_dir
from retrain.data import is_url
from retrain.errors import ClusterError
from retrain.extraction.part import Numbered, Outcome, PartExtractor
from retrain.machine import limit_cores
from retrain.options import ImageOptions, RunOptions
from retrain.paths import display_path

__all__ = ["Job", "PartResult", "RetrainExtractor"]


@dataclass(frozen=True)
class Job:
    """What every process needs to know."""

    root: Path  # of the pictures
    extractor: Extractor
    cache: tuple[str, str, dict[str, Any], Path]  # name, fingerprint, description, folder
    images: ImageOptions
    cache_url: str | None  # of a cache on a server; each machine has its own copy
    held: NDArray[np.bytes_] | None  # what that has; None of a cache in a folder, which all machines see
    place: str = field(default_factory=os.getcwd)  # that relative paths start from
    version: str = __version__

    @classmethod
    def of(cls, root: Path, extractor: Extractor, cache: BottleneckCache, options: RunOptions) -> "Job":
        """The job of extracting pictures of a folder into a cache."""
        parts = (cache.name, cache.fingerprint, cache.description, cache.folder)
        held = None if cache.url is None else cache.held()
        return cls(root, extractor, parts, options.images, cache.url, held)

    def open_cache(self) -> BottleneckCache:
        """The cache, in this process. Raises CacheError."""
        name, fingerprint, description, folder = self.cache
        if self.cache_url is not None:
            folder = Path(local_cache_dir(self.cache_url)) / folder.name
        if self.held is None:
            return BottleneckCache(folder.parent, name, fingerprint, description, folder)
        cache = AppendedCache(folder.parent, name, fingerprint, description, folder)
        cache.elsewhere = self.held
        return cache


class PartResult(NamedTuple):
    """What became of a part."""

    outcomes: list[tuple[int, Outcome]]
    rows: int  # that went through the backbone
    seconds: float  # without loading the backbone
    loading: float  # seconds that this took
    warnings: list[str]  # of the cache


class _StoppedError(Exception):
    """The user has stopped the run."""


class RetrainExtractor:
    """A process of the cluster. Ray's dashboard shows it by this name.

    Args:
        cores: how many it may use.
    """

    def __init__(self, cores: int) -> None:
        self._cores = cores
        self._here: PartExtractor | None = None
        self._turn = threading.Lock()
        self._is_stopped = False

    def start(self, job: Job) -> str:
        """Get ready; returns the name of the machine. Raises RetrainError."""
        machine = os.uname().nodename
        if job.version != __version__:
            raise ClusterError(f"retrain {__version__} is installed on {machine}, expected {job.version}: install that")
        with contextlib.suppress(OSError):  # paths may all be absolute
            os.chdir(job.place)
        limit_cores(self._cores)
        if job.extractor.fingerprint != job.cache[1]:
            raise ClusterError(
                f"the backbone {job.extractor.name} is another one on {machine} (fingerprint "
                f"{job.extractor.fingerprint[:8]}, expected {job.cache[1][:8]}): install the same weights there"
            )
        if not is_url(job.root) and not job.root.is_dir():
            raise ClusterError(
                f"no folder {display_path(job.root)} on {machine}: all machines of the cluster must see the pictures"
            )
        cache = job.open_cache()
        flat = FlatPictures(cache.folder.parent)
        self._here = PartExtractor(job.root, job.extractor, cache, job.images, flat)
        self._here.__enter__()
        return machine

    def extract(self, part: Sequence[Numbered]) -> PartResult:
        """Put the rows of a part's pictures into the cache. Raises RetrainError."""
        heard = _Collected(self)
        with self._turn:
            here, before = self._started(), time.monotonic()
            loaded = here.loading
            with contextlib.suppress(_StoppedError):
                self.check()
                here.extract(part, heard)
            writing = here.writer.hand_over()
            loading = here.loading - loaded
            seconds = time.monotonic() - before - loading
        for segment in writing:  # while the next part is read
            segment.result()
        here.forget(outcome.key for _, outcome in heard.outcomes)
        warnings, here.cache.warnings = here.cache.warnings, []
        return PartResult(heard.outcomes, heard.rows, seconds, loading, warnings)

    def _started(self) -> PartExtractor:
        if self._here is None:
            raise ClusterError("a process of the cluster was asked to extract before it had started")
        return self._here

    def check(self) -> None:
        """Raise _StoppedError if the user has stopped the run."""
        if self._is_stopped:
            raise _StoppedError

    def stop(self) -> None:
        """End the part in hand early, and save what was done of it."""
        self._is_stopped = True


@dataclass
class _Collected:
    """A listener that remembers."""

    process: RetrainExtractor
    outcomes: list[tuple[int, Outcome]] = field(default_factory=list)
    rows: int = 0

    def picture(self, number: int, outcome: Outcome) -> None:
        """A file was read."""
        self.process.check()
        self.outcomes.append((number, outcome))

    def extracted(self, rows: int) -> None:
        """Rows went through the backbone."""
        self.rows += rows
