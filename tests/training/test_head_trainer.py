import itertools
import threading

import numpy as np
import pytest
from support.hearing import hearing

from retrain.cache import vectors
from retrain.cache.segments import Rows
from retrain.cache.store import BottleneckCache
from retrain.cache.vectors import CachedVectors, LabelledBottlenecks
from retrain.errors import CacheError, TrainingError, UsageError
from retrain.evaluation.metrics import evaluate_logits
from retrain.events import Evaluated, ignore
from retrain.model import softmax
from retrain.options import OPTIMIZERS, TrainingOptions
from retrain.training import batches, head_trainer
from retrain.training.head_trainer import HeadTrainer, Snapshots, some_of

CLASSES = 3
NONE = np.zeros(0, np.int64)


def blobs(per_class=40, classes=CLASSES, length=10, seed=0, spread=0.4):
    """Classes around their own centres."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), per_class).astype(np.int32)
    centres = np.random.default_rng(99).normal(0, 1, (classes, length))
    values = (centres[labels] + rng.normal(0, spread, (len(labels), length))).astype(np.float32)
    return LabelledBottlenecks(values, labels)


def join(*parts):
    """Several sets as one, and the numbers of each one's pictures."""
    whole = LabelledBottlenecks(
        np.concatenate([part.vectors for part in parts]), np.concatenate([part.labels for part in parts])
    )
    ends = np.cumsum([len(part) for part in parts])
    return whole, *np.split(np.arange(len(whole)), ends[:-1])


def train(data=None, validation=None, emit=ignore, snapshots=Snapshots(), **options):
    parts = [data or blobs(), *([validation] if validation else [])]
    whole, numbers, *rest = join(*parts)
    held_out = rest[0] if rest else NONE
    return HeadTrainer(whole, CLASSES).train(numbers, held_out, TrainingOptions(**options), emit, snapshots)


def same(one, other):
    return all(
        np.array_equal(a.weights, b.weights) and np.array_equal(a.biases, b.biases)
        for a, b in zip(one.head.layers, other.head.layers, strict=True)
    )


def accuracy(trained, data):
    return evaluate_logits(trained.head.logits(data.vectors), data.labels, "abc").accuracy


def test_it_learns_and_reports_as_it_goes():
    seen = []
    trained = train(
        validation=blobs(seed=1), steps=450, learning_rate=0.1, batch_size=20, emit=hearing(Evaluated, seen.append)
    )
    assert accuracy(trained, blobs(seed=2)) > 0.95
    history = trained.history
    assert seen == history
    assert [row.step for row in history] == [*range(0, 450, 10), 449]
    assert history[0].train_cross_entropy == pytest.approx(np.log(3), abs=0.4)
    assert history[-1].train_cross_entropy < 0.3
    assert history[-1].validation_accuracy > 0.9
    assert (trained.steps, trained.best_step, trained.converged) == (450, None, None)
    assert not [*trained.warnings(TrainingOptions())]


def test_how_often_it_evaluates_changes_no_weight():
    often = train(validation=blobs(seed=1), steps=60, eval_step_interval=1)
    seldom = train(steps=60, eval_step_interval=50)
    assert same(often, seldom)
    assert [row.step for row in seldom.history] == [0, 50, 59]


def test_an_interval_longer_than_the_training_evaluates_first_and_last():
    assert [row.step for row in train(steps=250, eval_step_interval=2**31 - 1).history] == [0, 249]


def test_without_validation_pictures_there_are_no_validation_figures():
    history = train(steps=20).history
    assert all(row.validation_accuracy is None and row.validation_cross_entropy is None for row in history)


