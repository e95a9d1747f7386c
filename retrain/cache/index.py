"""Find the row of a picture in the segments of the cache: rows sorted by the start of their key."""

import copy
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from retrain.cache.segments import Copies, Keys, Segment

__all__ = ["RowIndex", "distinct", "joined", "starts_of"]


class RowIndex:
    """Finds rows of segments by key and copy.

    Rows are numbered through all segments, one after the other.

    Args:
        segments: their keys and copies are used, not their vectors.
        usable: (rows,) bool, which rows may be found.
    """

    def __init__(self, segments: Sequence[Segment], usable: NDArray[np.bool_]) -> None:
        self._segments = list(segments)
        self._starts = starts_of(segments)
        # by the first eight bytes of the key, each copy elsewhere
        none = [np.zeros(0, np.uint64)]
        prefixes = np.concatenate(none + [_prefixes(segment.keys, segment.copies) for segment in segments])
        rows = np.flatnonzero(usable)
        self._order = rows[np.argsort(prefixes[rows], kind="stable")]
        self._prefixes = prefixes[self._order]

    def extended(self, segments: Sequence[Segment], usable: NDArray[np.bool_]) -> "RowIndex":
        """The index of these segments behind those that it has. Sorting all anew takes fifty times as long.

        Args:
            usable: (rows,) bool, of all rows; of those that it has, the same as before.
        """
        longer = copy.copy(self)
        longer._segments = self._segments + list(segments)
        longer._starts = starts_of(longer._segments)
        first = int(self._starts[-1])
        rows = first + np.flatnonzero(usable[first:])
        if len(rows):
            prefixes = np.concatenate([_prefixes(segment.keys, segment.copies) for segment in segments])[rows - first]
            order = np.argsort(prefixes, kind="stable")
            places = np.searchsorted(self._prefixes, prefixes[order], side="right")
            longer._prefixes = np.insert(self._prefixes, places, prefixes[order])
            longer._order = np.insert(self._order, places, rows[order])
        return longer

    def look_up(self, keys: Keys, copies: Copies) -> NDArray[np.int64]:
        """Row numbers of (n, 32) keys and (n,) copies: (n,) int64, -1 for those that are missing."""
        found = np.full(len(keys), -1, np.int64)
        if not len(self._order):
            return found
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
            for number in distinct(segment):
                chosen = np.flatnonzero(segment == number)
                inner = rows[chosen] - self._starts[number]
                same[chosen] = (self._segments[number].keys[inner] == keys[open_[chosen]]).all(axis=1)
                same[chosen] &= self._segments[number].copies[inner] == copies[open_[chosen]]
            found[open_[same]] = rows[same]
            open_ = open_[~same]
            place[open_] += 1
        return found


def distinct(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """The numbers >= 0 in an array, each once, sorted. As np.unique, which imports NumPy's masked arrays to do it."""
    return np.flatnonzero(np.bincount(numbers))


def starts_of(segments: Sequence[Segment]) -> NDArray[np.int64]:
    """The number of each segment's first row, and behind them how many rows there are: (segments + 1,)."""
    return np.concatenate([[0], np.cumsum([len(segment.crcs) for segment in segments], dtype=np.int64)]).astype(
        np.int64
    )


def _prefixes(keys: Keys, copies: Copies) -> NDArray[np.uint64]:
    first = np.ascontiguousarray(keys[:, :8]).view(">u8").reshape(-1).astype(np.uint64)
    first += copies.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)  # modulo 2**64
    return first


def joined(keys: Keys, copies: Copies) -> NDArray[np.bytes_]:
    """(n, 32) keys and (n,) copies as (n,) strings of 36 bytes, which numpy can sort and search."""
    pairs = np.concatenate([keys, copies.astype(">u4").view(np.uint8).reshape(-1, 4)], axis=1)
    return np.ascontiguousarray(pairs).view("S36").reshape(-1)
