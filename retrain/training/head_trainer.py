"""Pass two: train a head on bottlenecks, in random batches or to the optimum."""

import contextlib
import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from retrain.cache import LabelledBottlenecks, Vectors, chunks
from retrain.errors import TrainingError, UsageError
from retrain.events import Emit, Evaluated, Stepped, ignore
from retrain.model import Head
from retrain.options import DEFAULT_BATCH_SIZE, DEFAULT_STEPS, TrainingOptions
from retrain.text import counted
from retrain.training.batches import Batch, Draws, RowCopier, members_of, read_batches
from retrain.training.gradient_descent import BatchLoss, optimizer_of
from retrain.training.layers import logits_of
from retrain.training.lbfgs import Figures, Flat, FullBatch, Part, find_optimum
from retrain.training.loss import Loss, loss_of
from retrain.training.parameters import Parameters, aligned, initial_head
from retrain.training.penalties import Penalties
from retrain.training.picture_weights import drawn
from retrain.training.products import Products
from retrain.training.random_streams import Stream

__all__ = ["HeadTrainer", "Snapshots", "TrainedHead", "some_of"]

Numbers = NDArray[np.int64]

_STEPS_PER_EVENT = 200
_MOST_VALIDATION = 10_000  # pictures; if there are more, a fixed part is evaluated, because all would take seconds


@dataclass(frozen=True)
class TrainedHead:
    """A head, and how its training went."""

    head: Head
    history: list[Evaluated]
    steps: int  # how many were done
    best_step: int | None = None  # with patience: the step whose weights were kept
    converged: bool | None = None  # with lbfgs: whether it reached the optimum
    guessing: float = math.inf  # the mean cross-entropy of a head that says the same of every picture

    def warnings(self, options: TrainingOptions) -> Iterator[str]:
        """Yield a warning for each sign that training went badly."""
        if self.converged is False and options.patience is None:
            length, steps = "--steps" if options.epochs is None else "--epochs", counted(self.steps, "step")
            yield f"lbfgs did not reach an optimum in {steps}: raise --l2, or {length} if it took all of them"
        guessing = self.guessing
        worse = [*itertools.takewhile(lambda row: row.train_cross_entropy > guessing, reversed(self.history))]
        if worse:
            rate = options.learning_rate or 0.0
            yield (
                f"from step {worse[-1].step} on, training is worse than guessing (cross-entropy "
                f"{self.history[-1].train_cross_entropy:.3g}, guessing {guessing:.3g}): "
                + (f"try --learning-rate {rate / 10:g}" if rate else "lower --l1 or --l2")
            )


@dataclass(frozen=True)
class Snapshots:
    """A request for the head at certain steps of its training."""

    steps: Sequence[int] = ()
    take: Callable[[int, Head], None] = lambda step, head: None  # called with the number of steps and the head


