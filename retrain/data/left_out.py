"""What a run left out: how many files, of which classes, and why."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from retrain.data.labelled_pictures import LabelledPictures
from retrain.text import counted, listing, shown

__all__ = ["ClassLoss", "LeftOut", "summarize_left_out"]

_TOLERABLE = 0.1  # share of a class's files that is left out without a warning

_VARYING = re.compile(r"\d[\d.,]*|'[^']*'")  # what differs between reasons of the same kind: sizes, offsets, names


@dataclass(frozen=True)
class ClassLoss:
    """A class that lost files."""

    name: str  # of its folder
    files: int
    left_out: int
    reason: str  # the commonest

    @property
    def share(self) -> float:
        """The share of its files that was left out, in (0, 1]."""
        return self.left_out / self.files


@dataclass(frozen=True)
class LeftOut:
    """Files of a folder that could not be used."""

    files: int = 0  # that were looked at
    count: int = 0  # that were left out
    # reason -> files, the commonest first; of reasons that differ in numbers only, the first stands for all
    reasons: tuple[tuple[str, int], ...] = ()
    classes: tuple[ClassLoss, ...] = ()  # those that lost files, the largest share first

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "files": self.files,
            "left_out": self.count,
            "reasons": dict(self.reasons),
            "classes": [asdict(lost) for lost in self.classes],
        }

    def warning(self) -> str | None:
        """What to say if a class loses more than a tenth of its files; None if none does."""
        heavy = [lost for lost in self.classes if lost.share > _TOLERABLE]
        if not heavy:
            return None
        named = listing(f"{lost.name} ({lost.left_out:,} of {lost.files:,}, mostly: {lost.reason})" for lost in heavy)
        if len(heavy) == 1:
            return f"more than a tenth of the files of a class can't be used: {named}"
        return f"more than a tenth of the files of {counted(len(heavy), 'class')} can't be used: {named}"

    def told(self) -> str:
        """How many files were left out, why, and of which classes."""
        total = f"{self.count:,} of {counted(self.files, 'file')}"
        if len(self.reasons) == 1:
            why = shown(self.reasons[0][0])
        else:
            why = listing(f"{number:,} x {reason}" for reason, number in self.reasons)
        places = listing(f"{lost.name} {lost.left_out:,} of {lost.files:,}" for lost in self.classes)
        return f"{total} ({why}); by class: {places}"


def summarize_left_out(folder: LabelledPictures, skipped: Mapping[str, str]) -> LeftOut:
    """Sum up what was left out of a folder.

    Args:
        folder: with all its samples.
        skipped: path of a sample -> why it can't be used.
    """
    reasons_of: dict[int, Counter[str]] = {}
    total: Counter[str] = Counter()
    first: dict[str, str] = {}  # kind of reason -> the first such reason
    for sample in folder.samples:
        if sample.path in skipped:
            reason = skipped[sample.path]
            kind = _VARYING.sub("N", reason)
            first.setdefault(kind, reason)
            total[kind] += 1
            for label in sample.classes:
                reasons_of.setdefault(label, Counter())[kind] += 1
    counts = folder.counts()
    classes = [
        ClassLoss(folder.class_names[label], counts[label], found.total(), first[found.most_common(1)[0][0]])
        for label, found in reasons_of.items()
    ]
    return LeftOut(
        len(folder.samples),
        total.total(),
        tuple((first[kind], number) for kind, number in total.most_common()),
        tuple(sorted(classes, key=lambda lost: (-lost.share, lost.name))),
    )
