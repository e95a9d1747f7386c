"""Pass two: train the softmax layer over random batches of bottlenecks, with the loop inside the graph."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from retrain.batches import LabelledBottlenecks, Pool
from retrain.config import TrainingOptions
from retrain.errors import TrainingError
from retrain.head import Head, Layer
from retrain.quiet import tf

__all__ = ["HistoryRow", "initial_head", "train_head"]

_FEW_STEPS = 1000  # compiling takes a second longer, and saves about a millisecond a step
_STEPS_PER_CALL = 200  # steps that one call of the graph does before progress is shown

# Streams of random numbers: seed pairs are (seed + stream, step), so that no draw depends on another's.
_INITIAL, _TRAINING, _VALIDATION = 0, 1_000_003, 2_000_003


@dataclass(frozen=True)
class HistoryRow:
    """One evaluation: after the step's update, on its training batch and on a random validation batch."""

    step: int
    train_accuracy: float  # in [0, 1]
    train_cross_entropy: float  # nats
    validation_accuracy: float | None  # in [0, 1]; None without validation pictures
    validation_cross_entropy: float | None


def initial_head(bottleneck_size: int, classes: int, seed: int) -> Head:
    """Weights from a truncated normal of standard deviation 0.001, biases 0, as the original program starts."""
    weights = tf.random.stateless_truncated_normal([bottleneck_size, classes], [seed, _INITIAL], stddev=0.001).numpy()
    return Head((Layer(weights, np.zeros(classes, np.float32)),))


def train_head(
    train: LabelledBottlenecks,
    validation: LabelledBottlenecks,
    classes: int,
    options: TrainingOptions,
    on_evaluation: Callable[[HistoryRow], None] = lambda row: None,
    on_checkpoint: Callable[[int, Head], None] = lambda step, head: None,
    checkpoints: Sequence[int] = (),
) -> tuple[Head, list[HistoryRow]]:
    """Train by gradient descent on the mean cross-entropy of each batch.

    Args:
        train: n >= 1 pictures.
        validation: may be empty; then history has no validation figures.
        classes: number of labels.
        options: steps, batch size, learning rate, seed.
        on_evaluation: called with every evaluation, in the order of steps.
        on_checkpoint: called with each step of `checkpoints`, and the head after so many steps.
        checkpoints: numbers of steps.
    Returns: the trained head, and one row per evaluation: at step 0, every eval_step_interval steps, and the last.
    Raises TrainingError for bottlenecks that are not finite, or when training diverges.
    """
    if not len(train):
        raise TrainingError("no training pictures: lower --validation-percentage or --test-percentage")
    for name, data in (("training", train), ("validation", validation)):
        if not np.isfinite(data.vectors).all():
            raise TrainingError(f"the {name} bottlenecks have values that are not finite: extract them again")
    loop = _Loop(train, validation, classes, options)
    history: list[HistoryRow] = []
    wanted = {step for step in checkpoints if 0 < step <= options.steps}
    first = 0
    for end in sorted({*range(_STEPS_PER_CALL, options.steps, _STEPS_PER_CALL), *wanted, options.steps}):
        for row in loop.run(first, end):
            if not math.isfinite(row.train_cross_entropy):
                raise TrainingError(
                    f"training diverged at step {row.step} (cross-entropy {row.train_cross_entropy}) with "
                    f"--learning-rate {options.learning_rate:g}: try {options.learning_rate / 10:g}"
                )
            history.append(row)
            on_evaluation(row)
        if end in wanted:
            on_checkpoint(end, loop.head())
        first = end
    return loop.head(), history


