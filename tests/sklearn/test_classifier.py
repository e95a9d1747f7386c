"""The classifier, by scikit-learn's own checks, and beside the trainer that it is made of."""

import dataclasses
import importlib
import inspect
import pickle
import sys

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed: pip install 'retrain[sklearn]'")

from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

from retrain.cache.vectors import LabelledBottlenecks
from retrain.errors import MissingPackageError, TrainingError, UsageError
from retrain.model import softmax
from retrain.options import TrainingOptions
from retrain.sklearn import RetrainClassifier
from retrain.training.head_trainer import HeadTrainer

LBFGS = RetrainClassifier(optimizer="lbfgs", l2=0.01)
RANDOM = RetrainClassifier(steps=300, learning_rate=0.1)

UNEQUAL = "check_sample_weight_equivalence_on_dense_data"
NOT_FULFILLED = {
    LBFGS.optimizer: {
        UNEQUAL: "products are of float32, and the check wants seven equal digits: see test_head_trainer"
    },
    RANDOM.optimizer: {UNEQUAL: "batches are drawn at random, so that weights are repetitions on average alone"},
}


def name_of(argument):
    while hasattr(argument, "func"):
        argument = argument.func
    return getattr(argument, "__name__", None) or argument.optimizer


# parametrize_with_checks gives pytest a generator in scikit-learn 1.7, which pytest 9 warns of
CHECKS = [
    pair
    for estimator in (LBFGS, RANDOM)
    for pair in estimator_checks_generator(
        estimator, expected_failed_checks=NOT_FULFILLED[estimator.optimizer], mark="xfail"
    )
]


@pytest.mark.parametrize(("estimator", "check"), CHECKS, ids=name_of)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_scikit_learn_s_checks(estimator, check):
    check(estimator)


def blobs(per_class=30, classes=3, length=8, seed=0, spread=0.5):
    labels = np.repeat(np.arange(classes), per_class)
    centres = np.random.default_rng(99).normal(0, 1, (classes, length))
    noise = np.random.default_rng(seed).normal(0, spread, (len(labels), length))
    return (centres[labels] + noise).astype(np.float32), np.array(["cat", "dog", "owl"])[labels]


X, Y = blobs()


def test_parameters_are_the_options_of_training():
    own = {name: p.default for name, p in inspect.signature(RetrainClassifier).parameters.items()}
    options = {field.name: field.default for field in dataclasses.fields(TrainingOptions)}
    for name in ("max_memory", "validation_batch_size"):  # of vectors in files, and of a history
        del options[name]
    assert own.pop("random_state") == options.pop("seed")
    assert (own.pop("class_weight"), options.pop("class_weight")) == (None, "none")
    assert own.pop("validation_fraction") == 0.1
    assert own == options


@pytest.mark.parametrize(
    "options", [{"steps": 30}, {"optimizer": "lbfgs"}, {"optimizer": "adam", "hidden_units": 4, "steps": 20, "seed": 3}]
)
def test_the_head_is_the_one_that_retrain_trains(options):
    parameters = {"random_state" if name == "seed" else name: value for name, value in options.items()}
    own = RetrainClassifier(**parameters).fit(X, Y)
    numbers = np.unique(Y, return_inverse=True)[1].astype(np.int32)
    trainer = HeadTrainer(LabelledBottlenecks(X, numbers), 3)
    expected = trainer.train(np.arange(len(Y)), np.arange(0), TrainingOptions(**options)).head
    for one, other in zip(own.head_.layers, expected.layers, strict=True):
        assert np.array_equal(one.weights, other.weights)
        assert np.array_equal(one.biases, other.biases)
    assert own.predict_proba(X) == pytest.approx(softmax(expected.logits(X)), abs=1e-6)


def test_it_goes_through_clone_pickle_grid_search_and_cross_validation():
    search = GridSearchCV(make_pipeline(StandardScaler(), clone(LBFGS)), {"retrainclassifier__l2": [1.0, 0.01]}, cv=3)
    search.fit(X, Y)
    assert search.best_score_ > 0.9
    again = pickle.loads(pickle.dumps(search.best_estimator_))
    assert np.array_equal(again.predict_proba(X), search.predict_proba(X))
    held_out = cross_val_predict(LBFGS, X, Y, cv=3, method="predict_proba")
    assert (held_out.argmax(axis=1) == np.unique(Y, return_inverse=True)[1]).mean() > 0.9


