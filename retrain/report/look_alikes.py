"""Pictures that look the same and are in different sets, found as pictures come: each is compared with the others once.

The same likeness as in the report's findings: the nearest by the cosine of bottlenecks, confirmed by the correlation of
small grey pictures.
"""

from collections import defaultdict
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from retrain.report.findings import SAME
from retrain.report.judged import JudgedPictures
from retrain.report.live import CopiesAcrossSets
from retrain.report.similar import nearest
from retrain.report.thumbnails import PictureFiles, correlation
from retrain.text import listing

__all__ = ["LookAlikes"]

_BLOCK = 256  # pictures that are compared at once
_MOST = 20_000  # pictures; comparing each of more with all others would take minutes
_ALIKE = 0.85  # cosine of bottlenecks below which pictures are not looked at

Numbers = NDArray[np.int64]


class LookAlikes:
    """What is known of the pictures of a folder from one model to the next.

    Args:
        files: where the pictures are.
    """

    def __init__(self, files: PictureFiles) -> None:
        self._files = files
        self._grey: dict[bytes, NDArray[np.float32] | None] = {}  # of pictures by content
        self._compared: set[bytes] = set()
        self._pairs: set[tuple[bytes, bytes]] = set()  # that look the same, in any sets

    def find(self, pictures: JudgedPictures, told: Callable[[int, int], None]) -> tuple[CopiesAcrossSets, ...]:
        """Compare what is new with all pictures.

        Args:
            told: called with pictures that are compared, and all that will be. If it raises, what is done is kept.
        """
        first: dict[bytes, int] = {}
        for number, key in enumerate(pictures.keys):
            first.setdefault(key.tobytes(), number)
        numbers = np.array([*first.values()], np.int64)
        new = np.array([number for key, number in first.items() if key not in self._compared], np.int64)
        if len(numbers) <= _MOST:
            for start in range(0, len(new), _BLOCK):
                told(start, len(new))
                block = new[start : start + _BLOCK]
                self._compare(pictures, block, numbers)
                self._compared.update(pictures.keys[number].tobytes() for number in block.tolist())
        return self._across_sets(pictures)

    def _compare(self, pictures: JudgedPictures, block: Numbers, numbers: Numbers) -> None:
        others, cosines = nearest(pictures.vectors, block, numbers, pictures.keys)
        places, ranks = np.nonzero((others >= 0) & (cosines >= _ALIKE))
        pairs = [(int(block[place]), int(others[place, rank])) for place, rank in zip(places, ranks, strict=True)]
        pairs = [(one, other) for one, other in pairs if pictures.sets[one] != pictures.sets[other]]
        wanted = [*dict.fromkeys(number for pair in pairs for number in pair)]
        unseen = [number for number in wanted if pictures.keys[number].tobytes() not in self._grey]
        greys = self._files.grey([pictures.paths[number] for number in unseen])
        for number, grey in zip(unseen, greys, strict=True):
            self._grey[pictures.keys[number].tobytes()] = grey
        for pair in pairs:
            keys = sorted(pictures.keys[number].tobytes() for number in pair)
            one, other = (self._grey[key] for key in keys)
            if one is not None and other is not None and correlation(one, other) >= SAME:
                self._pairs.add((keys[0], keys[1]))

    def _across_sets(self, pictures: JudgedPictures) -> tuple[CopiesAcrossSets, ...]:
        """Files of one content, and pairs that look the same, that are in different sets now."""
        members: dict[bytes, list[int]] = defaultdict(list)
        for number, key in enumerate(pictures.keys):
            members[key.tobytes()].append(number)
        groups = [(group, "the same file") for group in members.values()]
        groups += [
            (members[one] + members[other], "look the same")
            for one, other in sorted(self._pairs)
            if one in members and other in members
        ]
        return tuple(
            CopiesAcrossSets(
                tuple(pictures.paths[number] for number in group),
                tuple(str(pictures.sets[number]) for number in group),
                f"{why}, in the sets {listing(sorted({str(pictures.sets[number]) for number in group}))}",
            )
            for group, why in groups
            if len({str(pictures.sets[number]) for number in group}) > 1
        )
