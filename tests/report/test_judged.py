"""What a model says of pictures."""

import dataclasses

import numpy as np
from support.judged import make_judged

from retrain.model.head import softmax


def test_the_best_two_labels_of_every_picture():
    pictures = make_judged()
    scores = softmax(pictures.head.logits(pictures.vectors))
    order = np.argsort(-scores, axis=1, kind="stable")[:, :2]
    assert np.array_equal(pictures.given, order)
    assert np.allclose(pictures.scores, np.take_along_axis(scores, order, 1))
    assert np.array_equal(pictures.is_right, order[:, 0] == pictures.labels)
    assert pictures.metrics.accuracy == pictures.is_right[pictures.shown].mean()


def test_copies_count_once_and_validation_stands_in_for_a_test_set():
    pictures = make_judged(sets="train validation")
    assert pictures.shown_set == "validation"
    keys = pictures.keys.copy()
    keys[3] = keys[1]  # both in the validation set, of one class
    twice = dataclasses.replace(pictures, keys=keys)
    assert len(twice.shown) == len(pictures.shown) - 1
    assert len(twice.all_different) == len(pictures) - 1
