"""The pictures that an export is checked on: those that the model was trained on, or a folder that the user gives."""

import csv
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrain.data import SEPARATOR, SETS, PictureForm, decode_image, picture_files, read_header, read_picture
from retrain.errors import ExportError, UnreadableImageError
from retrain.model import Classifier, read_file
from retrain.model_files import PREDICTIONS
from retrain.paths import display_path
from retrain.text import pasteable

__all__ = ["KnownPicture", "SamplePicture", "SamplePictures", "file_of", "find_pictures"]

_COMPARED = 20  # pictures whose scores are compared
_WIDE = 1.25  # times as wide as the network's pictures, for their height
_JUDGED = 500  # of each set, on which accuracy is measured
_TRAINING = 300  # from which ranges of values are taken; NNCF's default
_IN_ORDER = ("test", "validation", "train")  # that a picture was not trained on makes it the better witness
GIVEN = "given"  # the set of pictures of --pictures


@dataclass(frozen=True)
class KnownPicture:
    """A picture's file, the set that it was in, and its labels, if these are known."""

    path: str
    set: str
    labels: tuple[str, ...] | None  # one; any number if a picture can have several

    def read(self) -> bytes:
        """Raises UnreadableImageError."""
        return read_picture(self.path)


@dataclass(frozen=True)
class SamplePicture:
    """A picture that can be decoded."""

    path: str
    data: bytes  # of the file


@dataclass(frozen=True)
class SamplePictures:
    """What an export is checked on."""

    compared: Sequence[SamplePicture]
    judged: Mapping[str, Sequence[KnownPicture]]  # set that was held out -> pictures with labels
    training: Sequence[str]  # paths of training pictures, from all over their folder


def find_pictures(classifier: Classifier, given: str | os.PathLike[str] | None) -> SamplePictures:
    """Pictures to check an export on.

    Args:
        given: a folder of the user's; by default the pictures that the model was trained on, where they were then.
    Raises ExportError if there is none that can be read, ModelFolderError.
    """
    known = _of_training(classifier) if given is None else _in_folder(classifier, os.fspath(given))
    by_set: dict[str, list[KnownPicture]] = {name: [] for name in (*_IN_ORDER, GIVEN)}
    for picture in known:
        by_set[picture.set].append(picture)
    compared: list[SamplePicture] = []
    for pictures in by_set.values():
        compared += _readable(classifier, pictures, _COMPARED - len(compared))
    if not compared:
        _refuse(classifier, given)
    halves = _of_missing_shapes(compared, classifier.description.form)
    compared = compared[: _COMPARED - len(halves)] + halves
    held_out = {name: [p for p in by_set[name] if p.labels is not None] for name in ("validation", "test", GIVEN)}
    judged = {name: _spread(pictures, _JUDGED) for name, pictures in held_out.items() if pictures}
    training = [p.path for p in _spread(by_set["train"] or by_set[GIVEN], _TRAINING)]
    return SamplePictures(compared, judged, training)


def _of_training(classifier: Classifier) -> Iterator[KnownPicture]:
    """The pictures of predictions.csv that are still there."""
    root = str(classifier.record()["image_dir"])
    text = read_file(classifier.folder, PREDICTIONS, classifier.description).decode("utf-8", "replace")
    for row in csv.DictReader(io.StringIO(text, newline="")):
        path = os.path.join(root, row["path"])
        if row["set"] in SETS and os.path.isfile(path):
            yield KnownPicture(path, row["set"], _labels_of(row["label"], classifier))


def _labels_of(cell: str, classifier: Classifier) -> tuple[str, ...] | None:
    """The labels that a cell of predictions.csv has."""
    if classifier.thresholds is None:
        return (cell,) if cell else None
    return tuple(cell.split(SEPARATOR)) if cell else ()


def _in_folder(classifier: Classifier, folder: str) -> Iterator[KnownPicture]:
    """The pictures below a folder; one of its sub-folders that has a class's name says the label.

    Of a picture that can have several labels, it would say one of them.
    """
    if not os.path.isdir(folder):
        raise ExportError(f"--pictures {display_path(folder)}: no such folder; give a folder of pictures")
    found = [path for path, problem in picture_files([folder]) if problem is None]
    tops = {path: Path(os.path.relpath(path, folder)).parts[0] for path in found}
    numbers = classifier.description.class_names.numbers_of({*tops.values()})
    for path, top in tops.items():
        is_known = top in numbers and classifier.thresholds is None
        yield KnownPicture(path, GIVEN, (classifier.labels[numbers[top]],) if is_known else None)


def _readable(classifier: Classifier, pictures: Sequence[KnownPicture], count: int) -> list[SamplePicture]:
    """Up to `count` pictures that can be decoded, from all over a list."""
    found: list[SamplePicture] = []
    for picture in _spread(pictures, len(pictures)):
        if len(found) >= count:
            break
        try:
            data = picture.read()
            decode_image(data, classifier.description.form)
        except UnreadableImageError:
            continue
        found.append(SamplePicture(picture.path, data))
    return found


def _of_missing_shapes(compared: Sequence[SamplePicture], form: PictureForm) -> list[SamplePicture]:
    """Halves of a picture, where none is wide and none is high: only such pictures show how they are fitted."""
    headers = [read_header(picture.data) for picture in compared]
    shapes = [header.width * form.height / (header.height * form.width) for header in headers]
    whole, header = compared[0], headers[0]
    pixels = decode_image(whole.data, form.whole(header.height, header.width))
    halves = []
    if max(shapes) < _WIDE and header.height > 1:
        halves.append(("upper half", pixels[: header.height // 2]))
    if min(shapes) > 1 / _WIDE and header.width > 1:
        halves.append(("left half", pixels[:, : header.width // 2]))
    return [SamplePicture(f"{whole.path} ({name})", file_of(half, "PNG")) for name, half in halves]


def file_of(pixels: NDArray[np.uint8], form: str) -> bytes:
    """(height, width, 3) as a file that keeps every pixel."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **({"compress_level": 1} if form == "PNG" else {}))
    return buffer.getvalue()


def _spread(pictures: Sequence[Any], count: int) -> list[Any]:
    """Up to `count` items from all over a list, which lies sorted by class; so are the first few of them.

    Multiples of the golden ratio fill a range evenly, however many there are (Knuth, The Art of Computer Programming,
    6.4, theorem S).
    """
    by_fraction = sorted(range(len(pictures)), key=lambda number: number * 0.6180339887498949 % 1)
    places = sorted(range(len(pictures)), key=by_fraction.__getitem__)
    return [pictures[place] for place in places[:count]]


def _refuse(classifier: Classifier, given: str | os.PathLike[str] | None) -> None:
    """Raise ExportError: there are no pictures."""
    where = display_path(classifier.model_dir)
    if given is not None:
        raise ExportError(f"--pictures {display_path(given)} holds no picture that can be read: give a folder of some")
    raise ExportError(
        f"an export is checked on pictures, and those that {where} was trained on are no longer in "
        f"{display_path(str(classifier.record()['image_dir']))}: say where there are some, as in retrain export "
        f"{pasteable(classifier.model_dir)} --pictures DIR"
    )
