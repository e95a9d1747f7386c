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

from retrain.batches import Feed, members_of
from retrain.config import FineTuningOptions, TrainingOptions
from retrain.descent import DescentLoop, Settings, structure
from retrain.errors import TrainingError, UsageError
from retrain.evaluation import judge, mean_figures
from retrain.graph_cut import Cut, part_above
from retrain.head import Head
from retrain.objective import Parameters, class_weights, head_of, parameters_of
from retrain.quiet import tf
from retrain.segments import new_vectors
from retrain.training import some_of, split_steps
from retrain.trunk import Trunk
from retrain.vectors import LabelledBottlenecks, SomeVectors, VectorSource

__all__ = ["FineTuned", "FineTuner", "FineTuningRow", "fine_tuning_options"]

Numbers = NDArray[np.int64]

_STEPS_PER_CALL = 8  # about a second's work
_ROWS_AT_ONCE = 128  # activations that go through the upper part at once where nothing is trained
_NEVER = 2**31 - 1
_BYTES_PER_CALL = 64 * 2**20  # of activations that are read from files for one call of the loop


@dataclass(frozen=True)
class FineTuningRow:
    """The evaluation after an epoch, without dropout: of its last batch, and of the validation pictures.

    Epoch 0 is before the first one; its batch is the first that is drawn.
    """

    epoch: int
    train_accuracy: float  # in [0, 1]
    train_cross_entropy: float  # nats
    validation_accuracy: float | None  # of 10,000 at most; None without validation pictures
    validation_cross_entropy: float | None


@dataclass(frozen=True)
class FineTuned:
    """What fine-tuning gives."""

    head: Head
    weights: dict[str, NDArray[np.float32]]  # constants of the trunk -> what they are now
    history: list[FineTuningRow]
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
        on_epoch: Callable[[FineTuningRow, Head, Sequence[Any]], None] = lambda row, head, weights: None,
        on_progress: Callable[[int, int], None] = lambda done, steps: None,
    ) -> FineTuned:
        """Train the layers above the cut and the head together.

        Args:
            head: trained on the bottlenecks of the layers as they are.
            train: (m,) numbers of pictures; their distorted copies, where there are any, are trained on, too.
            validation: (v,) numbers of pictures; may be none.
            options: from `fine_tuning_options`; the same give the same weights. With patience, training stops once the
                validation cross-entropy has not come down for as many steps, at the end of an epoch, and the weights
                of the best epoch are kept: those from before the first, perhaps.
            on_epoch: called with every evaluation, and the head and the weights then.
            on_progress: called with the steps that are done, and all steps, about every second.
        Raises TrainingError where training diverges.
        """
        patience = options.patience
        loop = self._loop(options)
        settings = Settings.of(options, class_weights(self.data.labels[train], self.classes))
        state = loop.start((*parameters_of(head), *map(tf.constant, self._weights)))
        members = members_of(self.data.with_copies(train), self.data.labels).as_tensors()
        drawn = partial(loop.drawn, options.seed)
        validation = some_of(validation, options.seed)
        parts = len(state.parameters) - len(self._weights)
        in_epoch = math.ceil(len(train) / int(options.batch_size or 1))
        history: list[FineTuningRow] = []
        best: tuple[float, int, Parameters] = (math.inf, 0, state.parameters)

        def evaluate(epoch: int) -> None:
            nonlocal best
            batch = drawn(members, max(0, epoch * in_epoch - 1))[: options.batch_size]
            trained = self._figures(state.parameters, batch)
            tested = self._figures(state.parameters, validation) if len(validation) else (None, None)
            loss = tested[1]
            if not all(map(math.isfinite, (trained[1], loss or 0.0))):
                raise _divergence(epoch * in_epoch, options)
            history.append(FineTuningRow(epoch, *trained, *tested))
            on_epoch(history[-1], head_of(state.parameters[:parts]), state.parameters[parts:])
            if loss is not None and loss < best[0]:
                best = (loss, epoch, state.parameters)

        evaluate(0)
        steps = options.steps or 0
        ends = range(in_epoch, steps, in_epoch)
        blocks, ahead = (split_steps(steps, loop.steps_per_call, ends) for _ in range(2))
        with contextlib.closing(self._feed.sources(members, drawn, ahead)) as sources:
            for (first, end), source in zip(blocks, sources, strict=True):
                state, _, _ = loop.run(state, source, None, settings, first, end)
                if state.diverged >= 0:
                    raise _divergence(int(state.diverged), options)
                on_progress(end, steps)
                if end % in_epoch == 0:
                    evaluate(end // in_epoch)
                    if patience and (history[-1].epoch - best[1]) * in_epoch >= patience:
                        break
        parameters = best[2] if patience else state.parameters
        weights = {name: part.numpy() for name, part in zip(self.cut.weights, parameters[parts:], strict=True)}
        return FineTuned(head_of(parameters[:parts]), weights, history, best[1] if patience else None)

    def _loop(self, options: TrainingOptions) -> DescentLoop:
        in_call = self._feed.steps_at_once(_STEPS_PER_CALL, int(options.batch_size or 1), _BYTES_PER_CALL)
        return DescentLoop(structure(dataclasses.replace(options, patience=None)), in_call, self._above)

    def _figures(self, parameters: Parameters, pictures: Numbers) -> tuple[float, float]:
        """Accuracy and cross-entropy of pictures."""
        parts = len(parameters) - len(self._weights)
        vectors = self.bottlenecks(SomeVectors(self.data.vectors, pictures), parameters[parts:])
        labels = self.data.labels[pictures]
        return mean_figures(judge(head_of(parameters[:parts]), vectors, labels), labels)


def _divergence(step: int, options: TrainingOptions) -> TrainingError:
    rate = float(options.learning_rate or 0)
    return TrainingError(
        f"fine-tuning diverged at step {step}: the loss is no number any more; at --fine-tune-learning-rate {rate:g}; "
        f"try {rate / 10:g}"
    )
