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
from retrain._tensorflow import tf
from retrain.backbones import Backbone, Converter, Cut, Trunk, activations_at, find_cut, part_above
from retrain.cache import LabelledBottlenecks, SomeVectors, VectorSource, find_folder, fingerprint_of, new_vectors
from retrain.errors import CacheError, TrainingError, UsageError
from retrain.evaluation import mean_figures
from retrain.events import Emit, EpochEnded, FineTuningStepped, Noted, StageBegan, ignore
from retrain.extraction import Dataset
from retrain.model import Head, judge
from retrain.options import FineTuningOptions, RunOptions, TrainingOptions
from retrain.text import counted
from retrain.training.batches import Feed, Members, Sources, members_of
from retrain.training.checkpoint import CheckpointFile
from retrain.training.gradient_descent import DescentLoop, Settings, State, structure
from retrain.training.head_trainer import some_of, split_steps
from retrain.training.loss import Parameters, class_weights, head_of, parameters_of

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

_STEPS_PER_CALL = 8  # about one second of work
_ROWS_AT_ONCE = 128  # activations that go through the upper layers at once, outside of training
_NEVER = 2**31 - 1
_FLOAT16_BYTES = 2
_BYTES_PER_CALL = 64 * 2**20  # of activations, read from files for one call of the loop


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
        above, self._weights = part_above(trunk, cut)
        self.data, self.cut, self.classes = data, cut, classes
        self._bottleneck_size = trunk.bottleneck_size
        self._feed = Feed(data)
        spec = tf.TensorSpec([None, cut.size], data.vectors[:1].dtype)
        specs = tuple(tf.TensorSpec(weights.shape, tf.float32) for weights in self._weights)
        # a function of its own, so that its gradient is built only once
        self._above = tf.function(above, input_signature=[spec, specs], autograph=False)

    def bottlenecks(self, data: VectorSource, weights: Iterable[Any] | None = None) -> NDArray[np.float32]:
        """Compute bottlenecks (n, d) from activations (n, size).

        Args:
            weights: of the layers above the cut, in its order. Default: those of the trunk.
        """
        weights = tuple(tf.constant(part) for part in (self._weights if weights is None else weights))
        vectors = new_vectors(data.shape[0], self._bottleneck_size)
        for start in range(0, len(vectors), _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            vectors[rows] = self._above(tf.constant(data[rows]), weights).numpy()
        return vectors

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
        course = _Course(
            self._loop(options),
            options,
            Settings.of(options, class_weights(self.data.labels[train], self.classes)),
            members_of(self.data.with_copies(train), self.data.labels).as_tensors(),
            some_of(validation, options.seed),
            math.ceil(len(train) / int(options.batch_size or 1)),
            session,
        )
        kept = session.checkpoint.load() if session.checkpoint else None
        if kept:
            stand = _Stand.unpacked(*kept)
            session.on_resume(stand.history)
        else:
            state = course.loop.start((*parameters_of(head), *map(tf.constant, self._weights)))
            stand = self._evaluate(course, _Stand(state, state.parameters), state)
        stand, state = self._descend(course, stand)
        kept_head, weights = self._parts(stand.best if options.patience else state.parameters)
        named = {name: part.numpy() for name, part in zip(self.cut.weights, weights, strict=True)}
        return FineTuned(kept_head, named, stand.history, stand.best_epoch if options.patience else None)

    def _descend(self, course: "_Course", stand: "_Stand") -> tuple["_Stand", State]:
        """Do the epochs that are left. Returns the last evaluation, and the state after the last step."""
        options, in_epoch, state = course.options, course.in_epoch, stand.state
        steps, begun = options.steps or 0, (stand.epochs - 1) * in_epoch
        ends = range(in_epoch, steps, in_epoch)
        left = [block for block in split_steps(steps, course.loop.steps_per_call, ends) if block[0] >= begun]
        if stand.has_lost_patience(options.patience, in_epoch):
            left = []
        with contextlib.closing(self._feed.sources(course.members, course.drawn, left)) as sources:
            for (first, end), source in zip(left, sources, strict=True):
                state, _, _ = course.loop.run(state, Sources(source), course.settings, first, end)
                if state.diverged >= 0:
                    raise _divergence(int(state.diverged), options)
                course.session.emit(FineTuningStepped(end, steps))
                if end % in_epoch == 0:
                    stand = self._evaluate(course, stand, state)
                    if stand.has_lost_patience(options.patience, in_epoch):
                        break
        return stand, state

    def _evaluate(self, course: "_Course", stand: "_Stand", state: State) -> "_Stand":
        """Evaluate the end of an epoch, tell of it, and keep it."""
        session, step = course.session, stand.epochs * course.in_epoch
        batch = course.drawn(course.members, max(0, step - 1))[: course.options.batch_size]
        trained = self._figures(state.parameters, batch)
        tested = self._figures(state.parameters, course.validation) if len(course.validation) else (None, None)
        if not all(map(math.isfinite, (trained[1], tested[1] or 0.0))):
            raise _divergence(step, course.options)
        stand = stand.after(EpochEnded(stand.epochs, *trained, *tested), state)
        session.emit(stand.history[-1])
        session.after_epoch(stand.history[-1].epoch, *self._parts(state.parameters))
        if session.checkpoint and stand.epochs > 1:  # not before the first epoch
            session.checkpoint.save(*stand.packed())
        return stand

    def _parts(self, parameters: Parameters) -> tuple[Head, Parameters]:
        """The head, and the weights of the layers above the cut."""
        parts = len(parameters) - len(self._weights)
        return head_of(parameters[:parts]), parameters[parts:]

    def _loop(self, options: TrainingOptions) -> DescentLoop:
        in_call = self._feed.steps_at_once(_STEPS_PER_CALL, int(options.batch_size or 1), _BYTES_PER_CALL)
        return DescentLoop(structure(dataclasses.replace(options, patience=None)), in_call, self._above)

    def _figures(self, parameters: Parameters, pictures: Numbers) -> tuple[float, float]:
        """Accuracy in [0, 1] and cross-entropy in nats of pictures."""
        head, weights = self._parts(parameters)
        vectors = self.bottlenecks(SomeVectors(self.data.vectors, pictures), weights)
        labels = self.data.labels[pictures]
        return mean_figures(judge(head, vectors, labels), labels)


@dataclass(frozen=True)
class _Course:
    """What stays the same from epoch to epoch."""

    loop: DescentLoop
    options: TrainingOptions
    settings: Settings
    members: Members  # of the training set, as tensors
    validation: Numbers
    in_epoch: int  # steps
    session: FineTuningSession

    def drawn(self, members: Members, first: int) -> NDArray[Any]:
        """The pictures in the batches of the steps from `first` on."""
        return self.loop.drawn(self.options.seed, members, first)


@dataclass(frozen=True)
class _Stand:
    """The state of fine-tuning after an evaluation."""

    state: State
    best: Parameters  # from the evaluation with the lowest validation cross-entropy
    best_epoch: int = 0
    best_loss: float = math.inf
    history: list[EpochEnded] = dataclasses.field(default_factory=list)

    @property
    def epochs(self) -> int:
        """Number of evaluations so far, which is the number of the epoch in progress."""
        return len(self.history)

    def after(self, row: EpochEnded, state: State) -> "_Stand":
        """Return the state after one more evaluation."""
        history, loss = [*self.history, row], row.validation_cross_entropy
        if loss is not None and loss < self.best_loss:
            return _Stand(state, state.parameters, row.epoch, loss, history)
        return dataclasses.replace(self, state=state, history=history)

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
        groups = {"parameters": self.state.parameters, "averages": self.state.averages, "best": self.best}
        arrays = {f"{name}{i}": part.numpy() for name, parts in groups.items() for i, part in enumerate(parts)}
        return note, arrays

    @classmethod
    def unpacked(cls, note: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> "_Stand":
        """Undo `packed`."""

        def group(name: str) -> Parameters:
            return tuple(tf.constant(arrays[f"{name}{i}"]) for i in range(len(arrays)) if f"{name}{i}" in arrays)

        parameters = group("parameters")
        nothing = (tf.constant(math.inf), tf.constant(0), tf.constant(0), tf.constant(-1))
        loss = math.inf if note["best_loss"] is None else note["best_loss"]
        history = [EpochEnded(**row) for row in note["history"]]
        state = State(parameters, group("averages"), (), *nothing)
        return cls(state, group("best"), note["best_epoch"], loss, history)


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
        return LabelledBottlenecks(
            self._tuner.bottlenecks(activations.vectors), activations.labels, activations.origins
        )

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
            "versions": [retrain.__version__, tf.__version__],
        }
        digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
        for array in (
            *(part for layer in head.layers for part in (layer.weights, layer.biases)),
            *(self._data.keys, self._data.labels, members["train"], members["validation"]),
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
