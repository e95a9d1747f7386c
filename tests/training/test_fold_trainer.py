import dataclasses

import numpy as np
import pytest

from retrain.cache.vectors import LabelledBottlenecks
from retrain.errors import TrainingError
from retrain.evaluation.metrics import evaluate_logits
from retrain.options import TrainingOptions
from retrain.training.fold_trainer import FoldTrainer
from retrain.training.head_trainer import HeadTrainer

LABELS = ("a", "b", "c")
NONE = np.zeros(0, np.int64)
FAST = TrainingOptions(steps=30, learning_rate=0.1)


def blobs(n=90):
    rng = np.random.default_rng(0)
    labels = np.arange(n, dtype=np.int32) % 3
    return LabelledBottlenecks((np.eye(3, 5)[labels] + rng.normal(0, 0.5, (n, 5))).astype(np.float32), labels)


def test_every_picture_is_tested_by_a_head_that_never_saw_it():
    data = blobs()
    folds = (np.arange(90) // 3 % 4).astype(np.int32)
    folds[:6] = -1  # no part in it, as the test set of a search
    results = list(FoldTrainer(HeadTrainer(data, 3), folds, LABELS).train_all(FAST))
    assert sorted(np.concatenate([result.tested for result in results]).tolist()) == list(range(6, 90))
    for number, result in enumerate(results):
        rest = np.flatnonzero((folds >= 0) & (folds != number))
        alone = HeadTrainer(data, 3).train(rest, NONE, dataclasses.replace(FAST, eval_step_interval=7))
        assert result.training_pictures == len(rest)
        logits = alone.head.logits(data.vectors[result.tested])
        assert result.metrics == evaluate_logits(logits, data.labels[result.tested], LABELS)


def test_with_patience_the_next_fold_is_for_validation():
    data = blobs()
    folds = (np.arange(90) // 3 % 3).astype(np.int32)
    options = dataclasses.replace(FAST, patience=10, steps=200)
    for number, result in enumerate(FoldTrainer(HeadTrainer(data, 3), folds, LABELS).train_all(options)):
        validation, rest = (np.flatnonzero(folds == (number + k) % 3) for k in (1, 2))
        alone = HeadTrainer(data, 3).train(rest, validation, options)
        logits = alone.head.logits(data.vectors[result.tested])
        assert result.metrics == evaluate_logits(logits, data.labels[result.tested], LABELS)


def test_a_class_that_lies_in_one_fold_whole_is_an_error():
    data = blobs(12)
    folds = np.where(data.labels == 1, 0, np.arange(12) // 3 % 2).astype(np.int32)
    with pytest.raises(TrainingError, match=r"all pictures of class b are in one fold.*lower --folds"):
        list(FoldTrainer(HeadTrainer(data, 3), folds, LABELS).train_all(FAST))


@pytest.mark.real
def test_the_reference_vectors_reach_what_they_are_known_for(reference_flowers):
    """shared reference/README.md: 87.5% (standard deviation 2.4%) over random splits of 80 and 20 a class."""
    data, labels = reference_flowers
    order = np.random.default_rng(1).permutation(len(data))
    folds = np.empty(len(data), np.int32)
    for label in range(len(labels)):
        own = order[data.labels[order] == label]
        folds[own] = np.arange(len(own)) % 5
    results = list(
        FoldTrainer(HeadTrainer(data, len(labels)), folds, labels).train_all(TrainingOptions(eval_step_interval=1000))
    )
    assert np.mean([result.metrics.accuracy for result in results]) == pytest.approx(0.875, abs=0.03)
    assert np.mean([result.metrics.cross_entropy for result in results]) == pytest.approx(0.39, abs=0.08)