def test_a_validation_batch_of_minus_one_is_all_of_them():
    validation = blobs(seed=1)
    trained = train(validation=validation, steps=30, validation_batch_size=-1)
    metrics = evaluate_logits(trained.head.logits(validation.vectors), validation.labels, "abc")
    assert trained.history[-1].validation_accuracy == pytest.approx(metrics.accuracy)
    assert trained.history[-1].validation_cross_entropy == pytest.approx(metrics.cross_entropy, rel=1e-4)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_checkpoints_get_the_head_after_just_that_step(optimizer):
    kept = {}
    small = {"spread": 2.0}  # hard enough that lbfgs takes some steps
    train(
        blobs(**small),
        steps=300,
        optimizer=optimizer,
        snapshots=Snapshots([3, 230, 900], kept.__setitem__),
    )
    assert list(kept) == ([3] if optimizer == "lbfgs" else [3, 230])
    shorter = train(blobs(**small), steps=3, optimizer=optimizer)
    assert np.array_equal(kept[3].layers[0].weights, shorter.head.layers[0].weights)


EVERYTHING = [
    {},
    {"optimizer": "adam"},
    {"optimizer": "lbfgs", "steps": 15},
    {"optimizer": "lbfgs", "l1": 0.01},
    {"l1": 0.001, "l2": 0.01},
    {"dropout": 0.5, "hidden_units": 6},
    {"label_smoothing": 0.1, "class_weight": "balanced"},
    {"sampling": "uniform"},
    {"patience": 30, "optimizer": "adam", "learning_rate": 0.1},
    {"steps": 700, "dropout": 0.2, "patience": 400},
]


@pytest.mark.parametrize("options", EVERYTHING, ids=str)
def test_the_same_seed_gives_the_same_head_bit_for_bit(options):
    options = {"steps": 120, "seed": 3} | options
    first, second = (train(blobs(spread=1.0), blobs(seed=1, spread=1.0), **options) for _ in range(2))
    assert same(first, second)
    assert first.history == second.history
    if options.get("optimizer") != "lbfgs":  # whose way to the one optimum is what differs
        assert not same(first, train(blobs(spread=1.0), blobs(seed=1, spread=1.0), **(options | {"seed": 4})))


def test_one_trainer_trains_as_a_new_one_does_whatever_it_did_before():
    whole, one, other, held_out = join(blobs(), blobs(per_class=30, seed=1), blobs(per_class=10, seed=2))
    shared = HeadTrainer(whole, CLASSES)
    for numbers, rate, seed in itertools.product((one, other), (0.01, 0.1), (0, 1)):
        options = TrainingOptions(steps=40, learning_rate=rate, l2=rate, seed=seed)
        assert same(
            shared.train(numbers, held_out, options), HeadTrainer(whole, CLASSES).train(numbers, held_out, options)
        )


# from files


def in_cache(folder, data):
    """The same, read from a cache's files; the order of the rows there is another."""
    cache = BottleneckCache(folder, "test", "0" * 64, {})
    keys = np.random.default_rng(5).integers(0, 256, (len(data), 32), np.uint8)
    for part in np.array_split(np.random.default_rng(6).permutation(len(data)), 3):
        cache.add(Rows(keys[part], np.zeros(len(part), np.uint32), data.vectors[part]))
    return LabelledBottlenecks(CachedVectors(cache, cache.find(keys)), data.labels)


@pytest.mark.parametrize("options", EVERYTHING, ids=str)
def test_vectors_from_files_train_as_those_in_memory_bit_for_bit(tmp_path, monkeypatch, options):
    monkeypatch.setattr(batches, "_BYTES_AT_ONCE", 7 * 4 * 10 * 20)  # seven steps: blocks cross intervals
    whole, numbers, held_out = join(blobs(spread=1.0), blobs(seed=1, spread=1.0))
    options = TrainingOptions(
        **({"steps": 120, "batch_size": 20} | options | NO_BATCHES.get(options.get("optimizer"), {}))
    )
    expected = HeadTrainer(whole, CLASSES).train(numbers, held_out, options)
    trained = HeadTrainer(in_cache(tmp_path / "cache", whole), CLASSES).train(numbers, held_out, options)
    assert same(trained, expected)
    assert trained.history == expected.history
    assert trained.best_step == expected.best_step


