"""The labels of class folders: which label a folder gets, and which folder or label a name stands for."""

import csv
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from retrain.data.folder_walk import picture_files
from retrain.data.image_folder import composed
from retrain.errors import ImageFolderError, LabelsFileError
from retrain.events import Emit, Warned, ignore
from retrain.paths import display_path
from retrain.text import listing

__all__ = ["ClassNames", "class_labels", "expected_labels", "read_labels_file"]

_DELIMITERS = ("\t", ",", ";")  # between folder name and label; the first one present counts, then spaces

_QUOTED = re.compile('"(?:[^"]|"")*"')

_UNWRITABLE = re.compile("[\r\n\ud800-\udfff]")  # what labels.txt can't hold


def class_labels(
    class_names: Sequence[str],
    labels_file: str | None = None,
    label_of: Callable[[str], str] = str,
    emit: Emit = ignore,
) -> tuple[str, ...]:
    """The label of every class folder.

    Args:
        class_names: (classes,) names of the folders, in Unicode's composed form.
        labels_file: the labels of some or all of them.
        label_of: gives the label of a folder that the file does not list.
    Raises ImageFolderError if two folders would get the same label, LabelsFileError if the file can't be used.
    """
    listed = read_labels_file(labels_file, class_names) if labels_file is not None else {}
    strangers = [name for name in listed if name not in class_names]
    if strangers:
        named = listing(map(display_path, strangers))
        emit(Warned(f"{display_path(labels_file or '')} lists names without a class folder: {named}"))
    labels = tuple(composed(listed[name] if name in listed else label_of(name)) for name in class_names)
    twice = [label for label, count in Counter(labels).items() if count > 1]
    if twice:
        folders = [repr(name) for name, label in zip(class_names, labels, strict=True) if label == twice[0]]
        named = " and ".join(folders) if len(folders) == 2 else listing(folders)
        remedy = "rename one" if labels_file is None else "rename one, or give it another label in --labels-file"
        raise ImageFolderError(f"the class folders {named} would get the same label {twice[0]!r}: {remedy}")
    return labels


@dataclass(frozen=True)
class ClassNames:
    """The names of a model's classes."""

    labels: Sequence[str]
    class_folders: Sequence[str]  # of its training pictures, in the order of the labels

    def numbers_of(self, folders: Iterable[str]) -> dict[str, int]:
        """Folder name -> number of the class that it stands for; folders that stand for none are left out.

        A name may be the folder of one class and the label of another. If all folders are named as in training, the
        names mean those folders; otherwise a label comes first. All Unicode forms of a name are the same.
        """
        by_folder, by_label = _numbers_of_names(self.class_folders), _numbers_of_names(self.labels)
        names = {folder: composed(folder) for folder in folders}
        known = {folder: name for folder, name in names.items() if name in by_folder or name in by_label}
        meaning = by_folder if all(name in by_folder for name in known.values()) else by_folder | by_label
        return {folder: meaning[name] for folder, name in known.items()}


def _numbers_of_names(names: Sequence[str]) -> dict[str, int]:
    """Composed name -> number. A model of an earlier version may have a class for each form: the composed one's."""
    numbers = {composed(name): number for number, name in enumerate(names)}
    return numbers | {name: number for number, name in enumerate(names) if name == composed(name)}


def expected_labels(places: Sequence[str], names: ClassNames) -> dict[str, str | None]:
    """Path of every file -> the label that its folder stands for, or None; in the order of the places.

    The nearest folder above a file that has a class's name decides, up to the place itself. For a file that was given
    by its path, only its own folder counts.

    Args:
        places: folders and files.
        names: of the classes.
    Raises ImageFolderError if a place is missing, or if there are files but none of them is in such a folder.
    """
    for place in places:
        if not os.path.exists(place):
            raise ImageFolderError(f"no such file or folder: {display_path(place)}; give pictures, or folders of them")
    above = {
        path: _folders_above(path, place)
        for place in places
        for path, problem in picture_files([place])
        if problem is None
    }
    numbers = names.numbers_of(name for folders in above.values() for name in folders)
    found = {
        path: next((names.labels[numbers[name]] for name in folders if name in numbers), None)
        for path, folders in above.items()
    }
    if found and not any(found.values()):
        raise ImageFolderError(
            f"no picture in {listing(map(display_path, places))} is in a folder that is named like a class of the "
            f"model ({listing(names.labels)}): give a folder with one sub-folder of pictures per class"
        )
    return found


def _folders_above(path: str, place: str) -> list[str]:
    """Names of folders, the nearest first."""
    top = place if os.path.isdir(place) else os.path.dirname(path) or "."
    inner = PurePath(os.path.relpath(path, top)).parent.parts
    return [*reversed(inner), os.path.basename(os.path.abspath(top))]


