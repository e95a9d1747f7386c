"""The options of pass two."""

import dataclasses
import math
from collections.abc import Sequence
from typing import ClassVar

from retrain.errors import UsageError
from retrain.options.fields import Checked, flag_of, option
from retrain.text import listing

__all__ = ["DEFAULT_BATCH_SIZE", "DEFAULT_STEPS", "OPTIMIZERS", "TrainingOptions"]

OPTIMIZERS = ("gradient-descent", "adam", "lbfgs")

DEFAULT_STEPS, DEFAULT_BATCH_SIZE = 4000, 100  # of the original program
_LOWEST_WEIGHT = 1e-4  # of a picture in the loss


@dataclasses.dataclass(frozen=True)
class TrainingOptions(Checked):
    """Pass two: the softmax layer over random batches of bottlenecks."""

    optimizer: str = option(
        "gradient-descent",
        "gradient-descent (as in the original program), adam, or lbfgs, which uses all training pictures in every step "
        "and stops when the loss no longer falls",
        choices=OPTIMIZERS,
        common=True,
    )
    steps: int | None = option(
        None, "training steps; with lbfgs, at most this many (default: 4000)", metavar="N", common=True
    )
    epochs: float | None = option(
        None,
        "train for this many passes over the training pictures, instead of --steps; with lbfgs, a step is a pass",
        metavar="N",
    )
    batch_size: int | None = option(None, "pictures in a training batch (default: 100)", metavar="N")
    learning_rate: float | None = option(
        None, "learning rate (default: 0.01; with adam 0.001; lbfgs finds its own)", metavar="RATE"
    )
    l1: float = option(0.0, "L1 penalty: this times the sum of the weights' absolute values", metavar="STRENGTH")
    l2: float | None = option(
        None,
        "L2 penalty: half of this times the sum of the squared weights (default: 0; with lbfgs 1 / training pictures)",
        metavar="STRENGTH",
    )
    dropout: float = option(
        0.0,
        "share of each trained layer's inputs to drop at random during training",
        metavar="SHARE",
    )
    label_smoothing: float = option(
        0.0, "share of each label to spread evenly over all classes during training", metavar="SHARE"
    )
    hidden_units: int = option(
        0, "ReLU units in a hidden layer between the bottleneck and the softmax layer; 0: no hidden layer", metavar="N"
    )
    sampling: str | None = option(
        None,
        "how to draw a picture of a batch: class-balanced, a class first and then one of its pictures, as in the "
        "original program; or uniform, any picture (default: class-balanced; with --class-weight or --multi-label, "
        "uniform)",
        choices=("class-balanced", "uniform"),
    )
    class_weight: str = option(
        "none",
        "balanced: give pictures of small classes more weight in the loss, instead of drawing them more often; or "
        "weights of labels, as in roses=2,tulips=0.5: each picture counts as so many, those of other labels as one; "
        "with --multi-label, both weigh the pictures that have a label against those that do not",
        metavar="none|balanced|LABEL=WEIGHT,...",
    )
    patience: int | None = option(
        None,
        "stop when the validation cross-entropy has not improved for N steps, and keep the best weights; evaluations "
        "then use all validation pictures (at most 10,000), with lbfgs after every step (default: take all steps and "
        "keep the last weights)",
        metavar="N",
    )
    eval_step_interval: int = option(
        10, "evaluate on the training batch and on a validation batch every N steps", metavar="N"
    )
    validation_batch_size: int = option(
        100,
        "pictures in a random validation batch; -1: all of them (at most 10,000; always so with lbfgs)",
        metavar="N",
    )
    max_memory: int | None = option(
        None,
        "read bottlenecks from the cache's files at every step if they take more memory than this (default: half of "
        "the machine's memory)",
        metavar="MIB",
    )
    seed: int = option(
        0,
        "random seed: the same seed and pictures give the same weights on machines with the same number of cores",
        metavar="N",
    )

    RANGES: ClassVar = {
        "steps": (1, 2**31 - 1),
        "epochs": (1e-6, 1e6),
        "batch_size": (1, 1_000_000),
        "learning_rate": (1e-12, 1e6),
        "l1": (0, 1e6),
        "l2": (0, 1e6),
        "dropout": (0, 0.99),
        "label_smoothing": (0, 0.99),
        "hidden_units": (0, 8192),
        "patience": (1, 2**31 - 1),
        "eval_step_interval": (1, 2**31 - 1),
        "validation_batch_size": (-1, 1_000_000),
        "max_memory": (0, None),
        "seed": (0, 2**31 - 1),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_length()
        if self.validation_batch_size == 0:
            raise UsageError("--validation-batch-size 0: must be at least 1, or -1 for all validation pictures")
        _ = self.label_weights
        if self.class_weight != "none" and self.sampling == "class-balanced":
            why = "would make up for small classes twice"
            if self.class_weight != "balanced":
                why = "would have no effect, since that draws every class equally often"
            raise UsageError(
                f"--class-weight {self.class_weight} with --sampling class-balanced {why}: leave one of them out"
            )
        if self.optimizer == "lbfgs":
            for name in ("dropout", "learning_rate", "batch_size"):
                if getattr(self, name):
                    raise UsageError(
                        f"{flag_of(name)} is for training in batches, and --optimizer lbfgs uses all pictures in every "
                        "step: leave one of them out"
                    )

    def _check_length(self) -> None:
        if self.steps is not None and self.epochs is not None:
            raise UsageError("--steps and --epochs both say how long to train: leave one of them out")

    @property
    def label_weights(self) -> dict[str, float]:
        """Label -> how many pictures each of its pictures counts as. Empty unless --class-weight names labels."""
        if self.class_weight in ("none", "balanced"):
            return {}
        weights: dict[str, float] = {}
        for pair in self.class_weight.split(","):
            label, _, number = pair.rpartition("=")
            try:
                weight = float(number)
            except ValueError:
                weight = 0.0
            if not label or not _LOWEST_WEIGHT <= weight <= 1 / _LOWEST_WEIGHT or label in weights:
                raise UsageError(
                    f"--class-weight {self.class_weight}: expected none, balanced, or each label once with a weight "
                    f"from {_LOWEST_WEIGHT:g} to {1 / _LOWEST_WEIGHT:g}, as in roses=2,tulips=0.5; found {pair!r}"
                )
            weights[label] = weight
        return weights

    def weights_of(self, labels: Sequence[str]) -> list[float] | None:
        """The weights that --class-weight gives to labels, in their order; None if it names none.

        Raises UsageError if it names one that is not among them.
        """
        weights = self.label_weights
        unknown = [label for label in weights if label not in labels]
        if unknown:
            raise UsageError(
                f"--class-weight names {listing(unknown)}, and the labels are {listing(labels)}: name some of these"
            )
        return [weights.get(label, 1.0) for label in labels] if weights else None

    def passes(self, steps: int, pictures: int) -> float:
        """How many passes over the training pictures a number of steps makes, on average."""
        return float(steps) if self.optimizer == "lbfgs" else steps * (self.batch_size or DEFAULT_BATCH_SIZE) / pictures

    def steps_of(self, epochs: float, pictures: int) -> int:
        """The fewest steps that make a number of passes over the training pictures."""
        # the rounding keeps 1.1 x 100 pictures / 10 at 11
        return max(1, math.ceil(round(epochs / self.passes(1, pictures), 6)))

    def with_steps(self, pictures: int) -> "TrainingOptions":
        """The same, with the steps filled in that --epochs, or the default, means for a number of training pictures.

        Once filled in, the steps stay: an epoch can be one of pictures even if training counts several rows for each.
        """
        meant = DEFAULT_STEPS if self.epochs is None else self.steps_of(self.epochs, pictures)
        steps = meant if self.steps is None else self.steps
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return _FilledIn(**(values | {"steps": steps}))

    def resolved(self, pictures: int) -> "TrainingOptions":
        """The same, with all defaults filled in that depend on other options or on the number of training pictures."""
        rates = {"gradient-descent": 0.01, "adam": 0.001, "lbfgs": None}
        in_batches = self.optimizer != "lbfgs"
        return dataclasses.replace(
            self.with_steps(pictures),
            batch_size=self.batch_size or (DEFAULT_BATCH_SIZE if in_batches else None),
            learning_rate=self.learning_rate or rates[self.optimizer],
            l2=self.l2 if self.l2 is not None else (0.0 if in_batches else 1 / pictures),
            sampling=self.sampling or ("class-balanced" if self.class_weight == "none" else "uniform"),
        )


class _FilledIn(TrainingOptions):
    """Options that have both --epochs and the steps that these come to."""

    def _check_length(self) -> None:
        pass
