"""What is said of a model that follows its folder: how good it is now, and what changed since the last one.

Plain data, which `retrain watch` prints and the studio's page shows.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from retrain.evaluation import mcnemar_p_value
from retrain.paths import utf8_path
from retrain.text import counted, listing

__all__ = [
    "ClassChange",
    "CopiesAcrossSets",
    "CurveStep",
    "LiveChanges",
    "LiveClass",
    "LiveFigure",
    "LivePicture",
    "LiveReport",
    "Suspect",
    "changes_between",
]

_LEVEL = 0.05  # p-values below it count as a difference, as in `retrain compare`
_MOST_CLASSES_NAMED = 3
_SMALLEST_POINTS = 0.05  # a difference that is not shown as 0.0


@dataclass(frozen=True, slots=True)
class LivePicture:
    """A readable picture, and what the model says of it."""

    path: str  # relative to the image folder, with /
    set: str  # train, validation or test; "" while there is no model
    label: str
    key: str  # SHA-256 of the file, hexadecimal; "" while there is no model
    # what a head that never saw the picture says, if the figure is cross-validated; else what the model's head says.
    # None while there is no model, and for a picture that cross-validation leaves out
    answer: str | None = None
    score: float | None = None  # of the answer, in [0, 1]
    is_tested: bool = False  # whether the figures count it: copies count once

    @property
    def is_right(self) -> bool:
        """Whether the answer is the label."""
        return self.answer == self.label


@dataclass(frozen=True)
class LiveClass:
    """A class, and how often its tested pictures get their label."""

    label: str
    folder: str  # name of the class folder
    train: int  # pictures, copies included
    validation: int
    test: int
    tested: int = 0  # different pictures that the figures are of
    right: int = 0  # of these

    @property
    def pictures(self) -> int:
        """In all sets."""
        return self.train + self.validation + self.test

    @property
    def recall(self) -> float | None:
        """In [0, 1]; None if none was tested."""
        return self.right / self.tested if self.tested else None


@dataclass(frozen=True)
class LiveFigure:
    """How good a model is."""

    version: int  # of the report that it is from
    accuracy: float  # in [0, 1]
    interval: tuple[float, float]  # 95% (Wilson)
    pictures: int  # different ones that were tested, >= 1
    how: str  # "test set", or "cross-validated in 5 folds"


@dataclass(frozen=True)
class CurveStep:
    """The figures in the middle of training, as in history.csv."""

    step: int
    train_accuracy: float
    validation_accuracy: float | None


@dataclass(frozen=True)
class ClassChange:
    """By how much a class is better."""

    label: str
    points: float  # percentage points of recall


@dataclass(frozen=True)
class LiveChanges:
    """What changed since the last model: in the folder, and in what the model says."""

    sentence: str  # "3 relabelled; tulips +2.1 points; 3 pictures now right, 1 now wrong (may be chance)"
    added: int = 0  # pictures
    removed: int = 0
    relabelled: int = 0
    classes: tuple[ClassChange, ...] = ()  # the largest difference first; only classes that were tested before and now
    now_right: tuple[str, ...] = ()  # paths of pictures that both models were tested on, under the same label
    now_wrong: tuple[str, ...] = ()
    p_value: float = 1.0  # of McNemar's exact test
    is_comparable: bool = True  # False: the two figures are measured in different ways, and nothing above follows

    @property
    def may_be_chance(self) -> bool:
        """Whether so many differences would often come if both models were equally good."""
        return self.p_value >= _LEVEL


@dataclass(frozen=True)
class Suspect:
    """A picture whose label is improbable to a head that never saw it."""

    path: str
    label: str
    suggested: str
    why: str  # "looks like roses (0.93), not tulips (0.02)"


@dataclass(frozen=True)
class CopiesAcrossSets:
    """Pictures that show the same, and are in different sets: what was trained on is tested."""

    paths: tuple[str, ...]
    sets: tuple[str, ...]  # of each
    why: str


@dataclass(frozen=True)
class LiveReport:
    """The model of a folder as it is now."""

    version: int  # 1, 2, ... : of the reports of a LiveModel
    labels: tuple[str, ...] = ()
    problem: str | None = None  # why there is no model
    classes: tuple[LiveClass, ...] = ()  # in the order of labels
    headline: LiveFigure | None = None  # None if there is no model, or no picture to test it on
    history: tuple[LiveFigure, ...] = ()  # headlines so far, this one last
    curve: tuple[CurveStep, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()  # [true label][answer] tested pictures
    confused: Mapping[tuple[int, int], tuple[str, ...]] = field(default_factory=dict)  # (true, answer) -> paths
    pictures: tuple[LivePicture, ...] = ()  # sorted by path
    changes: LiveChanges | None = None  # None: there is no model to compare with
    # what takes longer; None: not looked for yet
    suspects: tuple[Suspect, ...] | None = None  # the most improbable label first
    copies_across_sets: tuple[CopiesAcrossSets, ...] | None = None
    skipped: Mapping[str, str] = field(default_factory=dict)  # path -> why it can't be read
    waiting: tuple[str, ...] = ()  # paths of files that are still being written; they are looked at again
    warnings: tuple[str, ...] = ()
    extracted: int = 0  # pictures that went through the network
    timings: Mapping[str, float] = field(default_factory=dict)  # stage -> seconds; "total" is all of them

    def as_dict(self) -> dict[str, Any]:
        """For JSON: all but the list of pictures and the matrix, which can be large."""
        changes = self.changes
        return {
            "version": self.version,
            "problem": self.problem,
            "pictures": len(self.pictures),
            "classes": [asdict(found) | {"recall": found.recall} for found in self.classes],
            "accuracy": self.headline and asdict(self.headline),
            "changes": changes
            and asdict(changes)
            | {
                "now_right": [*map(utf8_path, changes.now_right)],
                "now_wrong": [*map(utf8_path, changes.now_wrong)],
                "may_be_chance": changes.may_be_chance,
            },
            "skipped": {utf8_path(path): reason for path, reason in self.skipped.items()},
            "waiting": [*map(utf8_path, self.waiting)],
            "warnings": [*self.warnings],
            "extracted": self.extracted,
            "timings": {name: round(seconds, 3) for name, seconds in self.timings.items()},
        }


def changes_between(before: LiveReport, after: LiveReport) -> LiveChanges:
    """What changed from one model to the next.

    Pictures are known by their content, so one that moved is the same. Those whose label changed say nothing about
    which model is better, and are left out of what is now right and wrong.
    """
    raise NotImplementedError
