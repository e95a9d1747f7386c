import zipfile

import pytest

from retrain.export.labels_inside import labels_in, with_labels

LABELS = ("cat", "Bär & Söhne", "two words", "")


def test_labels_come_back_and_the_file_is_as_it_was(tmp_path):
    data = bytes(range(256)) * 40
    whole = with_labels(data, LABELS)
    (tmp_path / "it").write_bytes(whole)
    assert whole.startswith(data)
    assert labels_in(tmp_path / "it") == LABELS


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
