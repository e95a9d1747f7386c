"""The report as one HTML file, which any browser shows without a network.

The page shows pictures that it holds itself, and asks for nothing.
"""

import base64
import functools
import gzip
import io
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from retrain.report.charts import draw
from retrain.report.contents import Absent, Cell, Comparison, Confusion, Curves, LabelReport, Report, Thresholds
from retrain.report.html import PageKind
from retrain.report.page_charts import (
    label_chart,
    label_reliability_chart,
    learning_chart,
    reliability_chart,
    stretch_charts,
    threshold_chart,
)

__all__ = ["MOST_BYTES", "render_comparison", "render_report"]

MOST_BYTES = 10_000_000  # of a page: it is sent by mail, and opened on phones
_MOST_LIST_BYTES = 3_000_000  # of all lists of paths together, of these
_LONG_LIST_BYTES = 100_000  # from here on, a list is saved compressed
_SPARE_BYTES = 50_000  # what is said of pictures that found no room
_MOST_IN_CELLS = 1_500  # pictures: a line of text for each takes a kilobyte
_SHADES = 10  # of a cell, by its share of the row

# of parts that may be absent
_TITLES = {
    "curves": "Training",
    "calibration": "Are the scores probabilities?",
    "thresholds": "When to answer \N{LEFT DOUBLE QUOTATION MARK}not sure\N{RIGHT DOUBLE QUOTATION MARK}",
    "confusion": "What is confused with what",
    "galleries": "Pictures to look at",
    "heat_maps": "Heat maps",
    "learning": "Would more pictures help?",
}


def render_report(report: Report | LabelReport) -> bytes:
    """Render the report, in UTF-8: at most MOST_BYTES, unless its texts alone take more.

    If all pictures don't fit, those in galleries come first, then those of findings, those that look like them, and
    those of the cells of the confusion matrix. The others are named.
    """
    images = {number: _image_bytes(report, number) for number in range(len(report.pictures))}
    page = _render_with(report, [number for number, size in images.items() if size])
    too_much = len(page) - MOST_BYTES
    if too_much <= 0:
        return page
    room = sum(images.values()) - too_much - _SPARE_BYTES
    fitting = []
    for number in dict.fromkeys(_by_importance(report)):
        if images[number] and images[number] <= room:
            fitting.append(number)
            room -= images[number]
    return _render_with(report, sorted(fitting))


def render_comparison(comparison: Comparison) -> bytes:
    """Render the comparison of several models, in UTF-8."""
    return _kind().render("comparison.html", {"comparison": comparison})


@dataclass(frozen=True)
class SavedList:
    """A list of paths that the page offers as a file."""

    link: str  # data:..., or empty: it is too long to be in the page
    file_name: str
    count: int
    ends_with_zero: bool  # a name has a line break in it: names end with a NUL character, as `xargs -0` takes them


def _render_with(report: Report | LabelReport, numbers: Sequence[int]) -> bytes:
    """Render the report with the thumbnails of these pictures."""
    names = {
        "report": report,
        "shown": frozenset(numbers),
        "has_heat_maps": any(report.pictures[number].heat_map for number in numbers),
        "lists": dict(_lists(report)),
        "titles": _TITLES,
        "missing": list(_missing(report)),
    }
    if isinstance(report, LabelReport):
        return _kind().render("labels.html", names | {"figures": _label_figures(report)})
    return _kind().render("report.html", names | _names_of_classes(report))


def _names_of_classes(report: Report) -> dict[str, Any]:
    """What the page of a model of classes shows beside."""
    confusion = report.confusion
    cells = [] if isinstance(confusion, Absent) else _cells_with_pictures(confusion)
    return {
        "matrix": [] if isinstance(confusion, Absent) else _matrix(confusion),
        "cells": cells,
        "linked": frozenset(cells),
        "first_threshold": None if isinstance(report.thresholds, Absent) else _first_threshold(report.thresholds),
        "figures": _figures(report),
    }


@functools.cache
def _kind() -> PageKind:
    kind = PageKind(Path(__file__).parent / "templates", ("page.css",), "page.js", "img-src data:")
    kind.environment.filters |= {
        "base64": lambda data: base64.b64encode(data).decode(),
        "duration": _duration,
        "place": _place,
        "score": "{:.0%}".format,
        "shade": lambda share: min(_SHADES, round(share * _SHADES + 0.4999)),
    }
    kind.environment.tests["absent"] = lambda part: isinstance(part, Absent)
    return kind


@dataclass(frozen=True)
class Place:
    """Where a picture is, in a square of 160."""

    x: float
    y: float
    width: float
    height: float


def _place(thumbnail: bytes) -> Place:
    """Where a thumbnail is: as large as it can be, in the middle. A heat map is stretched over that."""
    size = Image.open(io.BytesIO(thumbnail)).size
    width, height = (round(160 * length / max(size), 1) for length in size)
    return Place(round(80 - width / 2, 1), round(80 - height / 2, 1), width, height)


