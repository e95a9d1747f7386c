"""Live models of small folders on a backbone that counts its pictures."""

import os
import time
from pathlib import Path

import pytest

from retrain.data import SETS
from retrain.options import ExtractionOptions, RunOptions, TrainingOptions
from retrain.pipeline import live, live_pictures
from retrain.pipeline.live import LiveModel
from support.extraction import CountingBackbone

__all__ = ["aged", "counting_backbone", "live_model", "live_options", "move", "of_set"]


def counting_backbone(patch: pytest.MonkeyPatch) -> CountingBackbone:
    """All live models of a test run on this backbone, and files are at rest after an instant."""
    backbone = CountingBackbone()
    patch.setattr(live, "choose_backbone", lambda options, emit: (backbone, options))
    patch.setattr(live, "choose_extractor_for", lambda *_: backbone)
    patch.setattr(live_pictures, "_REST_SECONDS", 0.001)
    return backbone


def live_options(**training) -> RunOptions:
    """Options of short training, with a cache in the test's folder."""
    extraction = ExtractionOptions(cache_dir="live-cache")
    return RunOptions(extraction=extraction, training=TrainingOptions(**({"steps": 60} | training)))


def live_model(root, emit=lambda event: None, cancelled=lambda: False, **training) -> LiveModel:
    return LiveModel(root, live_options(**training), emit, cancelled)


def move(root: Path, path: str, class_name: str) -> str:
    """Move a picture to another class; its new path."""
    (root / class_name).mkdir(exist_ok=True)
    target = f"{class_name}/{path.replace('/', '-')}"
    os.rename(root / path, root / target)
    return target


def aged(path: Path, seconds: float = 60) -> Path:
    """The file as if it had been written some time ago."""
    then = time.time() - seconds
    os.utime(path, (then, then))
    return path


def of_set(report, name):
    assert name in SETS
    return [picture for picture in report.pictures if picture.set == name]
