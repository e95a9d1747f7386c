"""The folder of one export: it appears whole, and only if what was written answers as the model does."""

import contextlib
import errno
import json
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import jinja2

import retrain
from retrain.data import PictureForm
from retrain.errors import ExportError, OutputError
from retrain.events import Emit, Noted, Warned
from retrain.export.check import Checked, check_accuracy, check_export
from retrain.export.export_format import Facts
from retrain.export.formats import FORMATS, check_installed
from retrain.export.isolated import IsolatedRuntime, convert
from retrain.export.sample_pictures import SamplePictures
from retrain.export.stored_model import StoredModel
from retrain.files import digest_of_file, write_whole
from retrain.folders import check_replaceable, replace_folder, settled, staging_folder
from retrain.model import EXPORT, MODEL, Classifier, list_files, write_labels, write_thresholds
from retrain.model_files import EXPORT_RECORD, EXPORTS, LABELS, RUN, THRESHOLDS
from retrain.paths import display_path
from retrain.text import listing, shown_json
from retrain.worker import Worker

__all__ = ["ExportTask", "WrittenExport", "place_of"]

_README = "README.md"
_TEMPLATES = Path(__file__).parent / "templates"
_FORMAT = 1  # of export.json


@dataclass(frozen=True)
class WrittenExport:
    """An export that answers as its model does, and is in its place."""

    format: str
    folder: str
    file: str  # or folder in it, that has the model
    bytes: int  # of that
    checked: Checked
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        row = {"format": self.format, "file": self.file, "bytes": self.bytes}
        return row | self.checked.as_dict() | {"notes": list(self.notes)}


def place_of(model_dir: str | os.PathLike[str], name: str) -> str:
    """Where an export goes if the user names no other place."""
    return os.path.join(model_dir, EXPORTS, name)


@dataclass(frozen=True)
class ExportTask:
    """Exports of one model.

    Args:
        classifier: the model.
        pictures: to check them on.
        allowed_drop: percentage points of accuracy that forms in fewer bits may lose.
        emit: told how the work goes on.
    """

    classifier: Classifier
    pictures: SamplePictures
    allowed_drop: float
    emit: Emit

    def write(self, name: str, place: str) -> WrittenExport:
        """Write the model in a format, check it, and put it in its place; an older export there stays until then.

        Args:
            place: a folder; it may exist if it holds an export, or nothing.
        Raises ExportError, MissingPackageError, ModelFolderError, OutputError.
        """
        check_installed(name)
        final = Path(os.path.realpath(place))
        had_parent = final.parent.exists()
        try:
            _check_place(final, display_path(place))
            with staging_folder(final, self._wait(place)) as staging:
                written = self._fill(name, staging, place)
                # the lock of the model folder, so that no training puts another model there meanwhile
                with settled(Path(os.path.realpath(self.classifier.model_dir)), MODEL, self._wait(place)):
                    self._check_unchanged()
                    replace_folder(staging, final, EXPORT, self._wait(place))
        except OSError as error:
            self._check_unchanged()
            raise OutputError(_not_written(place, error)) from error
        finally:
            if not had_parent:
                with contextlib.suppress(OSError):  # it holds the export
                    final.parent.rmdir()
        return written

    def _fill(self, name: str, staging: Path, place: str) -> WrittenExport:
        """Fill a folder with an export, and check it."""
        facts, classifier = FORMATS[name].facts, self.classifier
        self.emit(Noted(f"writing {name} ..."))
        model = StoredModel(os.fspath(classifier.model_dir), classifier.trust, self.pictures.training)
        convert(name, model, staging, self.emit)
        size = _size_of(staging)
        write_labels(classifier.labels, staging / LABELS)
        if classifier.thresholds is not None:
            write_thresholds(classifier.thresholds, staging / THRESHOLDS)
        with Worker(self.emit) as worker:
            checked = check_export(facts, IsolatedRuntime(facts, staging, worker), classifier, self.pictures, self.emit)
        notes = check_accuracy(facts, checked.accuracy, self.allowed_drop) if facts.is_rounded else ()
        for note in notes:
            self.emit(Warned(note))
        notes = (*notes, *_notes_on_pictures(classifier.description.form))
        write_whole(staging / _README, _readme(facts, classifier))
        written = WrittenExport(name, place, facts.file, size, checked, notes)
        digests = {file: digest_of_file(staging / file) for file in list_files(staging)}
        record = {
            "format": _FORMAT,
            "model": {"run.json": digest_of_file(classifier.folder / RUN)},
            "files": [*digests, *_empty_folders(staging), EXPORT_RECORD],
            "sha256": digests,
            "export": written.as_dict(),
            "versions": _versions(facts),
        }
        text = shown_json(json.dumps(record, indent=2, ensure_ascii=False))
        write_whole(staging / EXPORT_RECORD, f"{text}\n".encode())
        return written

    def _check_unchanged(self) -> None:
        """Raise ExportError if another training has replaced the model meanwhile."""
        if Classifier(self.classifier.model_dir).description != self.classifier.description:
            raise ExportError(
                f"the model in {display_path(self.classifier.model_dir)} was replaced while it was exported: run the "
                "command again"
            )

    def _wait(self, place: str) -> Callable[[str], None]:
        return lambda who: self.emit(Warned(f"waiting for {who}, which is writing {display_path(place)}"))


