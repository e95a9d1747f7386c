"""The pictures that are shown: each has a number, and is on the page once, however often it is referred to."""

from collections.abc import Sequence

import numpy as np

from retrain.report.contents import Neighbour, Picture
from retrain.report.heat_maps import HeatMaps, overlay
from retrain.report.judged import Judged
from retrain.report.similar import nearest
from retrain.report.thumbnails import PictureFiles

__all__ = ["Shelf"]

_MOST_PICTURES = 1500  # on the page
_MOST_BYTES = 5_500_000  # of thumbnails: 7.3 MB on the page, which has them in base64
_BATCH = 16  # pictures through the network


class Shelf:
    """Collects pictures.

    Args:
        pictures: that there are.
    """

    def __init__(self, pictures: Judged) -> None:
        self._pictures = pictures
        self._places: dict[int, int] = {}  # number of a picture -> its place
        self._neighbours: dict[int, tuple[Neighbour, ...]] = {}
        self._heat_maps: dict[int, tuple[bytes, str]] = {}

    def show(self, numbers: Sequence[int]) -> tuple[int, ...]:
        """Put pictures on the page; their places in the report. Those beyond what a page can hold are left out."""
        for number in numbers:
            if number not in self._places and len(self._places) < _MOST_PICTURES:
                self._places[number] = len(self._places)
        return tuple(self._places[number] for number in numbers if number in self._places)

    def add_neighbours(self, numbers: Sequence[int]) -> None:
        """Show the nearest training pictures of some that are shown."""
        pictures = self._pictures
        wanted = np.array([number for number in numbers if number in self._places], np.int64)
        if not len(wanted):
            return
        found, cosines = nearest(pictures.vectors, wanted, pictures.members("train"), pictures.keys)
        for number, near, values in zip(wanted.tolist(), found.tolist(), cosines.tolist(), strict=True):
            own = [(other, value) for other, value in zip(near, values, strict=True) if other >= 0]
            self._neighbours[number] = tuple(
                Neighbour(place, value) for other, value in own for place in self.show([other])
            )

    def add_heat_maps(self, numbers: Sequence[int], maps: HeatMaps, files: PictureFiles) -> None:
        """Make heat maps, of the best label, of some pictures that are shown."""
        wanted = [number for number in dict.fromkeys(numbers) if number in self._places]
        for start in range(0, len(wanted), _BATCH):
            read = [(n, files.pixels(self._pictures.paths[n], maps.form)) for n in wanted[start : start + _BATCH]]
            there = [(number, pixels) for number, pixels in read if pixels is not None]
            if not there:
                continue
            labels = self._pictures.best_labels([number for number, _ in there])
            for (number, _), mapped in zip(there, maps.of(np.stack([p for _, p in there]), labels), strict=True):
                size = files.size(self._pictures.paths[number]) or maps.form.size
                self._heat_maps[number] = overlay(mapped, maps.form, size), self._pictures.names[mapped.label]

    def finish(self, files: PictureFiles, most: int, seconds: float | None = None) -> tuple[Picture, ...]:
        """All pictures, in the order in which they were put here.

        Args:
            most: thumbnails in all; the first pictures have them.
            seconds: after which no more thumbnails are made.
        """
        order = [*self._places]
        thumbnails = files.thumbnails([self._pictures.paths[number] for number in order[:most]], seconds)
        thumbnails += [None] * (len(order) - len(thumbnails))
        room, shown = _MOST_BYTES, []
        for number, thumbnail in zip(order, thumbnails, strict=True):
            room -= len(thumbnail or b"")
            shown.append(self._picture(number, thumbnail if room >= 0 else None))
        return tuple(shown)

    def _picture(self, number: int, thumbnail: bytes | None) -> Picture:
        pictures = self._pictures
        heat_map, heat_label = self._heat_maps.get(number, (None, None))
        return Picture(
            path=pictures.paths[number],
            set=str(pictures.sets[number]),
            label=pictures.label_of(number),
            scores=pictures.answers_of(number),
            thumbnail=thumbnail,
            heat_map=heat_map,
            heat_label=heat_label,
            neighbours=self._neighbours.get(number, ()),
        )
