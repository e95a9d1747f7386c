import numpy as np
import pytest

from retrain import training
from retrain.batches import LabelledBottlenecks, Pool
from retrain.config import TrainingOptions
from retrain.errors import ModelFolderError, TrainingError
from retrain.evaluation import evaluate_logits
from retrain.head import read_head, write_head
from retrain.training import initial_head, train_head


def blobs(per_class=40, classes=3, length=10, seed=0):
    """Classes around their own centres."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), per_class).astype(np.int32)
    centres = np.random.default_rng(99).normal(0, 1, (classes, length))
    return LabelledBottlenecks((centres[labels] + rng.normal(0, 0.4, (len(labels), length))).astype(np.float32), labels)


EMPTY = LabelledBottlenecks(np.zeros((0, 10), np.float32), np.zeros(0, np.int32))


def test_it_learns_and_reports_as_it_goes():
    seen = []
    head, history = train_head(
        blobs(), blobs(seed=1), 3, TrainingOptions(steps=450, learning_rate=0.1, batch_size=20), seen.append
    )
    test = blobs(seed=2)
    assert evaluate_logits(head.logits(test.vectors), test.labels, "abc").accuracy > 0.95
    assert seen == history
    assert [row.step for row in history] == [*range(0, 450, 10), 449]
    assert history[0].train_cross_entropy == pytest.approx(np.log(3), abs=0.4)
    assert history[-1].train_cross_entropy < 0.3
    assert history[-1].validation_accuracy > 0.9


def test_one_step_is_gradient_descent_on_the_mean_cross_entropy():
    data, options = blobs(per_class=5), TrainingOptions(steps=1, batch_size=30, learning_rate=0.3, seed=4)
    start = initial_head(10, 3, 4)
    bottlenecks, labels = Pool(data).draw(30, [4 + 1_000_003, 0])
    vectors, labels = bottlenecks.numpy().astype(np.float64), labels.numpy()
    logits = vectors @ start.layers[0].weights + start.layers[0].biases
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    error = (scores - np.eye(3)[labels]) / 30
    head, history = train_head(data, EMPTY, 3, options)
    assert head.layers[0].weights == pytest.approx(start.layers[0].weights - 0.3 * vectors.T @ error, abs=1e-5)
    assert head.layers[0].biases == pytest.approx(-0.3 * error.sum(axis=0), abs=1e-5)
    assert len(history) == 1


def test_weights_start_small_and_biases_at_zero():
    head = initial_head(2048, 5, 0)
    assert head.layers[0].weights.std() == pytest.approx(0.001 * 0.88, rel=0.1)  # a normal cut off at two deviations
    assert np.abs(head.layers[0].weights).max() <= 0.002
    assert not head.layers[0].biases.any()


def test_the_same_seed_gives_the_same_weights_bit_for_bit():
    options = TrainingOptions(steps=120, seed=3)
    first, second = (train_head(blobs(), blobs(seed=1), 3, options) for _ in range(2))
    assert np.array_equal(first[0].layers[0].weights, second[0].layers[0].weights)
    assert np.array_equal(first[0].layers[0].biases, second[0].layers[0].biases)
    assert first[1] == second[1]
    other, _ = train_head(blobs(), blobs(seed=1), 3, TrainingOptions(steps=120, seed=4))
    assert not np.array_equal(first[0].layers[0].weights, other.layers[0].weights)


def test_how_often_it_evaluates_changes_no_weight():
    often, _ = train_head(blobs(), blobs(seed=1), 3, TrainingOptions(steps=60, eval_step_interval=1))
    seldom, history = train_head(blobs(), EMPTY, 3, TrainingOptions(steps=60, eval_step_interval=50))
    assert np.array_equal(often.layers[0].weights, seldom.layers[0].weights)
    assert [row.step for row in history] == [0, 50, 59]


def test_an_interval_longer_than_the_training_evaluates_first_and_last():
    options = TrainingOptions(steps=250, eval_step_interval=2**31 - 1)
    _, history = train_head(blobs(), EMPTY, 3, options)
    assert [row.step for row in history] == [0, 249]


def test_without_validation_pictures_there_are_no_validation_figures():
    _, history = train_head(blobs(), EMPTY, 3, TrainingOptions(steps=20))
    assert all(row.validation_accuracy is None and row.validation_cross_entropy is None for row in history)


def test_a_validation_batch_of_minus_one_is_all_of_them():
    validation = blobs(seed=1)
    head, history = train_head(blobs(), validation, 3, TrainingOptions(steps=30, validation_batch_size=-1))
    metrics = evaluate_logits(head.logits(validation.vectors), validation.labels, "abc")
    assert history[-1].validation_accuracy == pytest.approx(metrics.accuracy)
    assert history[-1].validation_cross_entropy == pytest.approx(metrics.cross_entropy, rel=1e-4)


def test_checkpoints_get_the_head_after_just_that_step():
    kept = {}
    options = TrainingOptions(steps=300)
    train_head(blobs(), EMPTY, 3, options, on_checkpoint=kept.__setitem__, checkpoints=[50, 230, 900])
    assert list(kept) == [50, 230]
    shorter, _ = train_head(blobs(), EMPTY, 3, TrainingOptions(steps=50))
    assert np.array_equal(kept[50].layers[0].weights, shorter.layers[0].weights)


def test_compiled_or_not_the_steps_are_the_same():
    kept = {}
    options = TrainingOptions(steps=training._FEW_STEPS + 1, batch_size=20)
    head, history = train_head(blobs(), blobs(seed=1), 3, options, on_checkpoint=kept.__setitem__, checkpoints=[200])
    few, few_history = train_head(blobs(), blobs(seed=1), 3, TrainingOptions(steps=200, batch_size=20))
    assert kept[200].layers[0].weights == pytest.approx(few.layers[0].weights, abs=1e-5)
    for one, other in zip(history[:20], few_history[:20], strict=True):
        assert one.train_cross_entropy == pytest.approx(other.train_cross_entropy, abs=1e-5)
        assert one.validation_cross_entropy == pytest.approx(other.validation_cross_entropy, abs=1e-5)
    again, _ = train_head(blobs(), blobs(seed=1), 3, options)
    assert np.array_equal(head.layers[0].weights, again.layers[0].weights)


def test_batches_draw_classes_alike_then_pictures_alike():
    """Chi-square against the law, at a level that a right sampler fails once in 100,000 seeds."""
    counts = [2, 5, 40]
    labels = np.repeat(np.arange(3), counts).astype(np.int32)
    vectors = np.arange(47, dtype=np.float32).reshape(-1, 1)
    pool = Pool(LabelledBottlenecks(vectors, labels))
    draws = 30_000
    drawn, given = pool.draw(draws, [1, 2])
    assert np.array_equal(labels[drawn.numpy()[:, 0].astype(int)], given.numpy())
    seen = np.bincount(drawn.numpy()[:, 0].astype(int), minlength=47)
    expected = np.repeat([draws / 3 / count for count in counts], counts)
    assert ((seen - expected) ** 2 / expected).sum() < 46 + 4.3 * np.sqrt(2 * 46) + 20


def test_classes_without_pictures_are_never_drawn():
    pool = Pool(LabelledBottlenecks(np.ones((4, 2), np.float32), np.array([1, 1, 4, 4], np.int32)))
    _, labels = pool.draw(1000, [0, 0])
    assert set(labels.numpy().tolist()) == {1, 4}


def test_no_training_pictures_is_an_error():
    with pytest.raises(TrainingError, match="no training pictures: lower --validation-percentage"):
        train_head(EMPTY, EMPTY, 3, TrainingOptions())


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_bottlenecks_that_are_not_finite_are_an_error(value):
    data = blobs()
    data.vectors[3, 4] = value
    with pytest.raises(TrainingError, match="the training bottlenecks have values that are not finite"):
        train_head(data, EMPTY, 3, TrainingOptions())
    with pytest.raises(TrainingError, match="the validation bottlenecks have values"):
        train_head(blobs(), data, 3, TrainingOptions())


def test_divergence_is_an_error_with_the_step_and_a_remedy():
    data = blobs()
    wild = LabelledBottlenecks(data.vectors * np.float32(1e18), data.labels)
    with pytest.raises(TrainingError, match=r"training diverged at step \d+ .* --learning-rate 1000: try 100"):
        train_head(wild, EMPTY, 3, TrainingOptions(steps=200, learning_rate=1000))


def test_head_file_round_trip(tmp_path):
    head = initial_head(7, 3, 1)
    write_head(head, ["Ä", "b c", "花"], tmp_path / "head.h5")
    again, labels = read_head(tmp_path / "head.h5")
    assert np.array_equal(again.layers[0].weights, head.layers[0].weights)
    assert np.array_equal(again.layers[0].biases, head.layers[0].biases)
    assert labels == ["Ä", "b c", "花"]


def test_a_damaged_head_file_is_an_error(tmp_path):
    (tmp_path / "head.h5").write_bytes(b"nothing")
    with pytest.raises(ModelFolderError, match=r"can't read .*head.h5"):
        read_head(tmp_path / "head.h5")


@pytest.mark.real
def test_original_vectors_give_the_accuracy_that_they_are_known_for(test_data):
    """shared reference/README.md: 87.5% (standard deviation 2.4%) over ten splits of 80 and 20 pictures a class."""
    import h5py

    with h5py.File(test_data / "reference" / "flowers.h5") as file:
        vectors = file["bottleneck"][:]
        folders = [path.decode().split("/")[0] for path in file["path"][:]]
    names = sorted(set(folders))
    labels = np.array([names.index(folder) for folder in folders], np.int32)
    accuracies, losses = [], []
    for seed in range(4):
        order = np.random.default_rng(seed).permutation(len(labels))
        held = np.concatenate([order[labels[order] == label][:20] for label in range(5)])
        rest = np.setdiff1d(order, held)
        empty = LabelledBottlenecks(vectors[:0], labels[:0])
        head, _ = train_head(LabelledBottlenecks(vectors[rest], labels[rest]), empty, 5, TrainingOptions(seed=seed))
        metrics = evaluate_logits(head.logits(vectors[held]), labels[held], names)
        accuracies.append(metrics.accuracy)
        losses.append(metrics.cross_entropy)
    assert np.mean(accuracies) == pytest.approx(0.875, abs=3 * 0.024 / 2)
    assert np.mean(losses) == pytest.approx(0.39, abs=3 * 0.08 / 2)
