"""Watching: one report for each change that makes a difference, however the change comes about."""

import json
import os
from contextlib import closing

import pytest
from support.live import counting_backbone, live_options, move
from support.pictures import draw_picture

from retrain.errors import OutputError, RetrainError
from retrain.events import Evaluated
from retrain.options import BackboneOptions, RunOptions, TrainingOptions, WatchOptions
from retrain.pipeline import watch as watching
from retrain.pipeline.live import LiveModel
from retrain.pipeline.watch import Follower, watch

OFTEN = WatchOptions(poll=0.05)


@pytest.fixture
def root(make_folder, monkeypatch):
    counting_backbone(monkeypatch)
    monkeypatch.setattr(watching, "_AGAIN_SECONDS", 0.05)
    return make_folder({"cat": 20, "dog": 20})


def test_every_change_gives_a_report(root):
    with closing(watch(root, None, live_options(), OFTEN)) as reports:
        assert next(reports).version == 1
        move(root, "cat/cat_003.png", "dog")
        assert next(reports).changes.relabelled == 1
        (root / "dog").rename(root / "wolf")
        assert next(reports).labels == ("cat", "wolf")


def test_what_makes_no_difference_gives_none(root):
    with closing(watch(root, None, live_options(), OFTEN)) as reports:
        next(reports)
        os.utime(root / "cat" / "cat_000.png")
        (root / "cat" / "cat_001.png").rename(root / "cat" / "new_name.png")  # the first change with a difference
        report = next(reports)
    assert (report.version, report.changes.added, report.changes.relabelled) == (2, 0, 0)
    assert "cat/new_name.png" in [picture.path for picture in report.pictures]


@pytest.fixture
def disturbed(root):
    """A follower whose first training is disturbed by a change, and the path of the picture that moves."""
    moved = []
    follower = Follower(root, live_options(), lambda event: change(event), poll=0.05)

    def change(event):
        if isinstance(event, Evaluated) and not moved:
            moved.append(move(root, "cat/cat_003.png", "dog"))
            while not follower.folder.has_changed():
                pass

    with closing(follower):
        yield follower.reports(), moved


def test_a_change_during_an_update_begins_the_next(disturbed):
    reports, moved = disturbed
    report = next(reports)
    assert report.version == 1
    assert moved[0] in [picture.path for picture in report.pictures]


def test_an_update_is_finished_though_changes_go_on(disturbed, monkeypatch):
    monkeypatch.setattr(watching, "_PATIENCE_SECONDS", 0)
    reports, _ = disturbed
    assert "cat/cat_003.png" in [picture.path for picture in next(reports).pictures]
    assert next(reports).changes.relabelled == 1


def test_half_a_file_is_looked_at_again_though_nobody_tells(root):
    with closing(watch(root, None, live_options(), OFTEN)) as reports:
        next(reports)
        draw_picture(70, 0).save(root / "cat" / "slow.png")
        whole = (root / "cat" / "slow.png").read_bytes()
        (root / "cat" / "slow.png").write_bytes(whole[:200])
        move(root, "dog/dog_003.png", "cat")
        first = next(reports)
        assert (first.waiting, first.skipped) == (("cat/slow.png",), {})
        (root / "cat" / "slow.png").write_bytes(whole)
        assert next(reports).changes.added == 1


def test_a_folder_that_vanished_is_taken_up_when_it_is_back(root):
    with closing(watch(root, None, live_options(), OFTEN)) as reports:
        next(reports)
        root.rename(root.parent / "gone")
        assert "no such image folder" in next(reports).problem
        (root.parent / "gone").rename(root)
        assert next(reports).problem is None


def test_a_model_folder_is_written_each_time_and_does_not_wake_the_watch(tiny_backbone, make_folder):
    root = make_folder({"cat": 12, "dog": 12})
    options = RunOptions(backbone=BackboneOptions(backbone=str(tiny_backbone)), training=TrainingOptions(steps=20))
    with closing(watch(root, root / "model", options, OFTEN)) as reports:
        report = next(reports)
        assert report.model_dir == str(root / "model")
        assert json.loads((root / "model" / "run.json").read_text())["labels"] == ["cat", "dog"]
        (root / "dog").rename(root / "wolf")
        assert next(reports).labels == ("cat", "wolf")
        assert (root / "model" / "labels.txt").read_text() == "cat\nwolf\n"


def test_a_model_that_can_t_be_written_is_a_warning(root, monkeypatch, tmp_path):
    def save(*_):
        raise OutputError("can't write model: No space left on device")

    monkeypatch.setattr(LiveModel, "save", save)
    heard = []
    with closing(watch(root, tmp_path / "model", live_options(), OFTEN, heard.append)) as reports:
        assert next(reports).model_dir is None
    [warning] = [event.message for event in heard if "is not written" in getattr(event, "message", "")]
    assert warning == "the model of 40 pictures is not written: can't write model: No space left on device"


def test_a_model_folder_that_is_something_else_is_refused_at_once(root, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("mine")
    with closing(watch(root, tmp_path / "notes", live_options(), OFTEN)) as reports, pytest.raises(RetrainError):
        next(reports)
