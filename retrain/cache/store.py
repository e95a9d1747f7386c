"""The bottleneck cache: rows of (content key, copy, vector) in immutable HDF5 segments.

A cache folder holds one folder per extractor, `NAME-FINGERPRINT8/`, and that holds

    extractor.json             format, the whole fingerprint, what it stands for
    segment-<id>.h5            rows, in the form that `segments` describes
    segment-<id>.h5.corrupt    a damaged segment, set aside

Segments are written beside their place, flushed to disk, moved into place, and never changed. Readers use the segments
that they find; any number of writers add segments without locks.

Reading changes nothing. A damaged segment is set aside when something is written. A file that can't be read at the
moment, or a note that disagrees with the segments, says nothing about their rows.
"""

import contextlib
import fcntl
import logging
import os
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrain.cache.folder import (
    CORRUPT_SUFFIX,
    NOTE,
    check_owner,
    find_folder,
    read_error,
    write_error,
    write_owner,
)
from retrain.cache.index import RowIndex, distinct, joined, starts_of
from retrain.cache.mirror import Mirror
from retrain.cache.segments import (
    Copies,
    DamagedSegmentError,
    ForeignSegmentError,
    Keys,
    Rows,
    Segment,
    Vectors,
    check_rows,
    new_vectors,
    read_segment,
    row_sums,
    segment_image,
)
from retrain.data import is_url
from retrain.errors import CacheError
from retrain.files import remove_abandoned, write_whole
from retrain.machine import cores
from retrain.paths import display_path
from retrain.text import counted

__all__ = ["SEGMENT_ROWS", "BottleneckCache"]

logger = logging.getLogger(__name__)

SEGMENT_ROWS = 2048  # the most that a run buffers before it writes a segment
_MERGED_BYTES = 128 * 2**20  # merged segments grow to about this size
_MERGE_AT_ONCE = 64  # so many small segments are merged during a run: each one costs a file descriptor
_CHECKED_BYTES = 4 * 2**20  # of vectors that a thread holds to check them
_MERGE_FROM = 8  # small segments that are worth merging


