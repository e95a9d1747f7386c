import zipfile

import numpy as np
import pytest

from retrain.errors import ModelFolderError
from retrain.export.labels_inside import (
    labels_in,
    metadata,
    metadata_labels,
    metadata_thresholds,
    thresholds_beside,
    thresholds_in,
    with_labels,
)

LABELS = ("cat", "Bär & Söhne", "two words", "")


def test_labels_come_back_and_the_file_is_as_it_was(tmp_path):
    data = bytes(range(256)) * 40
    whole = with_labels(data, LABELS)
    (tmp_path / "it").write_bytes(whole)
    assert whole.startswith(data)
    assert labels_in(tmp_path / "it") == LABELS


def test_thresholds_come_back_to_the_last_digit_and_only_where_there_are_some(tmp_path):
    thresholds = tuple(np.array([0.1, 0.7, 0, 1], np.float32).tolist())
    (tmp_path / "it").write_bytes(with_labels(b"model", LABELS, thresholds))
    assert (labels_in(tmp_path / "it"), thresholds_in(tmp_path / "it")) == (LABELS, thresholds)
    (tmp_path / "it").write_bytes(with_labels(b"model", LABELS))
    assert thresholds_in(tmp_path / "it") is None
    for given in (thresholds, None):
        entries = metadata(LABELS, given)
        assert (metadata_labels(entries), metadata_thresholds(entries)) == (LABELS, given)
    assert thresholds_beside(tmp_path / "it") is None
    (tmp_path / "thresholds.txt").write_text("0.5\n1.0\n")
    assert thresholds_beside(tmp_path / "it") == (0.5, 1.0)
    (tmp_path / "thresholds.txt").write_text("0.5\nhalf\n")
    with pytest.raises(
        ModelFolderError, match=r"can't read .*thresholds.txt: could not convert string to float: 'half'"
    ):
        thresholds_beside(tmp_path / "it")


def test_an_archive_gets_one_file_more(tmp_path):
    with zipfile.ZipFile(tmp_path / "it", "w") as archive:
        archive.writestr("config.json", "{}")
    (tmp_path / "it").write_bytes(with_labels((tmp_path / "it").read_bytes(), LABELS))
    with zipfile.ZipFile(tmp_path / "it") as archive:
        assert archive.namelist() == ["config.json", "labels.txt"]
        assert archive.read("config.json") == b"{}"
        assert archive.testzip() is None
    assert labels_in(tmp_path / "it") == LABELS


def test_the_same_labels_give_the_same_bytes():
    assert with_labels(b"model", LABELS) == with_labels(b"model", LABELS)


def test_a_file_without_labels_is_an_error(tmp_path):
    (tmp_path / "it").write_bytes(b"model")
    with pytest.raises(zipfile.BadZipFile):
        labels_in(tmp_path / "it")
