"""Pass two: train a head on bottlenecks, in random batches or to the optimum."""

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from retrain._tensorflow import tf
from retrain.cache.vectors import LabelledBottlenecks, chunks
from retrain.errors import TrainingError
from retrain.events import Emit, Evaluated, Stepped, ignore
from retrain.model.head import Head
from retrain.options import DEFAULT_STEPS, TrainingOptions
from retrain.text import counted
from retrain.training.batches import Feed, Source, Sources, members_of
from retrain.training.gradient_descent import STEPS_PER_CALL, DescentLoop, Settings, structure
from retrain.training.lbfgs import Arrays, Figures, FullBatch, Part, Penalties, find_optimum
from retrain.training.loss import class_weights, head_of, initial_head, parameters_of, picture_weights

__all__ = ["HeadTrainer", "Snapshots", "TrainedHead", "some_of", "split_steps"]

Numbers = NDArray[np.int64]

_BYTES_PER_CALL = 24 * 2**20  # of bottlenecks read from files for one call of the loop
_MOST_VALIDATION = 10_000  # pictures; if there are more, a fixed part is evaluated, because all would take seconds


@dataclass(frozen=True)
class TrainedHead:
    """A head, and how its training went."""

    head: Head
    history: list[Evaluated]
    steps: int  # how many were done
    best_step: int | None = None  # with patience: the step whose weights were kept
    converged: bool | None = None  # with lbfgs: whether it reached the optimum

    def warnings(self, options: TrainingOptions) -> Iterator[str]:
        """Yield a warning for each sign that training went badly."""
        if self.converged is False and options.patience is None:
            length, steps = "--steps" if options.epochs is None else "--epochs", counted(self.steps, "step")
            yield f"lbfgs did not reach an optimum in {steps}: raise --l2, or {length} if it took all of them"
        untrained = math.log(self.head.layers[-1].biases.size)  # cross-entropy of equal scores
        worse = [*itertools.takewhile(lambda row: row.train_cross_entropy > untrained, reversed(self.history))]
        if worse:
            rate = options.learning_rate or 0.0
            yield (
                f"from step {worse[-1].step} on, training is worse than guessing (cross-entropy "
                f"{self.history[-1].train_cross_entropy:.3g}, guessing {untrained:.3g}): "
                + (f"try --learning-rate {rate / 10:g}" if rate else "lower --l1 or --l2")
            )


@dataclass(frozen=True)
class Snapshots:
    """A request for the head at certain steps of its training."""

    steps: Sequence[int] = ()
    take: Callable[[int, Head], None] = lambda step, head: None  # called with the number of steps and the head


