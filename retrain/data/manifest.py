"""Read a manifest: a file that lists pictures with their labels, in place of a folder with one sub-folder per class."""

import errno
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from retrain.data.folder_layout import composed, set_of
from retrain.data.folder_walk import UNREADABLE
from retrain.data.labelled_pictures import SEPARATOR, LabelledPictures, ManifestFile, Sample
from retrain.data.manifest_formats import Place, Row, quoted, read_rows
from retrain.data.picture_file import what_else
from retrain.data.remote_files import is_url
from retrain.errors import ManifestError
from retrain.events import Emit, Warned, ignore
from retrain.options import Manifest
from retrain.paths import display_path
from retrain.text import MOST_NAMED, counted, listing

__all__ = ["read_manifest"]

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_BUCKET = re.compile(r"[a-z][a-z0-9+.-]*://[^/]+", re.IGNORECASE)
_UNWRITABLE = re.compile("[\0\ud800-\udfff]")  # JSON may hold these
_MOST_PLACES = 3  # in a warning


def read_manifest(manifest: Manifest, emit: Emit = ignore, multi_label: bool = False) -> LabelledPictures:
    """Read which pictures there are, and their classes, sets and groups.

    Paths are relative to the manifest's image_root, or absolute; those of files below it become relative, so that a
    manifest gives the same as a folder. They may also be URLs, all of one bucket or server. A picture that is listed
    again, with the same label, counts once. A file that is not there is a sample with a problem, which pass one skips.

    Args:
        emit: told what is taken otherwise than it may look, and what is left out.
        multi_label: whether a picture may have several labels, as in rose|leaf, on several lines, or as a list in JSON;
            or none, which is an empty cell.
    Raises ManifestError with the lines that can't be used, the first ten of them.
    """
    path, where = os.fspath(manifest.path), display_path(manifest.path)
    given = None if manifest.image_root is None else os.fspath(manifest.image_root)
    if given is not None and not is_url(given) and not os.path.isdir(given):
        raise ManifestError(f"--image-root {display_path(given)} of {where}: no such folder; give the pictures' folder")
    found = read_rows(path, multi_label)
    spelling = given or _bucket(found.rows) or os.path.dirname(path) or "."
    for note in found.notes:
        emit(Warned(f"{where}: {note}"))
    entries, problems = _entries(found.rows, spelling, multi_label)
    _refuse(where, [*found.problems, *problems])
    if not entries:
        raise ManifestError(f"manifest {where} lists no pictures: add a line for each, with path and label")
    once = _united(entries) if multi_label else _without_repetitions(where, entries, emit)
    class_names = tuple(sorted({label for entry in once for label in entry.labels}))
    if not class_names:
        raise ManifestError(f"no picture in manifest {where} has a label: add some")
    numbers = {name: number for number, name in enumerate(class_names)}
    sets: dict[tuple[int, ...], tuple[int, ...]] = {}  # one tuple for all pictures with the same labels
    samples = []
    for entry in sorted(once, key=lambda entry: entry.path):
        labels = tuple(numbers[label] for label in entry.labels)
        samples.append(
            Sample(
                entry.path,
                labels[0] if labels else 0,
                entry.text,
                entry.subset,
                _problem(spelling, entry, path),
                group=entry.group,
                labels=sets.setdefault(labels, labels) if multi_label else None,
            )
        )
    _tell_what_is_missing(where, spelling, samples, emit)
    return LabelledPictures(
        Path(spelling),
        class_names,
        tuple(samples),
        spelling=spelling,
        is_part=True,
        manifest=ManifestFile(path, found.sha256),
    )


@dataclass(frozen=True)
class _Entry:
    """A picture, as it is listed."""

    place: Place
    path: str  # relative to the root if it is below it
    labels: tuple[str, ...]  # one; where there may be several, any number, rising
    subset: str | None
    group: str | None

    @property
    def text(self) -> str:
        """Its labels as a text: rose|leaf."""
        return SEPARATOR.join(self.labels)


