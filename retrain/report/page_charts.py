"""The charts of the report: which lines they have, and what they say in words."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from retrain.report.charts import Chart, Line, Mark
from retrain.report.contents import (
    Calibration,
    LabelCurve,
    LearningCurve,
    ReliabilityBin,
    Series,
    Stretch,
    Thresholds,
)
from retrain.text import counted, ratio

__all__ = [
    "label_chart",
    "label_reliability_chart",
    "learning_chart",
    "reliability_chart",
    "stretch_charts",
    "threshold_chart",
]


def stretch_charts(stretch: Stretch, measure: str = "accuracy") -> tuple[Chart, Chart]:
    """Accuracy and cross-entropy of a stretch of training: smoothed, over what was measured."""
    title = measure.capitalize()
    accuracies = [value for series in stretch.series for value in series.accuracy]
    marks = () if stretch.kept is None else (Mark(stretch.kept, "kept"),)
    accuracy = Chart(
        title,
        _course(title, stretch, [f"{s.set} {ratio(s.smooth_accuracy[-1])}" for s in stretch.series]),
        stretch.unit,
        measure,
        _lines((s, s.accuracy, s.smooth_accuracy) for s in stretch.series),
        (math.floor(max(0.0, min(accuracies, default=0.0) - 0.02) * 10) / 10, 1.0),
        y_text="{:.0%}".format,
        marks=marks,
    )
    cross_entropy = Chart(
        "Cross-entropy",
        _course("Cross-entropy", stretch, [f"{s.set} {s.smooth_cross_entropy[-1]:.3f}" for s in stretch.series]),
        stretch.unit,
        "cross-entropy, nats",
        _lines((s, s.cross_entropy, s.smooth_cross_entropy) for s in stretch.series),
        (0.0, None),
        marks=marks,
    )
    return accuracy, cross_entropy


def _lines(rows: Iterable[tuple[Series, Sequence[float], Sequence[float]]]) -> tuple[Line, ...]:
    """Measured values below all smoothed ones."""
    faint, strong = [], []
    for series, raw, smooth in rows:
        if tuple(raw) != tuple(smooth):
            faint.append(Line("", f"{series.set} faint", tuple(zip(series.places, raw, strict=True))))
        strong.append(
            Line(
                series.set, series.set, tuple(zip(series.places, smooth, strict=True)), (1,) * (len(series.places) == 1)
            )
        )
    return (*faint, *strong)


def _course(what: str, stretch: Stretch, ends: Sequence[str]) -> str:
    last = max((series.places[-1] for series in stretch.series), default=0)
    kept = "" if stretch.kept is None else f" The weights of {stretch.unit} {stretch.kept:,g} were kept."
    return f"{what} during training, at the end ({stretch.unit} {last:,g}): {', '.join(ends)}.{kept}"


def threshold_chart(thresholds: Thresholds) -> Chart:
    """How many pictures get an answer, and how many of the answers are right, over the threshold."""
    n = thresholds.n
    rows = list(zip(thresholds.thresholds, thresholds.answered, thresholds.right, strict=True))
    answered = tuple((threshold, count / n) for threshold, count, _ in rows if n)
    right = tuple((threshold, right / count) for threshold, count, right in rows if count)
    return Chart(
        "Answers and right answers",
        "The share of pictures that get an answer falls as the threshold rises; the table has the figures. "
        f"{thresholds.sentence}",
        "threshold",
        "share",
        (Line("answered", "train", answered), Line("right, of the answered", "validation", right)),
        (0.0, 1.0),
        (0.0, 1.0),
        "{:.0%}".format,
        marks=() if thresholds.suggested is None else (Mark(thresholds.suggested, "suggested"),),
    )


def reliability_chart(calibration: Calibration) -> Chart:
    """The share of pictures that are right, over the scores that they got."""
    lines = [Line("as it should be", "ideal", ((0.0, 0.0), (1.0, 1.0)))]
    if calibration.before is not None:
        lines.append(_of_bins("before --calibrate", "validation", calibration.before))
    lines.append(
        _of_bins("this model" if calibration.before is None else "after --calibrate", "train", calibration.bins)
    )
    pieces = [f"score {b.score:.2f}: {ratio(b.right)} of {counted(b.count, 'picture')}" for b in calibration.bins]
    return Chart(
        "Share of right answers, by score",
        f"Share of right answers by score: {'; '.join(pieces)}.",
        "score",
        "right",
        tuple(lines),
        (0.0, 1.0),
        (0.0, 1.0),
        "{:.0%}".format,
    )


def _of_bins(name: str, kind: str, bins: Sequence[ReliabilityBin]) -> Line:
    """A line with a dot per bin, the larger the more pictures there are."""
    return Line(name, kind, tuple((one.score, one.right) for one in bins), tuple(one.count for one in bins))


def label_reliability_chart(calibration: Calibration) -> Chart:
    """The share of labels that pictures have, over the scores that these got."""
    pieces = [f"score {b.score:.2f}: {ratio(b.right)} of {b.count:,}" for b in calibration.bins]
    return replace(
        reliability_chart(calibration),
        title="Share of labels that pictures have, by score",
        description=f"Share of labels that pictures have by score: {'; '.join(pieces)}.",
        y_name="have the label",
    )


def label_chart(curve: LabelCurve) -> Chart:
    """Precision over recall of one label, with the place of its threshold."""
    lines = [Line("", "train", curve.points, (1,) * (len(curve.points) == 1))]
    if curve.chosen is not None:
        lines.append(Line(f"threshold {curve.threshold:.3f}", "validation", (curve.chosen,), (1,)))
    return Chart(
        f"{curve.label}: AP {ratio(curve.average_precision)} of {counted(curve.n, 'picture')}",
        f"Precision over recall of {curve.label}, average precision {ratio(curve.average_precision)}.",
        "recall",
        "precision",
        tuple(lines),
        (0.0, 1.0),
        (0.0, 1.0),
        "{:.0%}".format,
        "{:.0%}".format,
    )


def learning_chart(curve: LearningCurve) -> Chart:
    """The accuracy of heads trained on shares of the training pictures."""
    points = tuple((float(point.pictures), point.accuracy) for point in curve.points)
    intervals = tuple((float(point.pictures), *point.interval) for point in curve.points)
    low = min((point.interval[0] for point in curve.points), default=0.0)
    pieces = [f"{counted(point.pictures, 'picture')}: {ratio(point.accuracy)}" for point in curve.points]
    return Chart(
        "Accuracy by the number of training pictures",
        f"Accuracy after training on {'; '.join(pieces)}.",
        "training pictures",
        "accuracy",
        (Line("accuracy, with its 95% interval", "train", points, (1,) * len(points), intervals),),
        (math.floor(max(0.0, low - 0.02) * 10) / 10, 1.0),
        (0.0, None),
        "{:.0%}".format,
    )
