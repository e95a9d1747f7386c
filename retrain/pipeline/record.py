"""What a run leaves behind: its results, and the files of the model folder that record them."""

import contextlib
import csv
import errno
import io
import json
import os
import platform
import re
import statistics
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import retrain
from retrain.backbones.backbone import Backbone
from retrain.backbones.extractor import Extractor
from retrain.data.left_out import LeftOut
from retrain.data.split import SETS
from retrain.errors import OutputError
from retrain.evaluation.metrics import Metrics, PictureResult
from retrain.extraction.augmentation import Augmentation
from retrain.extraction.pass_one import Extraction
from retrain.files import digest_of_file, write_whole
from retrain.model.folder import FORMAT, list_files, seal
from retrain.model.head import write_head
from retrain.options import RunOptions
from retrain.paths import display_path, utf8_path
from retrain.text import counted, shown_json
from retrain.training.calibration import Calibration
from retrain.training.learning_curve import CurvePoint

if TYPE_CHECKING:
    from retrain.export.graph import GraphBuilder
    from retrain.training.fine_tuning_plan import FineTunedBackbone, FineTuning
    from retrain.training.head_trainer import TrainedHead
    from retrain.training.tuning import Tuning

__all__ = [
    "FolderEvaluation",
    "PictureResult",
    "RunResult",
    "TrainedModel",
    "check_evaluation_place",
    "extraction_summary",
    "write_evaluation",
    "write_files",
]

# What spreadsheets take for the start of a formula, or leave out before one; also in the wide forms of East Asia.
_FORMULA = re.compile("'*[=+\\-@\t\r\uff1d\uff0b\uff0d\uff20]")


@dataclass(frozen=True)
class RunResult:
    """What a run did, as run.json records it."""

    labels: tuple[str, ...]
    split: dict[str, int]  # set -> pictures
    metrics: dict[str, Metrics]  # set -> metrics
    pictures: tuple[PictureResult, ...]
    skipped: dict[str, str]  # path -> reason
    timings: dict[str, float]  # seconds
    extraction: dict[str, Any]  # as `retrain extract --json`
    tested: frozenset[str]  # paths of the test pictures that the metrics are of
    calibration: Calibration | None = None  # where it was asked for; the metrics are of the calibrated head
    tuning: "Tuning | None" = None  # where it was asked for
    augmentation: Augmentation | None = None  # where it was asked for
    fine_tuning: "FineTuning | None" = None  # where it was asked for; the metrics are of the model after it
    class_folders: tuple[str, ...] = ()  # names of the folders, in the order of the labels
    curve: list[CurvePoint] = field(default_factory=list)  # where plots were asked for; before any calibration
    left_out: LeftOut = field(default_factory=LeftOut)  # what was skipped, in sum

    def misclassified(self) -> list[PictureResult]:
        """The tested pictures with a wrong label, most confident mistake first."""
        wrong = [p for p in self.pictures if p.path in self.tested and p.predicted != p.label]
        return sorted(wrong, key=lambda picture: -picture.score)


@dataclass(frozen=True)
class FolderEvaluation:
    """How a trained model does on a folder."""

    metrics: Metrics  # of all pictures
    held_out: Metrics  # of those that it was not trained on, which alone say how it will do
    pictures: tuple[PictureResult, ...]
    extraction: Extraction

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        predictions = [asdict(picture) | {"path": utf8_path(picture.path)} for picture in self.pictures]
        return (
            self.metrics.as_dict()
            | {"held_out": self.held_out.as_dict(), "predictions": predictions}
            | self.extraction.losses()
        )


@dataclass
class TrainedModel:
    """A head, its backbone, and the results; not yet written anywhere."""

    image_dir: str
    options: RunOptions  # with every default filled in
    backbone: "Backbone | FineTunedBackbone"  # in float32, as it is in the graph
    extractor: Extractor  # what computed the bottlenecks: the backbone, or its form in fewer bits
    graph: "GraphBuilder"
    trained: "TrainedHead"
    result: RunResult
    command: Sequence[str] = ()  # the command line that asked for it
    record: dict[str, Any] = field(default_factory=dict)  # what run.json holds, once it is written


def extraction_summary(extraction: Extraction) -> dict[str, Any]:
    """Pass one in figures, as `retrain extract --json` prints them."""
    rate = extraction.pictures_per_second
    return {
        "pictures": len(extraction.readable),
        "different": extraction.different,
        "cached": extraction.cached,
        "extracted": extraction.extracted,
        "skipped": len(extraction.skipped),
        "left_out": extraction.left_out.as_dict(),
        "seconds": round(extraction.seconds, 3),
        "pictures_per_second": None if rate is None else round(rate, 2),
    }