def read_labels_file(path: str, class_names: Container[str] = ()) -> dict[str, str]:
    """Folder name -> label, in the order of the file.

    Each line has the name of a class folder and its label, separated by a tab, else by a comma, else by a semicolon,
    else by spaces. Both may be in quotes, as in a spreadsheet's CSV. Empty lines and lines that begin with # are
    ignored. If the text before a separator is not a class folder, but that before a later separator is, the later one
    counts; of several spaces, the last such. So `n01440764 tench, Tinca tinca` and `black cat felis` mean what they
    seem to mean. A file named .json holds an object instead.

    Args:
        class_names: the folders that there are.
    Raises LabelsFileError, with the line, if the file can't be read or understood, or lists a folder twice.
    """
    where = display_path(path)
    try:
        text = composed(Path(path).read_bytes().decode("utf-8-sig"))  # as the names of folders are
    except OSError as error:
        raise LabelsFileError(f"can't read the labels file {where}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise LabelsFileError(f"{where}, line {line}: not UTF-8; save the labels file as UTF-8") from error
    pairs = _from_json(text, where) if path.lower().endswith(".json") else _from_lines(text, where, class_names)
    labels: dict[str, str] = {}
    for place, raw, label in pairs:
        name = composed(raw)  # JSON may have it as escapes
        if name in labels:
            raise LabelsFileError(f"{place}: the folder {name!r} is listed twice; leave one of the lines out")
        labels[name] = label
    return labels


def _from_lines(text: str, where: str, class_names: Container[str]) -> Iterable[tuple[str, str, str]]:
    """(place, folder name, label) of every line that has them."""
    for number, line in enumerate(map(str.strip, re.split("\r\n|\r|\n", text)), 1):
        if not line or line.startswith("#"):
            continue
        in_table = [_from_table(line, delimiter) for delimiter in _DELIMITERS if delimiter in line]
        spaced = _from_words(line)
        known = (pair for pair in (*in_table, *reversed(spaced)) if pair[0] in class_names and pair[1])
        reading = next(known, (in_table + spaced or [("", "")])[0])
        if not all(reading) or _UNWRITABLE.search(line):
            raise LabelsFileError(
                f"{where}, line {number}: expected the name of a folder and its label, with a tab, a comma, a "
                f"semicolon or spaces between them, found {line!r}"
            )
        yield f"{where}, line {number}", *reading


def _from_table(line: str, delimiter: str) -> tuple[str, str]:
    """Folder name and label of a line as spreadsheets and csv modules write it, with any cells in quotes."""
    try:
        cells = [
            cell.strip() for cell in next(csv.reader([line], delimiter=delimiter, skipinitialspace=True, strict=True))
        ]
    except csv.Error:  # quotation marks that are not quotes: 3" nails
        cells = []
    if len(cells) > 1 and not any(cells[2:]):  # empty columns may follow
        return cells[0], cells[1]
    quoted = _QUOTED.match(line)  # a label without quotes may contain the delimiter
    if quoted and line[quoted.end() :].lstrip().startswith(delimiter):
        return cells[0] if cells else "", _unquoted(line[quoted.end() :].lstrip()[1:])
    name, _, label = line.partition(delimiter)
    return name.strip(), _unquoted(label)


def _from_words(line: str) -> list[tuple[str, str]]:
    """Every pair of folder name and label, the shortest name first: both may contain spaces."""
    quoted = _QUOTED.match(line)
    if quoted:
        return [(_unquoted(quoted[0]), _unquoted(line[quoted.end() :]))]
    return [(line[: space.start()], _unquoted(line[space.end() :])) for space in re.finditer(r"\s+", line)]


def _unquoted(text: str) -> str:
    """Without the quotes that spreadsheets put around a text with a delimiter."""
    text = text.strip()
    return text[1:-1].replace('""', '"').strip() if _QUOTED.fullmatch(text) else text


def _from_json(text: str, where: str) -> Iterable[tuple[str, str, str]]:
    """(place, folder name, label) of every entry of an object, with repeated ones."""
    try:
        pairs: Any = json.loads(text, object_pairs_hook=_Pairs)
    except ValueError as error:
        line = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise LabelsFileError(f"{where}{line}: not JSON ({error}); correct the labels file") from error
    if not isinstance(pairs, _Pairs):
        raise LabelsFileError(f'{where}: expected a JSON object, {{"folder": "label", ...}}, found another value')
    for name, label in pairs:
        if not isinstance(label, str) or not label.strip() or _UNWRITABLE.search(name + label):
            raise LabelsFileError(
                f"{where}: the label of the folder {json.dumps(name)} is {json.dumps(label)}: expected a line of text"
            )
        yield where, name, label.strip()


class _Pairs(list[tuple[str, Any]]):
    """The entries of a JSON object."""
