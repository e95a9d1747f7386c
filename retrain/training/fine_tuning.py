"""Fine-tuning: the top of the backbone is trained, too, from cached activations of what stays as it is.

What makes fine-tuning slow is to run the frozen lower part again and again; here it runs once for each picture.
"""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrain._tensorflow import tf
from retrain.backbones.graph import Trunk
from retrain.backbones.graph_cut import Cut, part_above
from retrain.cache.segments import new_vectors
from retrain.cache.vectors import LabelledBottlenecks, SomeVectors, VectorSource
from retrain.errors import TrainingError, UsageError
from retrain.evaluation.metrics import judge, mean_figures
from retrain.events import Emit, EpochEnded, FineTuningStepped, ignore
from retrain.model.head import Head
from retrain.options import FineTuningOptions, TrainingOptions
from retrain.training.batches import Feed, members_of
from retrain.training.checkpoint import CheckpointFile
from retrain.training.gradient_descent import DescentLoop, Settings, State, structure
from retrain.training.head_trainer import some_of, split_steps
from retrain.training.loss import Parameters, class_weights, head_of, parameters_of

__all__ = ["FineTuned", "FineTuner", "FineTuningSession", "fine_tuning_options"]

Numbers = NDArray[np.int64]

_STEPS_PER_CALL = 8  # about a second's work
_ROWS_AT_ONCE = 128  # activations that go through the upper part at once where nothing is trained
_NEVER = 2**31 - 1
_BYTES_PER_CALL = 64 * 2**20  # of activations that are read from files for one call of the loop


@dataclass(frozen=True)
class FineTuningSession:
    """Who is told of fine-tuning, and where it keeps what it has done."""

    emit: Emit = ignore
    # after every evaluation, with the epoch's number, the head and the weights then
    after_epoch: Callable[[int, Head, Sequence[Any]], None] = lambda epoch, head, weights: None
    on_resume: Callable[[list[EpochEnded]], None] = lambda history: None  # it goes on after these evaluations
    checkpoint: CheckpointFile | None = None


@dataclass(frozen=True)
class FineTuned:
    """What fine-tuning gives."""

    head: Head
    weights: dict[str, NDArray[np.float32]]  # constants of the trunk -> what they are now
    history: list[EpochEnded]
    best_epoch: int | None  # with patience: the one whose weights were kept


