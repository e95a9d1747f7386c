import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrain.options import TrainingOptions
from retrain.training import parameters
from retrain.training.batches import Batch
from retrain.training.gradient_descent import Adam, BatchLoss, PlainDescent, optimizer_of
from retrain.training.layers import Dropout
from retrain.training.loss import SoftmaxLoss
from retrain.training.parameters import Parameters
from retrain.training.picture_weights import class_weights
from retrain.training.products import Products


def slow_loss(head, vectors, labels, weights, options, kept):
    """The loss as the options' help describes it, written down anew."""
    values = vectors
    for number, (layer, mask) in enumerate(zip(head.layers, kept, strict=True)):
        values = (np.maximum(values, 0) if number else values) * mask
        values = values @ layer.weights.T + layer.biases[:, 0]
    scores = np.exp(values - values.max(axis=1, keepdims=True))
    scores /= scores.sum(axis=1, keepdims=True)
    wanted = np.eye(scores.shape[1])[labels]
    wanted = (1 - options.label_smoothing) * wanted + options.label_smoothing / scores.shape[1]
    loss = (weights * -(wanted * np.log(scores)).sum(axis=1)).mean()
    matrices = [layer.weights for layer in head.layers]
    squares, magnitudes = (sum(power(matrix).sum() for matrix in matrices) for power in (np.square, np.abs))
    return loss + (options.l2 or 0) / 2 * squares + options.l1 * magnitudes


def finite_differences(loss, array, step=1e-6):
    """The gradient of an array, by changing it."""
    gradient = np.zeros_like(array)
    for place in np.ndindex(array.shape):
        kept, ends = array[place], []
        for sign in (1, -1):
            array[place] = kept + sign * step
            ends.append(loss())
        array[place] = kept
        gradient[place] = (ends[0] - ends[1]) / (2 * step)
    return gradient


def masks(dropout, step, widths, batch):
    """What dropout multiplies each layer's inputs (batch, inputs) by."""
    if dropout is None:
        return [1.0] * len(widths)
    kept = dropout.kept(step)
    shaped = [kept[0].reshape(batch, -1), *(part.reshape(-1, batch).T for part in kept[1:])]
    return [dropout.scale * mask for mask in shaped]


@settings(max_examples=60, deadline=None)
@given(
    length=st.integers(1, 6),
    classes=st.integers(2, 4),
    batch=st.integers(1, 9),
    hidden=st.integers(0, 3),
    l1=st.sampled_from([0.0, 0.03]),
    l2=st.sampled_from([None, 0.2]),
    smoothing=st.sampled_from([0.0, 0.3]),
    dropped=st.sampled_from([0.0, 0.4]),
    balanced=st.booleans(),
    weighted=st.booleans(),
    seed=st.integers(0, 99),
)
def test_gradients_are_those_of_the_loss(
    length, classes, batch, hidden, l1, l2, smoothing, dropped, balanced, weighted, seed
):
    """In float64, against finite differences, with what dropout leaves out fixed by the step."""
    rng = np.random.default_rng(seed)
    options = TrainingOptions(
        batch_size=batch,
        hidden_units=hidden,
        seed=seed,
        l1=l1,
        l2=l2,
        label_smoothing=smoothing,
        dropout=dropped,
        class_weight="balanced" if balanced else "none",
    )
    widths = (length, hidden, classes) if hidden else (length, classes)
    head = Parameters(widths, rng.normal(0, 1, Parameters.size(widths)))
    vectors, labels = rng.normal(0, 2, (batch, length)), rng.integers(0, classes, batch).astype(np.int32)
    of_pictures = np.concatenate([labels, np.arange(classes), rng.integers(0, classes, 9)]).astype(np.int32)
    weights = class_weights(of_pictures, classes).astype(np.float64)
    kept = masks(Dropout(dropped, seed, widths[:-1], batch) if dropped else None, 5, widths[:-1], batch)
    of_rows = rng.uniform(0.1, 5, batch) if weighted else None
    counted = (weights if balanced else np.ones(classes))[labels] * (1 if of_rows is None else of_rows)
    with pytest.MonkeyPatch.context() as patched, Products() as products:
        patched.setattr(parameters, "_PIECE", 5)
        of_pictures = SoftmaxLoss(classes, options, weights if balanced else None)
        loss, gradients = BatchLoss(head, products, options, of_pictures), head.like(np.full_like(head.flat, np.nan))
        assert loss.gradients(Batch(vectors, labels, of_rows), 5, gradients)
        by_vectors = loss.vector_gradients()

    def value():
        return slow_loss(head, vectors, labels, counted, options, kept)

    assert gradients.flat == pytest.approx(finite_differences(value, head.flat), abs=1e-7, rel=1e-6)
    assert by_vectors == pytest.approx(finite_differences(value, vectors), abs=1e-7, rel=1e-6)


def test_a_loss_that_is_not_finite_is_told():
    head = Parameters((2, 2), np.array([1e30, 0, 0, 1e30, 0, 0], np.float32))
    gradients, options = head.like(np.empty(6, np.float32)), TrainingOptions(batch_size=1)
    with np.errstate(over="ignore", invalid="ignore"), Products() as products:
        loss = BatchLoss(head, products, options, SoftmaxLoss(2, options))
        small, large = (Batch(np.float32([[size, -size]]), np.zeros(1, np.int32)) for size in (1e-30, 1e20))
        assert loss.gradients(small, 0, gradients)
        assert not loss.gradients(large, 0, gradients)


def test_plain_descent_goes_down_the_gradient():
    place, gradients = np.array([1.0, 2.0, -3.0]), np.array([10.0, 0.0, -1.0])
    optimizer_of(TrainingOptions().resolved(100), place).move(gradients.copy(), 0)
    assert place == pytest.approx([0.9, 2.0, -2.99])


def test_adam_moves_as_published(monkeypatch):
    """Kingma and Ba's algorithm 1, over five steps of changing gradients."""
    monkeypatch.setattr(parameters, "_PIECE", 3)
    rng = np.random.default_rng(0)
    place = rng.normal(0, 1, 7)
    wanted, mean, square = place.copy(), 0.0, 0.0
    adam = optimizer_of(TrainingOptions(optimizer="adam", learning_rate=0.1).resolved(100), place)
    assert type(adam) is Adam
    for step in range(5):
        gradients = rng.normal(0, 1, 7)
        mean, square = 0.9 * mean + 0.1 * gradients, 0.999 * square + 0.001 * gradients**2
        unbiased_mean, unbiased_square = mean / (1 - 0.9 ** (step + 1)), square / (1 - 0.999 ** (step + 1))
        wanted -= 0.1 * unbiased_mean / (np.sqrt(unbiased_square) + 1e-7)
        adam.move(gradients, step)
        assert place == pytest.approx(wanted, rel=1e-4, abs=1e-6)
    assert adam.averages[0] == pytest.approx(mean)
    assert adam.averages[1] == pytest.approx(square)


def test_plain_descent_remembers_nothing():
    assert PlainDescent(np.zeros(3), 0.1).averages == ()