NO_BATCHES = {"lbfgs": {"batch_size": None}}


def test_of_very_many_validation_pictures_a_part_is_evaluated(tmp_path, monkeypatch):
    """Of those in files, and where all are evaluated each time."""
    monkeypatch.setattr(head_trainer, "_MOST_VALIDATION", 30)
    whole, numbers, held_out = join(blobs(), blobs(seed=1))
    for data, options in (
        (in_cache(tmp_path / "cache", whole), {"validation_batch_size": 500}),
        (whole, {"validation_batch_size": -1}),
        (whole, {"patience": 5}),
    ):
        part = some_of(held_out, 0)
        assert len(part) == 30
        options = TrainingOptions(steps=1, **options)
        trained = HeadTrainer(data, CLASSES).train(numbers, held_out, options)
        alone = HeadTrainer(data, CLASSES).train(numbers, part, options)
        assert trained.history == alone.history
    drawn = HeadTrainer(whole, CLASSES).train(numbers, held_out, TrainingOptions(steps=1, validation_batch_size=500))
    alone = HeadTrainer(whole, CLASSES).train(numbers, part, TrainingOptions(steps=1, validation_batch_size=500))
    assert drawn.history != alone.history


def test_vectors_stay_in_files_only_where_they_would_take_too_much_memory(tmp_path):
    stored = in_cache(
        tmp_path / "cache", LabelledBottlenecks(np.ones((300, 1024), np.float32), np.zeros(300, np.int32))
    )
    cache, rows = stored.vectors.cache, stored.vectors.rows
    part = CachedVectors(cache, rows)
    assert isinstance(vectors.load_vectors([part], 2), np.ndarray)
    assert isinstance(vectors.load_vectors([part], 1), CachedVectors)
    assert isinstance(vectors.load_vectors([part]), np.ndarray)
    assert isinstance(vectors.load_vectors([part, part], 2), vectors.JoinedVectors)


def failing(data, after):
    """Vectors from files whose disk breaks after so many reads."""

    class Breaking:
        shape = data.vectors.shape
        reads = 0

        def __getitem__(self, numbers):
            self.reads += 1
            if self.reads > after:
                raise CacheError("cut short while in use: run again")
            return data.vectors[numbers]

    return LabelledBottlenecks(Breaking(), data.labels)


def test_what_goes_wrong_in_reading_ahead_is_raised_and_no_thread_stays(monkeypatch):
    monkeypatch.setattr(batches, "_BYTES_AT_ONCE", 7 * 4 * 10 * 20)
    trainer = HeadTrainer(failing(blobs(), 5), CLASSES)
    before = threading.active_count()
    with pytest.raises(CacheError, match="cut short while in use"):
        trainer.train(np.arange(120), NONE, TrainingOptions(steps=200, batch_size=20))
    assert threading.active_count() == before


def test_an_interrupted_training_from_files_waits_for_one_read_at_most(monkeypatch):
    monkeypatch.setattr(batches, "_BYTES_AT_ONCE", 7 * 4 * 10 * 20)
    data = failing(blobs(), 10**6)
    trainer, before = HeadTrainer(data, CLASSES), threading.active_count()

    def interrupt(event):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer.train(np.arange(120), NONE, TrainingOptions(steps=2000, batch_size=20), interrupt)
    assert threading.active_count() == before
    assert data.vectors.reads <= 1 + 3  # the look for what is not finite; then a call's, the next one's, one begun


def test_the_most_steps_there_may_be_take_no_room_before_the_first():
    data, validation = overfitting()
    trained = train(data, validation, steps=2**31 - 1, patience=50, batch_size=24, learning_rate=0.05)
    assert trained.steps < 2000


# patience


