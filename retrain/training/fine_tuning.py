"""Fine-tuning: train the top layers of the backbone together with the head.

Fine-tuning is usually slow because the frozen lower layers run again in every epoch. Here they run once per picture,
and their activations are cached.
"""

import contextlib
import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

import retrain
from retrain.backbones import Backbone, Converter, Cut, Trunk, activations_at, find_cut
from retrain.cache import LabelledBottlenecks, SomeVectors, VectorSource, find_folder, fingerprint_of
from retrain.errors import CacheError, TrainingError, UsageError
from retrain.evaluation import mean_figures
from retrain.events import Emit, EpochEnded, FineTuningStepped, Noted, StageBegan, ignore
from retrain.extraction import Dataset
from retrain.model import Head, judge
from retrain.options import FineTuningOptions, RunOptions, TrainingOptions
from retrain.text import counted
from retrain.training.batches import Batch, Draws, members_of, read_batches
from retrain.training.checkpoint import CheckpointFile
from retrain.training.gradient_descent import BatchLoss, optimizer_of
from retrain.training.head_trainer import some_of
from retrain.training.loss import Loss, loss_of
from retrain.training.parameters import Parameters
from retrain.training.picture_weights import drawn
from retrain.training.products import Products
from retrain.training.random_streams import Stream
from retrain.training.upper_layers import UpperLayers

__all__ = [
    "EpochRecorder",
    "FineTuned",
    "FineTunedBackbone",
    "FineTuner",
    "FineTuning",
    "FineTuningPlan",
    "FineTuningSession",
    "fine_tuning_options",
]

Numbers = NDArray[np.int64]
Flat = NDArray[np.float32]

_NEVER = 2**31 - 1
_FLOAT16_BYTES = 2
_CHECKPOINT_FORM = 2  # of what a checkpoint holds


@dataclass(frozen=True)
class FineTuningSession:
    """Who is told how fine-tuning goes, and where its progress is kept."""

    emit: Emit = ignore
    # called after every evaluation with the epoch's number, the head and the weights
    after_epoch: Callable[[int, Head, Sequence[Any]], None] = lambda epoch, head, weights: None
    on_resume: Callable[[list[EpochEnded]], None] = lambda history: None  # called if it continues after these
    checkpoint: CheckpointFile | None = None


@dataclass(frozen=True)
class FineTuned:
    """The result of fine-tuning."""

    head: Head
    weights: dict[str, NDArray[np.float32]]  # constants of the trunk -> their new values
    history: list[EpochEnded]
    best_epoch: int | None  # with patience: the epoch whose weights were kept


def fine_tuning_options(training: TrainingOptions, options: FineTuningOptions, pictures: int) -> TrainingOptions:
    """Return how to train the head and the layers below it together: as the head was trained, changed by `options`.

    Args:
        training: how the head was trained. Adam replaces L-BFGS, which has no batches.
        pictures: number of training pictures, without distorted copies.
    Raises UsageError if there are too many steps to count.
    """
    if training.optimizer == "lbfgs":
        training = dataclasses.replace(training, optimizer="adam", l2=training.l2 or 0.0)
    training = training.resolved(pictures)
    steps = options.fine_tune_epochs * math.ceil(pictures / options.fine_tune_batch_size)
    if steps > _NEVER:
        raise UsageError(
            f"--fine-tune-epochs {options.fine_tune_epochs}: {steps:,} steps, more than {_NEVER:,}; give fewer epochs"
        )
    return dataclasses.replace(
        training,
        batch_size=options.fine_tune_batch_size,
        learning_rate=options.fine_tune_learning_rate or float(training.learning_rate or 0) / 10,
        steps=steps,
        eval_step_interval=_NEVER,
    )


