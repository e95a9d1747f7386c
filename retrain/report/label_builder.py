"""Put the report of a model of several labels together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from retrain.report import findings
from retrain.report.contents import Absent, Figure, Finding, Gallery, LabelHeadline, LabelReport
from retrain.report.galleries import in_turns, shown_galleries
from retrain.report.history import curves_of
from retrain.report.judged_labels import JudgedLabels
from retrain.report.label_figures import co_occurrence_of, label_calibration_of, label_curves_of, label_rows
from retrain.report.label_held_out import judge_held_out
from retrain.report.run import effort_of, recipe_of, training_options
from retrain.report.shelf import Shelf
from retrain.report.sources import FEW, Sources, Work, compare, finish, most_shown, show_neighbours
from retrain.text import counted, ratio

__all__ = ["build_label_report"]


def build_label_report(sources: Sources[JudgedLabels], work: Work | None = None) -> LabelReport:
    """Build the report.

    Args:
        work: for the full report; None for the quick one.
    """
    pictures, run = sources.pictures, sources.run
    shelf = Shelf(pictures)
    numbers = _gallery_numbers(pictures)
    galleries = _galleries(pictures, shelf.show, numbers, most_shown(work))  # first, so that they have thumbnails
    gallery = show_neighbours(sources, shelf, numbers, work)
    more = _full(sources, work, shelf, gallery) if work else _quick(sources)
    return LabelReport(
        name=run.name,
        is_full=work is not None,
        full_command=sources.command,
        headline=_headline(sources, more.cross_validated),
        curves=curves_of(
            run.history, run.fine_tuning, run.record["training"]["best_step"], run.best_epoch, "exact match"
        ),
        calibration=label_calibration_of(pictures, run.temperature),
        co_occurrence=co_occurrence_of(pictures),
        labels=label_rows(pictures),
        label_curves=label_curves_of(pictures),
        galleries=galleries,
        heat_maps=more.heat_maps,
        findings=more.findings,
        recipe=recipe_of(run),
        pictures=finish(sources, shelf, work),
    )


@dataclass(frozen=True)
class _More:
    """The parts that the quick and the full report do not share."""

    heat_maps: str | Absent
    findings: tuple[Finding | Absent, ...]
    cross_validated: Figure | Absent


def _quick(sources: Sources[JudgedLabels]) -> _More:
    command = sources.command
    more = Absent(
        "The full report also looks for near duplicates, test pictures that were trained on, and labels that may be "
        "wrong or missing.",
        "More about your pictures",
        command,
    )
    found = (findings.unreadable(sources.run.skipped), findings.small_labels(_rarities(sources.pictures)), more)
    return _More(
        Absent("The full report shows which places of a picture spoke for a label.", "", command),
        found,
        Absent("The full report adds the mAP by cross-validation, of all pictures.", "", command),
    )


def _full(sources: Sources[JudgedLabels], work: Work, shelf: Shelf, gallery: Sequence[int]) -> _More:
    pictures, copies = sources.pictures, compare(sources, work, shelf, gallery)
    held_out = judge_held_out(
        pictures,
        training_options(sources.run.record),
        copies.groups,
        lambda done, total: work.told("training heads", done, total),
    )
    too_few = Absent("Heads that never saw a picture can't be trained: no label has two different pictures.")
    found = (
        findings.unreadable(sources.run.skipped),
        findings.wrong_labels(pictures, held_out.wrong, shelf.show)
        if held_out
        else replace(too_few, title="Labels that may be wrong or missing"),
        findings.other_labels(pictures, copies, shelf.show),
        findings.leaks(pictures, copies, shelf.show),
        findings.near_duplicates(pictures, copies, shelf.show),
        findings.small_labels(_rarities(pictures)),
    )
    figure = held_out.mean_average_precision if held_out else None
    return _More(work.shown_heat_maps, found, figure or too_few)


def _rarities(pictures: JudgedLabels) -> dict[str, int]:
    """Label -> different pictures that have it."""
    counts = pictures.has[pictures.all_different].sum(axis=0).tolist()
    return dict(zip(pictures.names, counts, strict=True))


def _headline(sources: Sources[JudgedLabels], cross_validated: Figure | Absent) -> LabelHeadline:
    pictures = sources.pictures
    metrics, name = pictures.metrics, pictures.shown_set
    figure = pictures.figure_of(pictures.shown) if len(pictures.shown) else None
    notes = []
    if name == "validation" and metrics.n:
        notes.append(
            "There is no test set: the figures are of the validation pictures, which the thresholds were chosen on."
        )
    if 0 < metrics.n < FEW:
        notes.append(f"{counted(metrics.n, f'{name} picture', 'says/say')} little.")
    return LabelHeadline(
        sentence=_headline_sentence(pictures),
        set=name,
        mean_average_precision=figure or Absent("There are no test or validation pictures with labels."),
        micro_f1=metrics.micro_f1,
        macro_f1=metrics.macro_f1,
        exact_match=metrics.exact_match,
        cross_validated=cross_validated if metrics.n < FEW else None,
        cross_entropy=metrics.cross_entropy,
        notes=(*sources.notes, *notes),
        pictures=len(pictures.all_different),
        effort=effort_of(sources.run),
    )


def _headline_sentence(pictures: JudgedLabels) -> str:
    """How good the model is, and which label is hardest, in words."""
    metrics = pictures.metrics
    if not metrics.n:
        return "The model was not tested."
    exact = int((pictures.outcomes.has == pictures.outcomes.given).all(axis=1).sum())
    of = counted(metrics.n, f"{pictures.shown_set} picture")
    told = f"{exact:,} of {of} {'gets' if exact == 1 else 'get'} exactly the right labels."
    worst = metrics.worst_labels(1)
    if not worst:
        return told
    hardest = (
        f"The hardest label is {worst[0].label}, with an average precision of {ratio(worst[0].average_precision)}."
    )
    return f"{told} {hardest}"


def _gallery_numbers(pictures: JudgedLabels) -> dict[str, NDArray[np.int64]]:
    """The numbers of each gallery's pictures: all of them, in the order in which they are to be shown."""
    shown, outcomes = pictures.shown, pictures.outcomes
    certainties, has = outcomes.certainties, outcomes.has
    right = (outcomes.given == has).all(axis=1)
    order = np.argsort(-certainties, kind="stable")
    distances = np.abs(pictures.scores - outcomes.thresholds).min(axis=1) if len(shown) else np.zeros(0)
    good = shown[order[right[order]]]
    return {
        "mistakes": shown[order[~right[order]]],
        "unsure": shown[np.argsort(distances, kind="stable")],
        "right": in_turns(good, pictures.labels[good]),
    }


