"""`export`: files of a trained model for other programs, each loaded by its runtime and compared before it counts."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from retrain.errors import ExportError, OutputError, RetrainError
from retrain.events import Emit, ignore
from retrain.export import (
    FORMATS,
    ExportTask,
    WrittenExport,
    check_installed,
    find_pictures,
    missing_packages,
    place_of,
)
from retrain.model import Classifier
from retrain.options import ExportOptions, parse_formats
from retrain.paths import utf8_path
from retrain.text import counted, pasteable

__all__ = ["Exports", "check_formats", "export_formats", "export_model", "list_formats"]


@dataclass(frozen=True)
class Exports:
    """What became of the formats that were asked for."""

    model_dir: str
    written: tuple[WrittenExport, ...]
    failures: Mapping[str, RetrainError]  # format -> why there is no export
    thresholds: tuple[float, ...] | None  # of the labels, where a picture can have several

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "model_dir": utf8_path(self.model_dir),
            "thresholds": self.thresholds,
            "exports": [export.as_dict() | {"folder": utf8_path(export.folder)} for export in self.written],
            "failures": {name: str(error) for name, error in self.failures.items()},
        }

    def check(self, is_after_training: bool = False) -> None:
        """Raise ExportError if one failed; or what it raised, if nothing else was asked for."""
        if len(self.failures) == 1 and not self.written and not is_after_training:
            raise next(iter(self.failures.values()))
        if self.failures:
            again = f"retrain export {pasteable(self.model_dir)} --format {','.join(self.failures)}"
            reasons = "; ".join(str(error) for error in self.failures.values())
            raise ExportError(f"{counted(len(self.failures), 'export')} failed, which {again} tries again: {reasons}")


def export_model(
    model: Classifier | str | os.PathLike[str],
    formats: str | Sequence[str],
    output: str | os.PathLike[str] | None = None,
    options: ExportOptions = ExportOptions(),
    emit: Emit = ignore,
) -> tuple[WrittenExport, ...]:
    """Export a model. Every file is loaded by its runtime and compared with `Classifier` on real pictures.

    Args:
        model: or its folder.
        formats: names, as `retrain export --list` has them; or one text with commas between.
        output: where the export goes, or with several formats a folder for each; by default exports/FORMAT in the
            model folder, where it is replaced with its model.
        emit: called with events; see `retrain.events`.
    Raises ExportError if a file can't be made or differs, after the other formats are done; UsageError for an unknown
    format; MissingPackageError, ModelFolderError, OutputError.
    """
    exports = export_formats(model, parse_formats(formats), output, options, emit)
    exports.check()
    return exports.written


def export_formats(
    model: Classifier | str | os.PathLike[str],
    names: Sequence[str],
    output: str | os.PathLike[str] | None,
    options: ExportOptions,
    emit: Emit,
) -> Exports:
    """Export a model in some formats, one after the other; a failing one does not keep the others from their turn.

    Raises what keeps all from being made.
    """
    check_formats(names)
    classifier = model if isinstance(model, Classifier) else Classifier(model)
    task = ExportTask(classifier, find_pictures(classifier, options.pictures), options.max_accuracy_drop, emit)
    written: list[WrittenExport] = []
    failures: dict[str, RetrainError] = {}
    for name in names:
        try:
            written.append(task.write(name, _place(classifier, name, output, len(names) > 1)))
        except (ExportError, OutputError) as error:
            failures[name] = error
    return Exports(os.fspath(classifier.model_dir), tuple(written), failures, classifier.thresholds)


def check_formats(names: Sequence[str]) -> None:
    """Check that all that some formats need is installed. Raises MissingPackageError."""
    for name in names:
        check_installed(name)


def list_formats() -> list[dict[str, Any]]:
    """What formats there are, for `retrain export --list`."""
    return [
        {
            "format": facts.name,
            "file": facts.file,
            "loaded_by": facts.loaded_by,
            "takes": facts.takes,
            "extra": facts.extra or None,
            "missing_packages": missing_packages(facts),
        }
        for facts in (one.facts for one in FORMATS.values())
    ]


def _place(classifier: Classifier, name: str, output: str | os.PathLike[str] | None, are_several: bool) -> str:
    if output is None:
        return place_of(classifier.model_dir, name)
    return os.path.join(output, name) if are_several else os.fspath(output)
