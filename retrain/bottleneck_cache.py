"""The bottleneck cache: rows of (content key, copy, vector) in immutable HDF5 segments.

A cache folder holds one folder per extractor, `NAME-FINGERPRINT8/`, and that holds

    extractor.json             format, the whole fingerprint, what it stands for
    segment-<id>.h5            the rows, as `segments` describes it
    segment-<id>.h5.corrupt    a segment that could not be read, set aside

Segments are written beside their place, flushed to disk and moved there, and never changed. Readers take what is
there when they look; any number of writers add segments without locks.
"""

import contextlib
import errno
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

from retrain.cache_folder import check_owner, find_folder, write_error, write_owner
from retrain.errors import CacheError
from retrain.files import remove_abandoned, write_whole
from retrain.image_folder import display_path
from retrain.segments import Copies, Keys, Rows, Segment, Vectors, bad_rows, new_vectors, read_segment, segment_image

__all__ = ["SEGMENT_ROWS", "BottleneckCache"]

logger = logging.getLogger(__name__)

SEGMENT_ROWS = 2048  # the most that a run buffers before it writes a segment
_MERGED_BYTES = 128 * 2**20  # merged segments grow to about this size
_MERGE_AT_ONCE = 64  # small segments that a run does not let pile up: each one costs a file descriptor
_PASSING = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ESTALE)  # say nothing about the file
_CHECKED_BYTES = 4 * 2**20  # of vectors that a thread holds to check them
_MERGE_FROM = 8  # small segments that are worth merging


