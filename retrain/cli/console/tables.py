"""Tables of classes, of which only some are shown where there are many."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from retrain.text import MOST_NAMED, shown

__all__ = ["ALL_IN_JSON", "MOST_ROWS", "few", "grid_lines", "rest_line", "table"]

MOST_ROWS = 20  # classes of which a table or a matrix shows all
ALL_IN_JSON = "all of them with --json"

_Class = TypeVar("_Class")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table: the first column is aligned to the left, numbers to the right."""
    cells = [header, *([shown(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            [f"{row[0]:{widths[0]}}", *(f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in cells
    ]


def grid_lines(title: str, names: Sequence[str], matrix: Sequence[Sequence[int]]) -> Iterator[str]:
    """Lines of a square matrix, (n, n) counts, whose rows and columns have the same names."""
    labels = [shown(name) for name in names]
    width = max(len("class"), *map(len, labels))
    numbers = [f"[{number}]" for number in range(len(labels))]
    cell = max(4, *map(len, numbers), *(len(str(count)) for row in matrix for count in row))
    yield title
    yield " " * (width + cell + 1) + "".join(f" {number:>{cell}}" for number in numbers)
    for number, label, row in zip(numbers, labels, matrix, strict=True):
        yield f"{label:{width}} {number:>{cell}}" + "".join(f" {count:{cell}}" for count in row)


def few(classes: Sequence[_Class], figure: Callable[[_Class], float | None]) -> Sequence[_Class]:
    """The classes for a table: all, or if there are many, those with the lowest figures."""
    if len(classes) <= MOST_ROWS:
        return classes
    known = [(value, place) for place, value in enumerate(map(figure, classes)) if value is not None]
    return [classes[place] for _, place in sorted(known)[:MOST_NAMED]]


def rest_line(classes: int, which: str) -> Iterator[str]:
    """A line that says what a table leaves out."""
    if classes > MOST_ROWS:
        yield f"... and {classes - MOST_NAMED:,} more (above: those {which}; all of them with --json)"
