"""The formats of manifests: CSV, TSV, JSON lines, JSON and COCO, all read as rows of what they say of each picture."""

import csv
import hashlib
import io
import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from retrain.data.picture_file import read_picture
from retrain.errors import ManifestError, UnreadableImageError
from retrain.paths import display_path
from retrain.text import counted, listing

__all__ = ["SUFFIXES", "ManifestRows", "Place", "Row", "quoted", "read_rows"]

# What a column is called; of several, the first here counts. Spaces and hyphens are read as _, capitals as small.
_NAMES = {
    "path": (
        *("path", "file_name", "filename", "file_path", "filepath", "file", "image_path", "image_file", "image_name"),
        *("image", "img_path", "img", "picture"),
    ),
    "label": ("label", "labels", "class_name", "class", "category", "label_name", "target"),
    "set": ("set", "split", "subset", "partition"),
    "group": ("group", "group_id"),
}
_REQUIRED = {"path": "paths", "label": "labels"}
_ADDRESSES = frozenset({"url", "image_url", "coco_url", "uri"})

_DELIMITERS = (",", "\t", ";")
_HEADER = 2**16  # characters that the first line is looked for in
_SHOWN = 60  # characters of a value in a message
_MOST_MIB = 2**20  # of a manifest: no bound, but devices and pipes are refused

_FOREIGN = {
    b"PK\3\4": "is a spreadsheet's workbook or a ZIP archive: save it as CSV, or unpack it",
    b"\x1f\x8b": "is compressed: unpack it",
}


class Place(NamedTuple):
    """Where in a manifest something stands."""

    number: int  # by which places are sorted
    text: str  # "line 3"


@dataclass(frozen=True)
class Row:
    """What a manifest says of a picture."""

    place: Place
    values: Mapping[str, Any]  # "path", "label", "set", "group" -> what is there, None for nothing


@dataclass
class ManifestRows:
    """The content of a manifest."""

    sha256: str  # of the file
    multi_label: bool = False  # whether a picture may have several labels, or none
    rows: list[Row] = field(default_factory=list)
    problems: list[tuple[Place, str]] = field(default_factory=list)  # what can't be understood
    notes: list[str] = field(default_factory=list)  # what was read otherwise than it may look


def read_rows(path: str | os.PathLike[str], multi_label: bool = False) -> ManifestRows:
    """Read a manifest. Its suffix says the format (SUFFIXES); it is UTF-8, or UTF-16 with a byte order mark.

    Args:
        multi_label: whether a picture may have several labels, or none.
    Raises ManifestError if it can't be read, is of another kind, or has no columns of paths and labels.
    """
    where = display_path(path)
    read = SUFFIXES.get(os.path.splitext(os.fspath(path))[1].lower())
    if read is None:
        raise ManifestError(
            f"{where} is neither a folder nor a manifest: give a folder with one sub-folder of pictures per class, or "
            f"a list of pictures with their labels, whose name ends in {listing(SUFFIXES)}"
        )
    try:
        data = read_picture(path, _MOST_MIB)
    except UnreadableImageError as error:
        raise ManifestError(f"can't use the manifest {where}: {error}") from None
    found = ManifestRows(hashlib.sha256(data).hexdigest(), multi_label)
    try:
        read(_decoded(data), found)
    except _NotUsableError as error:
        raise ManifestError(f"manifest {where} {error}") from None
    return found


def quoted(value: Any) -> str:
    """A value for a message, shortened."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


class _NotUsableError(ValueError):
    """The whole file can't be used; the message goes on from its name."""