class BottleneckCache:
    """The rows of one extractor.

    Args:
        cache_dir: the cache folder, made when the first row is written.
        name: the extractor's name, part of the folder's name.
        fingerprint: the extractor's whole fingerprint, hexadecimal.
        description: what the fingerprint stands for, kept in extractor.json for people.
        folder: where it is; by default found by name and fingerprint.

    Raises CacheError if the folder belongs to another fingerprint or a newer format, or can't be read.
    """

    _is_fetched = True  # what is on a server

    def __init__(
        self,
        cache_dir: str | os.PathLike[str],
        name: str,
        fingerprint: str,
        description: dict[str, Any],
        folder: Path | None = None,
    ) -> None:
        if is_url(cache_dir):
            raise CacheError(
                f"--cache-dir {display_path(cache_dir)} is a URL, which this command can't use: give a folder"
            )
        self.folder = folder or find_folder(Path(cache_dir), name, fingerprint)
        self._mirror = Mirror.of(self.folder)
        if self._mirror is not None:
            if self._is_fetched:
                self._mirror.pull()
            else:
                self._mirror.weed()
        self.fingerprint = fingerprint
        self.name = name
        self.description = description
        self.warnings: list[str] = []  # what was found damaged, for the user
        self._segments: list[Segment] = []
        self._looked_at = 0
        self._starts = np.zeros(1, np.int64)
        self._bad_rows = np.zeros(0, bool)
        self._checked = np.zeros(0, bool)
        self._sums = np.zeros(0, np.uint64)  # row_sums of those that were checked
        self._index = RowIndex([], self._bad_rows)
        self._damaged: dict[Path, str] = {}  # segments that can't be used, and their warnings
        self._foreign: set[Path] = set()
        self._has_note = check_owner(self.folder, fingerprint)
        self.refresh()
        if not self._has_note and os.path.lexists(self.folder / NOTE):
            self._warn(f"{display_path(self.folder / NOTE)} is damaged: it is written anew from what the segments say")

    def __len__(self) -> int:
        """Rows in all segments; those that were written twice count twice."""
        return int(self._starts[-1])

    @property
    def bottleneck_size(self) -> int | None:
        """Length of the vectors; None while there are none."""
        return self._segments[0].length if self._segments else None

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the vectors; float32 while there are none."""
        return self._segments[0].dtype if self._segments else np.dtype(np.float32)

    def refresh(self) -> None:
        """Look again for segments, also of other processes."""
        known = {segment.path: segment for segment in self._segments}
        self._looked_at = self._changed_at()
        found = {segment.path: segment for segment in self._open_all(known)}
        segments = [found[path] for path in known if path in found]  # first, so that their rows keep their numbers
        is_longer = len(segments) == len(known)
        segments += [segment for path, segment in found.items() if path not in known]
        if len(segments) == len(known) and is_longer:
            return
        parts = (self._checked, self._bad_rows, self._sums)
        before = dict(zip(known, zip(*map(self._by_segment, parts), strict=True), strict=True))
        self._segments, self._starts = segments, starts_of(segments)
        self._checked, self._bad_rows, self._sums = (np.zeros(len(self), part.dtype) for part in parts)
        for start, segment in zip(self._starts, segments, strict=False):
            own = slice(start, start + len(segment.crcs))
            if segment.path in before:
                self._checked[own], self._bad_rows[own], self._sums[own] = before[segment.path]
            elif segment.is_suspect:
                self._check_rows(np.arange(own.start, own.stop))
        if is_longer and not any(is_bad.any() for _, is_bad, _ in before.values()):
            self._index = self._index.extended(self._segments[len(known) :], ~self._bad_rows)
        else:
            self._index = RowIndex(self._segments, ~self._bad_rows)

    @property
    def url(self) -> str | None:
        """Of the cache, if it is on a server."""
        return self._mirror.url.rpartition("/")[0] if self._mirror else None

    def fetch(self) -> None:
        """Look again for segments; of a cache by URL, also on its server. Raises CacheError."""
        if self._mirror is not None:
            self._mirror.pull()
        self.refresh()

    def refresh_if_changed(self) -> bool:
        """Look again for segments if a file came or went since the last look; whether one did."""
        if self._changed_at() == self._looked_at:
            return False
        self.refresh()
        return True

    def _changed_at(self) -> int:
        """When a file last came to the folder or went, in ns; 0 if there is no folder."""
        with contextlib.suppress(OSError):
            return os.stat(self.folder).st_mtime_ns
        return 0

    def _open_all(self, known: dict[Path, Segment]) -> list[Segment]:
        """All segments that exist now; those in `known` are open already."""
        opened = dict(known)
        while True:
            paths = sorted(self.folder.glob("segment-*.h5"))
            for path in paths:
                if path in self._damaged or path in self._foreign:
                    continue
                segment = opened.get(path) or self._open(path)
                if segment is not None:
                    opened[path] = segment
            # one that went while we looked was merged: its rows may be in a file that came later
            if not {*self.folder.glob("segment-*.h5")} - {*paths}:
                return [opened[path] for path in paths if path in opened]

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The segments in use, opened."""
        return tuple(self._segments)

    def segment_paths(self) -> list[Path]:
        """The segment files in use."""
        return [segment.path for segment in self._segments]

    def check_all(self) -> int:
        """Check every row against its CRC-32; damage goes to `warnings`. Returns how many rows are sound."""
        self._check_rows(np.flatnonzero(~self._checked))
        self._index = RowIndex(self._segments, ~self._bad_rows)
        return int((~self._bad_rows).sum())

    def has(self, keys: Keys, copies: Copies) -> NDArray[np.bool_]:
        """Whether there is a sound row of each (key, copy) pair: (n,) bool. Arguments as those of `find`."""
        return self.find(keys, copies) >= 0

    def held(self) -> NDArray[np.bytes_]:
        """What there is a sound row of: (n,), each 32 bytes of key and 4 of copy, sorted. Reads and checks all rows."""
        self._check_rows(np.flatnonzero(~self._checked))
        rows = np.flatnonzero(~self._bad_rows)
        return np.sort(joined(*self._keys_of(rows))) if len(rows) else np.zeros(0, "S36")

    def find(self, keys: Keys, copies: Copies | None = None) -> NDArray[np.int64]:
        """Row numbers of (key, copy) pairs; -1 for those without a sound row.

        A row is checked against its CRC-32 when it is first found; one that fails is reported in `warnings` and counts
        as missing. Row numbers hold until the next refresh, add or compact.

        Args:
            keys: (n, 32) uint8.
            copies: (n,) uint32; by default all 0.
        Returns: (n,) int64.
        """
        keys = np.ascontiguousarray(keys, np.uint8)
        copies = np.zeros(len(keys), np.uint32) if copies is None else copies
        while True:
            rows = self._index.look_up(keys, copies)
            fresh = distinct(rows[rows >= 0])
            fresh = fresh[~self._checked[fresh]]
            if not len(fresh):
                return rows
            self._check_rows(fresh)
            if not self._bad_rows[fresh].any():
                return rows
            # without the bad rows: an older, sound copy of the same key may be found now
            self._index = RowIndex(self._segments, ~self._bad_rows)

    def read(self, rows: NDArray[np.int64], room: Vectors | None = None) -> Vectors:
        """The vectors of row numbers from `find`: (n,) int64 to (n, d) of their type, in `room` if that is given.

        Raises CacheError if a row has changed since it was checked, or can't be read.
        """
        if not self._segments or (rows < 0).any():
            raise CacheError(
                f"bottlenecks are missing from {display_path(self.folder)}, perhaps removed meanwhile: run again"
            )
        vectors = new_vectors(len(rows), self._segments[0].length, self.dtype) if room is None else room
        if not self._checked[rows].all():
            self._check_rows(distinct(rows[~self._checked[rows]]))
        owner = np.searchsorted(self._starts, rows, side="right") - 1
        inner = rows - self._starts[owner]
        for vector, number, row in zip(vectors, owner.tolist(), inner.tolist(), strict=True):
            segment = self._segments[number]
            try:
                is_whole = segment.read_row(row, vector)
            except OSError as error:
                raise read_error(segment.path, error) from error
            if not is_whole:
                raise CacheError(f"{display_path(segment.path)} was cut short while in use: run again")
        changed = (row_sums(vectors) != self._sums[rows]) | self._bad_rows[rows]
        if changed.any():
            path = self._segments[owner[np.argmax(changed)]].path
            raise CacheError(
                f"{display_path(path)} was changed on the disk while in use, {int(changed.sum())} of {len(rows)} rows "
                "that were just read: run again, and their pictures are extracted again; check the disk"
            )
        return vectors

    def add(self, rows: Rows) -> None:
        """Write rows as one segment, which appears whole or not at all.

        Raises CacheError if the disk is full or the folder can't be written; what was there stays valid.
        """
        if len(rows.keys):
            self.write(rows)
            self.take_in()

    def write(self, rows: Rows) -> None:
        """The slow half of `add`: write rows that `take_in` then makes known.

        Another thread may look for rows at the same time. Raises CacheError as `add` does.
        """
        self.prepare()
        form = rows.vectors.shape[1], rows.vectors.dtype
        there = [(segment.length, segment.dtype) for segment in self._segments[:1]]
        if there not in ([], [form]):
            raise CacheError(
                f"bottlenecks of length {form[0]} ({form[1]}) for a cache of length {there[0][0]} ({there[0][1]}) in "
                f"{display_path(self.folder)}: use another --cache-dir"
            )
        try:
            self._write_segment(rows)
        except OSError as error:
            raise write_error(self.folder, error) from error

    def take_in(self) -> None:
        """Look for new segments; merge small ones if there are many."""
        self.refresh()
        if len(self._small()) >= _MERGE_AT_ONCE:
            self.tidy_up()

    def prepare(self) -> None:
        """Make the folder and its note, before long work that will fill it. Raises CacheError."""
        try:
            self._put_right()
        except OSError as error:
            raise write_error(self.folder, error) from error

    def _put_right(self) -> None:
        """Write the note if it is missing or wrong, and set damaged segments aside. Raises OSError."""
        write_owner(self.folder, self.fingerprint, {"name": self.name} | self.description)
        if self._mirror is not None:
            self._mirror.send_note()
        self._has_note = True
        for path in list(self._damaged):
            if path.exists():
                self._set_aside(path)

    def _put_right_if_wrong(self) -> None:
        if self._damaged or (self._segments and not self._has_note):
            self._put_right()

    def _small(self) -> list[Segment]:
        return [segment for segment in self._segments if segment.nbytes < _MERGED_BYTES // 4]

    def tidy_up(self) -> None:
        """Compact the folder after work, if that is possible; if not, another run will."""
        try:
            self.compact(_MERGE_FROM)
        except CacheError as error:
            logger.info("not compacted: %s", error)

    def compact(self, merge_from: int = 2) -> None:
        """Merge small segments, drop rows that are damaged or duplicates, set damaged segments aside.

        Args:
            merge_from: how many small segments are worth merging.
        Raises CacheError if the cache can't be written, or another process is merging it; no row is lost.
        """
        with self._alone():
            self._put_right_if_wrong()
            small = self._small()
            damaged = [s for s, bad in zip(self._segments, self._by_segment(self._bad_rows), strict=True) if bad.any()]
            self._rewrite((small if len(small) >= merge_from else []) + damaged, ~self._bad_rows)

    def unneeded(self, keys: Keys) -> NDArray[np.bool_]:
        """Which rows belong to none of (m, 32) keys: (rows,) bool."""
        needed = {key.tobytes() for key in keys}
        found = [key.tobytes() not in needed for segment in self._segments for key in segment.keys]
        return np.array(found, bool)

    def prune(self, keys: Keys) -> int:
        """Drop the rows that belong to none of (m, 32) keys. Returns how many there were.

        Raises CacheError if the cache can't be written, or another process is merging it.
        """
        with self._alone():
            self._put_right_if_wrong()  # while there are segments that tell what the note should say
            dropped = self.unneeded(keys)
            parts = zip(self._segments, self._by_segment(dropped), strict=True)
            self._rewrite([segment for segment, part in parts if part.any()], ~(dropped | self._bad_rows))
            return int(dropped.sum())

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Be the only process that removes segments; look again for segments before and after."""
        try:
            handle = os.open(self.folder, os.O_RDONLY)
        except FileNotFoundError:
            raise CacheError(f"nothing is cached in {display_path(self.folder)}") from None
        except OSError as error:
            raise read_error(self.folder, error) from error
        try:
            self._lock(handle)
            remove_abandoned(self.folder)
            self.refresh()
            yield
            self.refresh()
        except OSError as error:
            raise write_error(self.folder, error) from error
        finally:
            os.close(handle)

    def _lock(self, handle: int) -> None:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CacheError(f"another process is merging {display_path(self.folder)}: try again later") from None

    def _by_segment(self, values: NDArray[Any]) -> list[NDArray[Any]]:
        """A value per row, cut into a part per segment."""
        return np.split(values, self._starts[1:-1]) if self._segments else []

    def _rewrite(self, segments: Sequence[Segment], keep: NDArray[np.bool_]) -> None:
        """Write the sound rows of segments that are to be kept as larger segments, and remove the old files.

        One group after the other, so that a full disk or a kill loses no row and leaves few duplicates.

        Args:
            segments: some of this cache's; one that is given twice counts once.
            keep: (rows,) bool, over the rows of all segments.
        """
        group: list[int] = []
        chosen = {segment.path for segment in segments}
        for number, segment in enumerate(self._segments):
            if segment.path in chosen:
                if group and sum(self._segments[n].nbytes for n in [*group, number]) > _MERGED_BYTES:
                    self._rewrite_group(group, keep)
                    group = []
                group.append(number)
        if group:
            self._rewrite_group(group, keep)

    def _rewrite_group(self, numbers: Sequence[int], keep: NDArray[np.bool_]) -> None:
        """Write the rows of some segments as one, read it back, then remove the old files."""
        wanted = np.concatenate([np.arange(self._starts[n], self._starts[n + 1]) for n in numbers])
        wanted = wanted[keep[wanted]]
        self._check_rows(wanted[~self._checked[wanted]])
        wanted = wanted[~self._bad_rows[wanted]]
        keys, copies = self._keys_of(wanted)
        heads = np.concatenate([keys, copies.astype("<u4").view(np.uint8).reshape(-1, 4)], axis=1)
        first = np.sort(np.unique(heads, axis=0, return_index=True)[1])
        if len(first):
            self._read_back(self._write_segment(Rows(keys[first], copies[first], self.read(wanted[first]))))
        for number in numbers:
            self._remove(self._segments[number].path)

    def _read_back(self, path: Path) -> None:
        """Make sure that a segment holds what was written, before the old ones go. Raises CacheError."""
        try:
            written = read_segment(path, self.fingerprint)
            is_sound = not check_rows(written, np.arange(len(written.crcs)))[0].any()
        except DamagedSegmentError:
            is_sound = False
        except OSError as error:
            raise read_error(path, error) from error
        if not is_sound:
            self._remove(path)
            raise CacheError(
                f"a segment in {display_path(self.folder)} reads back wrong: check the disk; no row is lost"
            )

    def _write_segment(self, rows: Rows) -> Path:
        path = self.folder / f"segment-{uuid.uuid4().hex}.h5"
        image = segment_image(rows, self.fingerprint)
        if self._mirror is not None:
            self._mirror.send(path.name, image)
        write_whole(path, image)
        return path

    def _remove(self, path: Path) -> None:
        if self._mirror is not None:
            self._mirror.remove(path.name)
        path.unlink(missing_ok=True)

    def _keys_of(self, rows: NDArray[np.int64]) -> tuple[Keys, Copies]:
        keys = np.concatenate([s.keys for s in self._segments])
        copies = np.concatenate([s.copies for s in self._segments])
        return keys[rows], copies[rows]

    # checking

    def _check_rows(self, rows: NDArray[np.int64]) -> None:
        """Compare rows with their CRC-32, on all cores; mark and report the bad ones."""
        owner = np.searchsorted(self._starts, rows, side="right") - 1
        tasks: list[tuple[int, NDArray[np.int64]]] = []
        for number in distinct(owner):
            inner = rows[owner == number] - self._starts[number]
            parts = max(1, len(inner) * self._segments[number].row_bytes // _CHECKED_BYTES)
            tasks += [(int(number), part) for part in np.array_split(inner, min(parts, len(inner)))]
        with ThreadPoolExecutor(min(8, cores())) as pool:
            run = pool.map if len(tasks) > 1 else map
            results = list(run(lambda task: self._compare(*task), tasks))
        damaged: dict[int, int] = {}
        for (number, inner), (is_bad, sums) in zip(tasks, results, strict=True):
            self._bad_rows[inner + self._starts[number]] = is_bad
            self._sums[inner + self._starts[number]] = sums
            if is_bad.any():
                damaged[number] = damaged.get(number, 0) + int(is_bad.sum())
        self._checked[rows] = True
        for number, count in damaged.items():
            path = self._segments[number].path
            self._warn(f"{counted(count, 'damaged row')} in {display_path(path)}: extracted again where needed")

    def _compare(self, number: int, rows: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.uint64]]:
        try:
            return check_rows(self._segments[number], rows)
        except OSError as error:
            raise read_error(self._segments[number].path, error) from error

    # files

    def _open(self, path: Path) -> Segment | None:
        """A segment, opened; None if it has gone, is damaged, or is another extractor's."""
        try:
            return read_segment(path, self.fingerprint)
        except FileNotFoundError:
            return None  # another process merged it
        except OSError as error:
            raise read_error(path, error) from error
        except ForeignSegmentError as error:
            self._foreign.add(path)
            self._warn(f"{display_path(path)} is not used: {error}; move it away")
        except DamagedSegmentError as error:
            self._damaged[path] = f"damaged segment {display_path(path)} ({error}): its pictures are extracted again"
            self._warn(self._damaged[path])
        return None

    def _set_aside(self, path: Path) -> None:
        """Rename a damaged segment, if it still is damaged."""
        with contextlib.suppress(FileNotFoundError, ForeignSegmentError):
            try:
                read_segment(path, self.fingerprint)
                del self._damaged[path]
            except DamagedSegmentError as error:
                path.rename(path.with_name(path.name + CORRUPT_SUFFIX))
                if self._mirror is not None:
                    self._mirror.set_aside(path.name)
                told = f"damaged segment set aside as {display_path(path)}{CORRUPT_SUFFIX} ({error}): its pictures are "
                place = self.warnings.index(self._damaged[path])
                self.warnings[place] = told + "extracted again"

    def _warn(self, message: str) -> None:
        logger.warning(message)
        self.warnings.append(message)
