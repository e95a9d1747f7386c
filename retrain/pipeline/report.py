"""`report`: what a person looks at, of a model folder and the pictures that it was trained on."""

import csv
import dataclasses
import io
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrain.backbones import LastActivations, LiteRTError, licence_of
from retrain.data import STRANGERS, read_source
from retrain.errors import ImageFolderError, ManifestError, ModelFolderError, OutputError
from retrain.events import Emit, EpochEnded, Evaluated, Reported, StageBegan, ignore
from retrain.extraction import Dataset, load_dataset
from retrain.files import write_whole
from retrain.model import Classifier
from retrain.model_files import CLASSIFIER, FINE_TUNING, HISTORY, PREDICTIONS, REPORT, RUN
from retrain.options import ExtractionOptions, ImageOptions, Manifest, PictureSource, RunOptions
from retrain.paths import display_path, utf8_path
from retrain.pipeline.checks import check_known_classes
from retrain.pipeline.results import TrainedModel
from retrain.report import (
    Absent,
    HeatMaps,
    JudgedLabels,
    JudgedPictures,
    LabelReport,
    PictureFiles,
    Report,
    Run,
    Sources,
    Work,
    build_label_report,
    build_report,
    recipe_of,
    render_report,
)
from retrain.text import counted, pasteable

__all__ = ["WrittenReport", "quick_report", "recipe_of_run", "write_report"]