def overfitting():
    """Few pictures, many numbers: the validation cross-entropy falls, then rises."""
    return blobs(per_class=8, length=40, spread=2.5), blobs(per_class=60, length=40, seed=1, spread=2.5)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("interval", [1, 10])
def test_patience_stops_in_time_and_keeps_the_best_weights(optimizer, interval):
    data, validation = overfitting()
    patience = 5 if optimizer == "lbfgs" else 50
    options = {"optimizer": optimizer, "steps": 2000, "eval_step_interval": interval, "l2": 0.0}
    options |= {"gradient-descent": {"learning_rate": 0.05}, "adam": {"learning_rate": 0.003}}.get(optimizer, {})
    trained = train(data, validation, patience=patience, **options)
    losses = [row.validation_cross_entropy for row in trained.history]
    best = trained.history[int(np.argmin(losses))]
    assert trained.best_step == best.step
    assert best.step < trained.steps < 2000
    assert best.step > 0 or (optimizer == "lbfgs" and interval == 10)  # one step of lbfgs goes far
    assert patience <= trained.history[-1].step - best.step < patience + 10
    kept = evaluate_logits(trained.head.logits(validation.vectors), validation.labels, "abc")
    assert kept.cross_entropy == pytest.approx(best.validation_cross_entropy, rel=1e-4)


def test_patience_counts_evaluations_only_also_where_blocks_end_between_them():
    data, validation = overfitting()
    options = {"steps": 900, "eval_step_interval": 350, "patience": 100, "learning_rate": 0.001}
    assert [row.step for row in train(data, validation, batch_size=24, **options).history] == [0, 350, 700, 899]


# the law of the batches and its weights


def test_rare_classes_count_as_much_by_weight_as_by_drawing():
    """On average a step is the same, so long trainings by either end near the same optimum."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), [10, 40, 150]).astype(np.int32)
    data = LabelledBottlenecks((rng.normal(0, 1, (200, 4)) + labels[:, None]).astype(np.float32), labels)
    drawn, weighted, plain = (
        train(data, optimizer="lbfgs", l2=0.01, **options)
        for options in ({}, {"class_weight": "balanced"}, {"sampling": "uniform"})
    )
    assert same(drawn, weighted)
    rare = labels == 0
    score = {name: t.head.logits(data.vectors[rare]).argmax(1) for name, t in (("drawn", drawn), ("plain", plain))}
    assert (score["drawn"] == 0).sum() > (score["plain"] == 0).sum()
    steps = train(data, class_weight="balanced", l2=0.01, steps=3000, learning_rate=0.05)
    assert steps.head.layers[0].weights == pytest.approx(drawn.head.layers[0].weights, abs=0.15)


@pytest.mark.parametrize("weights", ["balanced", {0: 4.0, 2: 0.3}], ids=str)
@pytest.mark.parametrize("optimizer", ["lbfgs", "gradient-descent"])
def test_class_weights_are_scikit_learn_s(optimizer, weights):
    """The same vectors, the same objective; random batches end near the same optimum."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    data, _, _ = join(blobs(20, spread=1.5), blobs(50, seed=1, spread=1.5))
    data = LabelledBottlenecks(data.vectors[:180], data.labels[:180])
    text = weights if isinstance(weights, str) else ",".join(f"{label}={weight}" for label, weight in weights.items())
    more = {} if optimizer == "lbfgs" else {"learning_rate": 0.1, "batch_size": 3000, "steps": 1500}
    options = TrainingOptions(optimizer=optimizer, l2=0.02, class_weight=text, **more)
    of_classes = options.weights_of("012")
    trained = HeadTrainer(data.weighted(of_classes), CLASSES).train(np.arange(180), NONE, options)
    total = 180 if of_classes is None else np.sum(np.array(of_classes)[data.labels])
    theirs = linear_model.LogisticRegression(C=1 / (0.02 * total), class_weight=weights, tol=1e-8, max_iter=1000)
    theirs.fit(data.vectors.astype(np.float64), data.labels)
    found = softmax(trained.head.logits(data.vectors))
    assert np.abs(found - theirs.predict_proba(data.vectors)).max() < (0.003 if optimizer == "lbfgs" else 0.04)


