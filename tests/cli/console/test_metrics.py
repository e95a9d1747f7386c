"""What a person sees of results."""

import numpy as np
import pytest

from retrain.cli.console.metrics import describe_metrics
from retrain.evaluation.metrics import evaluate_logits


def test_metrics_are_a_table_and_a_matrix():
    logits = np.array([[2, 0, 0], [2, 0, 0], [0, 3, 0]], np.float32)
    metrics = evaluate_logits(logits, np.array([0, 1, 1], np.int32), ["cat", "a long name", "owl"])
    lines = describe_metrics(metrics).splitlines()
    assert lines[0].startswith("Total accuracy 66.7% (95% interval ")
    assert lines[1].startswith("Calibration error ")  # of three classes, two are no feat
    assert "Most confused: a long name taken for cat (1 time)" in lines
    assert "cat                 1      50.0%  100.0%  66.7%" in lines
    assert "owl                 0          -       -      -" in lines
    assert lines[-3:] == [
        "cat          [0]    1    0    0",
        "a long name  [1]    1    1    0",
        "owl          [2]    0    0    0",
    ]


@pytest.mark.parametrize(("classes", "k"), [(8, 2), (12, 3), (19, 3), (20, 5), (100, 5)])
def test_top_k_is_shown_where_it_says_something(classes, k):
    logits = np.zeros((10, classes), np.float32)
    logits[:, 0] = 1
    logits[:, 1] = 0.5  # the true class
    metrics = evaluate_logits(logits, np.ones(10, np.int32), [f"class {number}" for number in range(classes)])
    error = f"{metrics.expected_calibration_error:.1%}"
    assert f"Top {k}: 100.0%, calibration error {error}" in describe_metrics(metrics).splitlines()
