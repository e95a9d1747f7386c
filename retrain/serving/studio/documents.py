"""The JSON that the page gets of the model as it is now."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from retrain.report import LiveReport
from retrain.serving.studio.parts import WorthALabel

__all__ = ["FiguresDocument", "figures_document"]

_SETS = {"train": "t", "validation": "v", "test": "e"}


@dataclass(frozen=True)
class FiguresDocument:
    """What the page shows of one model."""

    version: int
    content: dict[str, Any]


def figures_document(
    report: LiveReport,
    worth_a_label: Sequence[WorthALabel],
    numbers: Mapping[str, int],
    before: FiguresDocument | None,
) -> FiguresDocument:
    """What a report says, with the numbers of pictures in place of their paths. Pictures that have gone are left out.

    Args:
        worth_a_label: pictures without a label, the one that helps most first.
        numbers: by path.
        before: the last document. There may be several of one report, as more becomes known; until pictures have been
            looked at closely, its queue stays, from which the page takes what is done.
    """
    version = 1 if before is None else before.version + 1
    has_looked = report.suspects is not None
    kept = [] if before is None else before.content["queue"]
    content = {
        "version": version,
        "model": report.version,
        "problem": report.problem,
        "labels": report.labels,
        "classes": [asdict(one) | {"recall": one.recall} for one in report.classes],
        "headline": report.headline and asdict(report.headline),
        "history": [(one.version, one.accuracy, one.pictures) for one in report.history],
        "curve": [(one.step, one.train_accuracy, one.validation_accuracy) for one in report.curve],
        "confusion": _cells(report, numbers),
        "pictures": _pictures(report, numbers),
        "changes": _changes(report, numbers),
        "queue": _queue(report, numbers) if has_looked else kept,
        "unlabelled": [
            (numbers[one.path], one.why, one.answer, one.score) for one in worth_a_label if one.path in numbers
        ],
        "looked": has_looked,
        "skipped": {number: why for path, why in report.skipped.items() if (number := numbers.get(path))},
        "waiting": len(report.waiting),
        "warnings": report.warnings,
        "seconds": report.timings.get("total"),
        "extracted": report.extracted,
    }
    return FiguresDocument(version, content)


def _cells(report: LiveReport, numbers: Mapping[str, int]) -> list[tuple[int, int, int, list[int]]]:
    """The cells of the matrix that are not 0: label, answer, count, and which pictures if these differ."""
    return [
        (row, column, count, _known(report.confused.get((row, column), ()), numbers))
        for row, counts in enumerate(report.confusion)
        for column, count in enumerate(counts)
        if count
    ]


def _pictures(report: LiveReport, numbers: Mapping[str, int]) -> dict[str, Any]:
    """Columns: number, a letter of _SETS, place of the answer among the labels (-1: none), score in percent."""
    places = {label: place for place, label in enumerate(report.labels)}
    known = [(numbers[one.path], one) for one in report.pictures if one.path in numbers]
    return {
        "ids": [number for number, _ in known],
        "sets": "".join(_SETS.get(one.set, "-") for _, one in known),
        "answers": [-1 if one.answer is None else places.get(one.answer, -1) for _, one in known],
        "scores": [-1 if one.score is None else round(100 * one.score) for _, one in known],
    }


def _changes(report: LiveReport, numbers: Mapping[str, int]) -> dict[str, Any] | None:
    changes = report.changes
    if changes is None:
        return None
    return {
        "sentence": changes.sentence,
        "classes": [(one.label, one.points) for one in changes.classes],
        "now_right": _known(changes.now_right, numbers),
        "now_wrong": _known(changes.now_wrong, numbers),
    }


def _queue(report: LiveReport, numbers: Mapping[str, int]) -> list[dict[str, Any]]:
    """Pictures worth a look: labels that may be wrong first, then copies in several sets."""
    folders = {one.label: one.folder for one in report.classes}
    queue: list[dict[str, Any]] = [
        {
            "kind": "suspect",
            "ids": [numbers[one.path]],
            "why": one.why,
            "suggested": one.suggested,
            "group": folders.get(one.label),
        }
        for one in report.suspects or ()
        if one.path in numbers
    ]
    for copies in report.copies_across_sets or ():
        ids = _known(copies.paths, numbers)
        if len(ids) > 1:
            queue.append({"kind": "copies", "ids": ids, "why": copies.why, "suggested": None})
    return queue


def _known(paths: Iterable[str], numbers: Mapping[str, int]) -> list[int]:
    return [numbers[path] for path in paths if path in numbers]
