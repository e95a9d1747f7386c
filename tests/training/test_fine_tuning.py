import dataclasses

import numpy as np
import pytest
from support.fine_tuning import far, keras_epochs
from support.hearing import hearing
from support.small_network import random_pixels, small_keras_model, small_network

from retrain._tensorflow import tf
from retrain.backbones.activations import activations_at
from retrain.backbones.backbone import Backbone, BackboneSource
from retrain.backbones.conversion import Converter
from retrain.backbones.graph import make_trunk
from retrain.backbones.graph_cut import find_cut, part_above
from retrain.cache.segments import Rows
from retrain.cache.store import BottleneckCache
from retrain.cache.vectors import CachedVectors, LabelledBottlenecks, SomeVectors
from retrain.errors import TrainingError, UsageError
from retrain.events import EpochEnded, FineTuningStepped
from retrain.model import softmax
from retrain.options import FineTuningOptions, TrainingOptions
from retrain.training.checkpoint import CheckpointFile
from retrain.training.fine_tuning import FineTuner, FineTuningSession, fine_tuning_options
from retrain.training.parameters import initial_head

pytestmark = pytest.mark.slow

PICTURES, CLASSES = 60, 3
TRAIN, VALIDATION = np.arange(40), np.arange(40, 60)
GENTLE = FineTuningOptions(fine_tune_from="residual", fine_tune_epochs=2, fine_tune_batch_size=16)


@pytest.fixture(scope="module")
def trunk():
    return make_trunk(small_network())


@pytest.fixture(scope="module")
def labels():
    return np.random.default_rng(5).integers(0, CLASSES, PICTURES).astype(np.int32)


@pytest.fixture(scope="module")
def pixels(labels):
    """Noise with more of one colour, which says the class."""
    noise = random_pixels(PICTURES, 5).astype(np.int32) // 2
    noise[np.arange(PICTURES), :, :, labels] += 60
    return noise.astype(np.uint8)


def below(trunk, cut):
    backbone = Backbone(BackboneSource("small", "saved_model", "."))
    backbone.description = {"architecture": "small"}
    return activations_at(cut, backbone, trunk, Converter("cache")).network


def tuner_of(trunk, pixels, labels, fine=GENTLE, exact=False):
    """A tuner of the network's activations, as the cache has them, or in float32."""
    cut = find_cut(trunk, fine)
    network = below(trunk, cut)
    activations = (
        network._network.bottlenecks(pixels).reshape(len(pixels), -1) if exact else network.bottlenecks(pixels)
    )
    return FineTuner(trunk, cut, LabelledBottlenecks(activations, labels), CLASSES)


def head_for(tuner, seed=1):
    """Not a trained one, but one whose gradients are not tiny."""
    head = initial_head(tuner.bottlenecks(tuner.data.vectors[:1]).shape[1], CLASSES, seed)
    layer = head.layers[0]
    weights = np.random.default_rng(seed).normal(0, 0.3, layer.weights.shape).astype(np.float32)
    return dataclasses.replace(head, layers=(dataclasses.replace(layer, weights=weights),))


@pytest.mark.parametrize(("layer", "optimizer"), [("stem", "adam"), ("residual", "gradient-descent")])
def test_an_epoch_is_that_of_the_whole_network_frozen_below(trunk, pixels, labels, layer, optimizer):
    fine = FineTuningOptions(fine_tune_from=layer, fine_tune_epochs=1, fine_tune_batch_size=8)
    options = fine_tuning_options(TrainingOptions(optimizer=optimizer, learning_rate=0.05), fine, len(TRAIN))
    assert (options.steps, options.learning_rate) == (5, 0.005)
    exact, rounded = (tuner_of(trunk, pixels, labels, fine, is_exact) for is_exact in (True, False))
    head = head_for(exact)
    model = small_keras_model()
    trained = [v for each in model.layers if each.name in exact.cut.layers for v in each.trainable_variables]
    before = [head.layers[0].weights, head.layers[0].biases, *(v.numpy() for v in trained)]
    wanted = keras_epochs(lambda x: model(x * 2.0 - 1.0, training=False), trained, head, pixels, labels, options, TRAIN)
    for tuner, tolerance in ((exact, 1e-4), (rounded, 2e-2)):
        tuned = tuner.train(head, TRAIN, VALIDATION, options)
        found = [tuned.head.layers[0].weights, tuned.head.layers[0].biases, *tuned.weights.values()]
        assert far(found, wanted, before) < tolerance


