"""`retrain watch`: a line for each model, at once, until Ctrl-C."""

import dataclasses
import json

import numpy as np
import pytest
from support.command import one_line_error, retrain
from support.judged import make_judged

from retrain.events import Noted
from retrain.pipeline import watch as watching
from retrain.report.live import Answers, live_report, untrained_report


@pytest.fixture
def reports(monkeypatch):
    """What the watch says, before Ctrl-C comes: two models, then a problem."""
    judged = make_judged()
    first = second = None
    for version, wrong in ((1, [0, 1]), (2, [1])):
        answers = judged.labels.astype(np.int64)
        answers[judged.members("test")[wrong]] = 2
        found = Answers(judged.members("test"), answers, np.ones(len(judged)), "test set")
        report = live_report(version, judged, found, judged.names, second)
        first, second = second, dataclasses.replace(report, timings={"total": 1.25 * version})
    problem = untrained_report(3, "only one class (cat): add another", None, second)
    given = []

    def watch(*args):
        given.extend(args)
        args[-1](Noted("somebody noted something"))
        yield from (first, second, problem)
        raise KeyboardInterrupt

    monkeypatch.setattr(watching, "watch", watch)
    return given


def test_a_line_for_each_model_and_ctrl_c_is_no_error(reports):
    done = retrain("watch", "pictures", "--poll", "2", "--optimizer", "lbfgs", check=0)
    lines = [line[10:] for line in done.stdout.splitlines()]
    assert lines == [
        "90 pictures in 3 classes: accuracy 88.9% (67.2% to 96.9%) of 18 test pictures; 1.2 s",
        "90 pictures in 3 classes: accuracy 94.4% (74.2% to 99.0%) of 18 test pictures; class0 +16.7 points; "
        "1 picture now right (may be chance); 2.5 s",
        "no model: only one class (cat): add another",
    ]
    assert "somebody noted something" in done.stderr
    image_dir, model_dir, options, poll, _ = reports
    assert (image_dir, model_dir, options.training.optimizer, poll.poll) == ("pictures", None, "lbfgs", 2)


def test_json_has_a_document_a_line(reports):
    done = retrain("watch", "pictures", "--json", "--quiet", check=0)
    documents = [json.loads(line) for line in done.stdout.splitlines()]
    assert [document["version"] for document in documents] == [1, 2, 3]
    assert documents[1]["changes"]["now_right"] == ["class0/4.png"]
    assert documents[2]["problem"] == "only one class (cat): add another"
    assert done.stderr == ""


def test_a_file_is_no_folder_to_watch(tmp_path):
    (tmp_path / "list.csv").write_text("path,label\n")
    one_line_error(retrain("watch", "list.csv", check=2), "list.csv is a file: give an image folder")


def test_a_misspelt_folder_is_an_error_at_once():
    one_line_error(retrain("watch", "flower_photo", check=1), "no such image folder: flower_photo; give a folder")
