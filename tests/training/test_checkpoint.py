"""The file in which fine-tuning keeps its finished epochs."""

import os
import time

import numpy as np
import pytest

from retrain.training.checkpoint import CheckpointFile

KEY = "ab" * 32
ARRAYS = {"parameters0": np.arange(6, dtype=np.float32).reshape(2, 3)}


@pytest.fixture
def saved(tmp_path):
    file = CheckpointFile(tmp_path, KEY)
    file.extra.append({"step": 3})
    file.save({"best_epoch": 1}, ARRAYS)
    return tmp_path / f"fine_tuning-{KEY[:16]}.npz"


def test_what_was_saved_is_loaded(saved):
    file = CheckpointFile(saved.parent, KEY)
    note, arrays = file.load()
    assert (note["best_epoch"], file.extra) == (1, [{"step": 3}])
    assert np.array_equal(arrays["parameters0"], ARRAYS["parameters0"])


def test_another_training_does_not_load_it(saved):
    assert CheckpointFile(saved.parent, "cd" * 32).load() is None
    assert CheckpointFile(saved.parent, KEY[:16] + "0" * 48).load() is None


def test_a_damaged_file_counts_as_none(saved):
    data = saved.read_bytes()
    for damaged in (b"", data[:40], data[:-1], data[:100] + bytes([data[100] ^ 1]) + data[101:]):
        saved.write_bytes(damaged)
        assert CheckpointFile(saved.parent, KEY).load() is None


def test_a_cache_that_can_not_be_written_is_no_error(tmp_path):
    file = CheckpointFile(tmp_path / "missing", KEY)
    file.save({}, ARRAYS)
    file.remove()
    assert not (tmp_path / "missing").exists()


def test_a_file_that_can_not_be_removed_is_no_error(saved):
    saved.unlink()
    saved.mkdir()  # which unlink() refuses, as it refuses a file on a disk that can only be read
    CheckpointFile(saved.parent, KEY).remove()


def test_removing_takes_old_ones_of_other_runs_along(saved):
    for name, days in (("new", 1), ("old", 8)):
        path = saved.parent / f"fine_tuning-{name}.npz"
        path.write_bytes(b"")
        os.utime(path, (time.time() - days * 86400,) * 2)
    CheckpointFile(saved.parent, KEY).remove()
    assert [path.name for path in saved.parent.iterdir()] == ["fine_tuning-new.npz"]
