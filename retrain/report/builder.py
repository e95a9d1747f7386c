"""Put the report together: the quick one, which a training run affords, and the full one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from retrain.evaluation import find_label_errors, is_imbalanced
from retrain.report import findings
from retrain.report.contents import Absent, Figure, Finding, Headline, LearningCurve, Report
from retrain.report.figures import calibration_of, class_rows, confusion_of, thresholds_of
from retrain.report.galleries import galleries_of, gallery_numbers
from retrain.report.held_out import HeldOutHeads, train_held_out
from retrain.report.history import curves_of
from retrain.report.judged import JudgedPictures
from retrain.report.run import effort_of, recipe_of, rejection_sentence, training_options
from retrain.report.shelf import Shelf
from retrain.report.sources import FEW, Sources, Work, compare, finish, most_shown, show_neighbours
from retrain.text import counted, ratio

__all__ = ["build_report"]


def build_report(sources: Sources[JudgedPictures], work: Work | None = None) -> Report:
    """Build the report.

    Args:
        work: for the full report; None for the quick one.
    """
    pictures, run = sources.pictures, sources.run
    shelf = Shelf(pictures)
    numbers = gallery_numbers(pictures)
    galleries = galleries_of(pictures, shelf.show, numbers, most_shown(work))  # first, so that they have thumbnails
    gallery = show_neighbours(sources, shelf, numbers, work)
    more = _full(sources, work, shelf, gallery) if work else _quick(sources, shelf)
    confusion = confusion_of(pictures, shelf.show)
    return Report(
        name=run.name,
        is_full=work is not None,
        full_command=sources.command,
        headline=_headline(sources, more.cross_validated),
        curves=curves_of(run.history, run.fine_tuning, run.record["training"]["best_step"], run.best_epoch),
        confusion=confusion,
        classes=class_rows(pictures),
        thresholds=thresholds_of(pictures),
        galleries=galleries,
        heat_maps=more.heat_maps,
        calibration=calibration_of(pictures, run.temperature),
        findings=more.findings,
        learning=more.learning,
        recipe=recipe_of(run),
        pictures=finish(sources, shelf, work),
    )


@dataclass(frozen=True)
class _More:
    """The parts that the quick and the full report do not share."""

    heat_maps: str | Absent
    findings: tuple[Finding | Absent, ...]
    learning: LearningCurve | Absent
    cross_validated: Figure | Absent


def _quick(sources: Sources[JudgedPictures], shelf: Shelf) -> _More:
    pictures, command = sources.pictures, sources.command
    copies = findings.copies_of(pictures)
    return _More(
        heat_maps=Absent("The full report shows which places of a picture spoke for its label.", "", command),
        findings=(
            findings.unreadable(sources.run.skipped),
            findings.two_labels(pictures, copies, shelf.show),
            findings.exact_copies(pictures, copies, shelf.show),
            findings.small_classes(pictures),
            Absent(
                "The full report also looks for near duplicates, test pictures that were trained on, labels that may "
                "be wrong, and pictures unlike all of their class.",
                "More about your pictures",
                command,
            ),
        ),
        learning=Absent("The full report shows how much more pictures would help.", "", command),
        cross_validated=Absent("The full report adds the accuracy by cross-validation, of all pictures.", "", command),
    )


def _full(sources: Sources[JudgedPictures], work: Work, shelf: Shelf, gallery: Sequence[int]) -> _More:
    pictures, run = sources.pictures, sources.run
    copies = compare(sources, work, shelf, gallery)
    options = training_options(run.record)
    held_out = train_held_out(
        pictures, options, copies.groups, lambda done, total: work.told("training heads", done, total)
    )
    too_few = Absent(
        "Heads that never saw a picture can't be trained: that takes two classes with two different pictures each.",
        "Labels that may be wrong",
    )
    found = (
        findings.unreadable(run.skipped),
        findings.two_labels(pictures, copies, shelf.show),
        findings.suspects(pictures, find_label_errors(held_out.scores, pictures.labels), shelf.show)
        if held_out
        else too_few,
        findings.leaks(pictures, copies, shelf.show),
        findings.near_duplicates(pictures, copies, shelf.show),
        findings.exact_copies(pictures, copies, shelf.show),
        findings.outliers(pictures, shelf.show, options.seed),
        findings.small_classes(pictures),
    )
    return _More(
        heat_maps=work.shown_heat_maps,
        findings=found,
        learning=held_out.learning if held_out else Absent(too_few.reason),
        cross_validated=_cross_validated(held_out) if held_out else Absent(too_few.reason),
    )


def _cross_validated(held_out: HeldOutHeads) -> Figure:
    statistics = held_out.statistics
    return Figure(statistics.accuracy.mean, statistics.accuracy.interval, statistics.n)


def _headline(sources: Sources[JudgedPictures], cross_validated: Figure | Absent) -> Headline:
    pictures, record = sources.pictures, sources.run.record
    metrics, name = pictures.metrics, pictures.shown_set
    accuracy: Figure | Absent = Absent("There are no test or validation pictures, so nobody knows how good it is.")
    if metrics.accuracy is not None and metrics.accuracy_interval is not None:
        accuracy = Figure(metrics.accuracy, metrics.accuracy_interval, metrics.n)
    return Headline(
        sentence=_sentence(pictures),
        set=name,
        accuracy=accuracy,
        cross_entropy=metrics.cross_entropy,
        cross_validated=cross_validated if metrics.n < FEW else None,
        notes=(*sources.notes, *_notes(pictures), *filter(None, [rejection_sentence(record)])),
        pictures=len(pictures.all_different),
        classes=len(pictures.names),
        effort=effort_of(sources.run),
    )


def _sentence(pictures: JudgedPictures) -> str:
    """How good the model is, and what it confuses, in words."""
    metrics, name = pictures.metrics, pictures.shown_set
    if metrics.accuracy is None:
        return "The model was not tested."
    of = counted(metrics.n, f"{name} picture")
    right = int(pictures.is_right[pictures.shown].sum())
    if right == metrics.n:
        return f"All of {of} got the right label." if right > 1 else f"The only {name} picture got the right label."
    if not right:
        return f"None of {of} got the right label."
    whole = 10 if 0.095 < metrics.accuracy < 0.945 else 100
    part = min(max(round(whole * metrics.accuracy), 1), whole - 1)
    rough = f"About {part} of {whole} {name} pictures get" if metrics.n > whole else f"{right} of {of} got"
    return f"{rough} the right label. {_most_confused(pictures)}"


def _most_confused(pictures: JudgedPictures) -> str:
    matrix = np.array(pictures.metrics.confusion_matrix, np.int64)
    np.fill_diagonal(matrix, 0)
    both = np.triu(matrix + matrix.T)
    one, other = divmod(int(both.argmax()), len(both))
    times = int(both[one, other])
    return f"{pictures.names[one]} and {pictures.names[other]} are confused most ({counted(times, 'time')})."


def _notes(pictures: JudgedPictures) -> list[str]:
    metrics, name = pictures.metrics, pictures.shown_set
    notes = []
    if name == "validation" and metrics.n:
        notes.append("There is no test set: the figures are of the validation pictures.")
    if metrics.accuracy_interval is not None and metrics.n < FEW:
        low, high = metrics.accuracy_interval
        notes.append(
            f"{counted(metrics.n, f'{name} picture', 'says/say')} little: the accuracy on many pictures would lie "
            f"between {low:.0%} and {high:.0%}."
        )
    if metrics.balanced_accuracy is not None and is_imbalanced(np.bincount(pictures.labels).tolist()):
        notes.append(
            "The largest class has over three times the pictures of the smallest. If every class counts the same, the "
            f"accuracy is {metrics.balanced_accuracy:.1%} (balanced accuracy), and F1 is {ratio(metrics.macro_f1)} "
            "(macro F1)."
        )
    return notes