def fine_tuning_options(training: TrainingOptions, options: FineTuningOptions, pictures: int) -> TrainingOptions:
    """How the head and the layers below it are trained together: as the head was, but for what `options` say.

    Args:
        training: of the head. L-BFGS, which has no batches, gives way to Adam.
        pictures: that are trained on, distorted copies not counted.
    Raises UsageError for more steps than can be counted.
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
    """The part of a network above a cut, and the activations there.

    Args:
        trunk: the network.
        cut: of it.
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
        # a function of its own, so that its gradient is found once, whatever calls it
        self._above = tf.function(above, input_signature=[spec, specs], autograph=False)

    def bottlenecks(self, data: VectorSource, weights: Iterable[Any] | None = None) -> NDArray[np.float32]:
        """The bottlenecks (n, d) of activations (n, size).

        Args:
            weights: of the layers above the cut, in its order; those of the trunk where left out.
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

        With a checkpoint, training goes on after the last epoch that was kept there, and ends with the same weights,
        bit for bit, as if it had never stopped.

        Args:
            head: trained on the bottlenecks of the layers as they are.
            train: (m,) numbers of pictures; their distorted copies, where there are any, are trained on, too.
            validation: (v,) numbers of pictures; may be none.
            options: from `fine_tuning_options`; the same give the same weights. With patience, training stops once the
                validation cross-entropy has not come down for as many steps, at the end of an epoch, and the weights
                of the best epoch are kept: those from before the first, perhaps.
        Raises TrainingError where training diverges.
        """
        loop = self._loop(options)
        settings = Settings.of(options, class_weights(self.data.labels[train], self.classes))
        state = loop.start((*parameters_of(head), *map(tf.constant, self._weights)))
        members = members_of(self.data.with_copies(train), self.data.labels).as_tensors()
        drawn = partial(loop.drawn, options.seed)
        validation = some_of(validation, options.seed)
        in_epoch = math.ceil(len(train) / int(options.batch_size or 1))

        def evaluate(stand: _Stand, state: State) -> _Stand:
            batch = drawn(members, max(0, stand.epochs * in_epoch - 1))[: options.batch_size]
            trained = self._figures(state.parameters, batch)
            tested = self._figures(state.parameters, validation) if len(validation) else (None, None)
            if not all(map(math.isfinite, (trained[1], tested[1] or 0.0))):
                raise _divergence(stand.epochs * in_epoch, options)
            stand = stand.after(EpochEnded(stand.epochs, *trained, *tested), state)
            session.emit(stand.history[-1])
            session.after_epoch(stand.history[-1].epoch, *self._parts(state.parameters))
            if session.checkpoint and stand.epochs > 1:  # an epoch is done
                session.checkpoint.save(*stand.packed())
            return stand

        kept = session.checkpoint.load() if session.checkpoint else None
        if kept:
            stand = _Stand.unpacked(*kept)
            session.on_resume(stand.history)
        else:
            stand = evaluate(_Stand(state, state.parameters), state)
        state, steps = stand.state, options.steps or 0
        ends, begun = range(in_epoch, steps, in_epoch), (stand.epochs - 1) * in_epoch
        left = [block for block in split_steps(steps, loop.steps_per_call, ends) if block[0] >= begun]
        if stand.has_lost_patience(options.patience, in_epoch):
            left = []
        with contextlib.closing(self._feed.sources(members, drawn, left)) as sources:
            for (first, end), source in zip(left, sources, strict=True):
                state, _, _ = loop.run(state, source, None, settings, first, end)
                if state.diverged >= 0:
                    raise _divergence(int(state.diverged), options)
                session.emit(FineTuningStepped(end, steps))
                if end % in_epoch == 0:
                    stand = evaluate(stand, state)
                    if stand.has_lost_patience(options.patience, in_epoch):
                        break
        kept_head, weights = self._parts(stand.best if options.patience else state.parameters)
        named = {name: part.numpy() for name, part in zip(self.cut.weights, weights, strict=True)}
        return FineTuned(kept_head, named, stand.history, stand.best_epoch if options.patience else None)

    def _parts(self, parameters: Parameters) -> tuple[Head, Parameters]:
        """The head, and the weights of the layers above the cut."""
        parts = len(parameters) - len(self._weights)
        return head_of(parameters[:parts]), parameters[parts:]

    def _loop(self, options: TrainingOptions) -> DescentLoop:
        in_call = self._feed.steps_at_once(_STEPS_PER_CALL, int(options.batch_size or 1), _BYTES_PER_CALL)
        return DescentLoop(structure(dataclasses.replace(options, patience=None)), in_call, self._above)

    def _figures(self, parameters: Parameters, pictures: Numbers) -> tuple[float, float]:
        """Accuracy and cross-entropy of pictures."""
        head, weights = self._parts(parameters)
        vectors = self.bottlenecks(SomeVectors(self.data.vectors, pictures), weights)
        labels = self.data.labels[pictures]
        return mean_figures(judge(head, vectors, labels), labels)


@dataclass(frozen=True)
class _Stand:
    """Where fine-tuning stands after an evaluation."""

    state: State
    best: Parameters  # those of the evaluation with the lowest validation cross-entropy
    best_epoch: int = 0
    best_loss: float = math.inf
    history: list[EpochEnded] = dataclasses.field(default_factory=list)

    @property
    def epochs(self) -> int:
        """Evaluations that are done: the number of the epoch that ends with the next one."""
        return len(self.history)

    def after(self, row: EpochEnded, state: State) -> "_Stand":
        """Where it stands after one more evaluation."""
        history, loss = [*self.history, row], row.validation_cross_entropy
        if loss is not None and loss < self.best_loss:
            return _Stand(state, state.parameters, row.epoch, loss, history)
        return dataclasses.replace(self, state=state, history=history)

    def has_lost_patience(self, patience: int | None, in_epoch: int) -> bool:
        """Whether as many steps have passed since the best evaluation."""
        return bool(patience) and (self.history[-1].epoch - self.best_epoch) * in_epoch >= (patience or 0)

    def packed(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """A note for JSON, and arrays."""
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
        """What `packed` gave."""

        def group(name: str) -> Parameters:
            return tuple(tf.constant(arrays[f"{name}{i}"]) for i in range(len(arrays)) if f"{name}{i}" in arrays)

        parameters = group("parameters")
        nothing = (tf.constant(math.inf), tf.constant(0), tf.constant(0), tf.constant(-1))
        loss = math.inf if note["best_loss"] is None else note["best_loss"]
        history = [EpochEnded(**row) for row in note["history"]]
        state = State(parameters, group("averages"), (), *nothing)
        return cls(state, group("best"), note["best_epoch"], loss, history)


def _divergence(step: int, options: TrainingOptions) -> TrainingError:
    rate = float(options.learning_rate or 0)
    return TrainingError(
        f"fine-tuning diverged at step {step}: the loss is no number any more; at --fine-tune-learning-rate {rate:g}; "
        f"try {rate / 10:g}"
    )