@dataclass(frozen=True)
class WrittenReport:
    """A report, written into its model folder."""

    path: str  # of report.html
    image_dir: str
    report: Report | LabelReport

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the figures and all lists, without pictures."""
        report = self.report
        headline = report.headline
        figures: dict[str, Any]
        if isinstance(report, LabelReport):
            figures = {"mean_average_precision": report.headline.mean_average_precision}
        else:
            figures = {"accuracy": report.headline.accuracy, "learning": report.learning}
        return {
            "report": utf8_path(self.path),
            "image_dir": utf8_path(self.image_dir),
            "sentence": headline.sentence,
            "notes": list(headline.notes),
            **{name: None if isinstance(part, Absent) else dataclasses.asdict(part) for name, part in figures.items()},
            "findings": {
                found.name: {
                    "sentence": found.sentence,
                    "total": found.total,
                    "paths": [utf8_path(path) for path in found.paths],
                    "groups": [group.text for group in found.groups],
                    "figure": None if found.figure is None else dataclasses.asdict(found.figure),
                }
                for found in report.findings
                if not isinstance(found, Absent)
            },
        }


def write_report(
    model: Classifier | str | os.PathLike[str],
    image_dir: PictureSource | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    emit: Emit = ignore,
) -> WrittenReport:
    """Make the full report of a model, and write it as report.html into the model's folder.

    The figures are of the pictures as they are now. Changes no picture.

    Args:
        model: or its folder.
        image_dir: where the pictures are now, or a manifest; by default what the model was trained on.
        cache_dir: of the bottlenecks; by default that of the training run.
        emit: called with events; see `retrain.events`.
    Raises RetrainError.
    """
    classifier = model if isinstance(model, Classifier) else Classifier(model)
    model_dir = classifier.model_dir
    stored = _read_run(classifier)
    options = _options(stored.record, cache_dir)
    source = _source(stored.record, model_dir) if image_dir is None else image_dir
    data, pictures = _judged(classifier, source, options, emit)
    root = data.folder.spelling
    run = dataclasses.replace(stored, skipped=data.extraction.skipped)
    files = PictureFiles(root, options.images, classifier.description.depth)
    emit(StageBegan("report"))
    work = Work(_heat_maps(classifier), lambda what, done, total: emit(Reported(what, done, total)))
    made = _build(run, pictures, files, (_command(model_dir), _changes(classifier, data, pictures)), work)
    path = model_dir / REPORT
    _write(path, render_report(made))
    return WrittenReport(os.fspath(path), root, made)


def _build(
    run: Run,
    pictures: JudgedPictures | JudgedLabels,
    files: PictureFiles,
    texts: tuple[str, Sequence[str]],
    work: Work | None,
) -> Report | LabelReport:
    """The report of a model of one label a picture, or of several.

    Args:
        texts: the command that makes the full report, and notes.
    """
    if isinstance(pictures, JudgedLabels):
        return build_label_report(Sources(run, pictures, files, *texts), work)
    return build_report(Sources(run, pictures, files, *texts), work)


def quick_report(model: TrainedModel, record: Mapping[str, Any], model_dir: str | os.PathLike[str]) -> bytes:
    """The report that training affords, as HTML.

    Args:
        record: what run.json will hold, but for its files.
        model_dir: where the model will be.
    """
    result = model.result
    run = Run(
        name=os.path.basename(os.path.abspath(model_dir)),
        record=record,
        history=model.trained.history,
        fine_tuning=result.fine_tuning.tuned.history if result.fine_tuning else [],
        skipped=result.skipped,
        made=_date(time.time()),
        licence=_licence(record),
    )
    files = PictureFiles(model.image_dir, model.options.images, model.options.backbone.depth)
    return render_report(_build(run, model.judged, files, (_command(model_dir), ()), None))


def recipe_of_run(record: Mapping[str, Any]) -> Any:
    """How to repeat a run, for the model card."""
    return recipe_of(Run("", record, [], [], {}, "", _licence(record)))


def _licence(record: Mapping[str, Any]) -> str:
    backbone = record["backbone"]
    is_known = backbone.get("description", {}).get("architecture") != "onnx"  # a file may have any name
    return (licence_of(backbone["name"]) if is_known else None) or "unknown: ask whoever published them"


def _command(model_dir: str | os.PathLike[str]) -> str:
    return f"retrain report {pasteable(model_dir)}"


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def _write(path: Path, data: bytes) -> None:
    try:
        write_whole(path, data)
    except OSError as error:
        raise OutputError(f"can't write {display_path(path)}: {error.strerror}; check its permissions") from error


# what the model folder says


def _read_run(classifier: Classifier) -> Run:
    """What run.json and the tables beside it say. Raises ModelFolderError."""
    folder = classifier.folder
    record = classifier.record()
    where = display_path(classifier.model_dir)
    try:
        for name in ("command", "image_dir", "options", "backbone", "training", "timings", "extraction", "versions"):
            _ = record[name]
        if record.get("manifest") is not None:
            _ = record["manifest"]["path"], record["manifest"]["sha256"]
        history = [Evaluated(*map(_number, row)) for row in _rows(folder / HISTORY)]
        fine_tuning = [EpochEnded(*map(_number, row)) for row in _rows(folder / FINE_TUNING)]
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFolderError(
            f"{where} does not tell enough of its training ({error}), as models of earlier versions: train it again"
        ) from error
    made = _date((folder / RUN).stat().st_mtime)
    name = os.path.basename(os.path.abspath(classifier.model_dir))
    return Run(name, record, history, fine_tuning, {}, made, _licence(record))


def _rows(path: Path) -> list[list[str]]:
    """The rows of a table of numbers, without its header; none if there is no such file."""
    try:
        return list(csv.reader(io.StringIO(path.read_text("utf-8"))))[1:]
    except FileNotFoundError:
        return []


def _number(cell: str) -> Any:
    return None if not cell else int(cell) if cell.isdecimal() else float(cell)


def _options(record: Mapping[str, Any], cache_dir: str | os.PathLike[str] | None) -> RunOptions:
    """The options of pass one, as the run had them."""
    options = record["options"]
    kept = options.get("cache_dir", ExtractionOptions.cache_dir)
    images = {name: options[name] for name in ("max_pixels", "max_file_size") if name in options}
    extraction = ExtractionOptions(cache_dir=os.fspath(kept if cache_dir is None else cache_dir))
    return RunOptions(extraction=extraction, images=ImageOptions(**images))


def _source(record: Mapping[str, Any], model_dir: str | os.PathLike[str]) -> PictureSource:
    """The image folder or manifest that a model was trained on. Raises ImageFolderError, ManifestError."""
    root, where = str(record["image_dir"]), display_path(model_dir)
    manifest = str(record["manifest"]["path"]) if record.get("manifest") else None
    if manifest is not None and not os.path.isfile(manifest):
        raise ManifestError(
            f"the manifest that {where} was trained with is no longer {display_path(manifest)}: say where it is, as in "
            f"{_command(model_dir)} --image-dir FILE --image-root DIR"
        )
    if not os.path.isdir(root):
        raise ImageFolderError(
            f"the pictures that {where} was trained on are no longer in {display_path(root)}: say where they are, as "
            f"in {_command(model_dir)} --image-dir {'DIR' if manifest is None else 'FILE --image-root DIR'}"
        )
    return root if manifest is None else Manifest(manifest, root)


# the pictures


def _judged(
    classifier: Classifier, source: PictureSource, options: RunOptions, emit: Emit
) -> tuple[Dataset, JudgedPictures | JudgedLabels]:
    """The pictures as they are now, with their bottlenecks and their sets."""
    names = {*classifier.labels, *classifier.description.class_folders}
    head = classifier.head()
    is_multi_label = head.activation == "sigmoid"
    excluded: list[str | os.PathLike[str]] = [options.extraction.cache_dir, classifier.model_dir]
    folder = read_source(source, excluded, emit, names, is_multi_label)
    if STRANGERS not in names:
        folder, _ = folder.without_strangers()
    known = classifier.description.class_names.numbers_of(folder.class_names)
    check_known_classes(folder, known, classifier.labels)
    data = load_dataset(folder, classifier.extractor(options.extraction.cache_dir), options, emit)
    data = data.with_classes([known[name] for name in folder.class_names], len(classifier.labels))
    known_of = (
        classifier.labels,
        [sample.path for sample in data.samples],
        _sets(classifier, data),
        data.labels,
        data.keys,
        data.vectors,
        head,
        [sample.group for sample in data.samples],
    )
    if data.label_sets is not None:
        return data, JudgedLabels(*known_of, label_sets=data.label_sets)
    return data, JudgedPictures(*known_of)


def _sets(classifier: Classifier, data: Dataset) -> NDArray[np.str_]:
    """(n,) the set that each picture had in training: by its path and content, or else by its content."""
    by_key = classifier.sets()
    rows = csv.DictReader(io.StringIO((classifier.folder / PREDICTIONS).read_text("utf-8"), newline=""))
    by_path = {(row["path"], row["key"]): row["set"] for row in rows}
    found = [
        by_path.get((utf8_path(sample.path), key)) or by_key.get(key, "unused")
        for sample, key in zip(data.samples, data.hex_keys(), strict=True)
    ]
    return np.array(found)


def _changes(classifier: Classifier, data: Dataset, pictures: JudgedPictures | JudgedLabels) -> Sequence[str]:
    """What has changed since training, in a sentence."""
    trained = classifier.sets()
    new = int(np.count_nonzero(pictures.sets == "unused"))
    gone = len(trained.keys() - {*data.hex_keys()})
    parts = []
    if new:
        parts.append(f"{counted(new, 'picture', 'has/have')} come")
    if gone:
        parts.append(f"{counted(gone, 'picture', 'has/have')} gone")
    if not parts:
        return ()
    return (f"Since training {' and '.join(parts)}. The figures are of those that were there, as they are now.",)


def _heat_maps(classifier: Classifier) -> HeatMaps | Absent:
    """What makes heat maps, or why there are none."""
    path = classifier.folder / CLASSIFIER
    if CLASSIFIER not in classifier.description.digests or not path.exists():
        return Absent("There are no heat maps: they need classifier.tflite, which this model does not have.")
    try:
        return HeatMaps(
            LastActivations(path.read_bytes(), "bottleneck"), classifier.head(), classifier.description.form
        )
    except LiteRTError as error:
        return Absent(f"There are no heat maps: {error}.")
