import numpy as np
import pytest
from support.hearing import hearing

from retrain.cache.vectors import LabelledBottlenecks
from retrain.events import Evaluated, ignore
from retrain.options import TrainingOptions
from retrain.training.head_trainer import HeadTrainer
from retrain.training.picture_weights import picture_weights

NONE = np.zeros(0, np.int64)
CLASSES = 4


def make_data():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(CLASSES), [30, 20, 40, 10]).astype(np.int32)
    vectors = (rng.normal(0, 1, (100, 6)) + np.eye(CLASSES, 6)[labels]).astype(np.float32)
    return LabelledBottlenecks(vectors, labels)


def optimum(emit=ignore, **options):
    options = TrainingOptions(optimizer="lbfgs", **options)
    return HeadTrainer(make_data(), CLASSES).train(np.arange(100), NONE, options, emit)


def objective(head, options):
    """The whole objective, in float64, written down anew."""
    data = make_data()
    logits = data.vectors.astype(np.float64) @ head.layers[0].weights + head.layers[0].biases
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(100), data.labels]
    weights = picture_weights(data.labels, CLASSES, TrainingOptions(**options).resolved(100)).astype(np.float64)
    matrix = head.layers[0].weights.astype(np.float64)
    penalties = (options.get("l2") or 0) / 2 * (matrix**2).sum() + options.get("l1", 0) * np.abs(matrix).sum()
    return (weights * losses).sum() + penalties


@pytest.mark.parametrize(
    ("options", "best"),
    [
        # scikit-learn 1.9.1: LogisticRegression(C=1/(l2 * 100), tol=1e-10) over the same pictures, with
        # sample_weight=100 * picture_weights; for L1 solver="saga", l1_ratio=1, C=1/(l1 * 100)
        ({"l2": 0.01, "sampling": "uniform"}, 0.9532446164637804),
        ({"l2": 0.01}, 1.0221999982992809),
        ({"l2": 0.01, "class_weight": "balanced"}, 1.0221999982992809),
        ({"l2": 0.0001}, 1.0018091501357655),
        ({"l1": 0.02, "l2": 0.0, "sampling": "uniform"}, 1.0348402106016874),
    ],
)
def test_the_optimum_is_scikit_learn_s(options, best):
    trained = optimum(**options)
    assert trained.converged
    assert objective(trained.head, options) == pytest.approx(best, abs=1e-5)


def test_l1_gives_weights_of_zero():
    """About as many of 24 as scikit-learn's saga solver gives, see above: 14."""
    assert 12 <= (optimum(l1=0.02, l2=0.0, sampling="uniform").head.layers[0].weights == 0).sum() <= 16


def test_from_any_start_the_optimum_is_the_same():
    one, other = (optimum(l2=0.01, seed=seed).head.layers[0].weights for seed in (0, 1))
    assert one == pytest.approx(other, abs=2e-3)


def test_without_a_penalty_asked_for_there_is_a_weak_one():
    """Else the optimum of classes that a plane can part would lie at infinity."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(2), 20).astype(np.int32)
    apart = LabelledBottlenecks((rng.normal(0, 0.1, (40, 3)) + labels[:, None]).astype(np.float32), labels)
    trained = HeadTrainer(apart, 2).train(np.arange(40), NONE, TrainingOptions(optimizer="lbfgs"))
    assert trained.converged
    assert np.abs(trained.head.layers[0].weights).max() < 20
    same = HeadTrainer(apart, 2).train(np.arange(40), NONE, TrainingOptions(optimizer="lbfgs", l2=1 / 40))
    assert np.array_equal(trained.head.layers[0].weights, same.head.layers[0].weights)


def test_history_tells_of_all_training_pictures():
    seen = []
    trained = optimum(hearing(Evaluated, seen.append), l2=0.01, sampling="uniform", eval_step_interval=3)
    assert seen == trained.history
    steps = [row.step for row in seen]
    assert steps == sorted({*range(0, trained.steps, 3), trained.steps - 1})
    data = make_data()
    logits = trained.head.logits(data.vectors)
    assert seen[-1].train_accuracy == pytest.approx((logits.argmax(1) == data.labels).mean())
    losses = [row.train_cross_entropy for row in seen]
    assert losses[-1] < losses[0]


def test_where_no_step_leads_down_it_is_done():
    one = LabelledBottlenecks(np.zeros((4, 2), np.float32), np.array([0, 1, 0, 1], np.int32))
    trained = HeadTrainer(one, 2).train(np.arange(4), NONE, TrainingOptions(optimizer="lbfgs", l2=0.0))
    assert [row.step for row in trained.history] == [0]
    assert trained.history[0].train_cross_entropy == pytest.approx(np.log(2))


def test_an_end_that_is_no_optimum_is_not_taken_for_one():
    """Of numbers far from 0 and from each other, float32 has too few digits left to get to the bottom."""
    data = make_data()
    far = LabelledBottlenecks(data.vectors * np.float32(1000) + np.float32(1e4), data.labels)
    trained = HeadTrainer(far, CLASSES).train(np.arange(100), NONE, TrainingOptions(optimizer="lbfgs", l2=1e-3))
    assert not trained.converged
    [warning] = trained.warnings(TrainingOptions(optimizer="lbfgs"))
    assert "lbfgs" in warning


def test_a_hidden_layer_and_smoothing_have_an_optimum_too():
    trained = optimum(hidden_units=8, label_smoothing=0.1, l2=0.001, steps=3000, seed=2)
    assert trained.converged
    assert trained.history[-1].train_cross_entropy < optimum(l2=0.001).history[-1].train_cross_entropy