class _Loop:
    """The training loop as one function of the graph over a block of steps, compiled by XLA where there are many.

    The weights are held as (classes, d): with the long axis last, the gradient takes a sixth of the time.
    """

    def __init__(
        self,
        train: LabelledBottlenecks,
        validation: LabelledBottlenecks,
        classes: int,
        options: TrainingOptions,
    ) -> None:
        self.options = options
        self.train_pool = Pool(train)
        self.validation_pool = Pool(validation) if len(validation) else None
        [start] = initial_head(train.vectors.shape[1], classes, options.seed).layers
        self.weights, self.biases = tf.constant(start.weights.T), tf.constant(start.biases)
        self._block = tf.function(self._steps, jit_compile=options.steps > _FEW_STEPS)

    def head(self) -> Head:
        return Head((Layer(np.ascontiguousarray(self.weights.numpy().T), self.biases.numpy()),))

    def run(self, first: int, end: int) -> list[HistoryRow]:
        """Do steps first to end - 1, _STEPS_PER_CALL at most; the evaluations among them."""
        done = self._block(self.weights, self.biases, tf.constant(first), tf.constant(end))
        self.weights, self.biases, count, steps, figures = done
        rows = []
        for step, row in zip(steps[:count].numpy().tolist(), figures[:count].numpy().tolist(), strict=True):
            validation = (None, None) if self.validation_pool is None else (row[2], row[3])
            rows.append(HistoryRow(step, row[0], row[1], *validation))
        return rows

    def _steps(
        self, weights: tf.Tensor, biases: tf.Tensor, first: tf.Tensor, end: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """Weights and biases after the steps, how many evaluations there were, their steps and (e, 4) figures."""
        interval, last = self.options.eval_step_interval, self.options.steps - 1
        most = _STEPS_PER_CALL // interval + 2  # evaluations; XLA wants to know
        steps = tf.TensorArray(tf.int32, most, element_shape=[])
        figures = tf.TensorArray(tf.float32, most, element_shape=[4])
        count, step = 0, first
        while step < end:
            evaluated = step + tf.minimum(-step % interval, last - step)  # the next step that is
            stop = tf.minimum(evaluated + 1, end)
            while step < stop:
                weights, biases = self._update(weights, biases, *self._batch(step))
                step += 1
            if step == evaluated + 1:
                steps = steps.write(count, evaluated)
                figures = figures.write(count, self._evaluate(weights, biases, evaluated))
                count += 1
        return weights, biases, count, steps.stack(), figures.stack()

    def _batch(self, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return self.train_pool.draw(self.options.batch_size, [self.options.seed + _TRAINING, step])

    def _update(
        self, weights: tf.Tensor, biases: tf.Tensor, bottlenecks: tf.Tensor, labels: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """One step of gradient descent on the mean cross-entropy."""
        _, gradients = _losses(_logits(weights, biases, bottlenecks), labels)
        gradients *= self.options.learning_rate / self.options.batch_size
        return weights - tf.matmul(gradients, bottlenecks, transpose_a=True), biases - tf.reduce_sum(gradients, 0)

    def _evaluate(self, weights: tf.Tensor, biases: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        figures = _accuracy_and_loss(weights, biases, *self._batch(step))
        if self.validation_pool is None:
            return tf.stack([*figures, 0.0, 0.0])
        size = self.options.validation_batch_size
        seed = [self.options.seed + _VALIDATION, step]
        batch = self.validation_pool.everything() if size == -1 else self.validation_pool.draw(size, seed)
        return tf.stack([*figures, *_accuracy_and_loss(weights, biases, *batch)])


def _accuracy_and_loss(
    weights: tf.Tensor, biases: tf.Tensor, bottlenecks: tf.Tensor, labels: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    logits = _logits(weights, biases, bottlenecks)
    right = tf.equal(tf.argmax(logits, axis=1, output_type=tf.int32), labels)
    return tf.reduce_mean(tf.cast(right, tf.float32)), tf.reduce_mean(_losses(logits, labels)[0])


def _logits(weights: tf.Tensor, biases: tf.Tensor, bottlenecks: tf.Tensor) -> tf.Tensor:
    return tf.matmul(bottlenecks, weights, transpose_b=True) + biases


def _losses(logits: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Cross-entropies (n,) in nats, and their gradients by the logits (n, classes): scores minus one-hot labels."""
    losses, gradients = tf.raw_ops.SparseSoftmaxCrossEntropyWithLogits(features=logits, labels=labels)
    return losses, gradients
