"""What is said of a model that follows its folder: how good it is now, and what changed since the last one.

Plain data, which `retrain watch` prints and the studio's page shows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrain.data import LabelledPictures
from retrain.evaluation import find_label_errors, mcnemar_p_value, wilson_interval
from retrain.paths import utf8_path
from retrain.report.held_out import FoldHeads
from retrain.report.judged import JudgedPictures
from retrain.text import counted, listing

__all__ = [
    "Answers",
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
    "live_report",
    "suspects_of",
    "untrained_report",
]

_LEVEL = 0.05  # p-values below it count as a difference, as in `retrain compare`
_MOST_CLASSES_NAMED = 3
_MOST_HISTORY = 500  # models
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
    history: tuple[LiveFigure, ...] = ()  # headlines of the last 500 models, this one last
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
    model_dir: str | None = None  # where this model was written

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
            "model_dir": self.model_dir and utf8_path(self.model_dir),
            "timings": {name: round(seconds, 3) for name, seconds in self.timings.items()},
        }


@dataclass(frozen=True)
class Answers:
    """What the figures of a report are of."""

    numbers: NDArray[np.int64]  # (t,) of the pictures, without copies
    answers: NDArray[np.int64]  # (n,) the label that each picture of the folder gets; -1: none
    scores: NDArray[np.float64]  # (n,) of the answers
    how: str  # "test set", or "cross-validated in 5 folds"


def live_report(
    version: int, judged: JudgedPictures, tested: Answers, folders: Sequence[str], before: LiveReport | None
) -> LiveReport:
    """The report of a model: what can be said within milliseconds.

    Args:
        folders: names of the class folders, in the order of the labels.
        before: of the last model.
    """
    names, labels = judged.names, judged.labels
    own, answers = labels[tested.numbers], tested.answers[tested.numbers]
    count = len(names)
    matrix = np.bincount(own.astype(np.int64) * count + answers, minlength=count * count).reshape(count, count)
    right, total = int(np.trace(matrix)), len(own)
    headline = None
    if total:
        headline = LiveFigure(version, right / total, wilson_interval(right, total), total, tested.how)
    report = LiveReport(
        version,
        labels=names,
        classes=_classes(judged, folders, matrix),
        headline=headline,
        history=(*(before.history if before else ()), *([headline] if headline else []))[-_MOST_HISTORY:],
        confusion=tuple(map(tuple, matrix.tolist())),
        confused=_confused(judged, tested),
        pictures=_pictures(judged, tested),
    )
    return report if before is None else replace(report, changes=changes_between(before, report))


def untrained_report(
    version: int, problem: str, folder: LabelledPictures | None, before: LiveReport | None
) -> LiveReport:
    """The report of a folder that can't be trained, with its pictures as far as they are known.

    Args:
        folder: None if it can't be listed.
        before: of the last model, whose history goes on.
    """
    history = before.history if before else ()
    if folder is None:
        return LiveReport(version, problem=problem, history=history)
    counts = folder.counts()
    return LiveReport(
        version,
        labels=folder.class_names,
        problem=problem,
        classes=tuple(
            LiveClass(name, name, count, 0, 0) for name, count in zip(folder.class_names, counts, strict=True)
        ),
        pictures=tuple(LivePicture(sample.path, "", sample.class_name, "") for sample in folder.samples),
        history=history,
    )


def _classes(judged: JudgedPictures, folders: Sequence[str], matrix: NDArray[np.int64]) -> tuple[LiveClass, ...]:
    counts = [
        np.bincount(judged.labels[judged.sets == name], minlength=len(judged.names)).tolist()
        for name in ("train", "validation", "test")
    ]
    rows = zip(judged.names, folders, *counts, matrix.sum(axis=1).tolist(), np.diag(matrix).tolist(), strict=True)
    return tuple(LiveClass(*row) for row in rows)


def _confused(judged: JudgedPictures, tested: Answers) -> dict[tuple[int, int], tuple[str, ...]]:
    found: dict[tuple[int, int], list[str]] = {}
    wrong = tested.numbers[tested.answers[tested.numbers] != judged.labels[tested.numbers]]
    for number in wrong.tolist():
        cell = int(judged.labels[number]), int(tested.answers[number])
        found.setdefault(cell, []).append(judged.paths[number])
    return {cell: tuple(paths) for cell, paths in sorted(found.items())}


def _pictures(judged: JudgedPictures, tested: Answers) -> tuple[LivePicture, ...]:
    names: list[str | None] = [*judged.names, None]  # number -1 is the last
    is_tested = np.zeros(len(judged), bool)
    is_tested[tested.numbers] = True
    rows = zip(
        judged.paths,
        judged.sets.tolist(),
        judged.labels.tolist(),
        judged.keys,
        tested.answers.tolist(),
        tested.scores.tolist(),
        is_tested.tolist(),
        strict=True,
    )
    return tuple(
        LivePicture(path, set_, judged.names[label], key.tobytes().hex(), names[answer], score, counts)
        if answer >= 0
        else LivePicture(path, set_, judged.names[label], key.tobytes().hex())
        for path, set_, label, key, answer, score, counts in rows
    )


def suspects_of(judged: JudgedPictures, folds: FoldHeads | None) -> tuple[Suspect, ...]:
    """The labels that heads which never saw the picture find improbable, the most improbable first."""
    if folds is None:
        return ()
    errors, names = find_label_errors(folds.scores, judged.labels), judged.names
    found = []
    for number, suggested, own, score in errors.rows():
        label, other = names[judged.labels[number]], names[suggested]
        why = f"looks like {other} ({score:.2f}), not like {label} ({own:.2f})"
        found.append(Suspect(judged.paths[number], label, other, why))
    return tuple(found)


def changes_between(before: LiveReport, after: LiveReport) -> LiveChanges:
    """What changed from one model to the next.

    Pictures are known by their content, so one that was moved is the same. One whose label changed says nothing about
    which model is better, and is neither among those now right nor among those now wrong.
    """
    first, last = ({picture.key: picture for picture in report.pictures} for report in (before, after))
    shared = first.keys() & last.keys()
    added, removed = len(last.keys() - shared), len(first.keys() - shared)
    relabelled = sum(first[key].label != last[key].label for key in shared)
    came_and_went = [
        text.format(f"{number:,}")
        for number, text in ((added, "{} added"), (removed, "{} removed"), (relabelled, "{} relabelled"))
        if number
    ]
    if before.headline is None or after.headline is None or before.headline.how != after.headline.how:
        how = f"now measured otherwise ({after.headline.how})" if after.headline else "nothing to test it on"
        sentence = "; ".join([*_together(came_and_went), how])
        return LiveChanges(sentence, added, removed, relabelled, is_comparable=False)
    now_right: list[str] = []
    now_wrong: list[str] = []
    for picture in after.pictures:
        old = first.get(picture.key)
        if not (picture.is_tested and old and old.is_tested and old.label == picture.label):
            continue
        if picture.is_right != old.is_right:
            (now_right if picture.is_right else now_wrong).append(picture.path)
    p_value = mcnemar_p_value(len(now_right), len(now_wrong))
    classes = _class_changes(before, after)
    parts = [*_together(came_and_went), *_in_words(classes), _flips(len(now_right), len(now_wrong), p_value)]
    return LiveChanges(
        "; ".join(parts), added, removed, relabelled, classes, tuple(now_right), tuple(now_wrong), p_value
    )


def _together(parts: Sequence[str]) -> list[str]:
    return [", ".join(parts)] if parts else []


def _class_changes(before: LiveReport, after: LiveReport) -> tuple[ClassChange, ...]:
    old = {found.label: found.recall for found in before.classes}
    found = []
    for now in after.classes:
        was = old.get(now.label)
        if was is not None and now.recall is not None and abs(now.recall - was) * 100 >= _SMALLEST_POINTS:
            found.append(ClassChange(now.label, 100 * (now.recall - was)))
    return tuple(sorted(found, key=lambda change: (-abs(change.points), change.label)))


def _in_words(classes: Sequence[ClassChange]) -> list[str]:
    named = [f"{change.label} {change.points:+.1f} points" for change in classes]
    return [listing(named, _MOST_CLASSES_NAMED)] if named else []


def _flips(right: int, wrong: int, p_value: float) -> str:
    if not right and not wrong:
        return "every tested picture gets the same answer as before, right or wrong"
    chance = " (may be chance)" if p_value >= _LEVEL else ""
    if not wrong:
        return f"{counted(right, 'picture')} now right{chance}"
    if not right:
        return f"{counted(wrong, 'picture')} now wrong{chance}"
    return f"{counted(right, 'picture')} now right, {wrong:,} now wrong{chance}"