class FineTuner:
    """Trains the layers of a network above a cut, from the activations at the cut.

    Args:
        trunk: the network.
        cut: where it is cut.
        data: activations (n, size), float16 or float32, and labels; n >= 1.
        classes: number of labels.
    """

    def __init__(self, trunk: Trunk, cut: Cut, data: LabelledBottlenecks, classes: int) -> None:
        self.data, self.cut, self.classes = data, cut, classes
        self._layers = UpperLayers(trunk, cut, data.vectors[:1].dtype)

    def bottlenecks(self, data: VectorSource, weights: Iterable[Any] | None = None) -> NDArray[np.float32]:
        """Compute bottlenecks (n, d) from activations (n, size).

        Args:
            weights: of the layers above the cut, in its order. Default: those of the trunk.
        """
        return self._layers.bottlenecks(data, self._layers.weights if weights is None else [*weights])

    def train(
        self,
        head: Head,
        train: Numbers,
        validation: Numbers,
        options: TrainingOptions,
        session: FineTuningSession = FineTuningSession(),
    ) -> FineTuned:
        """Train the layers above the cut and the head together.

        With a checkpoint, training continues after the last epoch in it, and ends with the same weights, bit for bit,
        as if it had never stopped.

        Args:
            head: trained on bottlenecks of the unchanged layers.
            train: (m,) numbers of pictures. Their distorted copies, if any, are used too.
            validation: (v,) numbers of pictures; may be empty.
            options: from `fine_tuning_options`; equal options give equal weights. With patience, training stops at the
                end of an epoch if the validation cross-entropy has not fallen for so many steps. The weights of the
                best epoch are kept, which may be those from before the first.
        Raises TrainingError if training diverges.
        """
        size = options.batch_size or 1
        members = members_of(self.data.with_copies(train), self.data.labels)
        course = _Course(
            options,
            Draws(members, size, options.seed, Stream.TRAINING, options.sampling == "class-balanced"),
            drawn(self.data, self.data.with_copies(train), options),
            loss_of(self.data, train, self.classes, options),
            some_of(validation, options.seed),
            math.ceil(len(train) / size),
            session,
        )
        trained = _Trained.of(head, self._layers.weights)
        # numbers that are too large are found by what comes of them
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            kept = session.checkpoint.load() if session.checkpoint else None
            if kept:
                stand = _Stand.unpacked(*kept)
                session.on_resume(stand.history)
            else:
                stand = self._evaluate(course, _Stand(trained.flat, (), trained.flat), trained)
            stand = self._descend(course, stand, trained)
        trained.flat[:] = stand.best if options.patience else stand.flat
        named = dict(zip(self.cut.weights, trained.weights, strict=True))
        return FineTuned(trained.head.head(), named, stand.history, stand.best_epoch if options.patience else None)

    def _descend(self, course: "_Course", stand: "_Stand", trained: "_Trained") -> "_Stand":
        """Do the epochs that are left. Returns the last evaluation."""
        options, in_epoch = course.options, course.in_epoch
        steps, begun = options.steps or 0, (stand.epochs - 1) * in_epoch
        if stand.has_lost_patience(options.patience, in_epoch):
            return stand
        trained.flat[:] = stand.flat
        gradients = trained.like(np.empty_like(trained.flat))
        optimizer = optimizer_of(options, trained.flat)
        for own, before in zip(optimizer.averages, stand.averages, strict=False):
            own[:] = before
        with (
            Products() as products,
            contextlib.closing(read_batches(course.drawn, course.draws, range(begun, steps))) as batches,
        ):
            loss = BatchLoss(trained.head, products, options, course.loss)
            for step, batch in enumerate(batches, begun):
                if not self._find_gradients(loss, trained, batch, step, gradients):
                    raise _divergence(step, options)
                optimizer.move(gradients.flat, step)
                course.session.emit(FineTuningStepped(step + 1, steps))
                if (step + 1) % in_epoch == 0:
                    stand = self._evaluate(course, stand, trained, optimizer.averages)
                    if stand.has_lost_patience(options.patience, in_epoch):
                        break
        return stand

    def _find_gradients(
        self, loss: BatchLoss, trained: "_Trained", batch: Batch, step: int, gradients: "_Trained"
    ) -> bool:
        """Compute the gradients of all that is trained, for activations. Returns whether the loss is finite."""
        is_finite = False

        def slopes_of(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
            nonlocal is_finite
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # on this thread, too
                is_finite = loss.gradients(Batch(vectors, batch.labels, batch.weights), step, gradients.head)
                return loss.vector_gradients()

        found = self._layers.gradients(batch.vectors, trained.weights, slopes_of)
        for own, gradient in zip(gradients.weights, found, strict=True):
            own[:] = gradient
        return is_finite

    def _evaluate(
        self, course: "_Course", stand: "_Stand", trained: "_Trained", averages: Sequence[Flat] = ()
    ) -> "_Stand":
        """Evaluate the end of an epoch, tell of it, and keep it."""
        session, step = course.session, stand.epochs * course.in_epoch
        last = max(0, step - 1)
        [batch] = course.draws.pictures(range(last, last + 1))
        seen = self._figures(trained, batch)
        tested = self._figures(trained, course.validation) if len(course.validation) else (None, None)
        if not all(map(math.isfinite, (seen[1], tested[1] or 0.0))):
            raise _divergence(step, course.options)
        stand = stand.after(EpochEnded(stand.epochs, *seen, *tested), trained.flat, averages)
        session.emit(stand.history[-1])
        session.after_epoch(stand.history[-1].epoch, trained.head.head(), trained.weights)
        if session.checkpoint and stand.epochs > 1:  # not before the first epoch
            session.checkpoint.save(*stand.packed())
        return stand

    def _figures(self, trained: "_Trained", pictures: Numbers) -> tuple[float, float]:
        """Accuracy in [0, 1] and cross-entropy in nats of pictures."""
        vectors = self.bottlenecks(SomeVectors(self.data.vectors, pictures), trained.weights)
        labels = self.data.labels[pictures]
        return mean_figures(judge(trained.head.head(), vectors, labels, self.data.label_sets), labels)


@dataclass(frozen=True)
class _Course:
    """What stays the same from epoch to epoch."""

    options: TrainingOptions
    draws: Draws  # of the training set
    drawn: LabelledBottlenecks  # what they draw from
    loss: Loss
    validation: Numbers
    in_epoch: int  # steps
    session: FineTuningSession


class _Trained:
    """What is trained, or its gradients: the head and the weights of the layers above the cut.

    Args:
        head: the first part of `flat`.
        shapes: of the weights, which are views of the rest.
        flat: all numbers.
    """

    def __init__(self, head: Parameters, shapes: Sequence[tuple[int, ...]], flat: Flat) -> None:
        self.head, self._shapes, self.flat = head, shapes, flat
        ends = np.cumsum([math.prod(shape) for shape in shapes])
        parts = np.split(flat[head.flat.size :], ends[:-1])
        self.weights = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]

    @classmethod
    def of(cls, head: Head, weights: Sequence[NDArray[np.float32]]) -> "_Trained":
        """Return copies of a head and of weights."""
        widths = (head.bottleneck_size, *(layer.biases.size for layer in head.layers))
        flat = np.empty(Parameters.size(widths) + sum(part.size for part in weights), np.float32)
        trained = cls(Parameters.of(head, flat), [part.shape for part in weights], flat)
        for own, part in zip(trained.weights, weights, strict=True):
            own[:] = part
        return trained

    def like(self, flat: Flat) -> "_Trained":
        """Return other numbers in the same form."""
        return _Trained(self.head.like(flat[: self.head.flat.size]), self._shapes, flat)


