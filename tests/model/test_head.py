import dataclasses
import math

import h5py
import numpy as np
import pytest
from support.rejections import some_rejection

from retrain.errors import ModelFolderError
from retrain.evaluation.metrics import evaluate_logits, summarize
from retrain.model.head import Head, judge, read_head, write_head
from retrain.model.rejection import Limit
from retrain.training.parameters import initial_head

LABELS = ["Ä", "b c", "花"]


@pytest.mark.parametrize("hidden", [0, 5])
def test_head_file_round_trip(tmp_path, hidden):
    head = initial_head(7, 3, 1, hidden)
    write_head(head, LABELS, tmp_path / "head.h5")
    again, labels = read_head(tmp_path / "head.h5")
    assert len(again.layers) == (2 if hidden else 1)
    for one, other in zip(again.layers, head.layers, strict=True):
        assert np.array_equal(one.weights, other.weights)
        assert np.array_equal(one.biases, other.biases)
    assert labels == LABELS


def test_a_head_of_many_labels_scores_each_on_its_own(tmp_path):
    head = dataclasses.replace(initial_head(7, 3, 1), thresholds=np.array([0.25, 0.5, 1], np.float32))
    vectors = np.random.default_rng(0).normal(0, 1, (50, 7)).astype(np.float32)
    vectors[0] *= 1e6
    expected = [[1 / (1 + math.exp(-logit)) for logit in row] for row in np.clip(head.logits(vectors), -700, 700)]
    assert head.scores(vectors) == pytest.approx(np.array(expected), abs=1e-12)
    write_head(head, LABELS, tmp_path / "head.h5")
    again, _ = read_head(tmp_path / "head.h5")
    assert np.array_equal(again.thresholds, head.thresholds)
    assert again.activation == again.tempered(2.0).activation == "sigmoid"


@pytest.mark.parametrize("thresholds", [[0.5, 0.5], [0.5, 0.5, 1.5], [0.5, 0.5, np.nan]])
def test_a_head_file_with_other_thresholds_is_an_error(tmp_path, thresholds):
    head = dataclasses.replace(initial_head(7, 3, 1), thresholds=np.array(thresholds, np.float32))
    write_head(head, LABELS, tmp_path / "head.h5")
    with pytest.raises(ModelFolderError, match="its thresholds don't fit its labels"):
        read_head(tmp_path / "head.h5")


def test_a_rejection_is_in_the_head_file(tmp_path):
    head = dataclasses.replace(initial_head(7, 3, 1, 5), rejection=some_rejection(7, 3))
    write_head(head, LABELS, tmp_path / "head.h5")
    again, _ = read_head(tmp_path / "head.h5")
    vectors = np.random.default_rng(0).random((50, 7), np.float32)
    assert np.array_equal(again.rejection.known(vectors), head.rejection.known(vectors))
    assert again.tempered(2.0).rejection is again.rejection


@pytest.mark.parametrize(
    "change",
    [
        {"directions": np.zeros((6, 4), np.float32)},
        {"slopes": np.zeros((7, 4), np.float32)},
        {"offsets": np.zeros(4, np.float32)},
        {"offsets": np.full(3, np.nan, np.float32)},
        {"limit": Limit(np.nan, 1.0)},
        {"limit": Limit(1.0, 0.0)},
    ],
)
def test_a_head_file_with_a_rejection_that_does_not_fit_is_an_error(tmp_path, change):
    rejection = dataclasses.replace(some_rejection(7, 3), **change)
    write_head(dataclasses.replace(initial_head(7, 3, 1), rejection=rejection), LABELS, tmp_path / "head.h5")
    with pytest.raises(ModelFolderError, match="its rejection does not fit its layers"):
        read_head(tmp_path / "head.h5")


def test_logits_go_through_every_layer():
    head = initial_head(7, 3, 1, 5)
    vectors = np.random.default_rng(0).normal(0, 1, (9000, 7)).astype(np.float32)  # more than a chunk
    below, above = head.layers
    expected = np.maximum(vectors @ below.weights + below.biases, 0) @ above.weights + above.biases
    assert head.logits(vectors) == pytest.approx(expected, abs=1e-6)
    assert head.logits(vectors[:0]).shape == (0, 3)


