"""Gradient descent over random batches, as a loop inside the graph."""

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrain._tensorflow import tf
from retrain.options import DEFAULT_BATCH_SIZE, DEFAULT_STEPS, TrainingOptions
from retrain.training.batches import Members, Source, Sources, draw
from retrain.training.loss import Parameters, accuracy_and_cross_entropy, cross_entropies, logits_of, penalty

__all__ = ["STEPS_PER_CALL", "DescentLoop", "Evaluation", "Settings", "State", "structure"]

STEPS_PER_CALL = 200  # steps per call of the graph; progress is shown after each call
_FEW_STEPS = 1000  # with more steps, compile: it costs a second and saves about a millisecond a step

# Streams of random numbers. A seed pair is (seed + stream, step), so that no draw depends on another.
_TRAINING, _VALIDATION, _DROPOUT = 1_000_003, 2_000_003, 3_000_003

_BETAS, _EPSILON = (0.9, 0.999), 1e-7  # of Adam, as Keras has them


TrainedNetwork = Callable[[tf.Tensor, Parameters], tf.Tensor]


class Settings(NamedTuple):
    """Settings that may differ between trainings that share a compiled loop."""

    learning_rate: tf.Tensor  # float32
    l1: tf.Tensor  # float32
    l2: tf.Tensor  # float32
    seed: tf.Tensor  # int32
    steps: tf.Tensor  # int32
    patience: tf.Tensor  # int32
    class_weights: tf.Tensor  # (classes,) float32

    @classmethod
    def of(cls, options: TrainingOptions, weights: NDArray[np.float32]) -> "Settings":
        """Take the settings from resolved options. `weights` (classes,): how much a picture of each class counts."""
        return cls(
            learning_rate=tf.constant(options.learning_rate, tf.float32),
            l1=tf.constant(options.l1, tf.float32),
            l2=tf.constant(options.l2, tf.float32),
            seed=tf.constant(options.seed),
            steps=tf.constant(options.steps),
            patience=tf.constant(options.patience or 0),
            class_weights=tf.constant(weights),
        )


class State(NamedTuple):
    """The state of training between two steps."""

    parameters: Parameters  # those of the head, then those of the layers trained below it
    averages: Parameters  # of the gradients, then of their squares; for Adam only
    best: Parameters  # those at the best evaluation; with patience only
    best_loss: tf.Tensor  # validation cross-entropy of the best evaluation
    best_step: tf.Tensor
    unimproved: tf.Tensor  # steps from the best evaluation to the last one
    diverged: tf.Tensor  # the first step with a loss that was not finite; -1 if there is none


class Evaluation(NamedTuple):
    """The figures of an evaluation. Without validation pictures, theirs are 0."""

    step: int
    train_accuracy: float
    train_cross_entropy: float
    validation_accuracy: float
    validation_cross_entropy: float


def structure(options: TrainingOptions) -> TrainingOptions:
    """Return the options without what `Settings` holds. Trainings with equal structures share a compiled loop."""
    return dataclasses.replace(
        options,
        learning_rate=1.0,
        l1=float(options.l1 > 0),
        l2=float(bool(options.l2)),
        seed=0,
        steps=_FEW_STEPS + 1 if (options.steps or DEFAULT_STEPS) > _FEW_STEPS else 1,
        epochs=None,
        patience=None if options.patience is None else 1,
    )