class _WrongError(ValueError):
    """A value can't be used; the message says what was found, and what to do."""


def _refuse(where: str, problems: Sequence[tuple[Place, str]]) -> None:
    """Raise ManifestError if there are problems."""
    if problems:
        told = [f"{place.text}: {text}" for place, text in sorted(problems, key=lambda problem: problem[0].number)]
        more = f"; and {len(told) - MOST_NAMED:,} more" if len(told) > MOST_NAMED else ""
        raise ManifestError(
            f"manifest {where} has {counted(len(told), 'problem')}: {'; '.join(told[:MOST_NAMED])}{more}"
        )


def _entries(rows: Sequence[Row], root: str, multi_label: bool) -> tuple[list[_Entry], list[tuple[Place, str]]]:
    """What the rows say, and what is wrong with them, one by one and together."""
    entries: list[_Entry] = []
    problems: list[tuple[Place, str]] = []
    top = root.rstrip("/") if is_url(root) else os.path.abspath(root)
    for row in rows:
        try:
            entries.append(_entry(row, top, multi_label))
        except _WrongError as error:
            problems.append((row.place, str(error)))
    has_sets = any(entry.subset for entry in entries)
    first: dict[str, _Entry] = {}
    of_group: dict[str, _Entry] = {}
    for entry in entries:
        other = first.setdefault(entry.path, entry)
        is_other = other.labels != entry.labels and not multi_label
        if is_other or (other.subset, other.group) != (entry.subset, entry.group):
            what = "label" if is_other else "set" if other.subset != entry.subset else "group"
            problems.append((entry.place, f"{quoted(entry.path)} has another {what} in {other.place.text}: keep one"))
        elif has_sets and entry.subset is None:
            problems.append((entry.place, "no set, and others have one: give train, validation or test"))
        elif entry.group is not None:
            other = of_group.setdefault(entry.group, entry)
            if other.subset != entry.subset:
                problems.append(
                    (
                        entry.place,
                        f"group {quoted(entry.group)} is in set {entry.subset}, and in {other.subset} in "
                        f"{other.place.text}: a group belongs to one",
                    )
                )
    return entries, problems


def _entry(row: Row, top: str, multi_label: bool) -> _Entry:
    """Raises _WrongError."""
    path, given = _path(row.values["path"], top), row.values["label"]
    if isinstance(given, list) and not multi_label:
        raise _WrongError(f"label is {quoted(given)}: a picture has one label, a text, unless --multi-label is given")
    labels = _labels(given) if multi_label else (_label(given),)
    name, group = (_text(row.values.get(role), role) for role in ("set", "group"))
    subset = set_of(name) if name else None
    if name and subset is None:
        raise _WrongError(f"unknown set {quoted(name)}: give train, validation or test")
    return _Entry(row.place, path, labels, subset, group or None)


def _path(value: Any, top: str) -> str:
    """A path relative to the top if it is below it, or else as it is given."""
    if value is None or value == "":
        raise _WrongError("no path")
    if not isinstance(value, str):
        raise _WrongError(f"path is {quoted(value)}, expected text")
    _check_text(value, "path")
    if _ADDRESS.match(value):
        return _path_by_url(value, top)
    path = os.path.normpath(value)
    if is_url(top) and path[0] in "/.":
        raise _WrongError(f"{quoted(value)} is not below {top}")
    if path[0] not in "/.":  # it is below the top
        return path
    whole = os.path.normpath(os.path.join(top, path))
    below = f"{top.rstrip('/')}/"
    return whole[len(below) :] if whole.startswith(below) else path


def _path_by_url(url: str, top: str) -> str:
    """The path of a URL relative to the top. Raises _WrongError."""
    if url.startswith(("http://", "https://")):
        raise _WrongError(f"{quoted(url)} is a URL: download the pictures first, and list their paths")
    if not url.startswith(f"{top}/"):
        raise _WrongError(f"{quoted(url)} is not below {display_path(top)}: a manifest lists pictures of one place")
    return os.path.normpath(url[len(top) + 1 :])