def write_files(model: TrainedModel, folder: Path, started: float) -> None:
    """Write everything that belongs into a model folder.

    Args:
        model: what was trained.
        folder: an empty one.
        started: time.monotonic() at the start of the run.
    """
    from retrain.export import graph as export

    export_started = time.monotonic()
    result = model.result
    with ThreadPoolExecutor(1) as thread:  # the two that take long are written at once
        graph = thread.submit(write_whole, folder / "graph.pb", *model.graph.serialized(model.trained.head))
        model.graph.write_saved_model(model.trained.head, result.labels, folder / "saved_model")
        graph.result()
    export.write_labels(result.labels, folder / "labels.txt")
    write_head(model.trained.head, result.labels, folder / "head.h5")
    export.write_summaries(model.trained.history, folder / "logs")
    _write_csv(
        folder / "history.csv",
        ["step", "train_accuracy", "train_cross_entropy", "validation_accuracy", "validation_cross_entropy"],
        [list(asdict(row).values()) for row in model.trained.history],
    )
    if result.fine_tuning:
        rows = [asdict(row) for row in result.fine_tuning.tuned.history]
        _write_csv(folder / "fine_tuning.csv", [*rows[0]], [[*row.values()] for row in rows])
    if result.curve:
        _write_plots(model, folder)
    if result.tuning:
        _write_csv(folder / "tuning.csv", _TUNING_COLUMNS, _tuning_rows(result.tuning))
    _write_pictures(result.pictures, result.skipped, folder)
    _write_json(folder / "metrics.json", {name: m.as_dict() for name, m in result.metrics.items()})
    now = time.monotonic()
    result.timings.update(export_seconds=now - export_started, total_seconds=now - started)
    files = list_files(folder)
    record = run_record(model, [*files, "run.json"])
    model.record = seal(record | {"sha256": {name: digest_of_file(folder / name) for name in files}})
    _write_json(folder / "run.json", model.record)


def _write_plots(model: TrainedModel, folder: Path) -> None:
    from retrain.report import plots

    result = model.result
    _write_csv(
        folder / "curves.csv",
        ["step", "epoch", *(f"{name}_{figure}" for name in SETS for figure in ("accuracy", "cross_entropy"))],
        [
            [point.step, round(point.epoch, 4), *(v for name in SETS for v in point.figures.get(name, (None, None)))]
            for point in result.curve
        ],
    )
    write_whole(folder / "curves.png", plots.draw_curves(result.curve))
    name, shown = "test", [picture for picture in result.pictures if picture.path in result.tested]
    if not shown:  # as with folders train/ and validation/
        name, shown = "validation", [picture for picture in result.pictures if picture.set == "validation"]
    wrong = sum(picture.predicted != picture.label for picture in shown)
    title = f"{wrong} of {counted(len(shown), f'{name} picture')} {'has' if wrong == 1 else 'have'} a wrong label"
    sheet = plots.draw_predictions(shown, model.image_dir, model.options.images, title)
    if sheet is not None:
        write_whole(folder / "predictions.png", sheet)


_TUNING_COLUMNS = [
    *("try", "optimizer", "learning_rate", "l2", "folds", "accuracy", "cross_entropy"),
    *("accuracy_sd", "cross_entropy_sd", "seconds", "result"),
]


def _tuning_rows(tuning: "Tuning") -> Iterator[list[Any]]:
    """A row for each try; figures are means over its folds."""
    for number, tried in enumerate(tuning.tries):
        figures: list[Any] = [tried.accuracy, tried.cross_entropy]
        for values in (tried.accuracies, tried.cross_entropies):
            figures.append(statistics.stdev(values) if len(values) > 1 else None)
        result = "best" if number == tuning.best else tried.error or ""
        options, folds = tried.resolved, len(tried.accuracies)
        yield [
            *(number + 1, options.optimizer, options.learning_rate, options.l2, folds),
            *(*figures, round(tried.seconds, 3), result),
        ]