def test_the_trunk_with_new_weights_gives_the_bottlenecks_of_the_tuner(trunk, pixels, labels):
    tuner = tuner_of(trunk, pixels, labels)
    options = fine_tuning_options(TrainingOptions(learning_rate=1.0), GENTLE, len(TRAIN))
    tuned = tuner.train(head_for(tuner), TRAIN, VALIDATION, options)
    other = trunk.with_weights(tuned.weights)
    cut = dataclasses.replace(tuner.cut)
    _, weights = part_above(other, cut)
    assert all(np.array_equal(a, b) for a, b in zip(weights, tuned.weights.values(), strict=True))
    found = tuner.bottlenecks(tuner.data.vectors, list(tuned.weights.values()))
    again = FineTuner(other, cut, tuner.data, CLASSES).bottlenecks(tuner.data.vectors)
    assert np.array_equal(found, again)
    assert not np.allclose(found, tuner.bottlenecks(tuner.data.vectors))
    assert other.digest != trunk.digest


def test_the_same_again_gives_the_same_weights_bit_for_bit(trunk, pixels, labels):
    options = fine_tuning_options(TrainingOptions(optimizer="adam", dropout=0.3), GENTLE, len(TRAIN))
    results = []
    for _ in range(2):
        tuner = tuner_of(trunk, pixels, labels)
        results.append(tuner.train(head_for(tuner), TRAIN, VALIDATION, options))
    one, other = results
    assert np.array_equal(one.head.layers[0].weights, other.head.layers[0].weights)
    assert all(np.array_equal(one.weights[name], other.weights[name]) for name in one.weights)
    assert one.history == other.history


def test_from_the_cache_s_files_it_is_the_same_as_from_memory(trunk, pixels, labels, tmp_path):
    options = fine_tuning_options(TrainingOptions(optimizer="adam"), GENTLE, len(TRAIN))
    tuner = tuner_of(trunk, pixels, labels)
    cache = BottleneckCache(tmp_path, "small", "f" * 64, {})
    keys = np.random.default_rng(0).integers(0, 256, (PICTURES, 32)).astype(np.uint8)
    cache.add(Rows(keys, np.zeros(PICTURES, np.uint32), tuner.data.vectors))
    stored = LabelledBottlenecks(CachedVectors(cache, cache.find(keys)), labels)
    filed = FineTuner(trunk, tuner.cut, stored, CLASSES)
    one = tuner.train(head_for(tuner), TRAIN, VALIDATION, options)
    other = filed.train(head_for(tuner), TRAIN, VALIDATION, options)
    assert all(np.array_equal(one.weights[name], other.weights[name]) for name in one.weights)
    assert one.history == other.history


def test_weights_of_pictures_count_beside_their_mean(trunk, pixels, labels):
    """All of 7 are the same as none; a class of more weight draws the scores to itself."""
    options = fine_tuning_options(TrainingOptions(class_weight="a=2", learning_rate=1.0), GENTLE, len(TRAIN))
    scores = []
    for weights in (None, [7.0] * CLASSES, [50.0, 1.0, 1.0]):
        tuner = tuner_of(trunk, pixels, labels)
        tuner = FineTuner(trunk, tuner.cut, tuner.data.weighted(weights), CLASSES)
        tuned = tuner.train(head_for(tuner), TRAIN, VALIDATION, options)
        vectors = tuner.bottlenecks(tuner.data.vectors, list(tuned.weights.values()))
        scores.append(softmax(tuned.head.logits(vectors)))
    assert np.array_equal(scores[0], scores[1])
    assert scores[2][:, 0].mean() > scores[0][:, 0].mean() + 0.1