# bad input


def test_weights_of_labels_must_have_come_to_the_pictures():
    with pytest.raises(UsageError, match="--class-weight a=2 names labels, and these pictures come without weights"):
        train(class_weight="a=2")


WAYS = [{"optimizer": "lbfgs", "l2": 0.01}, {"learning_rate": 0.1, "batch_size": 3000, "steps": 500}]


@pytest.mark.parametrize(
    "options", [*WAYS, {**WAYS[0], "sampling": "uniform"}, {**WAYS[1], "class_weight": "balanced"}]
)
def test_a_picture_of_weight_3_is_worth_three(options):
    """As if it were there three times: exactly at the optimum, nearly so where batches are drawn at random."""
    data = blobs(20, spread=1.5)
    weights = np.random.default_rng(0).integers(1, 6, len(data)).astype(np.float32)
    numbers, options = np.arange(len(data)), TrainingOptions(**options)
    weighted = HeadTrainer(LabelledBottlenecks(data.vectors, data.labels, weights=weights), CLASSES)
    often = numbers.repeat(weights.astype(int))
    repeated = HeadTrainer(LabelledBottlenecks(data.vectors[often], data.labels[often]), CLASSES)
    heads = [
        trainer.train(np.arange(len(trainer.data)), NONE, options).head
        for trainer in (weighted, repeated, HeadTrainer(data, CLASSES))
    ]
    scores = [softmax(head.logits(data.vectors)) for head in heads]
    error, difference = (np.abs(scores[1] - other).max() for other in (scores[0], scores[2]))
    assert error < (0.003 if options.optimizer == "lbfgs" else 0.05)
    assert error < difference / 2


@pytest.mark.parametrize("options", WAYS)
def test_a_picture_of_weight_0_might_not_be_there(options):
    data, options = blobs(), TrainingOptions(**{**options, "steps": 50})
    kept = np.flatnonzero(np.arange(len(data)) % 3)
    weights = np.zeros(len(data), np.float32)
    weights[kept] = 1
    zeroed = HeadTrainer(LabelledBottlenecks(data.vectors, data.labels, weights=weights), CLASSES)
    fewer = HeadTrainer(LabelledBottlenecks(data.vectors[kept], data.labels[kept]), CLASSES)
    assert same(zeroed.train(np.arange(len(data)), NONE, options), fewer.train(np.arange(len(kept)), NONE, options))


def test_no_training_pictures_is_an_error():
    with pytest.raises(TrainingError, match="no training pictures: lower --validation-percentage"):
        HeadTrainer(blobs(), CLASSES).train(NONE, NONE)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_bottlenecks_that_are_not_finite_are_an_error(value):
    data = blobs(per_class=2000)
    data.vectors[5003, 4] = value
    with pytest.raises(TrainingError, match="values that are not finite: extract them again"):
        HeadTrainer(data, CLASSES)


@pytest.mark.parametrize("size", [None, 250])
def test_a_batch_may_be_larger_than_the_training_set(size):
    """It is drawn with replacement, as the original does it."""
    assert train(blobs(per_class=2), steps=2, batch_size=size).steps == 2


def test_patience_without_validation_pictures_is_an_error():
    with pytest.raises(TrainingError, match="--patience needs validation pictures"):
        train(patience=10)


def test_divergence_is_an_error_with_the_step_and_a_remedy():
    data = blobs()
    wild = LabelledBottlenecks(data.vectors * np.float32(1e18), data.labels)
    with pytest.raises(TrainingError, match=r"training diverged at step 0: .*; at --learning-rate 1000; try 100$"):
        train(wild, learning_rate=1000)
    remedy = r"training diverged at step 1[1-9]: .*; at --learning-rate 1; try 0.1, or a lower --l2 than 1000$"
    with pytest.raises(TrainingError, match=remedy):  # between two evaluations
        train(learning_rate=1, l2=1000)


