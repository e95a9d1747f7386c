from pathlib import Path

import pytest
from support.faults import full_after

from retrain._tensorflow import tf
from retrain.errors import OutputError
from retrain.events import Evaluated
from retrain.report.tensorboard import write_summaries

HISTORY = [Evaluated(step, step / 100, 0.1, step / 200, 0.2) for step in range(0, 100, 10)]


def test_summaries_can_be_read_back():
    write_summaries(HISTORY, "logs")
    for name, share in (("train", 100), ("validation", 200)):
        [path] = (Path("logs") / name).iterdir()
        events = list(tf.compat.v1.train.summary_iterator(str(path)))
        accuracies = {e.step: v.simple_value for e in events for v in e.summary.value if v.tag == "accuracy"}
        assert accuracies == pytest.approx({row.step: row.step / share for row in HISTORY})


def test_without_validation_there_is_no_folder_for_it():
    write_summaries([Evaluated(0, 1.0, 0.1, None, None)], "logs")
    assert [path.name for path in Path("logs").iterdir()] == ["train"]


def test_summaries_that_cannot_be_written_are_an_error():
    with pytest.raises(OutputError, match="can't write the summaries /proc/x"):
        write_summaries(HISTORY, "/proc/x")
    with full_after(1000), pytest.raises(OutputError) as caught:
        write_summaries(HISTORY * 10, "logs")
    assert str(caught.value) == "can't write the summaries logs: File too large"