def test_it_learns_and_says_so(trunk, pixels, labels):
    fine = dataclasses.replace(GENTLE, fine_tune_epochs=12, fine_tune_learning_rate=0.01)
    tuner = tuner_of(trunk, pixels, labels, fine)
    options = fine_tuning_options(TrainingOptions(optimizer="adam"), fine, len(TRAIN))
    told = []
    tuned = tuner.train(head_for(tuner), TRAIN, VALIDATION, options, FineTuningSession(told.append))
    rows = [event for event in told if isinstance(event, EpochEnded)]
    assert rows == tuned.history
    assert [row.epoch for row in rows] == list(range(13))
    assert rows[-1].train_cross_entropy < rows[0].train_cross_entropy / 2
    assert rows[-1].train_accuracy > rows[0].train_accuracy
    assert [event for event in told if isinstance(event, FineTuningStepped)][-1] == FineTuningStepped(36, 36)
    assert tuned.best_epoch is None


def test_patience_keeps_the_best_epoch(trunk, pixels, labels):
    fine = dataclasses.replace(GENTLE, fine_tune_epochs=50, fine_tune_learning_rate=0.05)
    labels = np.roll(labels, 1)  # which nothing in the pictures says
    tuner = tuner_of(trunk, pixels, labels, fine)
    options = fine_tuning_options(TrainingOptions(optimizer="adam", patience=7), fine, len(TRAIN))
    tuned = tuner.train(head_for(tuner), TRAIN, VALIDATION, options)
    losses = [row.validation_cross_entropy for row in tuned.history]
    assert tuned.best_epoch == int(np.argmin(losses))
    # three steps an epoch: the third epoch without a gain is the one at which seven steps are over
    assert tuned.history[-1].epoch == tuned.best_epoch + 3 < 50
    kept = FineTuner(trunk.with_weights(tuned.weights), tuner.cut, tuner.data, CLASSES)
    logits = tuned.head.logits(kept.bottlenecks(SomeVectors(tuner.data.vectors, VALIDATION)))
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels[VALIDATION], logits)
    assert float(tf.reduce_mean(losses)) == pytest.approx(
        tuned.history[tuned.best_epoch].validation_cross_entropy, rel=1e-3
    )


def test_without_validation_pictures_there_are_no_such_figures(trunk, pixels, labels):
    tuner = tuner_of(trunk, pixels, labels)
    options = fine_tuning_options(TrainingOptions(), GENTLE, len(TRAIN))
    tuned = tuner.train(head_for(tuner), TRAIN, np.zeros(0, np.int64), options)
    assert {(row.validation_accuracy, row.validation_cross_entropy) for row in tuned.history} == {(None, None)}


def test_divergence_is_told_with_a_remedy(trunk, pixels, labels):
    fine = dataclasses.replace(GENTLE, fine_tune_epochs=20, fine_tune_learning_rate=1e6)
    tuner = tuner_of(trunk, pixels, labels, fine)
    options = fine_tuning_options(TrainingOptions(l2=1e3), fine, len(TRAIN))
    message = r"fine-tuning diverged at step \d+: .* at --fine-tune-learning-rate 1e\+06; try 100000"
    with pytest.raises(TrainingError, match=message):
        tuner.train(head_for(tuner), TRAIN, VALIDATION, options)