def _decoded(data: bytes) -> str:
    """The text of a file. Raises _NotUsableError, with the line."""
    for beginning, what in _FOREIGN.items():
        if data.startswith(beginning):
            raise _NotUsableError(what)
    is_wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        text = data.decode("utf-16" if is_wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        if is_wide:
            raise _NotUsableError(f"is damaged UTF-16, at byte {error.start:,}: save it as UTF-8") from None
        line = data.count(b"\n", 0, error.start) + 1
        raise _NotUsableError(
            f"is not UTF-8: line {line:,} has the byte 0x{data[error.start]:02x}; save it as UTF-8"
        ) from None
    nul = text.find("\0")
    if nul >= 0:
        line = text.count("\n", 0, nul) + 1
        raise _NotUsableError(f"is not a text: line {line:,} has a NUL byte; save it as UTF-8, if it is UTF-16")
    return text


def _columns(names: Iterable[str], found: ManifestRows) -> dict[str, str]:
    """Role -> name of the column that has it. Raises _NotUsableError if one is missing, or there twice."""
    names = list(names)
    by_meaning: dict[str, list[str]] = defaultdict(list)
    for name in names:
        by_meaning[_meaning(name)].append(name)
    columns: dict[str, str] = {}
    for role, known in _NAMES.items():
        there = [name for meaning in known for name in by_meaning.get(meaning, ())]
        if len(by_meaning[_meaning(there[0])] if there else ()) > 1:
            raise _NotUsableError(f"has the column {quoted(there[0])} twice: rename one")
        if len(there) > 1:
            found.notes.append(f"{role} is taken from the column {quoted(there[0])}, not from {listing(there[1:])}")
        if there:
            columns[role] = there[0]
    for role, what in _REQUIRED.items():
        if role not in columns:
            if role == "path" and _ADDRESSES.intersection(by_meaning):
                raise _NotUsableError("has URLs in place of paths: download the pictures first, and list their paths")
            raise _NotUsableError(
                f"has no column of {what}: found {listing(map(quoted, names)) or 'none'}; name it {role} in the first "
                f"line (or {', '.join(_NAMES[role][1:])})"
            )
    return columns


def _meaning(name: str) -> str:
    return re.sub(r"[\s-]+", "_", name.strip().lower())


def _read_delimited(text: str, found: ManifestRows) -> None:
    """CSV: the delimiter that gives the first line columns of paths and labels."""
    delimiter = max(_DELIMITERS, key=lambda delimiter: _fitness(text[:_HEADER], delimiter))
    records = _records(text, delimiter, found)
    _, header = next(records, (None, None))
    if header is None and found.problems:
        return
    columns = _columns(header or (), found)
    numbers = {role: (header or []).index(name) for role, name in columns.items()}
    width = len(header or ())
    for place, cells in records:
        if len(cells) != width:
            found.problems.append((place, f"{counted(len(cells), 'cell')}, and the first line has {width:,}"))
        else:
            found.rows.append(Row(place, {role: cells[number] for role, number in numbers.items()}))


def _fitness(start: str, delimiter: str) -> tuple[int, int]:
    """How well a delimiter fits the first line: columns that are known, and columns."""
    try:
        header = next(filter(any, csv.reader(io.StringIO(start, newline=""), delimiter=delimiter)), [])
    except csv.Error:
        return (0, 0)
    meanings = set(map(_meaning, header))
    return (sum(not meanings.isdisjoint(known) for known in _NAMES.values()), len(header))


def _records(text: str, delimiter: str, found: ManifestRows) -> Iterator[tuple[Place, list[str]]]:
    """The records that are not empty, each with the line that it begins on; a quoted cell may have several lines."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        number = reader.line_num + 1
        place = Place(number, f"line {number:,}")
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:  # where the next record begins is not known
            found.problems.append(
                (place, f"can't be read ({error}): are its quotation marks closed, or written twice?")
            )
            return
        if any(cells):
            yield place, cells


def _read_lines(text: str, found: ManifestRows) -> None:
    """JSON lines."""
    objects = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            place = Place(number, f"line {number:,}")
            try:
                objects.append((place, json.loads(line)))
            except (ValueError, RecursionError) as error:
                found.problems.append((place, f"not JSON: {getattr(error, 'msg', error)}"))
    _take_objects(objects, found)


def _read_document(text: str, found: ManifestRows) -> None:
    """JSON: a list of objects, or COCO."""
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise _NotUsableError(f"is not JSON: {error.msg} in line {error.lineno:,}, column {error.colno:,}") from None
    except (ValueError, RecursionError) as error:
        raise _NotUsableError(f"is not JSON that can be read: {error}") from None
    if isinstance(document, list):
        _take_objects([(Place(n, f"entry {n:,}"), item) for n, item in enumerate(document, 1)], found)
    elif isinstance(document, dict) and all(isinstance(document.get(name), list) for name in _COCO):
        _take_coco(document, found)
    else:
        raise _NotUsableError(f"is neither a list of objects nor COCO, which has lists of {', '.join(_COCO)}")


def _take_objects(objects: Sequence[tuple[Place, Any]], found: ManifestRows) -> None:
    """Objects, whose names are columns."""
    good = []
    for place, item in objects:
        if isinstance(item, dict):
            good.append((place, item))
        else:
            found.problems.append((place, f"{quoted(item)}, expected an object with path and label"))
    if not good and found.problems:
        return
    columns = _columns(dict.fromkeys(name for _, item in good for name in item), found)
    for place, item in good:
        found.rows.append(Row(place, {role: item.get(name) for role, name in columns.items()}))


_COCO = ("images", "annotations", "categories")


def _take_coco(document: Mapping[str, Any], found: ManifestRows) -> None:
    """COCO: a picture has the category of its annotations, which must be one unless it may have several labels."""
    images = _by_id(document, "images", "file_name", found)
    categories = _by_id(document, "categories", "name", found)
    of_image: dict[Any, Counter[Any]] = defaultdict(Counter)
    if found.multi_label:
        of_image.update((image, Counter()) for image in images)
    for number, annotation in enumerate(document["annotations"]):
        place = Place(number, f"annotations[{number}]")
        image, category = (_identity(annotation, name) for name in ("image_id", "category_id"))
        if image not in images or category not in categories:
            name, value = ("category_id", category) if image in images else ("image_id", image)
            found.problems.append((place, f"{name} {quoted(value)} is not there: every annotation needs a known one"))
        else:
            of_image[image][category] += 1
    without = [str(path) for image, (_, path) in images.items() if image not in of_image]
    if without:
        found.notes.append(
            f"{counted(len(without), 'picture', 'has/have')} no annotation, left out: {listing(without, 3)}"
        )
    for image, counts in of_image.items():
        place, path = images[image]
        names = [categories[category][1] for category in counts]
        if found.multi_label:
            found.rows.append(Row(place, {"path": path, "label": names}))
        elif len(names) > 1:
            found.problems.append(
                (place, f"{len(names):,} categories ({listing(map(str, names), 3)}): a picture has one")
            )
        else:
            found.rows.append(Row(place, {"path": path, "label": names[0]}))


def _by_id(document: Mapping[str, Any], name: str, wanted: str, found: ManifestRows) -> dict[Any, tuple[Place, Any]]:
    """Id -> place and one field, of the objects in a list."""
    known: dict[Any, tuple[Place, Any]] = {}
    for number, item in enumerate(document[name]):
        place, identity = Place(number, f"{name}[{number}]"), _identity(item, "id")
        if identity is None:
            found.problems.append((place, "no id, expected a number or a text"))
        elif identity in known:
            found.problems.append((place, f"id {quoted(identity)} is there twice, first in {known[identity][0].text}"))
        else:
            known[identity] = (place, item.get(wanted))
    return known


def _identity(item: Any, name: str) -> int | str | None:
    value = item.get(name) if isinstance(item, dict) else None
    return value if isinstance(value, int | str) else None


SUFFIXES: Mapping[str, Callable[[str, ManifestRows], None]] = {
    ".csv": _read_delimited,
    ".tsv": _read_delimited,
    ".jsonl": _read_lines,
    ".ndjson": _read_lines,
    ".json": _read_document,
}