def test_ending_worse_than_guessing_is_a_warning_with_the_step_and_a_remedy():
    data = blobs(spread=3.0)
    trained = train(data, steps=300, learning_rate=300)
    [warning] = trained.warnings(TrainingOptions(learning_rate=300))
    assert "worse than guessing" in warning
    assert warning.endswith("try --learning-rate 30")
    assert f"from step {next(iter(trained.history)).step} on" in warning


def test_an_optimum_that_was_not_reached_is_a_warning():
    trained = train(blobs(spread=2.0), optimizer="lbfgs", steps=2)
    [warning] = trained.warnings(TrainingOptions(optimizer="lbfgs"))
    assert warning.startswith("lbfgs did not reach an optimum in 2 steps: raise --l2")


SELDOM = {"eval_step_interval": 1000}  # which changes no weight, as is tested above


@pytest.mark.real
def test_original_vectors_give_the_accuracy_that_they_are_known_for(reference_flowers):
    """shared reference/README.md: 87.5% (standard deviation 2.4%) over ten splits of 80 and 20 pictures a class."""
    data, names = reference_flowers
    trainer = HeadTrainer(data, len(names))
    accuracies, losses = [], []
    for seed in range(4):
        order = np.random.default_rng(seed).permutation(len(data))
        held = np.concatenate([order[data.labels[order] == label][:20] for label in range(5)])
        trained = trainer.train(np.setdiff1d(order, held), NONE, TrainingOptions(seed=seed, **SELDOM))
        metrics = evaluate_logits(trained.head.logits(data.vectors[held]), data.labels[held], names)
        accuracies.append(metrics.accuracy)
        losses.append(metrics.cross_entropy)
    assert np.mean(accuracies) == pytest.approx(0.875, abs=3 * 0.024 / 2)
    assert np.mean(losses) == pytest.approx(0.39, abs=3 * 0.08 / 2)


@pytest.mark.real
def test_patience_on_the_original_vectors_costs_nothing_and_ends_soon(reference_flowers):
    data, names = reference_flowers
    order = np.random.default_rng(0).permutation(len(data))
    test, validation, rest = order[:100], order[100:180], order[180:]
    options = TrainingOptions(optimizer="adam", patience=200, steps=20_000)
    trained = HeadTrainer(data, len(names)).train(rest, validation, options)
    assert trained.steps < 5000
    assert trained.best_step < trained.steps - 1
    metrics = evaluate_logits(trained.head.logits(data.vectors[test]), data.labels[test], names)
    assert metrics.accuracy > 0.8
    assert metrics.cross_entropy < 0.55


@pytest.mark.real
@pytest.mark.parametrize(
    ("options", "expected", "tolerance"),
    [
        ({}, 0.35496, 0.0065),
        ({"optimizer": "adam", "sampling": "uniform", "steps": 2000}, 0.40422, 0.0170),
        ({"label_smoothing": 0.1}, 0.44818, 0.0044),
        ({"optimizer": "lbfgs"}, 0.35649, 0.0004),
    ],
    ids=str,
)
def test_test_cross_entropies_are_those_of_the_tensorflow_loop_before(reference_flowers, options, expected, tolerance):
    """The mean over two splits, as a loop in TensorFlow 2.21 gave it, which drew other batches by the same law.

    Tolerances are four standard errors of the difference, from ten splits. Penalties, hidden layers and dropout are
    compared with finite differences in test_gradient_descent, and with scikit-learn's optimum in test_lbfgs.
    """
    data, names = reference_flowers
    trainer, losses = HeadTrainer(data, len(names)), []
    for seed in range(2):
        order = np.random.default_rng(seed).permutation(len(data))
        own = [order[data.labels[order] == label] for label in range(len(names))]
        test, validation, rest = (
            np.concatenate([part[slice(*ends)] for part in own]) for ends in ((20,), (20, 36), (36, None))
        )
        trained = trainer.train(rest, validation, TrainingOptions(seed=seed, **options, **SELDOM))
        metrics = evaluate_logits(trained.head.logits(data.vectors[test]), data.labels[test], names)
        losses.append(metrics.cross_entropy)
    assert np.mean(losses) == pytest.approx(expected, abs=tolerance)


