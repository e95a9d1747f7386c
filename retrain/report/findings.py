"""What is wrong with the user's pictures: files that can't be read, copies, leaks, wrong labels, outliers."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrain.evaluation import LabelErrors, WrongLabel
from retrain.report.contents import Figure, Finding, Group
from retrain.report.judged import Judged, JudgedPictures
from retrain.report.similar import class_likeness, near_pairs
from retrain.report.thumbnails import PictureFiles, correlation
from retrain.text import counted

__all__ = [
    "SAME",
    "Copies",
    "copies_of",
    "exact_copies",
    "leaks",
    "near_duplicates",
    "other_labels",
    "outliers",
    "small_classes",
    "small_labels",
    "suspects",
    "two_labels",
    "unreadable",
    "wrong_labels",
]

Show = Callable[[Sequence[int]], tuple[int, ...]]  # puts pictures on the page
Numbers = NDArray[np.int64]

_MOST_GROUPS = 20  # of a finding, on the page
_MOST_IN_GROUP = 6  # pictures
_MOST_DECODED = 4000  # pictures that are looked at to confirm that they are copies
SAME = 0.97  # correlation of grey pictures; copies that were saved again or made smaller have over 0.99
_FEW = 20  # pictures of a class
_FAR = 4.5  # robust standard deviations below the class's median likeness
_FEWEST_FOR_OUTLIERS = 10  # pictures of a class


@dataclass(frozen=True)
class Copies:
    """Which pictures show the same."""

    exact: tuple[tuple[int, ...], ...]  # groups of files with the same content
    near: tuple[tuple[int, ...], ...]  # groups of pictures that look the same, with a file of each content
    groups: NDArray[np.uint8]  # (n, 32) the same for all pictures that show the same
    is_cut: bool = False  # whether there were too many candidates to look at all


def copies_of(pictures: Judged, files: PictureFiles | None = None) -> Copies:
    """Find files with the same content, and if `files` are given, pictures that look the same."""
    same: dict[bytes, list[int]] = defaultdict(list)
    for number, key in enumerate(pictures.keys):
        same[key.tobytes()].append(number)
    exact = tuple(tuple(group) for group in same.values() if len(group) > 1)
    if files is None:
        return Copies(exact, (), pictures.keys)
    firsts = np.array([group[0] for group in same.values()], np.int64)
    pairs, is_cut = _confirmed(pictures, firsts, files)
    near = _joined(pairs)
    groups = pictures.keys.copy()
    for group in near:
        for number in group:
            groups[same[pictures.keys[number].tobytes()]] = pictures.keys[group[0]]
    return Copies(exact, near, groups, is_cut)


def _confirmed(pictures: Judged, firsts: Numbers, files: PictureFiles) -> tuple[list[tuple[int, int]], bool]:
    """Pairs that look the same, and whether some could not be looked at."""
    pairs = near_pairs(pictures.vectors, firsts)
    chosen: dict[int, None] = {}
    taken: list[tuple[int, int]] = []
    for place in np.argsort(-pairs.lead, kind="stable").tolist():  # those that stand out come first
        pair = int(pairs.first[place]), int(pairs.second[place])
        if len({*pair} - chosen.keys()) + len(chosen) > _MOST_DECODED:
            break
        chosen.update(dict.fromkeys(pair))
        taken.append(pair)
    grey = dict(zip(chosen, files.grey([pictures.paths[number] for number in chosen]), strict=True))
    found = []
    for pair in taken:
        one, other = (grey[number] for number in pair)
        if one is not None and other is not None and correlation(one, other) >= SAME:
            found.append(pair)
    return found, len(taken) < len(pairs.first)


def _joined(pairs: Sequence[tuple[int, int]]) -> tuple[tuple[int, ...], ...]:
    """Groups of numbers that pairs hold together."""
    parent: dict[int, int] = {}

    def find(number: int) -> int:
        while parent.setdefault(number, number) != number:
            number = parent[number]
        return number

    for one, other in pairs:
        low, high = sorted((find(one), find(other)))
        parent[high] = low
    groups: dict[int, list[int]] = defaultdict(list)
    for number in sorted(parent):
        groups[find(number)].append(number)
    return tuple(tuple(group) for group in groups.values())


@dataclass(frozen=True)
class _Kind:
    """What a finding is called, and what is said of it."""

    name: str
    title: str
    nothing: str
    something: str  # with {count}


def _finding(
    kind: _Kind, count: str, groups: Sequence[Group], paths: Sequence[str], figure: Figure | None = None
) -> Finding:
    total = len(groups)
    sentence = kind.something.format(count=count) if total else kind.nothing
    return Finding(kind.name, kind.title, sentence, tuple(groups[:_MOST_GROUPS]), total, tuple(paths), figure)


def unreadable(skipped: Mapping[str, str]) -> Finding:
    """Files that could not be used."""
    kind = _Kind(
        "unreadable",
        "Files that can't be read",
        "Every file in the class folders could be read.",
        "{count} could not be read, and took no part. Repair or remove them.",
    )
    groups = [Group((), reason, (path,)) for path, reason in skipped.items()]
    return _finding(kind, counted(len(groups), "file"), groups, [*skipped])


def exact_copies(pictures: Judged, copies: Copies, show: Show) -> Finding:
    """Files that are there twice, under one label."""
    kind = _Kind(
        "exact-copies",
        "Files that are there twice",
        "No two files of a class have the same content.",
        "{count} in more than one file of its class. Copies count once in all figures, so they do no harm; the list "
        "has all but the first of each.",
    )
    return _of_one_class(kind, pictures, copies.exact, show)


def near_duplicates(pictures: Judged, copies: Copies, show: Show) -> Finding:
    """Pictures that were saved again or made smaller, under one label."""
    kind = _Kind(
        "near-duplicates",
        "Pictures that look the same",
        "No two pictures of a class look the same.",
        "{count} there in several versions, saved again or in another size. The list has all but the first of each.",
    )
    if copies.is_cut:
        cut = f"Of many likely pairs, the likeliest of {_MOST_DECODED:,} pictures were looked at."
        kind = _Kind(kind.name, kind.title, f"{kind.nothing} {cut}", f"{kind.something} {cut}")
    return _of_one_class(kind, pictures, copies.near, show)


def _of_one_class(kind: _Kind, pictures: Judged, groups: Sequence[tuple[int, ...]], show: Show) -> Finding:
    """The groups within a class; the list has all but the first of each."""
    own = [group for group in groups if len({*pictures.labels[[*group]].tolist()}) == 1]
    return _finding(
        kind,
        counted(len(own), "picture", "is/are"),
        _groups(pictures, own, show),
        [pictures.paths[number] for group in own for number in group[1:]],
    )


def _of_different_labels(kind: _Kind, pictures: Judged, copies: Copies, show: Show) -> Finding:
    """The groups whose pictures have different labels, or sets of labels; the list has all of each."""
    own = [group for group in _all_groups(copies) if len({*pictures.labels[[*group]].tolist()}) > 1]
    return _finding(
        kind,
        counted(len(own), "picture", "is/are"),
        _groups(pictures, own, show),
        [pictures.paths[number] for group in own for number in group],
    )


def two_labels(pictures: Judged, copies: Copies, show: Show) -> Finding:
    """The same picture under different labels."""
    kind = _Kind(
        "two-labels",
        "The same picture under two labels",
        "No picture is in the folders of two classes.",
        "{count} in the folders of several classes. At most one of them is right: keep that one.",
    )
    return _of_different_labels(kind, pictures, copies, show)


def other_labels(pictures: Judged, copies: Copies, show: Show) -> Finding:
    """Pictures that look the same and have different sets of labels."""
    kind = _Kind(
        "two-labels",
        "The same picture with different labels",
        "No two pictures that look the same have different labels.",
        "{count} there in several versions with different labels. A label was forgotten, or is wrong.",
    )
    return _of_different_labels(kind, pictures, copies, show)


def wrong_labels(pictures: Judged, wrong: Sequence[WrongLabel], show: Show) -> Finding:
    """Labels that heads which never saw the picture find improbable, or miss."""
    kind = _Kind(
        "suspects",
        "Labels that may be wrong or missing",
        "Every picture has the labels that a model would give it which never saw it.",
        "{count} a label, or the lack of one, that a model which never saw the picture finds improbable. Look at the "
        "first ones first: some are hard pictures with the right labels.",
    )
    texts: dict[int, list[str]] = defaultdict(list)
    for one in wrong:
        name = pictures.names[one.label]
        texts[one.number].append(
            f"has {name}, which got {one.score:.2f}" if one.has else f"lacks {name} ({one.score:.2f})"
        )
    groups = [
        Group(show([number]) if place < _MOST_GROUPS else (), f"{pictures.label_of(number)}: {', '.join(told)}")
        for place, (number, told) in enumerate(texts.items())
    ]
    return _finding(
        kind, counted(len(groups), "picture", "has/have"), groups, [pictures.paths[number] for number in texts]
    )


def small_labels(sizes: Mapping[str, int]) -> Finding:
    """Labels with too few pictures.

    Args:
        sizes: label -> different pictures that have it.
    """
    kind = _Kind(
        "small-classes",
        "Labels with few pictures",
        f"Every label has at least {_FEW} different pictures.",
        f"{{count}} fewer than {_FEW} different pictures. Add pictures, or the model will guess.",
    )
    small = sorted((size, label) for label, size in sizes.items() if size < _FEW)
    groups = [Group((), f"{label}: {counted(size, 'different picture')}") for size, label in small]
    return _finding(kind, counted(len(small), "label", "has/have"), groups, [])


def leaks(pictures: Judged, copies: Copies, show: Show) -> Finding:
    """The same picture in the training set and in the set that the figures are of."""
    name = pictures.shown_set
    kind = _Kind(
        "leaks",
        f"{name.capitalize()} pictures that were trained on",
        f"No {name} picture looks the same as a training picture.",
        "{count} the same as a training picture, so the model may know it by heart. The list has the "
        f"{name} pictures; moving them away makes the figures honest.",
    )
    sets = pictures.sets
    own = [group for group in _all_groups(copies) if {"train", name} <= {*sets[[*group]].tolist()}]
    known = [number for group in own for number in group if sets[number] == name]
    figure = None
    if known:
        known_keys = {copies.groups[number].tobytes() for number in known}
        rest = [number for number in pictures.shown.tolist() if copies.groups[number].tobytes() not in known_keys]
        figure = pictures.figure_of(np.array(rest, np.int64))
    return _finding(
        kind,
        counted(len(known), f"{name} picture", "looks/look"),
        _groups(pictures, own, show),
        [pictures.paths[number] for number in known],
        figure,
    )


def suspects(pictures: JudgedPictures, errors: LabelErrors, show: Show) -> Finding:
    """Labels that heads which never saw the picture find improbable."""
    kind = _Kind(
        "suspects",
        "Labels that may be wrong",
        "Every label is one that a model would believe which never saw the picture.",
        "{count} a label that a model which never saw the picture finds improbable. Look at the first ones first: some "
        "are hard pictures with the right label.",
    )
    groups: list[Group] = []
    paths: list[str] = []
    seen: set[tuple[bytes, int]] = set()
    for number, suggested, own, score in errors.rows():
        key = (pictures.keys[number].tobytes(), int(pictures.labels[number]))
        paths.append(pictures.paths[number])
        if key in seen:
            continue
        seen.add(key)
        label, other = pictures.names[pictures.labels[number]], pictures.names[suggested]
        text = f"Labelled {label} ({own:.2f}), looks like {other} ({score:.2f})"
        groups.append(Group(show([number]) if len(groups) < _MOST_GROUPS else (), text))
    return _finding(kind, counted(len(groups), "picture", "has/have"), groups, paths)


def small_classes(pictures: JudgedPictures) -> Finding:
    """Classes with too few pictures."""
    kind = _Kind(
        "small-classes",
        "Classes with few pictures",
        f"Every class has at least {_FEW} different pictures.",
        f"{{count}} fewer than {_FEW} different pictures. Add pictures, or the model will guess.",
    )
    sizes = np.bincount(pictures.labels[pictures.all_different], minlength=len(pictures.names))
    small = [number for number in np.argsort(sizes, kind="stable").tolist() if sizes[number] < _FEW]
    groups = [
        Group((), f"{pictures.names[number]}: {counted(int(sizes[number]), 'different picture')}") for number in small
    ]
    return _finding(kind, counted(len(small), "class", "has/have"), groups, [])


def outliers(pictures: JudgedPictures, show: Show, seed: int) -> Finding:
    """Pictures unlike all of their class.

    A picture's likeness is the mean cosine of its five nearest fellows. It is an outlier if that is 4.5 robust standard
    deviations (1.4826 times the median absolute deviation; Hampel, JASA 69, 1974) below its class's median.
    """
    kind = _Kind(
        "outliers",
        "Pictures unlike all of their class",
        "No picture is far from all others of its class.",
        "{count} unlike all others of its class. Some belong elsewhere; others show something that the class has too "
        "few pictures of.",
    )
    found: list[tuple[float, int, float]] = []
    chosen = pictures.all_different
    for label in range(len(pictures.names)):
        members = chosen[pictures.labels[chosen] == label]
        if len(members) < _FEWEST_FOR_OUTLIERS:
            continue
        likeness = class_likeness(pictures.vectors, members, seed)
        middle = float(np.median(likeness))
        spread = max(1.4826 * float(np.median(np.abs(likeness - middle))), 1e-6)
        for place in np.flatnonzero(likeness < middle - _FAR * spread).tolist():
            found.append(((float(likeness[place]) - middle) / spread, int(members[place]), float(likeness[place])))
    found.sort()
    groups = [
        Group(
            show([number]) if place < _MOST_GROUPS else (),
            f"In {pictures.names[pictures.labels[number]]}; likeness {likeness:.2f}",
        )
        for place, (_, number, likeness) in enumerate(found)
    ]
    return _finding(
        kind, counted(len(found), "picture", "is/are"), groups, [pictures.paths[number] for _, number, _ in found]
    )


def _all_groups(copies: Copies) -> list[tuple[int, ...]]:
    """Groups of all files that show the same, exact or near."""
    members: dict[bytes, list[int]] = defaultdict(list)
    wanted = {copies.groups[number].tobytes() for group in (*copies.exact, *copies.near) for number in group}
    for number, group in enumerate(copies.groups):
        key = group.tobytes()
        if key in wanted:
            members[key].append(number)
    return [tuple(group) for group in members.values() if len(group) > 1]


def _groups(pictures: Judged, groups: Sequence[tuple[int, ...]], show: Show) -> list[Group]:
    found = []
    for place, group in enumerate(groups):
        numbers = show(group[:_MOST_IN_GROUP]) if place < _MOST_GROUPS else ()
        kinds = Counter(f"{pictures.label_of(n)}, {_SET_NAMES[str(pictures.sets[n])]}" for n in group)
        text = "; ".join(f"{count:,} x {kind}" if count > 1 else kind for kind, count in kinds.items())
        found.append(Group(numbers, text))
    return found


_SET_NAMES = {"train": "training", "validation": "validation", "test": "test", "unused": "not used"}