@dataclass(frozen=True)
class _Stand:
    """The state of fine-tuning after an evaluation."""

    flat: Flat  # all that is trained
    averages: tuple[Flat, ...]  # of the optimizer
    best: Flat  # from the evaluation with the lowest validation cross-entropy
    best_epoch: int = 0
    best_loss: float = math.inf
    history: list[EpochEnded] = dataclasses.field(default_factory=list)

    @property
    def epochs(self) -> int:
        """Number of evaluations so far, which is the number of the epoch in progress."""
        return len(self.history)

    def after(self, row: EpochEnded, flat: Flat, averages: Sequence[Flat]) -> "_Stand":
        """Return the state after one more evaluation. The numbers are copied."""
        flat, kept = flat.copy(), tuple(part.copy() for part in averages)
        history, loss = [*self.history, row], row.validation_cross_entropy
        if loss is not None and loss < self.best_loss:
            return _Stand(flat, kept, flat, row.epoch, loss, history)
        return dataclasses.replace(self, flat=flat, averages=kept, history=history)

    def has_lost_patience(self, patience: int | None, in_epoch: int) -> bool:
        """Whether so many steps have passed since the best evaluation."""
        return bool(patience) and (self.history[-1].epoch - self.best_epoch) * in_epoch >= (patience or 0)

    def packed(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Return a note for JSON, and arrays."""
        note = {
            "best_epoch": self.best_epoch,
            "best_loss": None if math.isinf(self.best_loss) else self.best_loss,
            "history": [dataclasses.asdict(row) for row in self.history],
        }
        averages = {f"average{number}": part for number, part in enumerate(self.averages)}
        return note, {"flat": self.flat, "best": self.best, **averages}

    @classmethod
    def unpacked(cls, note: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> "_Stand":
        """Undo `packed`."""
        averages = tuple(arrays[f"average{number}"] for number in range(len(arrays) - 2))
        loss = math.inf if note["best_loss"] is None else note["best_loss"]
        history = [EpochEnded(**row) for row in note["history"]]
        return cls(arrays["flat"], averages, arrays["best"], note["best_epoch"], loss, history)


class FineTunedBackbone:
    """The identity of a fine-tuned backbone: the old name, and a fingerprint of its own.

    Args:
        backbone: before fine-tuning.
        digest: SHA-256 of the graph with the new weights.
    """

    def __init__(self, backbone: Backbone, digest: str) -> None:
        self.name = backbone.name
        self.description: dict[str, Any] = backbone.description | {"fine_tuned": digest}
        self.fingerprint = fingerprint_of(self.description)


@dataclass(frozen=True)
class FineTuning:
    """What fine-tuning did, for run.json."""

    cut: Cut
    options: TrainingOptions  # of the head and the layers together
    tuned: FineTuned
    checkpoint: CheckpointFile  # of the last epoch; useless once the model is written

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "cut": self.cut.tensor,
            "activations": list(self.cut.shape),
            "layers": list(self.cut.layers),
            "weights": sum(int(part.size) for part in self.tuned.weights.values()),
            "optimizer": self.options.optimizer,
            "learning_rate": self.options.learning_rate,
            "batch_size": self.options.batch_size,
            "epochs": self.tuned.history[-1].epoch,
            "best_epoch": self.tuned.best_epoch,
        }


class EpochRecorder(Protocol):
    """Measures more about a finished epoch than fine-tuning itself needs."""

    def measure(self, head: Head, weights: Sequence[Any]) -> Any:
        """Return what to keep of the epoch that has just ended, for JSON."""

    def restore(self, kept: Sequence[Any]) -> None:
        """Take over what `measure` returned for the epochs of an earlier run."""


class FineTuningPlan:
    """Fine-tuning as part of a run.

    Pass one ends at the cut. The head is trained first, on bottlenecks computed from the activations there.

    Args:
        backbone: in float32.
        trunk: its graph.
        options: of a run with fine-tuning.
        converter: for the part below the cut.
    Raises UsageError, BackboneError if the backbone can't be cut there.
    """

    def __init__(self, backbone: Backbone, trunk: Trunk, options: RunOptions, converter: Converter) -> None:
        self._trunk, self._options = trunk, options
        self.cut = find_cut(trunk, options.fine_tuning)
        self.extractor = activations_at(self.cut, backbone, trunk, converter)

    def announce(self, pictures: int, emit: Emit) -> None:
        """Say how much will be cached. Raises CacheError if that is more than --max-cache-size."""
        copies, most = self._options.augmentation.augment, self._options.fine_tuning.max_cache_size
        each = _FLOAT16_BYTES * self.cut.size
        total = each * pictures * (1 + copies)
        what = counted(pictures, "picture") + (
            f" and at most {counted(copies, 'distorted copy')} of each" if copies else ""
        )
        shape = " x ".join(map(str, self.cut.shape))
        text = f"activations below {self.cut.layers[0]}: {shape} in float16, {_amount(total)} for {what}"
        if total > most * 2**30:
            raise CacheError(
                f"{text}: more than --max-cache-size {most:g} GiB; raise it, choose a later layer to train from, or "
                "a smaller --input-size"
            )
        emit(Noted(text))

    def prepare(self, data: Dataset, classes: int) -> LabelledBottlenecks:
        """Compute bottlenecks from activations, so that the head can be trained first."""
        self._data = data
        self._tuner = FineTuner(self._trunk, self.cut, data.bottlenecks, classes)
        activations = data.bottlenecks
        return dataclasses.replace(activations, vectors=self._tuner.bottlenecks(activations.vectors))

    def train(
        self,
        head: Head,
        members: dict[str, NDArray[np.int64]],
        options: TrainingOptions,
        emit: Emit,
        recorder: EpochRecorder,
    ) -> FineTuning:
        """Train the head and the layers above the cut, after `prepare`. Raises TrainingError.

        Args:
            members: set -> numbers of its pictures.
            options: how the head was trained.
            recorder: measures what else is wanted after each epoch.
        """

        def after_epoch(epoch: int, head: Head, weights: Sequence[Any]) -> None:
            if epoch:
                checkpoint.extra.append(recorder.measure(head, weights))

        def on_resume(history: list[EpochEnded]) -> None:
            recorder.restore(checkpoint.extra)
            emit(Noted(f"fine-tuning continues after epoch {history[-1].epoch}, where an earlier run stopped"))
            emit(history[-1])

        emit(StageBegan("fine-tuning"))
        together = fine_tuning_options(options, self._options.fine_tuning, len(members["train"]))
        checkpoint = self._checkpoint(head, members, together)
        session = FineTuningSession(emit, after_epoch, on_resume, checkpoint)
        tuned = self._tuner.train(head, members["train"], members["validation"], together, session)
        return FineTuning(self.cut, together, tuned, checkpoint)

    def _checkpoint(
        self, head: Head, members: dict[str, NDArray[np.int64]], options: TrainingOptions
    ) -> CheckpointFile:
        """The checkpoint of this fine-tuning. Its key has everything that decides the result."""
        told = {
            "cut": self.extractor.fingerprint,
            "options": dataclasses.asdict(options),
            "augmentation": dataclasses.asdict(self._options.augmentation),
            "plots": self._options.evaluation.plots,
            "versions": [retrain.__version__, UpperLayers.version, _CHECKPOINT_FORM],
        }
        digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
        for array in (
            *(part for layer in head.layers for part in (layer.weights, layer.biases)),
            *(self._data.keys, self._data.labels, members["train"], members["validation"]),
            *(() if self._data.label_sets is None else (self._data.label_sets,)),
        ):
            digest.update(np.ascontiguousarray(array).tobytes())
        folder = find_folder(Path(self._options.extraction.cache_dir), self.extractor.name, self.extractor.fingerprint)
        return CheckpointFile(folder, digest.hexdigest())

    def bottlenecks(self, activations: VectorSource, weights: Iterable[Any]) -> NDArray[np.float32]:
        """Compute bottlenecks (n, d) from activations (n, size).

        Args:
            weights: of the layers above the cut, in its order.
        """
        return self._tuner.bottlenecks(activations, weights)


def _divergence(step: int, options: TrainingOptions) -> TrainingError:
    rate = float(options.learning_rate or 0)
    return TrainingError(
        f"fine-tuning diverged at step {step}: the loss is no longer a number at --fine-tune-learning-rate {rate:g}; "
        f"try {rate / 10:g}"
    )


def _amount(nbytes: int) -> str:
    gibibytes = nbytes / 2**30
    return f"{gibibytes:,.1f} GiB" if gibibytes >= 1 else f"{1024 * gibibytes:,.1f} MiB"
