"""Files for the Embedding Projector."""

import re

import numpy as np
import pytest
from support.judged import make_judged

from retrain.errors import OutputError
from retrain.report import projector
from retrain.report.projector import write_projector


def test_what_tensorboard_reads(tmp_path):
    pictures = make_judged((4, 5))
    write_projector(pictures, tmp_path / "logs")
    config = (tmp_path / "logs" / "projector_config.pbtxt").read_text()
    tensor, metadata = re.findall(r'path: "(.*)"', config)
    shape = [*map(int, re.findall(r"tensor_shape: (\d+)", config))]
    vectors = np.frombuffer((tmp_path / "logs" / tensor).read_bytes(), "<f4").reshape(shape)
    assert np.array_equal(vectors, pictures.vectors)
    header, *rows = (tmp_path / "logs" / metadata).read_text().splitlines()
    assert header.split("\t") == ["label", "set", "predicted", "path"]
    assert [row.split("\t")[3] for row in rows] == pictures.paths


def test_names_stay_on_their_line(tmp_path):
    pictures = make_judged((1, 1))
    pictures.paths[0] = "a\tb\nc\udce9.png"
    write_projector(pictures, tmp_path)
    assert len((tmp_path / "projector" / "metadata.tsv").read_text().splitlines()) == 3


def test_a_browser_gets_no_more_than_it_can_turn(tmp_path, monkeypatch):
    monkeypatch.setattr(projector, "_MOST", 5)
    write_projector(make_judged((10, 10)), tmp_path)
    assert len((tmp_path / "projector" / "metadata.tsv").read_text().splitlines()) == 6


def test_a_place_that_cant_be_written(tmp_path):
    (tmp_path / "logs").write_text("a file")
    with pytest.raises(OutputError, match=r"can't write for the projector into .*logs: "):
        write_projector(make_judged((2, 2)), tmp_path / "logs")
