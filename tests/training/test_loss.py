import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrain.cache import LabelledBottlenecks
from retrain.options import TrainingOptions
from retrain.training.loss import SigmoidLoss, cross_entropies, loss_of, to_gradients

SETS = np.array([[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0]], bool)


def test_cross_entropy_is_of_the_true_label_and_of_all_if_smoothed():
    logits = np.log(np.array([[0.7, 0.2], [0.2, 0.2], [0.1, 0.6]])) + 5
    labels = np.array([0, 2], np.int32)
    assert cross_entropies(logits, labels) == pytest.approx([-np.log(0.7), -np.log(0.6)])
    smoothed = 0.7 * -np.log([0.7, 0.6]) + 0.1 * -np.log([0.7 * 0.2 * 0.1, 0.2 * 0.2 * 0.6])
    assert cross_entropies(logits, labels, 0.3) == pytest.approx(smoothed)


def test_far_logits_of_a_softmax_overflow_nothing():
    logits = np.float32([[3e4, -3e4], [-3e4, 3e4]])
    assert cross_entropies(logits, np.zeros(2, np.int32)).tolist() == [0, 60_000]
    assert to_gradients(logits, np.zeros(2, np.int32), 0.5)
    assert logits.tolist() == [[0, -0.5], [0, 0.5]]


@given(st.integers(0, 99), st.sampled_from([0.0, 0.3]), st.booleans(), st.booleans())
def test_gradients_of_binary_cross_entropy_are_those_of_the_loss(seed, smoothing, is_weighted, has_shares):
    rng = np.random.default_rng(seed)
    loss = SigmoidLoss(SETS, smoothing, rng.uniform(0.5, 2, (2, 3)) if is_weighted else None)
    logits, labels = rng.normal(0, 3, (3, 5)), rng.integers(0, 4, 5).astype(np.int32)
    shares = rng.uniform(0.1, 1, 5) if has_shares else np.full(5, 0.2)

    def value(changed):
        return float(loss.objectives(changed, labels, loss.cross_entropies(changed, labels)) @ shares)

    gradients = logits.copy()
    assert loss.to_gradients(gradients, labels, shares if has_shares else 0.2)
    for place in np.ndindex(logits.shape):
        step = np.zeros_like(logits)
        step[place] = 1e-5
        wanted = (value(logits + step) - value(logits - step)) / 2e-5
        assert gradients[place] == pytest.approx(wanted, abs=1e-6)


def test_cross_entropy_is_that_of_exactly_the_labels():
    logits = np.array([[2.0], [-1.0], [0.5]])
    scores = 1 / (1 + np.exp(-logits[:, 0]))
    loss = SigmoidLoss(SETS)
    own = -np.log([scores[0], 1 - scores[1], scores[2]]).sum()
    assert loss.cross_entropies(logits, np.zeros(1, np.int32)) == pytest.approx([own])
    assert loss.guessing == pytest.approx(float(loss.cross_entropies(np.zeros((3, 1)), np.zeros(1, np.int32))[0]))
    assert loss.are_right(np.array([[2.0], [-1.0], [0.5]]), np.zeros(1, np.int32)).tolist() == [True]
    assert loss.are_right(np.array([[2.0], [1.0], [0.5]]), np.zeros(1, np.int32)).tolist() == [False]


def test_far_logits_overflow_nothing():
    logits = np.float32([[3e4], [-3e4], [-3e4]])
    loss = SigmoidLoss(SETS)
    with np.errstate(over="ignore"):  # as in training
        assert loss.cross_entropies(logits, np.zeros(1, np.int32)).tolist() == [30_000]
        assert loss.to_gradients(logits, np.zeros(1, np.int32), 0.5)
        assert logits[:, 0].tolist() == [0, 0, -0.5]
        for wrong in (np.nan, np.inf, -np.inf):
            assert not loss.to_gradients(np.float32([[1], [wrong], [1]]), np.zeros(1, np.int32), 0.5)


def test_balanced_weights_are_scikit_learn_s():
    from sklearn.utils.class_weight import compute_class_weight

    labels = np.array([0, 0, 0, 1, 2, 0], np.int32)
    data = LabelledBottlenecks(np.zeros((6, 2), np.float32), labels, label_sets=SETS)
    balanced, plain = (
        loss_of(data, np.arange(6), 3, TrainingOptions(class_weight=kind)) for kind in ("balanced", "none")
    )
    logits = np.random.default_rng(0).normal(0, 1, (3, 6))
    terms = np.logaddexp(0, logits) - SETS[labels].T * logits
    wanted = np.zeros(6)
    for label in range(3):
        has = SETS[labels][:, label]
        absent, present = compute_class_weight("balanced", classes=np.array([False, True]), y=has)
        wanted += np.where(has, present, absent) * terms[label]
    found = balanced.objectives(logits, labels, plain.cross_entropies(logits, labels))
    assert found == pytest.approx(wanted)


def test_a_weight_of_a_label_counts_where_a_picture_has_it():
    data = LabelledBottlenecks(np.zeros((4, 2), np.float32), np.arange(4, dtype=np.int32), label_sets=SETS)
    loss = loss_of(data.weighted([1, 3, 1]), np.arange(4), 3, TrainingOptions(class_weight="b=3"))
    logits, labels = np.zeros((3, 4)), np.arange(4, dtype=np.int32)
    wanted = np.log(2) * (3 + 2 * SETS[:, 1])
    assert loss.objectives(logits, labels, loss.cross_entropies(logits, labels)) == pytest.approx(wanted)