class BottleneckCache:
    """The rows of one extractor.

    Args:
        cache_dir: the cache folder, made when the first row is written.
        name: the extractor's name, as it shows in the folder's name.
        fingerprint: the extractor's whole fingerprint, hexadecimal.
        description: what the fingerprint stands for, kept in extractor.json for people.

    Raises CacheError where the folder belongs to another fingerprint or a newer format.
    """

    def __init__(
        self, cache_dir: str | os.PathLike[str], name: str, fingerprint: str, description: dict[str, Any]
    ) -> None:
        self.folder = find_folder(Path(cache_dir), name, fingerprint)
        self.fingerprint = fingerprint
        self.name = name
        self.description = description
        self.warnings: list[str] = []  # what was found damaged, for the user
        self._segments: list[Segment] = []
        self._looked_at = 0
        self._starts = np.zeros(1, np.int64)
        self._bad_rows = np.zeros(0, bool)
        self._checked = np.zeros(0, bool)
        self._order: NDArray[np.int64] = np.zeros(0, np.int64)
        self._prefixes: NDArray[np.uint64] = np.zeros(0, np.uint64)
        check_owner(self.folder, fingerprint)
        self.refresh()

    def __len__(self) -> int:
        """Rows in all segments, twice written ones counted twice."""
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
        """Look again for segments, others' too."""
        known = {segment.path: segment for segment in self._segments}
        self._looked_at = self._changed_at()
        segments = self._open_all(known)
        if [s.path for s in segments] == [*known]:
            return
        checked = dict(zip(known, self._by_segment(self._checked), strict=True))
        bad = dict(zip(known, self._by_segment(self._bad_rows), strict=True))
        self._segments = segments
        lengths = [len(segment.crcs) for segment in segments]
        self._starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)
        none = [np.zeros(0, bool)]
        self._checked = np.concatenate(none + [checked.get(s.path, np.zeros(len(s.crcs), bool)) for s in segments])
        self._bad_rows = np.concatenate(none + [bad.get(s.path, np.zeros(len(s.crcs), bool)) for s in segments])
        for start, segment in zip(self._starts, segments, strict=False):
            if segment.is_suspect and not self._checked[start : start + len(segment.crcs)].all():
                self._check_rows(np.arange(start, start + len(segment.crcs)))
        self._index()

    def refresh_if_changed(self) -> bool:
        """Look again for segments where a file came or went since the last look; whether that was so."""
        if self._changed_at() == self._looked_at:
            return False
        self.refresh()
        return True

    def _changed_at(self) -> int:
        """When a file came to the folder or went, in ns; 0 where there is no folder."""
        with contextlib.suppress(OSError):
            return os.stat(self.folder).st_mtime_ns
        return 0

    def _open_all(self, known: dict[Path, Segment]) -> list[Segment]:
        """All segments that are there now; those in `known` are open already."""
        opened = dict(known)
        while True:
            paths = sorted(self.folder.glob("segment-*.h5"))
            for path in paths:
                segment = opened.get(path) or self._open(path)
                if segment is not None:
                    opened[path] = segment
            # one that went while we looked was merged: its rows are in a file that may have come after we looked
            if not {*self.folder.glob("segment-*.h5")} - {*paths}:
                return [opened[path] for path in paths if path in opened]

    def segment_paths(self) -> list[Path]:
        """The segment files in use."""
        return [segment.path for segment in self._segments]

    def check_all(self) -> int:
        """Check every row against its CRC-32, damage goes to `warnings`; how many rows are sound."""
        self._check_rows(np.flatnonzero(~self._checked))
        self._index()
        return int((~self._bad_rows).sum())

    def find(self, keys: Keys, copies: Copies | None = None) -> NDArray[np.int64]:
        """Row numbers of (key, copy) pairs; -1 where there is no sound row.

        Every row found is checked against its CRC-32 the first time; a row that fails is reported in `warnings` and
        counts as missing. Row numbers hold until the next refresh, add or compact.

        Args:
            keys: (n, 32) uint8.
            copies: (n,) uint32; all 0 where left out.
        Returns: (n,) int64.
        """
        keys = np.ascontiguousarray(keys, np.uint8)
        copies = np.zeros(len(keys), np.uint32) if copies is None else copies
        while True:
            rows = self._look_up(keys, copies)
            fresh = np.unique(rows[rows >= 0])
            fresh = fresh[~self._checked[fresh]]
            if not len(fresh):
                return rows
            self._check_rows(fresh)
            if not self._bad_rows[fresh].any():
                return rows
            self._index()  # without the bad rows: an older, sound copy of the same key may be found now

    def read(self, rows: NDArray[np.int64], room: Vectors | None = None) -> Vectors:
        """The vectors of row numbers from `find`: (n,) int64 to (n, d) of their type, in `room` where that is given."""
        if not self._segments or (rows < 0).any():
            raise CacheError(
                f"bottlenecks are missing from {display_path(self.folder)}, perhaps removed meanwhile: run again"
            )
        vectors = new_vectors(len(rows), self._segments[0].length, self.dtype) if room is None else room
        owner = np.searchsorted(self._starts, rows, side="right") - 1
        inner = rows - self._starts[owner]
        for vector, number, row in zip(vectors, owner.tolist(), inner.tolist(), strict=True):
            if not self._segments[number].read_row(row, vector):
                raise CacheError(f"{display_path(self._segments[number].path)} was cut short while in use: run again")
        return vectors

    def add(self, rows: Rows) -> None:
        """Write rows as one segment: there whole, or not at all.

        Raises CacheError where the disk is full or the folder can't be written; what was there stays valid.
        """
        if len(rows.keys):
            self.write(rows)
            self.take_in()

    def write(self, rows: Rows) -> None:
        """The half of `add` that takes its time: write rows that `take_in` makes known.

        Another thread may look for rows meanwhile. Raises CacheError as `add` does.
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
        """Look for new segments; merge the small ones where they pile up."""
        self.refresh()
        if len(self._small()) >= _MERGE_AT_ONCE:
            self.compact()

    def prepare(self) -> None:
        """Make the folder and its note, before long work whose results are to go there. Raises CacheError."""
        try:
            write_owner(self.folder, self.fingerprint, {"name": self.name} | self.description)
        except OSError as error:
            raise write_error(self.folder, error) from error

    def _small(self) -> list[Segment]:
        return [segment for segment in self._segments if segment.nbytes < _MERGED_BYTES // 4]

    def compact(self, merge_from: int = _MERGE_FROM) -> None:
        """Merge small segments into larger ones, and drop rows that are damaged or there twice.

        One process at a time; where another one is at it, or the cache can't be written, nothing is done.

        Args:
            merge_from: how many small segments are worth merging.
        """
        with contextlib.suppress(CacheError), self._alone():
            small = self._small()
            damaged = [s for s, bad in zip(self._segments, self._by_segment(self._bad_rows), strict=True) if bad.any()]
            self._rewrite((small if len(small) >= merge_from else []) + damaged, ~self._bad_rows)

    def unneeded(self, keys: Keys) -> NDArray[np.bool_]:
        """Which rows belong to none of (m, 32) keys: (rows,) bool."""
        needed = {key.tobytes() for key in keys}
        found = [key.tobytes() not in needed for segment in self._segments for key in segment.keys]
        return np.array(found, bool)

    def prune(self, keys: Keys) -> int:
        """Drop the rows that belong to none of (m, 32) keys; how many there were.

        Raises CacheError where the cache can't be written, or another process is merging it.
        """
        with self._alone():
            dropped = self.unneeded(keys)
            parts = zip(self._segments, self._by_segment(dropped), strict=True)
            self._rewrite([segment for segment, part in parts if part.any()], ~(dropped | self._bad_rows))
            return int(dropped.sum())

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """While this process is the only one that removes segments; looks again for segments before and after."""
        try:
            handle = os.open(self.folder, os.O_RDONLY)
        except FileNotFoundError:
            raise CacheError(f"nothing is cached in {display_path(self.folder)}") from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove_abandoned(self.folder)
            self.refresh()
            yield
            self.refresh()
        except BlockingIOError:
            raise CacheError(f"another process is merging {display_path(self.folder)}: try again later") from None
        except OSError as error:
            raise write_error(self.folder, error) from error
        finally:
            os.close(handle)

    def _by_segment(self, values: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
        """A value per row, cut into a part per segment."""
        return np.split(values, self._starts[1:-1]) if self._segments else []

    def _rewrite(self, segments: Sequence[Segment], keep: NDArray[np.bool_]) -> None:
        """Write the sound rows of segments that are to be kept anew, as larger segments, and remove the old files.

        One group after the other, so that a full disk or a kill leaves no row without a file and little there twice.

        Args:
            segments: some of this cache's; one that is named twice counts once.
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
            path = self._write_segment(Rows(keys[first], copies[first], self.read(wanted[first])))
            written = read_segment(path, self.fingerprint)
            if len(bad_rows(written, np.arange(len(written.crcs)))):
                raise CacheError(f"{display_path(path)} reads back wrong: check the disk; the old segments are kept")
        for number in numbers:
            self._segments[number].path.unlink(missing_ok=True)

    def _write_segment(self, rows: Rows) -> Path:
        path = self.folder / f"segment-{uuid.uuid4().hex}.h5"
        write_whole(path, segment_image(rows, self.fingerprint))
        return path

    def _keys_of(self, rows: NDArray[np.int64]) -> tuple[Keys, Copies]:
        keys = np.concatenate([s.keys for s in self._segments])
        copies = np.concatenate([s.copies for s in self._segments])
        return keys[rows], copies[rows]

    # the index: rows sorted by the first eight bytes of their key, each copy elsewhere

    def _index(self) -> None:
        if not self._segments:
            self._order, self._prefixes = np.zeros(0, np.int64), np.zeros(0, np.uint64)
            return
        prefixes = np.concatenate([_prefixes(segment.keys, segment.copies) for segment in self._segments])
        rows = np.flatnonzero(~self._bad_rows)
        self._order = rows[np.argsort(prefixes[rows], kind="stable")]
        self._prefixes = prefixes[self._order]

    def _look_up(self, keys: Keys, copies: Copies) -> NDArray[np.int64]:
        found = np.full(len(keys), -1, np.int64)
        if not len(self._order):
            return found
        all_keys = [segment.keys for segment in self._segments]
        wanted = _prefixes(keys, copies)
        place = np.searchsorted(self._prefixes, wanted)
        open_ = np.arange(len(keys))
        while len(open_):  # more than one turn only where several rows share their first eight bytes
            inside = place[open_] < len(self._order)
            open_ = open_[inside]
            open_ = open_[self._prefixes[place[open_]] == wanted[open_]]
            rows = self._order[place[open_]]
            segment = np.searchsorted(self._starts, rows, side="right") - 1
            same = np.zeros(len(open_), bool)
            for number in np.unique(segment):
                chosen = np.flatnonzero(segment == number)
                inner = rows[chosen] - self._starts[number]
                same[chosen] = (all_keys[number][inner] == keys[open_[chosen]]).all(axis=1)
                same[chosen] &= self._segments[number].copies[inner] == copies[open_[chosen]]
            found[open_[same]] = rows[same]
            open_ = open_[~same]
            place[open_] += 1
        return found

    # checking

    def _check_rows(self, rows: NDArray[np.int64]) -> None:
        """Compare rows with their CRC-32, on all cores; the bad ones are marked and reported."""
        owner = np.searchsorted(self._starts, rows, side="right") - 1
        tasks: list[tuple[int, NDArray[np.int64]]] = []
        for number in np.unique(owner):
            inner = rows[owner == number] - self._starts[number]
            parts = max(1, len(inner) * self._segments[number].row_bytes // _CHECKED_BYTES)
            tasks += [(int(number), part) for part in np.array_split(inner, min(parts, len(inner)))]
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            run = pool.map if len(tasks) > 1 else map
            results = list(run(lambda task: bad_rows(self._segments[task[0]], task[1]), tasks))
        self._checked[rows] = True
        damaged: dict[int, int] = {}
        for (number, _), bad in zip(tasks, results, strict=True):
            self._bad_rows[bad + self._starts[number]] = True
            if len(bad):
                damaged[number] = damaged.get(number, 0) + len(bad)
        for number, count in damaged.items():
            path = self._segments[number].path
            self._warn(f"{count} damaged rows in {display_path(path)}: their pictures are extracted again")

    # files

    def _open(self, path: Path) -> Segment | None:
        """A segment, opened; None where it has gone or is damaged (then it is set aside)."""
        try:
            return read_segment(path, self.fingerprint)
        except FileNotFoundError:
            return None  # another process merged it
        except PermissionError as error:
            raise CacheError(f"can't read {display_path(path)}: {error.strerror}; check its permissions") from error
        except (OSError, KeyError, ValueError, RuntimeError, TypeError) as error:
            if isinstance(error, OSError) and error.errno in _PASSING:
                raise CacheError(f"can't read {display_path(path)}: {os.strerror(error.errno)}; run again") from error
            self._set_aside(path, error)
            return None

    def _set_aside(self, path: Path, reason: Exception) -> None:
        try:
            path.rename(path.with_name(path.name + ".corrupt"))
            self._warn(
                f"damaged segment set aside as {display_path(path)}.corrupt ({reason}): "
                "its pictures are extracted again"
            )
        except OSError:
            self._warn(f"damaged segment {display_path(path)} ({reason}): its pictures are extracted again")

    def _warn(self, message: str) -> None:
        logger.warning(message)
        self.warnings.append(message)


def _prefixes(keys: Keys, copies: Copies) -> NDArray[np.uint64]:
    first = np.ascontiguousarray(keys[:, :8]).view(">u8").reshape(-1).astype(np.uint64)
    first += copies.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)  # modulo 2**64
    return first
