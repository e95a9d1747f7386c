"""Labels that can't get lost, and the thresholds of a model of several labels: they are in the model's file itself.

A file of ONNX has them in its metadata. Others have an archive behind them, or more files in them if they are archives:
readers of a FlatBuffer ignore what comes after it, and those of a ZIP archive what comes before.
"""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from retrain.model import parse_thresholds, read_thresholds, thresholds_text
from retrain.model_files import LABELS, THRESHOLDS

__all__ = [
    "labels_in",
    "metadata",
    "metadata_labels",
    "metadata_thresholds",
    "thresholds_beside",
    "thresholds_in",
    "with_labels",
]

_LABELS_ENTRY, _THRESHOLDS_ENTRY = "labels", "thresholds"  # of the metadata: lists in JSON


def with_labels(file: bytes | bytearray, labels: Sequence[str], thresholds: Sequence[float] | None = None) -> bytes:
    """A model's file with labels.txt in it: one label a line, in the order of the scores; so is thresholds.txt."""
    buffer = io.BytesIO(file)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr(zipfile.ZipInfo(LABELS), "".join(f"{label}\n" for label in labels).encode())
        if thresholds is not None:
            archive.writestr(zipfile.ZipInfo(THRESHOLDS), thresholds_text(thresholds).encode())
    return buffer.getvalue()


def labels_in(file: Path) -> tuple[str, ...]:
    """The labels in a model's file. Raises KeyError if it has none, OSError, zipfile.BadZipFile."""
    with zipfile.ZipFile(file) as archive:
        return tuple(archive.read(LABELS).decode().removesuffix("\n").split("\n"))


def thresholds_in(file: Path) -> tuple[float, ...] | None:
    """The thresholds in a model's file; None if it has none. Raises ValueError, OSError, zipfile.BadZipFile."""
    with zipfile.ZipFile(file) as archive:
        if THRESHOLDS not in archive.namelist():
            return None
        return parse_thresholds(archive.read(THRESHOLDS).decode())


def thresholds_beside(file: Path) -> tuple[float, ...] | None:
    """The thresholds in thresholds.txt beside a file; None if there is none. Raises ModelFolderError."""
    place = file.with_name(THRESHOLDS)
    return read_thresholds(place) if place.exists() else None


def metadata(labels: Sequence[str], thresholds: Sequence[float] | None = None) -> dict[str, str]:
    """The same as entries of the metadata of ONNX."""
    entries = {_LABELS_ENTRY: json.dumps(labels, ensure_ascii=False)}
    return entries if thresholds is None else entries | {_THRESHOLDS_ENTRY: json.dumps(thresholds)}


def metadata_labels(entries: Mapping[str, str]) -> tuple[str, ...]:
    """The labels in such metadata. Raises KeyError if it has none, ValueError."""
    return tuple(json.loads(entries[_LABELS_ENTRY]))


def metadata_thresholds(entries: Mapping[str, str]) -> tuple[float, ...] | None:
    """The thresholds in such metadata; None if it has none. Raises ValueError."""
    return tuple(json.loads(entries[_THRESHOLDS_ENTRY])) if _THRESHOLDS_ENTRY in entries else None