def _duration(seconds: float) -> str:
    """A time for people: "0.4 s", "3 min 12 s", "2 h 5 min"."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _figures(report: Report) -> dict[str, Any]:
    """The drawn charts of the parts that are there."""
    figures: dict[str, Any] = {}
    if not isinstance(report.curves, Absent):
        figures["stretches"] = _stretches(report.curves)
    if not isinstance(report.thresholds, Absent):
        figures["thresholds"] = draw(threshold_chart(report.thresholds))
    if not isinstance(report.calibration, Absent):
        figures["calibration"] = draw(reliability_chart(report.calibration))
    if not isinstance(report.learning, Absent):
        figures["learning"] = draw(learning_chart(report.learning))
    return figures


def _label_figures(report: LabelReport) -> dict[str, Any]:
    """The same of a model of several labels."""
    figures: dict[str, Any] = {"labels": [draw(label_chart(curve)) for curve in report.label_curves]}
    if not isinstance(report.curves, Absent):
        figures["stretches"] = _stretches(report.curves)
    if not isinstance(report.calibration, Absent):
        figures["calibration"] = draw(label_reliability_chart(report.calibration))
    return figures


def _stretches(curves: Curves) -> list[list[Any]]:
    return [[draw(chart) for chart in stretch_charts(stretch, curves.measure)] for stretch in curves.stretches]


def _missing(report: Report | LabelReport) -> Iterator[str]:
    """The titles of the parts that the full report adds."""
    parts = {title: getattr(report, name) for name, title in _TITLES.items() if hasattr(report, name)}
    parts |= {part.title: part for part in report.findings if isinstance(part, Absent)}
    for title, part in parts.items():
        if isinstance(part, Absent) and part.command == report.full_command:
            yield part.title or title


def _matrix(confusion: Confusion) -> list[list[Cell | None]]:
    """The cells, row by row."""
    cells = {(cell.true, cell.given): cell for cell in confusion.cells}
    numbers = range(len(confusion.labels))
    return [[cells.get((true, given)) for given in numbers] for true in numbers] if confusion.shows_matrix else []


def _cells_with_pictures(confusion: Confusion) -> list[Cell]:
    """The cells whose pictures can be looked at: mistakes first, the most frequent at the top."""
    cells = {(cell.true, cell.given): cell for cell in (*confusion.pairs, *confusion.cells) if cell.pictures}
    ranked = sorted(cells.values(), key=lambda cell: (cell.true == cell.given, -cell.count, cell.true, cell.given))
    ends = itertools.accumulate(len(cell.pictures) for cell in ranked)
    return [cell for cell, end in zip(ranked, ends, strict=True) if end <= _MOST_IN_CELLS]


def _first_threshold(thresholds: Thresholds) -> int:
    """The number of the threshold that the slider starts at."""
    wanted = 0.0 if thresholds.suggested is None else thresholds.suggested
    distances = [abs(threshold - wanted) for threshold in thresholds.thresholds]
    return distances.index(min(distances))


def _image_bytes(report: Report | LabelReport, number: int) -> int:
    """The room that a picture takes in the page. 0 if there is nothing to show."""
    picture = report.pictures[number]
    return 0 if picture.thumbnail is None else 200 + (len(picture.thumbnail) + len(picture.heat_map or b"")) * 4 // 3


def _by_importance(report: Report | LabelReport) -> Iterator[int]:
    """The numbers of pictures, the most important first; some more than once."""
    galleries = () if isinstance(report.galleries, Absent) else report.galleries
    first = [number for gallery in galleries for number in gallery.pictures]
    for finding in report.findings:
        if not isinstance(finding, Absent):
            first += [number for group in finding.groups for number in group.pictures]
    yield from first
    for number in first:
        yield from (neighbour.picture for neighbour in report.pictures[number].neighbours)
    yield from range(len(report.pictures))


def _lists(report: Report | LabelReport) -> Iterator[tuple[str, SavedList]]:
    """The lists that can be saved, by name. What is to be done comes first, should there not be room for all."""
    lists = [(part.name, part.paths) for part in report.findings if not isinstance(part, Absent)]
    if not isinstance(report.galleries, Absent):
        lists += [(gallery.name, gallery.paths) for gallery in report.galleries]
    room = _MOST_LIST_BYTES
    for name, paths in lists:
        if paths:
            saved = _saved_list(name, paths, room)
            room -= len(saved.link)
            yield name, saved


def _saved_list(name: str, paths: Sequence[str], room: int) -> SavedList:
    """Paths as they are, byte by byte, one a line."""
    has_breaks = any("\n" in path for path in paths)
    data = b"".join(_lines(paths, b"\0" if has_breaks else b"\n"))
    file_name, kind = f"{name}.txt", "text/plain;charset=utf-8"
    if len(data) > _LONG_LIST_BYTES:
        data, file_name, kind = gzip.compress(data, mtime=0), f"{name}.txt.gz", "application/gzip"
    link = f"data:{kind};base64,{base64.b64encode(data).decode()}"
    return SavedList(link if len(link) <= room else "", file_name, len(paths), has_breaks)


def _lines(paths: Iterable[str], end: bytes) -> Iterator[bytes]:
    for path in paths:
        yield os.fsencode(path) + end
