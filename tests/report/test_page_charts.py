from dataclasses import replace

from support.reports import make_report

from retrain.report.contents import LearningCurve, Series, Stretch
from retrain.report.page_charts import learning_chart, reliability_chart, stretch_charts, threshold_chart

REPORT = make_report()


def test_smoothed_lines_lie_over_the_measured_ones():
    accuracy, cross_entropy = stretch_charts(REPORT.curves.stretches[0])
    kinds = ["train faint", "validation faint", "train", "validation"]
    assert [line.kind for line in accuracy.lines] == [line.kind for line in cross_entropy.lines] == kinds
    series = REPORT.curves.stretches[0].series[1]
    assert accuracy.lines[3].points == tuple(zip(series.places, series.smooth_accuracy, strict=True))
    assert cross_entropy.lines[1].points == tuple(zip(series.places, series.cross_entropy, strict=True))


def test_what_is_not_smoothed_is_drawn_once():
    series = Series("train", (10.0,), (0.5,), (1.0,), (0.5,), (1.0,))
    accuracy, _ = stretch_charts(Stretch("Training the head", "step", (series,), None))
    (line,) = accuracy.lines
    assert line.dots == (1,)  # a line through one point would not be seen
    assert accuracy.marks == ()


def test_the_place_that_was_kept_is_marked_and_told():
    accuracy, _ = stretch_charts(REPORT.curves.stretches[1])
    assert [mark.x for mark in accuracy.marks] == [6.4]
    assert accuracy.description.endswith("The weights of epoch 6.4 were kept.")


def test_the_axis_of_accuracy_has_room_below_the_lowest():
    accuracy, _ = stretch_charts(REPORT.curves.stretches[0])
    low, high = accuracy.y_range
    assert high == 1
    assert 0 <= low < min(min(series.accuracy) for series in REPORT.curves.stretches[0].series)


def test_shares_of_no_answers_are_not_drawn():
    nothing = replace(REPORT.thresholds, thresholds=(0.0, 1.0), answered=(100, 0), right=(90, 0))
    answered, right = threshold_chart(nothing).lines
    assert answered.points == ((0.0, 1.0), (1.0, 0.0))
    assert right.points == ((0.0, 0.9),)


def test_reliability_before_and_after_calibration():
    names = [line.name for line in reliability_chart(REPORT.calibration).lines]
    assert names == ["as it should be", "before --calibrate", "after --calibrate"]
    plain = replace(REPORT.calibration, before=None, error_before=None)
    assert [line.name for line in reliability_chart(plain).lines] == ["as it should be", "this model"]


def test_the_learning_curve_shows_its_intervals():
    (line,) = learning_chart(REPORT.learning).lines
    assert line.intervals[0] == (40.0, *REPORT.learning.points[0].interval)
    one = LearningCurve(REPORT.learning.points[:1], 500, "")
    assert learning_chart(one).description == "Accuracy after training on 40 pictures: 72.0%."