class HeadTrainer:
    """Trains heads on sets of pictures, all from the same bottlenecks.

    Args:
        data: n >= 1 pictures. Vectors in an array are shared, not copied. Others are read as they are drawn.
        classes: number of labels.
        start: where training begins, in place of small random weights: a head of the form that the options ask for.
    Raises TrainingError if a bottleneck is not finite.
    """

    def __init__(self, data: LabelledBottlenecks, classes: int, start: Head | None = None) -> None:
        self.data, self.classes, self.start = data, classes, start
        for rows in chunks(len(data)):
            if not np.isfinite(data.vectors[rows]).all():
                raise TrainingError("there are bottlenecks with values that are not finite: extract them again")

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
            train: (m,) numbers of pictures. Their distorted copies, if any, are used too. Rows of weight 0 are not.
            validation: (v,) numbers of pictures. If there are none, the history has no validation figures.
            options: equal options give equal heads, bit for bit, on machines with the same number of cores.
        Returns: the head, and one row per evaluation: at step 0, every eval_step_interval steps, and at the last step.
        Raises TrainingError if the options do not fit the pictures, or if training diverges.
        """
        if self.data.weights is None and self.data.positive_weights is None and options.label_weights:
            raise UsageError(
                f"--class-weight {options.class_weight} names labels, and these pictures come without weights: give "
                "none or balanced"
            )
        if self.data.weights is not None:
            train = train[self.data.weights[train] > 0]
        _check(train, validation, options)
        options = options.resolved(len(train))  # distorted copies do not count as pictures
        start, rows = self.start, self.data.with_copies(train)
        if start is None:
            start = initial_head(self.data.vectors.shape[1], self.classes, options.seed, options.hidden_units)
        if self.data.label_sets is not None and start.thresholds is None:
            start = dataclasses.replace(start, thresholds=np.full(self.classes, 0.5, np.float32))
        task = _Task(rows, validation, options, loss_of(self.data, rows, self.classes, options), emit, snapshots)
        # numbers that are too large are found by what comes of them
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"), Products() as products:
            way = self._to_optimum if options.optimizer == "lbfgs" else self._descend
            trained = way(start, task, products)
        return dataclasses.replace(trained, guessing=task.loss.guessing)

    def _descend(self, start: Head, task: "_Task", products: Products) -> TrainedHead:
        """Train in random batches."""
        options, parameters = task.options, Parameters.of(start)
        gradients = parameters.like(aligned(parameters.flat.size))
        loss = BatchLoss(parameters, products, options, task.loss)
        optimizer = optimizer_of(options, parameters.flat)
        progress = _Progress(task, parameters, self._validation(task), products)
        steps, size = options.steps or DEFAULT_STEPS, options.batch_size or DEFAULT_BATCH_SIZE
        members, is_balanced = members_of(task.train, self.data.labels), options.sampling == "class-balanced"
        draws = Draws(members, size, options.seed, Stream.TRAINING, is_balanced)
        with contextlib.closing(read_batches(drawn(self.data, task.train, options), draws, range(steps))) as batches:
            for step, batch in enumerate(batches):
                if not loss.gradients(batch, step, gradients):
                    raise _divergence(step, options)
                optimizer.move(gradients.flat, step)
                if progress.after(step, batch):
                    break
        return progress.trained(step + 1)

    def _validation(self, task: "_Task") -> "_Validation | _RandomValidation | None":
        """Return the validation pictures, to evaluate all of them or random batches."""
        chosen, options, vectors = task.validation, task.options, self.data.vectors
        if not len(chosen):
            return None
        if options.validation_batch_size == -1 or options.patience:
            chosen = some_of(chosen, options.seed)
            return _Validation(vectors[chosen], self.data.labels[chosen])
        if isinstance(vectors, np.ndarray):
            held_out, labels, numbers = vectors, self.data.labels, chosen
        else:
            chosen = some_of(chosen, options.seed)
            held_out, labels, numbers = vectors[chosen], self.data.labels[chosen], np.arange(len(chosen))
        size = options.validation_batch_size
        is_balanced = self.data.label_sets is None  # a rare set of labels says no more than another
        draws = Draws(members_of(numbers, labels), size, options.seed, Stream.VALIDATION, is_balanced)
        return _RandomValidation(RowCopier(held_out, size), labels, draws)

    def _to_optimum(self, start: Head, task: "_Task", products: Products) -> TrainedHead:
        """Train on all pictures at once, until nothing is left to gain."""
        train, validation, options = task.train, task.validation, task.options
        parameters = Parameters.of(start)
        weights = task.loss.picture_weights(self.data.labels[train], self.data.weights_of(train))
        parts = partial(self._parts, train, weights)
        objective = FullBatch(parts, len(train), parameters, products, task.loss)
        equal = np.full(len(validation), 1 / max(1, len(validation)), np.float32)
        held_out = FullBatch(partial(self._parts, validation, equal), len(validation), parameters, products, task.loss)
        history: list[Evaluated] = []
        best: tuple[float, int, Flat] = (math.inf, 0, parameters.flat.astype(np.float64))
        last: tuple[int, Flat, Figures] | None = None

        def evaluate(step: int, flat: Flat, figures: Figures) -> bool:
            nonlocal best
            tested = held_out.figures(flat)[:2] if len(validation) else (None, None)
            history.append(_checked(Evaluated(step, *figures[:2], *tested), options))
            task.emit(history[-1])
            if tested[1] is not None and tested[1] < best[0]:
                best = (tested[1], step, flat)
            return options.patience is not None and step - best[1] >= options.patience

        def on_step(step: int, flat: Flat, figures: Figures) -> bool:
            nonlocal last
            last = (step, flat, figures)
            # with patience after each step, because there are few
            stop = (options.patience or step % options.eval_step_interval == 0) and evaluate(*last)
            if step + 1 in task.snapshots.steps:
                task.snapshots.take(step + 1, parameters.like(flat).head())
            task.emit(Stepped(step + 1))
            return bool(stop)

        penalties = Penalties(options.l1, options.l2 or 0.0)
        flat, steps, converged = find_optimum(objective, parameters, penalties, options.steps or DEFAULT_STEPS, on_step)
        if last is None:  # no step led down
            last = (0, flat, objective.figures(flat))
        if not history or history[-1].step != last[0]:
            evaluate(*last)
        if options.patience:
            return TrainedHead(parameters.like(best[2]).head(), history, steps, best[1], converged)
        return TrainedHead(parameters.like(flat).head(), history, steps, None, converged)

    def _parts(self, numbers: Numbers, weights: NDArray[np.float32], most: int) -> Iterator[Part]:
        """Yield the pictures and their weights, at most so many at a time; vectors are valid until the next part."""
        vectors = self.data.vectors
        read = RowCopier(vectors, min(most, len(numbers))) if isinstance(vectors, np.ndarray) else vectors.__getitem__
        for start in range(0, len(numbers), most):
            rows = slice(start, start + most)
            yield Part(read(numbers[rows]), self.data.labels[numbers[rows]], weights[rows])


@dataclass(frozen=True)
class _Task:
    """One head to train: its pictures, its options, and who is told."""

    train: Numbers  # with distorted copies
    validation: Numbers
    options: TrainingOptions  # resolved
    loss: Loss
    emit: Emit
    snapshots: Snapshots


@dataclass(frozen=True)
class _Validation:
    """Validation pictures that are evaluated whole."""

    vectors: Vectors  # (n, d)
    labels: NDArray[np.int32]  # (n,)

    def of_step(self, _: int) -> tuple[Vectors, NDArray[np.int32]]:
        """Return vectors and labels."""
        return self.vectors, self.labels


@dataclass(frozen=True)
class _RandomValidation:
    """Validation pictures of which a random batch is evaluated each time."""

    copy: RowCopier  # of their vectors
    labels: NDArray[np.int32]  # (n,)
    draws: Draws

    def of_step(self, step: int) -> tuple[Vectors, NDArray[np.int32]]:
        """Return vectors and labels of the pictures drawn for a step; valid until the next."""
        [chosen] = self.draws.pictures(range(step, step + 1))
        return self.copy(chosen), self.labels[chosen]


class _Progress:
    """What is seen of training in batches, and kept of it.

    Args:
        parameters: those that change from step to step.
        validation: None: there are no validation pictures.
        products: what multiplies.
    """

    def __init__(
        self,
        task: _Task,
        parameters: Parameters,
        validation: _Validation | _RandomValidation | None,
        products: Products,
    ) -> None:
        self._task, self._parameters, self._validation, self._products = task, parameters, validation, products
        self._steps = task.options.steps or DEFAULT_STEPS
        self._history: list[Evaluated] = []
        self._best = parameters.flat.copy()
        self._best_step, self._best_loss = 0, math.inf
        self._snapshots = set(task.snapshots.steps)

    def after(self, step: int, batch: Batch) -> bool:
        """Evaluate, tell, and keep what is wanted after a step. Returns whether patience has run out."""
        options, done = self._task.options, step + 1
        is_over = (step % options.eval_step_interval == 0 or done == self._steps) and self._evaluate(step, batch)
        if is_over or done % _STEPS_PER_EVENT == 0 or done == self._steps:
            self._task.emit(Stepped(done))
        if done in self._snapshots and not is_over:
            self._task.snapshots.take(done, self._parameters.head())
        return is_over

    def trained(self, steps: int) -> TrainedHead:
        """Return the head to keep, after so many steps."""
        if self._task.options.patience:
            return TrainedHead(self._parameters.like(self._best).head(), self._history, steps, self._best_step)
        return TrainedHead(self._parameters.head(), self._history, steps)

    def _evaluate(self, step: int, batch: Batch) -> bool:
        """Evaluate a step's batch and validation pictures. Returns whether patience has run out."""
        trained = self._figures(batch.vectors, batch.labels)
        tested = self._figures(*self._validation.of_step(step)) if self._validation else (None, None)
        row = _checked(Evaluated(step, *trained, *tested), self._task.options)
        self._history.append(row)
        self._task.emit(row)
        patience = self._task.options.patience
        if not patience:
            return False
        if row.validation_cross_entropy is not None and row.validation_cross_entropy < self._best_loss:
            self._best_step, self._best_loss = step, row.validation_cross_entropy
            self._best[:] = self._parameters.flat
        return step - self._best_step >= patience

    def _figures(self, vectors: Vectors, labels: NDArray[np.int32]) -> tuple[float, float]:
        """Return accuracy in [0, 1] and mean cross-entropy in nats, without smoothing or penalties."""
        right, total, loss = 0, 0.0, self._task.loss
        for rows in chunks(len(labels)):
            logits, own = logits_of(self._parameters, vectors[rows], self._products), labels[rows]
            right += int(np.count_nonzero(loss.are_right(logits, own)))
            total += float(loss.cross_entropies(logits, own).sum(dtype=np.float64))
        return right / len(labels), total / len(labels)


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
