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