def _bucket(rows: Sequence[Row]) -> str | None:
    """What all URLs begin with, by the first picture: s3://bucket. None if that is none."""
    first = rows[0].values["path"] if rows else None
    found = _BUCKET.match(first) if isinstance(first, str) else None
    return found[0] if found and not found[0].startswith("http") else None


def _labels(value: Any) -> tuple[str, ...]:
    """The labels of a picture that may have several, or none: rose|leaf, or a list in JSON."""
    if not isinstance(value, list):
        value = [part for part in _text(value, "label").split(SEPARATOR) if part.strip()]
    return tuple(sorted({_label(part) for part in value}))


def _label(value: Any) -> str:
    """A label in Unicode's composed form."""
    label = composed(_text(value, "label"))
    if not label:
        raise _WrongError("no label")
    if "\n" in label or "\r" in label:
        raise _WrongError(f"label {quoted(label)} has a line break, which labels.txt can't hold")
    if SEPARATOR in label:
        raise _WrongError(
            f"label {quoted(label)}: {SEPARATOR} is for several labels, and a picture has one, unless --multi-label is "
            "given"
        )
    return label


def _text(value: Any, role: str) -> str:
    """A cell without the spaces around it; a whole number in JSON is its digits. Empty if there is nothing."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise _WrongError(f"{role} is {quoted(value)}, expected text")
    text = str(value).strip()
    _check_text(text, role)
    return text


def _check_text(text: str, role: str) -> None:
    """Refuse what JSON can write, and files can't be called."""
    if _UNWRITABLE.search(text):
        raise _WrongError(f"{role} {quoted(text)} has a NUL or half a character, expected text")


def _united(entries: Sequence[_Entry]) -> list[_Entry]:
    """Each picture once, with the labels of all its lines."""
    found: dict[str, _Entry] = {}
    for entry in entries:
        known = found.setdefault(entry.path, entry)
        if known.labels != entry.labels:
            found[entry.path] = replace(known, labels=tuple(sorted({*known.labels, *entry.labels})))
    return [*found.values()]


def _without_repetitions(where: str, entries: Sequence[_Entry], emit: Emit) -> list[_Entry]:
    """Each picture once."""
    first: dict[str, _Entry] = {}
    for entry in entries:
        first.setdefault(entry.path, entry)
    again = [entry.place.text for entry in entries if first[entry.path] is not entry]
    if again:
        emit(
            Warned(
                f"{where} lists {counted(len(again), 'picture')} again, with the same label, which count once: "
                f"{listing(again, _MOST_PLACES)}"
            )
        )
    return [*first.values()]


def _problem(root: str, entry: _Entry, manifest: str) -> str | None:
    """Why a file can't be a picture; None if it may be one, as that on a server."""
    if is_url(root):
        return None
    try:
        mode = os.stat(os.path.join(root, entry.path)).st_mode
        if stat.S_ISREG(mode):
            return None
        problem = what_else(mode)
    except OSError as error:
        hint = ", is \\ meant as /?" if "\\" in entry.path else ""
        reason = f"no such file{hint}" if error.errno == errno.ENOENT else error.strerror
        problem = f"{UNREADABLE}: {reason}"
    return f"{problem} ({entry.place.text} of {display_path(os.path.basename(manifest))})"


def _tell_what_is_missing(where: str, root: str, samples: Sequence[Sample], emit: Emit) -> None:
    """Warn of files that are not there. Raises ManifestError if none is there."""
    lost = [sample for sample in samples if sample.problem]
    if not lost:
        return
    told = [f"{display_path(sample.path)}: {sample.problem}" for sample in lost]
    if len(lost) == len(samples):
        raise ManifestError(
            f"none of the {counted(len(samples), 'picture')} in {where} can be read below {display_path(root)}, for "
            f"one {told[0]}: give the folder that the paths are relative to as --image-root"
        )
    emit(Warned(f"left out {counted(len(lost), 'picture')} of {where}: {listing(told, MOST_NAMED)}"))
