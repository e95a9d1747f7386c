import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrain.cache.vectors import LabelledBottlenecks
from retrain.options import TrainingOptions
from retrain.training.batches import draw, members_of
from retrain.training.gradient_descent import _DROPOUT, _TRAINING
from retrain.training.head_trainer import HeadTrainer
from retrain.training.loss import _drop, class_weights, head_of, initial_head, logits_of, parameters_of

NONE = np.zeros(0, np.int64)


def slow_loss(parameters, vectors, labels, weights, options):
    """The loss as the options' help describes it, in float64."""
    values = vectors
    for number, (matrix, biases) in enumerate(parameters):
        values = (np.maximum(values, 0) if number else values) @ matrix + biases
    scores = np.exp(values - values.max(axis=1, keepdims=True))
    scores /= scores.sum(axis=1, keepdims=True)
    wanted = np.eye(scores.shape[1])[labels]
    wanted = (1 - options.label_smoothing) * wanted + options.label_smoothing / scores.shape[1]
    loss = (weights[labels] * -(wanted * np.log(scores)).sum(axis=1)).mean()
    matrices = [matrix for matrix, _ in parameters]
    squares, magnitudes = (sum((power(m)).sum() for m in matrices) for power in (np.square, np.abs))
    return loss + (options.l2 or 0) / 2 * squares + options.l1 * magnitudes


def finite_differences(loss, parameters, step=1e-6):
    """The gradient of each array of each layer."""
    gradients = []
    for layer in parameters:
        for array in layer:
            gradient = np.zeros_like(array)
            for place in np.ndindex(array.shape):
                kept = array[place]
                ends = []
                for sign in (1, -1):
                    array[place] = kept + sign * step
                    ends.append(loss())
                array[place] = kept
                gradient[place] = (ends[0] - ends[1]) / (2 * step)
            gradients.append(gradient)
    return gradients


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    length=st.integers(1, 6),
    classes=st.integers(2, 4),
    batch=st.integers(1, 9),
    hidden=st.integers(0, 3),
    l1=st.sampled_from([0.0, 0.03]),
    l2=st.sampled_from([None, 0.2]),
    smoothing=st.sampled_from([0.0, 0.3]),
    balanced=st.booleans(),
    seed=st.integers(0, 99),
)
def test_one_step_goes_down_the_gradient(length, classes, batch, hidden, l1, l2, smoothing, balanced, seed):
    """Of plain gradient descent at a rate of 1, against finite differences of the loss written down anew."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, 9)]).astype(np.int32)
    vectors = rng.normal(0, 2, (len(labels), length)).astype(np.float32)
    options = TrainingOptions(
        steps=1,
        learning_rate=1.0,
        batch_size=batch,
        hidden_units=hidden,
        seed=seed,
        l1=l1,
        l2=l2,
        label_smoothing=smoothing,
        class_weight="balanced" if balanced else "none",
    )
    trained = HeadTrainer(LabelledBottlenecks(vectors, labels), classes).train(np.arange(len(labels)), NONE, options)
    members = members_of(np.arange(len(labels)), labels).as_tensors()
    chosen = draw(members, batch, [seed + _TRAINING, 0], balanced=not balanced).numpy()
    weights = class_weights(labels, classes).astype(np.float64) if balanced else np.ones(classes)
    start = initial_head(length, classes, seed, hidden)
    parameters = [[layer.weights.astype(np.float64), layer.biases.astype(np.float64)] for layer in start.layers]
    batch_vectors = vectors[chosen].astype(np.float64)
    gradients = finite_differences(
        lambda: slow_loss(parameters, batch_vectors, labels[chosen], weights, options), parameters
    )
    before = [array for layer in start.layers for array in (layer.weights, layer.biases)]
    after = [array for layer in trained.head.layers for array in (layer.weights, layer.biases)]
    for old, new, gradient in zip(before, after, gradients, strict=True):
        assert old - new == pytest.approx(gradient, abs=2e-5)


def test_adam_moves_as_published():
    """Kingma and Ba's algorithm 1 in NumPy, over three steps."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 5).astype(np.int32)
    vectors = rng.normal(0, 1, (15, 4)).astype(np.float32)
    options = TrainingOptions(optimizer="adam", steps=3, learning_rate=0.1, batch_size=15)
    trained = HeadTrainer(LabelledBottlenecks(vectors, labels), 3).train(np.arange(15), NONE, options)
    start = initial_head(4, 3, 0)
    parameters = [[part.astype(np.float64) for part in (layer.weights, layer.biases)] for layer in start.layers]
    means, squares = [0, 0], [0, 0]
    for step in range(3):
        chosen = draw(members_of(np.arange(15), labels).as_tensors(), 15, [_TRAINING, step]).numpy()
        batch = vectors[chosen].astype(np.float64), labels[chosen], np.ones(3), options
        gradients = finite_differences(lambda batch=batch: slow_loss(parameters, *batch), parameters)
        for number, gradient in enumerate(gradients):
            means[number] = 0.9 * means[number] + 0.1 * gradient
            squares[number] = 0.999 * squares[number] + 0.001 * gradient**2
            mean, square = means[number] / (1 - 0.9 ** (step + 1)), squares[number] / (1 - 0.999 ** (step + 1))
            parameters[0][number] -= 0.1 * mean / (np.sqrt(square) + 1e-7)
    assert trained.head.layers[0].weights == pytest.approx(parameters[0][0], abs=5e-4)
    assert trained.head.layers[0].biases == pytest.approx(parameters[0][1], abs=5e-4)


def test_dropout_drops_its_share_evenly_and_independently():
    ones = np.ones((1000, 500), np.float32)
    values = _drop(ones, 0.3, [1, 2]).numpy()
    dropped = values == 0
    assert set(np.unique(values)) == {np.float32(0), np.float32(1 / 0.7)}
    assert dropped.mean() == pytest.approx(0.3, abs=0.003)
    assert dropped.mean(axis=0).std() == pytest.approx(np.sqrt(0.21 / 1000), rel=0.15)
    assert dropped.mean(axis=1).std() == pytest.approx(np.sqrt(0.21 / 500), rel=0.15)
    for part, n in ((dropped[:60], 500), (dropped[:, :60].T, 1000)):
        correlations = np.corrcoef(part)[np.triu_indices(60, 1)]
        assert correlations.std() == pytest.approx(1 / np.sqrt(n), rel=0.15)
        assert abs(correlations.mean()) < 5 / np.sqrt(n * len(correlations))
    assert not np.array_equal(dropped, _drop(ones, 0.3, [1, 3]).numpy() == 0)


def test_dropout_is_at_every_layer_s_input():
    parameters = parameters_of(initial_head(50, 3, 0, 20))
    vectors = np.random.default_rng(0).normal(0, 1, (4, 50)).astype(np.float32)
    seeds = [[_DROPOUT, 0], [_DROPOUT + 1, 0]]
    below = _drop(vectors, 0.5, seeds[0]).numpy() @ parameters[0].numpy().T
    above = _drop(np.maximum(below, 0), 0.5, seeds[1]).numpy() @ parameters[2].numpy().T
    assert logits_of(parameters, vectors, 0.5, seeds).numpy() == pytest.approx(above, abs=1e-5)


def test_a_head_goes_to_parameters_and_back():
    head = initial_head(7, 3, 1, 5)
    for one, other in zip(head_of(parameters_of(head)).layers, head.layers, strict=True):
        assert np.array_equal(one.weights, other.weights)
        assert np.array_equal(one.biases, other.biases)
        assert one.weights.flags.c_contiguous
