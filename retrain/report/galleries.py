"""Galleries: the surest mistakes, the least certain pictures, and right ones of every class."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from retrain.report.contents import Absent, Gallery
from retrain.report.judged import Judged, JudgedPictures
from retrain.text import counted

__all__ = ["galleries_of", "gallery_numbers", "in_turns", "shown_galleries"]


def gallery_numbers(pictures: JudgedPictures) -> dict[str, NDArray[np.int64]]:
    """The numbers of each gallery's pictures: all of them, in the order in which they are to be shown."""
    shown, scores = pictures.shown, pictures.scores
    right = pictures.is_right[shown]
    wrong, good = shown[~right], shown[right]
    good = good[np.argsort(-scores[good, 0], kind="stable")]
    margins = scores[shown, 0] - scores[shown, 1]
    return {
        "mistakes": wrong[np.argsort(-scores[wrong, 0], kind="stable")],
        "unsure": shown[np.argsort(margins, kind="stable")],
        "right": in_turns(good, pictures.labels[good]),
    }


def in_turns(order: NDArray[np.int64], labels: NDArray[np.int32]) -> NDArray[np.int64]:
    """Pictures in turns: the first of each class, then the second of each, and so on.

    Args:
        order: (m,) numbers of pictures.
        labels: (m,) of these.
    """
    turns = np.empty(len(order), np.int64)
    by_label = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[by_label], labels[by_label])
    turns[by_label] = np.arange(len(order)) - starts
    return order[np.lexsort((labels, turns))]


def galleries_of(
    pictures: JudgedPictures,
    show: Callable[[Sequence[int]], tuple[int, ...]],
    numbers: dict[str, NDArray[np.int64]],
    most: Mapping[str, int],
) -> tuple[Gallery, ...] | Absent:
    """The galleries.

    Args:
        show: puts pictures on the page.
        numbers: of `gallery_numbers`.
        most: pictures that each gallery shows.
    """
    name = pictures.shown_set
    if not len(pictures.shown):
        return Absent("There are no test or validation pictures to show.")
    wrong, right, n = len(numbers["mistakes"]), len(numbers["right"]), len(pictures.shown)
    of = counted(n, f"{name} picture")
    told = {
        "mistakes": (
            "The surest mistakes",
            f"{wrong:,} of {of} {'has' if wrong == 1 else 'have'} a wrong label. Here the model was most sure. "
            "Look for pictures in the wrong folder."
            if wrong
            else f"None: all of {of} {'has' if n == 1 else 'have'} the right label.",
        ),
        "unsure": (
            "The least certain",
            "The two best labels have almost the same score. More pictures like these help most.",
        ),
        "right": (
            "Right ones",
            f"{right:,} of {of} {'has' if right == 1 else 'have'} the right label. Here are the surest of each class."
            if right
            else f"None of {of} has the right label.",
        ),
    }
    return shown_galleries(pictures, show, numbers, most, told)


def shown_galleries(
    pictures: Judged,
    show: Callable[[Sequence[int]], tuple[int, ...]],
    numbers: Mapping[str, NDArray[np.int64]],
    most: Mapping[str, int],
    told: Mapping[str, tuple[str, str]],
) -> tuple[Gallery, ...]:
    """The galleries of some pictures.

    Args:
        show, numbers, most: as for `galleries_of`.
        told: title and explanation of each.
    """
    found = []
    for kind, (title, explanation) in told.items():
        chosen = numbers[kind]
        listed = chosen[: most[kind]] if kind == "unsure" else chosen
        found.append(
            Gallery(
                name=kind,
                title=title,
                explanation=explanation,
                pictures=show(chosen[: most[kind]].tolist()),
                total=len(listed),
                paths=tuple(pictures.paths[number] for number in listed.tolist()),
            )
        )
    return tuple(found)