class DescentLoop:
    """The training loop: a function of the graph that does a block of steps. If there are many, XLA compiles it.

    It does without autograph, which takes most of a second to rewrite Python.

    Args:
        options: resolved, from `structure`.
        steps_per_call: the most steps in a block.
        network: layers between the vectors and the head that are trained with it. Takes vectors and the parameters
            after the head's, returns bottlenecks. Dropout and penalties apply to the head alone.
    """

    def __init__(
        self, options: TrainingOptions, steps_per_call: int = STEPS_PER_CALL, network: TrainedNetwork | None = None
    ) -> None:
        self.options, self.steps_per_call = options, steps_per_call
        self._network = network
        self._head_parts = 4 if options.hidden_units else 2
        self._batch_size = int(options.batch_size or DEFAULT_BATCH_SIZE)
        # XLA's convolutions are slower than TensorFlow's own on processors
        is_compiled = (options.steps or DEFAULT_STEPS) > _FEW_STEPS and network is None
        self._block = tf.function(self._steps, jit_compile=is_compiled, autograph=False)
        # XLA fuses its many operations on large arrays
        self._adam = _adam if is_compiled else tf.function(_adam, jit_compile=True, autograph=False)
        self._draws = tf.function(self._draw_steps, autograph=False)

    def start(self, parameters: Parameters) -> State:
        """Return the state before the first step."""
        zeros = tuple(tf.zeros_like(part) for part in parameters)
        averages = (*zeros, *zeros) if self.options.optimizer == "adam" else ()
        best = parameters if self.options.patience else ()
        return State(parameters, averages, best, tf.constant(math.inf), tf.constant(0), tf.constant(0), tf.constant(-1))

    def run(
        self, state: State, sources: Sources, settings: Settings, first: int, end: int
    ) -> tuple[State, list[Evaluation], int]:
        """Do the steps first to end - 1, at most steps_per_call of them. Stop earlier if patience runs out.

        Returns: the new state, the evaluations on the way, and how many steps were done in all.
        """
        done = self._block(state, sources, settings, tf.constant(first), tf.constant(end))
        state, step, count, steps, figures = done
        # cut as arrays: slicing a tensor takes longer than a step
        rows = zip(steps.numpy()[: int(count)].tolist(), figures.numpy()[: int(count)].tolist(), strict=True)
        return state, [Evaluation(number, *row) for number, row in rows], int(step)

    def drawn(self, seed: int, members: Members, first: int) -> np.ndarray:
        """Return the pictures in the batches from step `first` on: (steps_per_call * batch_size,) int32."""
        numbers: np.ndarray = self._draws(members, tf.constant(seed), tf.constant(first)).numpy()
        return numbers

    def _steps(
        self, state: State, sources: Sources, settings: Settings, first: tf.Tensor, end: tf.Tensor
    ) -> tuple[State, tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return the new state, the next step, the number of evaluations, their steps and their figures (e, 4)."""
        interval, last = self.options.eval_step_interval, settings.steps - 1
        most = self.steps_per_call // interval + 2  # evaluations

        def going(step: tf.Tensor, state: State, *_: tf.Tensor) -> tf.Tensor:
            more = tf.logical_and(step < end, state.diverged < 0)
            return tf.logical_and(more, state.unimproved < settings.patience) if self.options.patience else more

        def to_next_evaluation(
            step: tf.Tensor, state: State, count: tf.Tensor, steps: tf.Tensor, figures: tf.Tensor
        ) -> tuple[tf.Tensor, State, tf.Tensor, tf.Tensor, tf.Tensor]:
            evaluated = step + tf.minimum(-step % interval, last - step)
            stop = tf.minimum(evaluated + 1, end)
            step, state = tf.while_loop(
                lambda step, state: step < stop,
                lambda step, state: (
                    step + 1,
                    self._update(state, *self._batch(sources.training, settings, step, first), settings, step),
                ),
                (step, state),
            )

            def evaluate() -> tuple[State, tf.Tensor, tf.Tensor, tf.Tensor]:
                batch = self._batch(sources.training, settings, evaluated, first)
                row = self._evaluate(state, batch, sources.validation, settings, evaluated)
                return (
                    _keep_best(state, row[3], evaluated) if self.options.patience else state,
                    count + 1,
                    tf.tensor_scatter_nd_update(steps, [[count]], [evaluated]),
                    tf.tensor_scatter_nd_update(figures, [[count]], [row]),
                )

            # a block may end before the next step to evaluate
            return step, *tf.cond(step == evaluated + 1, evaluate, lambda: (state, count, steps, figures))

        begin = (first, state, tf.constant(0), tf.zeros([most], tf.int32), tf.zeros([most, 4]))
        step, state, count, steps, figures = tf.while_loop(going, to_next_evaluation, begin)
        return state, step, count, steps, figures

    def _draw(self, members: Members, seed: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        balanced = self.options.sampling == "class-balanced"
        return draw(members, self._batch_size, [seed + _TRAINING, step], balanced)

    def _draw_steps(self, members: Members, seed: tf.Tensor, first: tf.Tensor) -> tf.Tensor:
        steps = first + tf.range(self.steps_per_call)
        return tf.reshape(tf.map_fn(lambda step: self._draw(members, seed, step), steps), [-1])

    def _batch(
        self, source: Source, settings: Settings, step: tf.Tensor, first: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        if source.members is None:  # gathered, because XLA would compile a slice again for every start
            chosen = (step - first) * self._batch_size + tf.range(self._batch_size)
        else:
            chosen = self._draw(source.members, settings.seed, step)
        return tf.gather(source.vectors, chosen), tf.gather(source.labels, chosen)

    def _update(
        self, state: State, vectors: tf.Tensor, labels: tf.Tensor, settings: Settings, step: tf.Tensor
    ) -> State:
        """Do one step down the gradient of the mean loss of a batch."""
        options, parameters = self.options, state.parameters
        head = parameters[: self._head_parts]
        seeds = [[settings.seed + _DROPOUT + layer, step] for layer in range(len(head) // 2)]
        with tf.GradientTape() as tape:
            tape.watch(parameters)
            logits = logits_of(head, self._bottlenecks(parameters, vectors), options.dropout, seeds)
            losses = cross_entropies(logits, labels, options.label_smoothing)
            if options.class_weight == "balanced":
                losses *= tf.gather(settings.class_weights, labels)
            loss = tf.reduce_mean(losses)
            if options.l1 or options.l2:
                loss += penalty(head, settings.l1, settings.l2)
        gradients = tape.gradient(loss, parameters, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        first_bad = tf.logical_and(state.diverged < 0, tf.logical_not(tf.math.is_finite(loss)))
        state = state._replace(diverged=tf.where(first_bad, step, state.diverged))
        if options.optimizer == "adam":
            moves, averages = self._adam(gradients, state.averages, tf.cast(step + 1, tf.float32))
            state = state._replace(averages=averages)
        else:
            moves = gradients
        moved = zip(parameters, moves, strict=True)
        return state._replace(parameters=tuple(part - settings.learning_rate * move for part, move in moved))

    def _evaluate(
        self,
        state: State,
        batch: tuple[tf.Tensor, tf.Tensor],
        validation: Source | None,
        settings: Settings,
        step: tf.Tensor,
    ) -> tf.Tensor:
        figures = self._figures(state.parameters, *batch)
        if validation is None:
            return tf.stack([*figures, 0.0, 0.0])
        vectors, labels = validation.vectors, validation.labels
        if validation.members is not None:
            seed = [settings.seed + _VALIDATION, step]
            chosen = draw(validation.members, self.options.validation_batch_size, seed)
            vectors, labels = tf.gather(vectors, chosen), tf.gather(labels, chosen)
        return tf.stack([*figures, *self._figures(state.parameters, vectors, labels)])

    def _bottlenecks(self, parameters: Parameters, vectors: tf.Tensor) -> tf.Tensor:
        return self._network(vectors, parameters[self._head_parts :]) if self._network else vectors

    def _figures(self, parameters: Parameters, vectors: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        logits = logits_of(parameters[: self._head_parts], self._bottlenecks(parameters, vectors))
        return accuracy_and_cross_entropy(logits, labels)


def _adam(gradients: Parameters, averages: Parameters, count: tf.Tensor) -> tuple[Parameters, Parameters]:
    """Return Adam's moves for a learning rate of 1, and the new averages (Kingma and Ba, ICLR 2015)."""
    (fast, slow), half = _BETAS, len(gradients)
    means = tuple(fast * old + (1 - fast) * new for old, new in zip(averages[:half], gradients, strict=True))
    squares = tuple(slow * old + (1 - slow) * new * new for old, new in zip(averages[half:], gradients, strict=True))
    scale = tf.sqrt(1 - slow**count) / (1 - fast**count)
    moves = tuple(scale * mean / (tf.sqrt(square) + _EPSILON) for mean, square in zip(means, squares, strict=True))
    return moves, (*means, *squares)


def _keep_best(state: State, loss: tf.Tensor, step: tf.Tensor) -> State:
    better = loss < state.best_loss
    pairs = zip(state.parameters, state.best, strict=True)
    best_step = tf.where(better, step, state.best_step)
    return state._replace(
        best=tuple(tf.where(better, new, old) for new, old in pairs),
        best_loss=tf.where(better, loss, state.best_loss),
        best_step=best_step,
        unimproved=step - best_step,
    )