def several_labels(pictures=90, length=6, classes=4, seed=0):
    """Pictures with any number of labels, each of which is nearly linear in the vector."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(0, 1, (pictures, length)).astype(np.float32)
    has = vectors @ rng.normal(0, 1, (length, classes)) + rng.normal(0, 1, (pictures, classes)) > 0.5
    sets, labels = np.unique(has, axis=0, return_inverse=True)
    return LabelledBottlenecks(vectors, labels.reshape(-1).astype(np.int32), label_sets=sets), has


@pytest.mark.parametrize(("class_weight", "their_weight"), [("none", None), ("balanced", "balanced")])
def test_of_several_labels_lbfgs_finds_scikit_learn_s_one_against_the_rest(class_weight, their_weight):
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    data, has = several_labels()
    options = TrainingOptions(optimizer="lbfgs", l2=0.02, class_weight=class_weight, sampling="uniform")
    trained = HeadTrainer(data, 4).train(np.arange(90), np.zeros(0, np.int64), options)
    theirs = LogisticRegression(C=1 / (0.02 * 90), class_weight=their_weight, tol=1e-8, max_iter=1000)
    wanted = OneVsRestClassifier(theirs).fit(data.vectors, has).predict_proba(data.vectors)
    assert trained.converged
    assert trained.head.thresholds.tolist() == [0.5] * 4
    assert trained.head.scores(data.vectors) == pytest.approx(wanted, abs=2e-3)


@pytest.mark.parametrize("values", [{"optimizer": "adam", "hidden_units": 5, "dropout": 0.2}, {"label_smoothing": 0.2}])
def test_of_several_labels_batches_learn_too(values):
    data, has = several_labels()
    options = TrainingOptions(steps=400, learning_rate=0.05, sampling="uniform", patience=400, **values)
    trained = HeadTrainer(data, 4).train(np.arange(60), np.arange(60, 90), options)
    first, last = trained.history[0], trained.history[-1]
    assert last.validation_cross_entropy < first.validation_cross_entropy < trained.guessing * 1.05
    assert trained.guessing == pytest.approx(4 * np.log(2))
    assert last.train_accuracy > first.train_accuracy
    assert ((trained.head.scores(data.vectors) >= 0.5) == has).mean() > 0.75
    assert [*trained.warnings(options.resolved(60))] == []


def test_of_several_labels_training_that_is_worse_than_guessing_is_told():
    data, _ = several_labels()
    options = TrainingOptions(steps=20, learning_rate=30, sampling="uniform").resolved(60)
    trained = HeadTrainer(data, 4).train(np.arange(60), np.arange(60, 90), options)
    assert "worse than guessing" in "".join(trained.warnings(options))


def test_of_several_labels_any_picture_is_drawn_for_validation():
    """One picture in forty has another set of labels, and the head does not know it."""
    vectors = np.ones((80, 2), np.float32)
    labels = (np.arange(80) % 40 == 0).astype(np.int32)
    data = LabelledBottlenecks(vectors, labels, label_sets=np.array([[1, 0], [0, 1]], bool))
    options = TrainingOptions(steps=100, learning_rate=1.0, sampling="uniform", validation_batch_size=1000)
    trained = HeadTrainer(data, 2).train(np.arange(40), np.arange(40, 80), options)
    assert trained.history[-1].validation_accuracy == pytest.approx(39 / 40, abs=0.02)
