"""A model of several labels, made of one of one label: its head gets thresholds, and all forms are written anew."""

import dataclasses
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from retrain.backbones import Converter
from retrain.backbones.backbone import locate_backbone
from retrain.export import export_source
from retrain.files import digest_of_file
from retrain.model import seal
from retrain.model.head import read_head
from retrain.options import BackboneOptions
from retrain.pipeline.outputs import _write_model

THRESHOLDS = (0.15, 0.985, 0.2)  # of cat, dog, owl; a picture has three labels, two, one or none


def with_thresholds(trained: Path, backbone: Path, place: Path, thresholds=THRESHOLDS) -> Path:
    """Copy the model of the fixture `trained` to a place, and let pictures have several labels there."""
    model = shutil.copytree(trained / "model", place)
    head, labels = read_head(model / "head.h5")
    # surer than the head is of one label, so that scores are not all about one half
    head = dataclasses.replace(head.tempered(0.2), thresholds=np.array(thresholds, np.float32))
    shutil.rmtree(model / "saved_model")
    located = locate_backbone(BackboneOptions(backbone=str(backbone)))
    source = export_source(located, "final_result", Converter(trained / "cache"))
    made = SimpleNamespace(
        graph=source, trained=SimpleNamespace(head=head), result=SimpleNamespace(labels=tuple(labels))
    )
    _write_model(made, model)
    reseal(model, thresholds=head.exact_thresholds)
    return model


def reseal(model: Path, **changes) -> None:
    """Let run.json fit what else is in the folder."""
    record = json.loads((model / "run.json").read_text("utf-8")) | changes
    files = {*record["files"], "thresholds.txt"} - {"run.json"}
    digests = {name: digest_of_file(model / name) for name in sorted(files) if name != "report.html"}
    record |= {"files": [*sorted(files), "run.json"], "sha256": digests}
    (model / "run.json").write_text(json.dumps(seal(record)), "utf-8")
