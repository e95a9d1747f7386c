"""Line charts: from figures to the places of lines and letters, which the page's template writes as SVG.

Drawn like this, a chart costs a millisecond and follows the page's colours, in the dark and on paper. matplotlib takes
a second to start.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

__all__ = ["Chart", "Drawing", "Line", "Mark", "draw"]

_WIDTH, _HEIGHT = 440, 270  # of the drawing, in its own units; letters are 13 of them high
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 24, 12, 44  # room for the letters around the plot
_MOST_TICKS = 6
_DIGITS = 10  # after the point, of the figures at ticks
_MOST_POINTS = 400  # of a line: more than the pixels of a phone

Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """A line through points in rising order of x."""

    name: str  # in the legend; empty: not in it
    kind: str  # its class in the style sheet
    points: tuple[Point, ...]
    dots: tuple[float, ...] = ()  # how many pictures a dot at each point stands for; empty: there are no dots
    intervals: tuple[tuple[float, float, float], ...] = ()  # (x, low, high): a bar at x


@dataclass(frozen=True)
class Mark:
    """A vertical line at x."""

    x: float
    text: str


@dataclass(frozen=True)
class Chart:
    """What a chart shows."""

    title: str
    description: str  # the same in words, for those who can't see it
    x_name: str
    y_name: str
    lines: tuple[Line, ...]
    y_range: tuple[float | None, float | None] = (None, None)  # None: as the points need it
    x_range: tuple[float | None, float | None] = (None, None)
    y_text: Callable[[float], str] = "{:,.10g}".format
    x_text: Callable[[float], str] = "{:,.10g}".format
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True)
class Tick:
    """A line of the grid, with its figure."""

    place: float
    text: str


@dataclass(frozen=True)
class DrawnLine:
    """A line in units of the drawing."""

    name: str
    kind: str
    path: str  # SVG's path data
    dots: tuple[tuple[float, float, float], ...]  # (x, y, radius)
    bars: tuple[tuple[float, float, float], ...]  # (x, top, bottom)


@dataclass(frozen=True)
class Drawing:
    """A chart in units of the drawing: all that the template needs."""

    chart: Chart
    lines: tuple[DrawnLine, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    marks: tuple[Tick, ...]
    named: tuple[DrawnLine, ...]  # the lines of the legend
    width: int = _WIDTH
    height: int = _HEIGHT
    left: int = _LEFT
    right: int = _WIDTH - _RIGHT
    top: int = _TOP
    bottom: int = _HEIGHT - _BOTTOM


def draw(chart: Chart) -> Drawing | None:
    """Place a chart's lines, ticks and marks. Points that are not finite are left out: training may have diverged.

    Returns None where there is no point to show.
    """
    finite = (
        replace(line, points=tuple(point for point in line.points if all(map(math.isfinite, point))))
        for line in chart.lines
    )
    shown = [line for line in finite if line.points]
    if not shown:
        return None
    x_low, x_high = _range([x for line in shown for x, _ in line.points], chart.x_range)
    heights = [y for line in shown for _, y in line.points]
    heights += [y for line in shown for _, low, high in line.intervals for y in (low, high)]
    y_low, y_high = _range(heights, chart.y_range)

    def across(x: float) -> float:
        share = (x - x_low) / (x_high - x_low)
        return round(_LEFT + min(max(share, 0.0), 1.0) * (_WIDTH - _LEFT - _RIGHT), 1)

    def down(y: float) -> float:
        share = (y - y_low) / (y_high - y_low)
        return round(_HEIGHT - _BOTTOM - min(max(share, 0.0), 1.0) * (_HEIGHT - _BOTTOM - _TOP), 1)

    lines = tuple(_drawn(line, across, down) for line in shown)
    return Drawing(
        chart,
        lines,
        tuple(Tick(across(x), chart.x_text(x)) for x in ticks(x_low, x_high)),
        tuple(Tick(down(y), chart.y_text(y)) for y in ticks(y_low, y_high)),
        tuple(Tick(across(mark.x), mark.text) for mark in chart.marks),
        tuple(line for line in lines if line.name),
    )


def _drawn(line: Line, across: Callable[[float], float], down: Callable[[float], float]) -> DrawnLine:
    points = [(across(x), down(y)) for x, y in _thinned(line.points)]
    path = "M" + "L".join(f"{x:g} {y:g}" for x, y in points)
    bars = tuple((across(x), down(high), down(low)) for x, low, high in line.intervals)
    radii = (1.5 + 4 * math.sqrt(weight / max(line.dots)) for weight in line.dots)
    dots = tuple((x, y, round(radius, 1)) for (x, y), radius in zip(points, radii, strict=False))
    return DrawnLine(line.name, line.kind, path, dots, bars)


def _thinned(points: Sequence[Point]) -> list[Point]:
    """At most _MOST_POINTS of a line's points, evenly spread, with the first and the last."""
    if len(points) <= _MOST_POINTS:
        return list(points)
    last = len(points) - 1
    return [points[round(number * last / (_MOST_POINTS - 1))] for number in range(_MOST_POINTS)]


def _range(values: Sequence[float], wanted: tuple[float | None, float | None]) -> tuple[float, float]:
    """The ends of an axis: the wanted ones, or else the values' own; 1 apart where ticks would be the same figure."""
    low = min(values) if wanted[0] is None else wanted[0]
    high = max(values) if wanted[1] is None else wanted[1]
    return (low, high) if high - low > 10**-_DIGITS * _MOST_TICKS else (low, low + 1)


def ticks(low: float, high: float) -> list[float]:
    """Round figures from low to high, in at most _MOST_TICKS steps of 1, 2 or 5 times a power of ten."""
    least = (high - low) / _MOST_TICKS
    power = 10.0 ** math.floor(math.log10(least))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, _DIGITS) for number in range(first, last + 1)]
