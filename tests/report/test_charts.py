import itertools
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from retrain.report.charts import Chart, Line, Mark, draw, ticks


def chart(*points, **rest):
    return Chart("A chart", "in words", "step", "accuracy", (Line("train", "train", tuple(points)),), **rest)


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e7))
def test_ticks_are_few_even_and_within_the_range(low, length):
    found = ticks(low, low + length)
    assert 2 <= len(found) <= 7
    assert low - length / 100 <= found[0] < found[-1] <= low + length * 1.01
    steps = [after - before for before, after in itertools.pairwise(found)]
    assert max(steps) == pytest.approx(min(steps), rel=1e-3)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0, 4000, [0, 1000, 2000, 3000, 4000]),
        (0.83, 0.9, [0.84, 0.86, 0.88, 0.9]),
    ],
)
def test_ticks_are_round(low, high, expected):
    assert ticks(low, high) == expected


@given(st.lists(st.tuples(st.floats(0, 1e5), st.floats(-1, 2)), min_size=1, max_size=30))
@example([(0.0, 0.0), (5e-324, 0.0)])  # too near to each other to be told apart
def test_lines_stay_inside_the_plot(points):
    drawing = draw(chart(*sorted(points), y_range=(0.0, 1.0)))
    for place in drawing.lines[0].path.removeprefix("M").split("L"):
        x, y = map(float, place.split())
        assert drawing.left <= x <= drawing.right
        assert drawing.top <= y <= drawing.bottom


def test_the_ends_of_the_axes_are_the_ends_of_the_plot():
    drawing = draw(chart((10, 0.0), (20, 1.0), marks=(Mark(15, "kept"),)))
    assert drawing.lines[0].path == f"M{drawing.left} {drawing.bottom}L{drawing.right} {drawing.top}"
    assert drawing.marks[0].place == pytest.approx((drawing.left + drawing.right) / 2)


def test_one_point_is_drawn():
    assert draw(chart((100, 0.5))).lines[0].path.count(" ") == 1


def test_what_is_not_finite_is_left_out():
    assert draw(chart((1, math.nan), (2, math.inf))) is None
    assert draw(chart((1, 0.5), (2, math.nan), (3, 0.7))).lines[0].path.count("L") == 1


def test_a_dot_shows_how_many_pictures_it_stands_for():
    few, many = draw(Chart("", "", "", "", (Line("", "", ((0, 0), (1, 1)), (1, 100)),))).lines[0].dots
    assert many[:2] == (draw(chart((0, 0), (1, 1))).right, 12)
    assert 0 < few[2] < many[2]


def test_a_long_line_keeps_its_first_and_last_point():
    whole, ends = draw(chart(*((n, n % 7) for n in range(100_000)))), draw(chart((0, 0), (99_999, 99_999 % 7), (0, 6)))
    places = whole.lines[0].path[1:].split("L")
    assert len(places) == 400
    assert [places[0], places[-1]] == ends.lines[0].path[1:].split("L")[:2]