class HeadTrainer:
    """Trains heads on sets of pictures, all from the same bottlenecks. The heads share compiled loops.

    Args:
        data: n >= 1 pictures. Vectors in an array are shared, not copied, if they begin at a multiple of 64 bytes.
            Others are read as they are drawn.
        classes: number of labels.
    Raises TrainingError if a bottleneck is not finite.
    """

    def __init__(self, data: LabelledBottlenecks, classes: int) -> None:
        self.data, self.classes = data, classes
        for rows in chunks(len(data)):
            if not np.isfinite(data.vectors[rows]).all():
                raise TrainingError("there are bottlenecks with values that are not finite: extract them again")
        self._feed = Feed(data)
        self._loops: dict[TrainingOptions, DescentLoop] = {}

    def train(
        self,
        train: Numbers,
        validation: Numbers,
        options: TrainingOptions = TrainingOptions(),
        emit: Emit = ignore,
        snapshots: Snapshots = Snapshots(),
    ) -> TrainedHead:
        """Train a head to a low mean cross-entropy.

        Args:
            train: (m,) numbers of pictures. Their distorted copies, if any, are used too.
            validation: (v,) numbers of pictures. If there are none, the history has no validation figures.
            options: equal options give equal heads, bit for bit.
        Returns: the head, and one row per evaluation: at step 0, every eval_step_interval steps, and at the last step.
        Raises TrainingError if the options do not fit the pictures, or if training diverges.
        """
        _check(train, validation, options)
        options = options.resolved(len(train))  # distorted copies do not count as pictures
        start = initial_head(self.data.vectors.shape[1], self.classes, options.seed, options.hidden_units)
        task = _Task(self.data.with_copies(train), validation, options, emit, snapshots)
        return self._to_optimum(start, task) if options.optimizer == "lbfgs" else self._descend(start, task)

    def _descend(self, start: Head, task: "_Task") -> TrainedHead:
        """Train in random batches."""
        options, snapshots = task.options, task.snapshots
        loop = self._loop(options)
        settings = Settings.of(options, class_weights(self.data.labels[task.train], self.classes))
        held_out = self._validation(task.validation, options)
        state = loop.start(parameters_of(start))
        history: list[Evaluated] = []
        steps = options.steps or DEFAULT_STEPS
        blocks, ahead = (split_steps(steps, loop.steps_per_call, snapshots.steps) for _ in range(2))
        members = members_of(task.train, self.data.labels).as_tensors()
        with contextlib.closing(self._feed.sources(members, partial(loop.drawn, options.seed), ahead)) as sources:
            for (first, end), source in zip(blocks, sources, strict=True):
                state, evaluations, done = loop.run(state, Sources(source, held_out), settings, first, end)
                if state.diverged >= 0:
                    raise _divergence(int(state.diverged), options)
                for evaluation in evaluations:
                    figures = evaluation if held_out is not None else (*evaluation[:3], None, None)
                    history.append(_checked(Evaluated(*figures), options))
                    task.emit(history[-1])
                task.emit(Stepped(done))
                if options.patience and int(state.unimproved) >= options.patience:
                    break
                if end in snapshots.steps:
                    snapshots.take(end, head_of(state.parameters))
        if options.patience:
            return TrainedHead(head_of(state.best), history, done, int(state.best_step))
        return TrainedHead(head_of(state.parameters), history, done)

    def _loop(self, options: TrainingOptions) -> DescentLoop:
        """Return the loop for these options, which is compiled when it first runs."""
        key = structure(options)
        if key not in self._loops:
            in_call = self._feed.steps_at_once(STEPS_PER_CALL, int(options.batch_size or 1), _BYTES_PER_CALL)
            self._loops[key] = DescentLoop(key, in_call)
        return self._loops[key]

    def _validation(self, validation: Numbers, options: TrainingOptions) -> Source | None:
        """Return the validation pictures, to evaluate all of them or random batches."""
        if not len(validation):
            return None
        drawn = options.validation_batch_size != -1 and not options.patience
        if not drawn or self._feed.vectors is None:
            validation = some_of(validation, options.seed)
        labels = self.data.labels[validation]
        members = members_of(np.arange(len(validation)), labels).as_tensors() if drawn else None
        return Source(tf.convert_to_tensor(self.data.vectors[validation]), tf.constant(labels), members)

    def _to_optimum(self, start: Head, task: "_Task") -> TrainedHead:
        """Train on all pictures at once, until nothing is left to gain."""
        train, validation, options = task.train, task.validation, task.options
        objective = FullBatch(
            lambda: self._parts(train, picture_weights(self.data.labels[train], self.classes, options)),
            options.label_smoothing,
        )
        held_out = FullBatch(lambda: self._parts(validation, np.full(len(validation), 1 / len(validation), np.float32)))
        history: list[Evaluated] = []
        best: tuple[float, int, Arrays] = (math.inf, 0, [])
        last: tuple[int, Arrays, Figures] | None = None

        def evaluate(step: int, parameters: Arrays, figures: Figures) -> bool:
            nonlocal best
            tested = held_out(parameters)[0][:2] if len(validation) else (None, None)
            history.append(_checked(Evaluated(step, *figures[:2], *tested), options))
            task.emit(history[-1])
            if tested[1] is not None and tested[1] < best[0]:
                best = (tested[1], step, parameters)
            return options.patience is not None and step - best[1] >= options.patience

        def on_step(step: int, parameters: Arrays, figures: Figures) -> bool:
            nonlocal last
            last = (step, parameters, figures)
            # with patience after each step, because there are few
            stop = (options.patience or step % options.eval_step_interval == 0) and evaluate(*last)
            if step + 1 in task.snapshots.steps:
                task.snapshots.take(step + 1, head_of(parameters))
            task.emit(Stepped(step + 1))
            return bool(stop)

        parameters, steps, converged = find_optimum(
            objective,
            [part.numpy() for part in parameters_of(start)],
            Penalties(options.l1, options.l2 or 0.0),
            options.steps or DEFAULT_STEPS,
            on_step,
        )
        if last is None:  # no step led down
            last = (0, parameters, objective(parameters)[0])
        if not history or history[-1].step != last[0]:
            evaluate(*last)
        if options.patience:
            return TrainedHead(head_of(best[2]), history, steps, best[1], converged)
        return TrainedHead(head_of(parameters), history, steps, None, converged)

    def _parts(self, numbers: Numbers, weights: NDArray[np.float32]) -> Iterator[Part]:
        """Yield the pictures and their weights, some thousands at a time."""
        for rows in chunks(len(numbers)):
            chosen = numbers[rows]
            if self._feed.vectors is not None:
                yield (
                    tf.gather(self._feed.vectors, chosen),
                    tf.gather(self._feed.labels, chosen),
                    tf.constant(weights[rows]),
                )
            else:
                vectors = tf.convert_to_tensor(self.data.vectors[chosen])
                yield vectors, tf.constant(self.data.labels[chosen]), tf.constant(weights[rows])