def test_outcomes_of_parts_join_to_those_of_the_whole():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 9000).astype(np.int32)  # more than is worked on at once
    vectors = rng.normal(0, 1, (9000, 5)).astype(np.float32)
    head = initial_head(5, 3, 0)
    whole = judge(head, vectors, labels)
    assert summarize(whole, labels, LABELS) == evaluate_logits(head.logits(vectors), labels, LABELS)
    chosen = rng.permutation(9000)[:100]
    assert summarize(whole.select(chosen), labels[chosen], LABELS) == evaluate_logits(
        head.logits(vectors)[chosen], labels[chosen], LABELS
    )
    assert summarize(judge(head, vectors[:0], labels[:0]), labels[:0], LABELS).n == 0


def test_a_damaged_head_file_is_an_error(tmp_path):
    (tmp_path / "head.h5").write_bytes(b"nothing")
    with pytest.raises(ModelFolderError, match=r"can't read .*head.h5"):
        read_head(tmp_path / "head.h5")


def test_a_head_file_of_parts_that_do_not_fit_is_an_error(tmp_path):
    one, other = initial_head(7, 3, 1, 5), initial_head(7, 4, 1)
    write_head(Head((one.layers[0], other.layers[0])), ["a", "b", "c", "d"], tmp_path / "head.h5")
    with pytest.raises(ModelFolderError, match="its parts don't fit each other; train the model again"):
        read_head(tmp_path / "head.h5")
    write_head(other, LABELS, tmp_path / "head.h5")
    with pytest.raises(ModelFolderError, match="its parts don't fit each other"):
        read_head(tmp_path / "head.h5")


def test_labels_of_variable_length_are_not_read(tmp_path):
    head = initial_head(7, 3, 1)
    write_head(head, LABELS, tmp_path / "head.h5")
    with h5py.File(tmp_path / "head.h5", "r+") as file:
        del file["labels"]
        file.create_dataset("labels", data=LABELS, dtype=h5py.string_dtype())
    again, labels = read_head(tmp_path / "head.h5")
    assert labels is None
    assert np.array_equal(again.layers[0].weights, head.layers[0].weights)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda file: file.__setitem__("weights", h5py.ExternalLink("other.h5", "/weights")), "link to somewhere else"),
        (lambda file: file.create_group("weights"), "weights is not a dataset"),
        (lambda file: file.__setitem__("weights", np.zeros((7, 3))), "weights is float64"),
        (lambda file: file.__setitem__("weights", np.zeros((7, 3, 1), np.float32)), "expected float32 of 2 dimensions"),
        (lambda file: file.__setitem__("weights", np.zeros((0, 3), np.float32)), "expected float32 of 2 dimensions"),
        (lambda file: file.__setitem__("weights", np.full((7, 3), np.nan, np.float32)), "not finite"),
        (
            lambda file: file.create_dataset("weights", data=np.zeros((7, 3), np.float32), compression="gzip"),
            "is not in one piece in the file",
        ),
    ],
)
def test_weights_of_another_kind_are_an_error(tmp_path, change, match):
    write_head(initial_head(7, 3, 1), LABELS, tmp_path / "head.h5")
    with h5py.File(tmp_path / "head.h5", "r+") as file:
        del file["weights"]
        change(file)
    with pytest.raises(ModelFolderError, match=match):
        read_head(tmp_path / "head.h5")


def test_the_form_on_disk_is_the_one_that_is_documented(tmp_path):
    write_head(initial_head(7, 3, 1, 5), LABELS, tmp_path / "head.h5")
    with h5py.File(tmp_path / "head.h5") as file:
        shapes = {name: file[name].shape for name in file}
    assert shapes == {
        "hidden_weights": (7, 5),
        "hidden_biases": (5,),
        "weights": (5, 3),
        "biases": (3,),
        "labels": (3,),
    }
