"""Curves of training."""

import pytest

from retrain.events import EpochEnded, Evaluated
from retrain.report.contents import Absent
from retrain.report.history import curves_of


def rows(count, validation=True, every=10):
    return [
        Evaluated(
            n * every, n / count, 2 - n / count, n / count / 2 if validation else None, 1.0 if validation else None
        )
        for n in range(count)
    ]


def test_both_stretches_with_what_was_kept():
    epochs = [EpochEnded(n, 0.9, 0.1, 0.8, 0.2) for n in range(5)]
    curves = curves_of(rows(40), epochs, 250, 3)
    head, tuned = curves.stretches
    assert (head.title, head.unit, head.kept) == ("Training the head", "step", 250.0)
    assert (tuned.title, tuned.unit, tuned.kept) == ("Fine-tuning", "epoch", 3.0)
    assert [series.set for series in head.series] == ["train", "validation"]
    assert head.series[0].places[:3] == (0, 10, 20)
    assert tuned.series[1].smooth_accuracy == (0.8,) * 5  # so few are shown as they are


def test_without_validation_pictures_there_is_one_series():
    curves = curves_of(rows(40, validation=False), [], None, None)
    assert [series.set for series in curves.stretches[0].series] == ["train"]
    assert "validation" not in curves.note


def test_smoothing_begins_at_the_first_value_and_stays_within():
    series = curves_of(rows(100), [], None, None).stretches[0].series[0]
    assert series.smooth_accuracy[0] == pytest.approx(series.accuracy[0])
    assert all(0 <= value <= high for value, high in zip(series.smooth_accuracy, series.accuracy, strict=True))
    assert series.smooth_accuracy[-1] < series.accuracy[-1]  # behind a rising curve


@pytest.mark.parametrize("count", [401, 800, 10_001])
def test_long_histories_are_thinned_and_end_where_they_end(count):
    series = curves_of(rows(count), [], None, None).stretches[0].series[0]
    assert 200 <= len(series.places) <= 401
    assert series.places[-1] == (count - 1) * 10
    assert series.accuracy[-1] == (count - 1) / count
    assert [*series.places] == sorted(series.places)
    assert {len(column) for column in (series.places, series.accuracy, series.smooth_cross_entropy)} == {
        len(series.places)
    }


def test_one_row_is_enough_and_none_is_said():
    assert len(curves_of(rows(1), [], None, None).stretches[0].series[0].places) == 1
    assert isinstance(curves_of([], [], None, None), Absent)
