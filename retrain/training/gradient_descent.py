"""Training step by step: the loop over random batches, inside the graph."""

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

STEPS_PER_CALL = 200  # steps that one call of the graph does before progress is shown
_FEW_STEPS = 1000  # compiling takes a second longer, and saves about a millisecond a step

# Streams of random numbers: seed pairs are (seed + stream, step), so that no draw depends on another's.
_TRAINING, _VALIDATION, _DROPOUT = 1_000_003, 2_000_003, 3_000_003

_BETAS, _EPSILON = (0.9, 0.999), 1e-7  # of Adam, as Keras has them


TrainedNetwork = Callable[[tf.Tensor, Parameters], tf.Tensor]


class Settings(NamedTuple):
    """What may differ between trainings that share a compiled loop."""

    learning_rate: tf.Tensor  # float32
    l1: tf.Tensor  # float32
    l2: tf.Tensor  # float32
    seed: tf.Tensor  # int32
    steps: tf.Tensor  # int32
    patience: tf.Tensor  # int32
    class_weights: tf.Tensor  # (classes,) float32

    @classmethod
    def of(cls, options: TrainingOptions, weights: NDArray[np.float32]) -> "Settings":
        """What resolved options say; weights: (classes,), how much a picture of each counts."""
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
    """Where training stands."""

    parameters: Parameters  # the head's, then those of what is trained below it
    averages: Parameters  # Adam's: of the gradients, then of their squares
    best: Parameters  # of the best evaluation; with patience only
    best_loss: tf.Tensor  # its validation cross-entropy
    best_step: tf.Tensor
    unimproved: tf.Tensor  # steps from there to the last evaluation
    diverged: tf.Tensor  # the first step at which the loss was not finite; -1 before


class Evaluation(NamedTuple):
    """An evaluation's figures; those of the validation pictures are 0 where there are none."""

    step: int
    train_accuracy: float
    train_cross_entropy: float
    validation_accuracy: float
    validation_cross_entropy: float


def structure(options: TrainingOptions) -> TrainingOptions:
    """The options as all have them that share a compiled loop: without what `Settings` holds, and may differ."""
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
    """The training loop as one function of the graph over a block of steps, compiled by XLA where there are many.

    Written without autograph, whose rewriting of Python takes most of a second.

    Args:
        options: resolved, and without what `structure` leaves out.
        steps_per_call: the most steps of a block.
        network: what lies between the vectors and the head and is trained with it: a function of vectors and of the
            parameters behind the head's, to bottlenecks. Dropout and penalties are the head's alone.
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
        # many operations on large arrays, which XLA makes one of
        self._adam = _adam if is_compiled else tf.function(_adam, jit_compile=True, autograph=False)
        self._draws = tf.function(self._draw_steps, autograph=False)

    def start(self, parameters: Parameters) -> State:
        """The state before the first step."""
        zeros = tuple(tf.zeros_like(part) for part in parameters)
        averages = (*zeros, *zeros) if self.options.optimizer == "adam" else ()
        best = parameters if self.options.patience else ()
        return State(parameters, averages, best, tf.constant(math.inf), tf.constant(0), tf.constant(0), tf.constant(-1))

    def run(
        self, state: State, sources: Sources, settings: Settings, first: int, end: int
    ) -> tuple[State, list[Evaluation], int]:
        """Do the steps first to end - 1, at most steps_per_call of them. Stops earlier when patience ends.

        Returns: the new state, the evaluations on the way, and how many steps are done in all.
        """
        done = self._block(state, sources, settings, tf.constant(first), tf.constant(end))
        state, step, count, steps, figures = done
        # cut as arrays: to slice a tensor takes longer than a step
        rows = zip(steps.numpy()[: int(count)].tolist(), figures.numpy()[: int(count)].tolist(), strict=True)
        return state, [Evaluation(number, *row) for number, row in rows], int(step)

    def drawn(self, seed: int, members: Members, first: int) -> np.ndarray:
        """The pictures in the batches of the steps from `first` on: (steps_per_call * batch_size,) int32."""
        numbers: np.ndarray = self._draws(members, tf.constant(seed), tf.constant(first)).numpy()
        return numbers

    def _steps(
        self, state: State, sources: Sources, settings: Settings, first: tf.Tensor, end: tf.Tensor
    ) -> tuple[State, tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """The state after the steps, the number of the next, how many evaluations, their steps and (e, 4) figures."""
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

            # a block may end before the step that is evaluated next
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
        if source.members is None:  # gathered, for XLA compiles a slice anew for every place that it begins at
            chosen = (step - first) * self._batch_size + tf.range(self._batch_size)
        else:
            chosen = self._draw(source.members, settings.seed, step)
        return tf.gather(source.vectors, chosen), tf.gather(source.labels, chosen)

    def _update(
        self, state: State, vectors: tf.Tensor, labels: tf.Tensor, settings: Settings, step: tf.Tensor
    ) -> State:
        """One step down the gradient of the batch's mean loss."""
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
    """Adam's moves, for a learning rate of 1, and the averages for the next step (Kingma and Ba, ICLR 2015)."""
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