def test_the_head_s_optimizer_and_a_tenth_of_its_rate_are_the_defaults():
    for training, optimizer, rate in (
        (TrainingOptions(), "gradient-descent", 0.001),
        (TrainingOptions(optimizer="adam"), "adam", 0.0001),
        (TrainingOptions(optimizer="lbfgs"), "adam", 0.0001),
        (TrainingOptions(optimizer="adam", learning_rate=0.02), "adam", 0.002),
    ):
        options = fine_tuning_options(training, GENTLE, 33)
        assert (options.optimizer, options.learning_rate) == (optimizer, pytest.approx(rate))
        assert (options.batch_size, options.steps) == (16, 6)
    many = dataclasses.replace(GENTLE, fine_tune_epochs=100_000, fine_tune_batch_size=1)
    with pytest.raises(UsageError, match="--fine-tune-epochs 100000: 3,000,000,000 steps, more than 2,147,483,647"):
        fine_tuning_options(TrainingOptions(), many, 30_000)
    fine = dataclasses.replace(GENTLE, fine_tune_learning_rate=0.5)
    assert fine_tuning_options(TrainingOptions(), fine, 33).learning_rate == 0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fine_tune_from": "5", "fine_tune_layers": 2}, "both say which layers to train: give one of them"),
        (
            {"fine_tune_epochs": 3},
            "--fine-tune-epochs is for fine-tuning: say which layers to train",
        ),
        ({"max_cache_size": 3.0}, "--max-cache-size is for fine-tuning"),
        ({"fine_tune_layers": 0}, "--fine-tune-layers 0: must be between 1 and 10,000"),
        ({"fine_tune_layers": 2, "fine_tune_learning_rate": -1.0}, "--fine-tune-learning-rate -1.0: must be between"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        FineTuningOptions(**options)


@pytest.mark.parametrize(("patience", "optimizer"), [(None, "adam"), (4, "gradient-descent")])
def test_a_stopped_training_goes_on_after_its_last_epoch(trunk, pixels, labels, tmp_path, patience, optimizer):
    fine = dataclasses.replace(GENTLE, fine_tune_epochs=5)
    tuner = tuner_of(trunk, pixels, labels, fine)
    options = fine_tuning_options(TrainingOptions(optimizer=optimizer, patience=patience), fine, len(TRAIN))
    whole = tuner.train(head_for(tuner), TRAIN, VALIDATION, options)

    def stop_in_the_third_epoch(event):
        if isinstance(event, FineTuningStepped) and event.done > 2 * event.steps // 5:
            raise KeyboardInterrupt

    file = CheckpointFile(tmp_path, "0" * 64)
    with pytest.raises(KeyboardInterrupt):
        session = FineTuningSession(stop_in_the_third_epoch, checkpoint=file)
        tuner.train(head_for(tuner), TRAIN, VALIDATION, options, session)
    resumed, rows = [], []
    session = FineTuningSession(hearing(EpochEnded, rows.append), on_resume=resumed.extend, checkpoint=file)
    tuned = tuner.train(head_for(tuner), TRAIN, VALIDATION, options, session)
    assert [row.epoch for row in resumed] == [0, 1, 2]
    assert [row.epoch for row in rows] == [3, 4, 5][: len(rows)]
    assert (tuned.history, tuned.best_epoch) == (whole.history, whole.best_epoch)
    for name, part in whole.weights.items():
        assert np.array_equal(tuned.weights[name], part)
    assert np.array_equal(tuned.head.layers[0].weights, whole.head.layers[0].weights)
    done = tuner.train(head_for(tuner), TRAIN, VALIDATION, options, session)  # stopped before the model was written
    assert done.history == whole.history


def test_of_several_labels_the_sum_of_binary_cross_entropies_falls(trunk, pixels, labels):
    """Each picture has the label of its colour, and every second one another label, too."""
    tuner = tuner_of(trunk, pixels, labels)
    has = np.eye(CLASSES, dtype=bool)[labels]
    has[::2, 0] = True
    sets, numbers = np.unique(has, axis=0, return_inverse=True)
    numbers = numbers.reshape(-1).astype(np.int32)
    tuner.data = dataclasses.replace(tuner.data, labels=numbers, label_sets=sets)
    head = dataclasses.replace(head_for(tuner), thresholds=np.full(CLASSES, 0.5, np.float32))
    options = fine_tuning_options(TrainingOptions(optimizer="adam", sampling="uniform"), GENTLE, len(TRAIN))
    tuned = tuner.train(head, TRAIN, VALIDATION, dataclasses.replace(options, learning_rate=0.01))
    losses = [row.validation_cross_entropy for row in tuned.history]
    assert losses[-1] < losses[0]
    assert tuned.head.thresholds.tolist() == [0.5] * CLASSES
    logits = tuned.head.logits(tuner.bottlenecks(tuner.data.vectors, list(tuned.weights.values())))[VALIDATION]
    wanted = (np.logaddexp(0, logits) - has[VALIDATION] * logits).sum(axis=1).mean()
    assert losses[-1] == pytest.approx(wanted, rel=1e-4)