def run_record(model: TrainedModel, files: list[str]) -> dict[str, Any]:
    """What run.json holds: all that is needed to know, and to repeat, the run; files: what lies in the model folder."""
    trunk, result = model.graph.trunk, model.result
    return {
        "format": FORMAT,
        "command": [utf8_path(word) for word in model.command],
        "image_dir": utf8_path(os.path.abspath(model.image_dir)),
        "labels": list(result.labels),
        "class_folders": list(result.class_folders),
        "options": {
            name: utf8_path(value) if isinstance(value, str) else value
            for name, value in model.options.as_dict().items()
        },
        "backbone": {
            "name": model.backbone.name,
            "instead_of": model.graph.backbone.instead_of,
            "fingerprint": model.extractor.fingerprint,
            "height": trunk.height,
            "width": trunk.width,
            "bottleneck_size": trunk.bottleneck_size,
            "description": model.extractor.description,
            "graph": {"fingerprint": model.backbone.fingerprint, "description": model.backbone.description},
        },
        "split": result.split,
        "training": {
            "steps": model.trained.steps,
            "epochs": model.options.training.passes(model.trained.steps, result.split["train"]),
            "best_step": model.trained.best_step,
            "converged": model.trained.converged,
        },
        "tuning": result.tuning.as_dict() if result.tuning else None,
        "fine_tuning": result.fine_tuning.as_dict() if result.fine_tuning else None,
        "extraction": result.extraction,
        "augmentation": result.augmentation.as_dict() if result.augmentation else None,
        "results": {
            name: {"n": m.n, "accuracy": m.accuracy, "cross_entropy": m.cross_entropy}
            for name, m in result.metrics.items()
        },
        "temperature": None if result.calibration is None else result.calibration.temperature,
        "timings": {name: round(seconds, 3) for name, seconds in result.timings.items()},
        "files": files,
        "versions": _versions(),
    }


def _versions() -> dict[str, str]:
    versions = {"retrain": retrain.__version__, "python": platform.python_version()}
    for package in ("tensorflow", "keras", "numpy", "scipy", "h5py", "pillow", "openvino", "nncf"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return versions


def write_evaluation(evaluation: FolderEvaluation, folder: str | os.PathLike[str]) -> None:
    """Write what `retrain evaluate` found: evaluation.json, confusion_matrix.csv, predictions.csv and skipped.csv.

    The folder is made where it is not there; other files in it stay. Raises OutputError.
    """
    labels = [c.label for c in evaluation.metrics.per_class]
    rows = zip(labels, evaluation.metrics.confusion_matrix, strict=True)
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        _write_json(Path(folder) / "evaluation.json", evaluation.as_dict())
        _write_csv(Path(folder) / "confusion_matrix.csv", ["", *labels], [[label, *counts] for label, counts in rows])
        _write_pictures(evaluation.pictures, evaluation.extraction.skipped, Path(folder))
    except OSError as error:
        raise _not_written(folder, error) from error


def check_evaluation_place(folder: str | os.PathLike[str]) -> None:
    """Refuse, before any work is done, a place where the files of an evaluation can't go. Raises OutputError."""
    if (Path(folder) / "run.json").exists():
        raise OutputError(f"{display_path(folder)} is a model folder, whose files would be lost: give another --output")
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise _not_written(folder, error) from error


def _not_written(folder: str | os.PathLike[str], error: OSError) -> OutputError:
    remedy = "make room" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "check its permissions"
    return OutputError(f"can't write into {display_path(folder)}: {error.strerror}; {remedy} or give another --output")


def _write_pictures(pictures: Iterable[PictureResult], skipped: Mapping[str, str], folder: Path) -> None:
    """What became of every file: predictions.csv and skipped.csv."""
    _write_csv(
        folder / "predictions.csv",
        ["path", "set", "label", "predicted", "score", "key"],
        [[utf8_path(p.path), p.set, p.label, p.predicted, f"{p.score:.6f}", p.key] for p in pictures],
    )
    _write_csv(
        folder / "skipped.csv", ["path", "reason"], [[utf8_path(path), reason] for path, reason in skipped.items()]
    )


def _guarded(cell: Any) -> Any:
    """A cell that no spreadsheet takes for a formula: an apostrophe goes before names such as =1+1.

    So it does before names which begin with apostrophes and then such a character, so that it can be taken off again.
    """
    return f"'{cell}" if isinstance(cell, str) and _FORMULA.match(cell) else cell


def _write_csv(path: Path, header: list[str], rows: Iterable[list[Any]]) -> None:
    buffer = io.StringIO()
    plain = csv.writer(buffer, lineterminator="\n")
    # Python before 3.13 puts no quotes around a cell with \r, and then can't read it; programs in countries that
    # separate cells otherwise would begin a new one after ; or a tab
    quoted = csv.writer(buffer, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in [header, *rows]:
        writer = quoted if any(isinstance(cell, str) and re.search("[\r\t;]", cell) for cell in row) else plain
        writer.writerow(map(_guarded, row))
    write_whole(path, buffer.getvalue().encode())


def _write_json(path: Path, value: Any) -> None:
    write_whole(path, (shown_json(json.dumps(value, indent=2, ensure_ascii=False)) + "\n").encode())
