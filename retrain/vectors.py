"""Bottlenecks for training: in memory where they fit, else read from the cache's files as they are asked for."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from retrain.bottleneck_cache import BottleneckCache

__all__ = [
    "CachedVectors",
    "LabelledBottlenecks",
    "SomeVectors",
    "VectorSource",
    "chunks",
    "load_vectors",
    "memory_of_machine",
]

_CHUNK_ROWS = 4096
_MEMORY_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # of containers


class VectorSource(Protocol):
    """What vectors come from: an array, or rows of the cache."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, d)."""
        ...

    def __getitem__(self, numbers: Any, /) -> NDArray[np.float32]:
        """(m,) numbers in [0, n), or a slice, to (m, d) vectors."""
        ...


@dataclass(frozen=True)
class CachedVectors:
    """Vectors that stay in the cache's files until they are asked for."""

    cache: BottleneckCache
    rows: NDArray[np.int64]  # (n,) as the cache found them

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, d)."""
        return len(self.rows), self.cache.bottleneck_size or 0

    def __getitem__(self, numbers: Any, /) -> NDArray[np.float32]:
        """(m,) numbers in [0, n), or a slice, to (m, d) vectors."""
        return self.cache.read(self.rows[numbers])


@dataclass(frozen=True)
class SomeVectors:
    """Some of the vectors of a source, not copied."""

    source: VectorSource
    numbers: NDArray[np.int64]  # (n,)

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, d)."""
        return len(self.numbers), *self.source.shape[1:]

    def __getitem__(self, numbers: Any, /) -> NDArray[np.float32]:
        """(m,) numbers in [0, n), or a slice, to (m, d) vectors."""
        return self.source[self.numbers[numbers]]


@dataclass(frozen=True)
class LabelledBottlenecks:
    """The pictures that a head is trained and tested on."""

    vectors: VectorSource  # (n, d) float32
    labels: NDArray[np.int32]  # (n,), in [0, classes)

    def __len__(self) -> int:
        return len(self.labels)


def load_vectors(cache: BottleneckCache, rows: NDArray[np.int64], max_memory: int | None = None) -> VectorSource:
    """The vectors of rows of the cache: an array, or where that would take too much memory, the rows themselves.

    Args:
        rows: (n,) as the cache found them.
        max_memory: the most that the array may take, in MiB; half of the machine's memory where left out.
    """
    limit = memory_of_machine() // 2 if max_memory is None else max_memory * 2**20
    if len(rows) * cache.row_bytes > limit:
        return CachedVectors(cache, rows)
    return cache.read(rows)


def memory_of_machine() -> int:
    """Bytes of memory that there are, or that a container may use."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for path in _MEMORY_LIMITS:
        try:
            memory = min(memory, int(Path(path).read_text()))
        except (OSError, ValueError):  # another version of control groups, or "max"
            continue
    return memory


def chunks(n: int) -> Iterator[slice]:
    """Slices that cover n rows, some thousands at a time."""
    for start in range(0, n, _CHUNK_ROWS):
        yield slice(start, min(start + _CHUNK_ROWS, n))
