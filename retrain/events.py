"""What a run tells as it goes on: progress, warnings and results, in one stream.

Every function that takes long has a parameter `emit`, and calls it with events: frozen dataclasses of plain data. Who
wants to know of some looks at their types:

    def show(event: Event) -> None:
        match event:
            case Warned(message):
                print(message)
            case Extracted(pictures=total, done=done):
                print(f"{done} of {total}")

    retrain.train("photos", emit=show)

What `emit` raises ends the run.
"""

from collections.abc import Callable
from dataclasses import dataclass

__all__ = [
    "Emit",
    "EpochEnded",
    "Evaluated",
    "Event",
    "Extracted",
    "FineTuningStepped",
    "FoldTested",
    "Inspected",
    "Noted",
    "Prepared",
    "Reported",
    "StageBegan",
    "Stepped",
    "TrainingBegan",
    "TryTested",
    "Warned",
    "ignore",
]


@dataclass(frozen=True)
class Event:
    """Something that happened in a run."""


Emit = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Take an event and do nothing with it."""


# of any stage


@dataclass(frozen=True)
class Warned(Event):
    """Something that the user should know."""

    message: str


@dataclass(frozen=True)
class Noted(Event):
    """Something that the user may like to know."""

    message: str


@dataclass(frozen=True)
class StageBegan(Event):
    """A stage of the run begins: extraction, tuning, training, fine-tuning, evaluation or export."""

    name: str


# before training


@dataclass(frozen=True)
class Inspected(Event):
    """Files were read without being extracted."""

    done: int
    total: int


@dataclass(frozen=True)
class Prepared(Event):
    """Work that comes before pass one went on."""

    what: str  # in the words to show: "quantising"
    done: int  # pictures
    total: int


@dataclass(frozen=True)
class Extracted(Event):
    """Pass one went on.

    Where it makes distorted copies, copies are counted: for every file as many as are made of it.
    """

    pictures: int  # files to look at
    done: int = 0  # files dealt with: cached, extracted or skipped
    extracted: int = 0  # pictures that went through the backbone
    seconds: float = 0.0  # since the backbone was ready
    counts_copies: bool = False


# of training


@dataclass(frozen=True)
class TryTested(Event):
    """The search for options has tested one try on one more fold."""

    done: int  # folds of all tries that were tested
    planned: int
    optimizer: str
    learning_rate: float | None  # None with lbfgs
    l2: float
    folds: int = 0  # that this try was tested on
    accuracy: float | None = None  # mean over these, in [0, 1]
    cross_entropy: float | None = None  # mean over these, nats
    error: str | None = None  # why the try failed
    measure: str = "accuracy"  # what `accuracy` is: of pictures with several labels, mAP


@dataclass(frozen=True)
class FoldTested(Event):
    """Cross-validation has tested a fold."""

    fold: int  # from 1 on
    folds: int
    pictures: int  # in this fold, copies counted once
    accuracy: float | None  # in [0, 1]
    cross_entropy: float | None  # nats
    measure: str = "accuracy"  # what `accuracy` is: of pictures with several labels, mAP


@dataclass(frozen=True)
class TrainingBegan(Event):
    """Training of the head begins."""

    pictures: int  # that it is trained on
    steps: int
    epochs: float | None  # where the length was given in epochs
    batch_size: int  # pictures in a step: all of them with lbfgs
    measure: str = "accuracy"  # what accuracies are: of pictures with several labels, exact match


@dataclass(frozen=True)
class Stepped(Event):
    """Training of a head went on."""

    done: int  # steps


@dataclass(frozen=True)
class Evaluated(Event):
    """The head was evaluated after a step's update, on its training batch and on validation pictures."""

    step: int  # from 0 on
    train_accuracy: float  # in [0, 1]; of several labels, the share of pictures with exactly the right ones at 0.5
    train_cross_entropy: float  # nats
    validation_accuracy: float | None  # the same; None without validation pictures
    validation_cross_entropy: float | None


@dataclass(frozen=True)
class FineTuningStepped(Event):
    """Fine-tuning went on; about every second."""

    done: int
    steps: int


@dataclass(frozen=True)
class EpochEnded(Event):
    """An epoch of fine-tuning was evaluated, without dropout: its last batch, and the validation pictures.

    Epoch 0 is before the first one; its batch is the first that is drawn.
    """

    epoch: int
    train_accuracy: float  # in [0, 1]
    train_cross_entropy: float  # nats
    validation_accuracy: float | None  # of 10,000 at most; None without validation pictures
    validation_cross_entropy: float | None


# after training


@dataclass(frozen=True)
class Reported(Event):
    """Work for the report, or on a file of vectors, went on."""

    what: str  # in the words to show: "training heads", "writing vectors"
    done: int
    total: int