@dataclass(frozen=True)
class _Task:
    """One head to train: its pictures, its options, and who is told."""

    train: Numbers  # with distorted copies
    validation: Numbers
    options: TrainingOptions  # resolved
    emit: Emit
    snapshots: Snapshots


def _check(train: Numbers, validation: Numbers, options: TrainingOptions) -> None:
    """Raises TrainingError if there are no pictures to train on, or none for --patience."""
    if not len(train):
        raise TrainingError("no training pictures: lower --validation-percentage or --test-percentage")
    if options.patience and not len(validation):
        raise TrainingError(
            "--patience needs validation pictures, and there are none: raise --validation-percentage "
            "or --validation-per-class, or leave out --patience"
        )


def some_of(validation: Numbers, seed: int) -> Numbers:
    """Return the validation pictures, or a fixed part of them if there are too many."""
    if len(validation) <= _MOST_VALIDATION:
        return validation
    return validation[np.sort(np.random.default_rng(seed).permutation(len(validation))[:_MOST_VALIDATION])]


def split_steps(steps: int, most: int, checkpoints: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield blocks (first, end) of at most `most` steps, with the end of a block at every checkpoint."""
    first = 0
    for stop in sorted({step for step in checkpoints if 0 < step < steps} | {steps}):
        while first < stop:
            end = min(first - first % most + most, stop)
            yield first, end
            first = end


def _checked(row: Evaluated, options: TrainingOptions) -> Evaluated:
    """Return the row. Raises TrainingError if its figures are not finite."""
    losses = (row.train_cross_entropy, row.validation_cross_entropy)
    if not all(math.isfinite(loss) for loss in losses if loss is not None):
        raise _divergence(row.step, options)
    return row


def _divergence(step: int, options: TrainingOptions) -> TrainingError:
    rate = options.learning_rate
    remedy = "raise --l2" if rate is None else f"at --learning-rate {rate:g}; try {rate / 10:g}"
    if rate is not None and options.l2 and options.l2 * rate >= 1:  # each step reverses the weights
        remedy += f", or a lower --l2 than {options.l2:g}"
    return TrainingError(f"training diverged at step {step}: the loss is no longer a number; {remedy}")