def test_cleanlab_finds_labels_that_were_swapped():
    find_label_issues = pytest.importorskip("cleanlab.filter", reason="cleanlab is not installed").find_label_issues
    numbers = np.unique(Y, return_inverse=True)[1]
    wrong = [3, 40, 77]
    numbers[wrong] = (numbers[wrong] + 1) % 3
    scores = cross_val_predict(LBFGS, X, numbers, cv=5, method="predict_proba")
    found = find_label_issues(numbers, scores, return_indices_ranked_by="self_confidence", n_jobs=1)
    assert {*found.tolist()} >= {*wrong}


def test_class_weights_are_those_of_the_samples():
    weights = {"cat": 5, "dog": 1, "owl": 0.5}
    one = RetrainClassifier(optimizer="lbfgs", class_weight=weights).fit(X, Y)
    samples = np.array([weights[label] for label in Y])
    other = RetrainClassifier(optimizer="lbfgs", sampling="uniform").fit(X, Y, samples)
    assert one.predict_proba(X) == pytest.approx(other.predict_proba(X), abs=1e-5)
    even = RetrainClassifier(optimizer="lbfgs").fit(X, Y)
    assert one.predict_proba(X)[:, 0].mean() > even.predict_proba(X)[:, 0].mean()


def test_patience_looks_at_a_part_of_each_class():
    noisy, labels = blobs(spread=3)
    patient = RetrainClassifier(steps=4000, learning_rate=0.5, patience=20, validation_fraction=0.3).fit(noisy, labels)
    assert patient.n_iter_ < 4000
    with pytest.raises(ValueError, match="test_size"):
        RetrainClassifier(patience=20, validation_fraction=2.0).fit(noisy, labels)


def test_a_seed_gives_the_same_and_none_another_each_time():
    def weights(state):
        return RetrainClassifier(steps=5, random_state=state).fit(X, Y).head_.layers[0].weights

    assert np.array_equal(weights(7), weights(7))
    assert np.array_equal(weights(np.random.RandomState(1)), weights(np.random.RandomState(1)))
    assert not np.array_equal(weights(None), weights(None))


@pytest.mark.parametrize(
    ("parameters", "weights", "error", "said"),
    [
        ({"learning_rate": 0}, None, UsageError, "^learning_rate 0: must be between"),
        ({"optimizer": "lbfgs", "batch_size": 3}, None, UsageError, "^batch_size is for .*, and optimizer lbfgs uses"),
        ({"random_state": -1}, None, UsageError, "^random_state -1: must be"),
        (
            {"class_weight": {"cat": 2}, "sampling": "class-balanced"},
            None,
            UsageError,
            "make up for small classes twice",
        ),
        ({"class_weight": "cat=2"}, None, UsageError, 'class_weight cat=2: expected None, "balanced", or a dictionary'),
        ({"learning_rate": 1e6, "l2": 1}, None, TrainingError, "diverged .* at learning_rate 1e.06; .* lower l2 than"),
        ({}, [1, 2], ValueError, "inconsistent numbers of samples"),
        ({}, np.ones((90, 2)), ValueError, r"sample_weight has the shape \(90, 2\): give one number for each"),
        ({}, np.arange(90) - 1, ValueError, "sample_weight has negative numbers, or is zero for all"),
        ({}, np.repeat([1, 0], [30, 60]), ValueError, "two classes at least, found 1 class with weights above zero"),
    ],
)
def test_what_is_wrong_is_said_in_the_words_of_the_parameters(parameters, weights, error, said):
    with pytest.raises(error, match=said):
        RetrainClassifier(**parameters).fit(X, Y, weights)


def test_an_optimum_that_was_not_reached_is_a_convergence_warning():
    with pytest.warns(ConvergenceWarning, match="did not reach an optimum in 1 step"):
        RetrainClassifier(optimizer="lbfgs", steps=1).fit(X, Y)


def test_nothing_is_predicted_before_it_is_fitted():
    with pytest.raises(NotFittedError, match="not fitted yet"):
        RetrainClassifier().predict(X)


def test_without_scikit_learn_it_says_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[:2] == ["retrain", "sklearn"]]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sklearn.base", None)
    with pytest.raises(
        MissingPackageError, match=r"needs scikit-learn 1.6 or later .*: pip install 'retrain\[sklearn\]'"
    ):
        importlib.import_module("retrain.sklearn")