def _check_place(final: Path, where: str) -> None:
    """Raises OutputError if a folder holds other things than an export, OSError if it can't be written."""
    if final.exists() and not final.is_dir():
        raise OutputError(f"{where} is a file: give a folder as --output")
    others = [name for name in sorted(os.listdir(final)) if not name.startswith(".")] if final.is_dir() else []
    if others and not (final / EXPORT_RECORD).is_file():
        raise OutputError(
            f"{where} holds other things ({listing(map(display_path, others), 3)}) and no export: give a new or empty "
            "folder as --output"
        )
    check_replaceable(final, EXPORT.own(final))


def _not_written(place: str, error: OSError) -> str:
    remedy = "make room" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "check its permissions"
    return (
        f"can't write the export {display_path(place)}: {error.strerror or error}; {remedy} or give another --output; "
        "what was there before is intact"
    )


def _size_of(folder: Path) -> int:
    return sum((folder / name).stat().st_size for name in list_files(folder))


def _empty_folders(folder: Path) -> list[str]:
    """Folders below a folder that hold nothing; they go with its files."""
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_dir() and not any(path.iterdir())]


def _readme(facts: Facts, classifier: Classifier) -> bytes:
    """README.md: what the export is, and client code that runs as it stands."""
    description = classifier.description
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    text = templates.get_template(f"{facts.template or facts.name}.md").render(
        file=facts.file,
        height=description.height,
        width=description.width,
        classes=len(description.labels),
        output=description.final_tensor_name,
        is_multi_label=description.thresholds is not None,
        tells_known=description.limit is not None,
    )
    return "".join([text, *(f"\n{note}\n" for note in _notes_on_pictures(description.form))]).encode()


_FITTED = {
    "crop": "Of a picture with other proportions, the largest part in its middle is taken.",
    "pad": "A picture with other proportions is shown whole, on grey.",
}
_SCALED = {
    "full": "the whole range of its type (16 bits, or floats from 0 to 1) becomes 0 to 255",
    "percentiles": "it is stretched between its own 1st and 99th percentile",
}


def _notes_on_pictures(form: PictureForm) -> tuple[str, ...]:
    """What a client should know of how the model sees pictures, if they are not simply resized."""
    notes = []
    if form.fit in _FITTED:
        size = f"{form.height} x {form.width}"
        notes.append(f"{_FITTED[form.fit]} That is done inside, unless pixels of {size} are given.")
    if form.depth in _SCALED:
        notes.append(
            f"Pixels that are given have 8 bits. Of a picture with more, {_SCALED[form.depth]} first, which is done "
            "inside only where the bytes of a PNG go in."
        )
    return tuple(notes)


def _versions(facts: Facts) -> dict[str, str]:
    versions = {"retrain": retrain.__version__, "python": platform.python_version()}
    for package in facts.packages:
        with contextlib.suppress(metadata.PackageNotFoundError):  # it has another name than its module
            versions[package] = metadata.version(package.replace("_", "-"))
    return versions