def _galleries(
    pictures: JudgedLabels,
    show: Callable[[Sequence[int]], tuple[int, ...]],
    numbers: Mapping[str, NDArray[np.int64]],
    most: Mapping[str, int],
) -> tuple[Gallery, ...] | Absent:
    if not len(pictures.shown):
        return Absent("There are no test or validation pictures to show.")
    wrong, right = len(numbers["mistakes"]), len(numbers["right"])
    of = counted(len(pictures.shown), f"{pictures.shown_set} picture")
    score = "The score is that of all labels together: of those given, and of the absence of the others."
    told = {
        "mistakes": (
            "The surest mistakes",
            f"{wrong:,} of {of} {'has' if wrong == 1 else 'have'} a label too many or too few. Here the model was most "
            f"sure. {score} Look for labels that were forgotten."
            if wrong
            else f"None: {of} {'has' if len(pictures.shown) == 1 else 'have'} exactly the right labels.",
        ),
        "unsure": (
            "The least certain",
            "A label's score is almost its threshold. More pictures like these help most.",
        ),
        "right": (
            "Right ones",
            f"{right:,} of {of} {'has' if right == 1 else 'have'} exactly the right labels. Here are the surest of "
            "each combination."
            if right
            else f"None of {of} has exactly the right labels.",
        ),
    }
    return shown_galleries(pictures, show, numbers, most, told)
