"""Labels that can't get lost: an archive behind a model's file, or in it if it is an archive.

Readers of a FlatBuffer ignore what comes after it, and those of a ZIP archive what comes before.
"""

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

from retrain.model_files import LABELS

__all__ = ["labels_in", "with_labels"]


def with_labels(file: bytes | bytearray, labels: Sequence[str]) -> bytes:
    """A model's file with labels.txt in it: one label a line, in the order of the scores."""
    buffer = io.BytesIO(file)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr(zipfile.ZipInfo(LABELS), "".join(f"{label}\n" for label in labels).encode())
    return buffer.getvalue()


def labels_in(file: Path) -> tuple[str, ...]:
    """The labels in a model's file. Raises KeyError if it has none, OSError, zipfile.BadZipFile."""
    with zipfile.ZipFile(file) as archive:
        return tuple(archive.read(LABELS).decode().removesuffix("\n").split("\n"))
