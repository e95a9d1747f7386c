"""The files that training and evaluation leave behind."""

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
from retrain.data import SETS, ManifestFile, unusual
from retrain.errors import OutputError
from retrain.evaluation import AnyMetrics, MultiLabelMetrics, PictureResult
from retrain.files import digest_of_file, write_whole
from retrain.machine import cores
from retrain.model import FORMATS, list_files, seal, write_head, write_labels, write_thresholds
from retrain.model_files import (
    CLASSIFIER,
    CURVES,
    CURVES_PLOT,
    FINE_TUNING,
    GRAPH,
    HEAD,
    HISTORY,
    LABELS,
    LOGS,
    METRICS,
    MODEL_CARD,
    ONNX_CLASSIFIER,
    PREDICTIONS,
    PREDICTIONS_SHEET,
    REPORT,
    RUN,
    SAVED_MODEL,
    SKIPPED,
    THRESHOLDS,
    TUNING,
)
from retrain.paths import display_path, utf8_path
from retrain.pipeline.results import FolderEvaluation, TrainedModel
from retrain.text import counted, shown_json

if TYPE_CHECKING:
    from retrain.export import TrainedNetwork
    from retrain.training import Tuning

__all__ = ["Origin", "check_evaluation_place", "write_evaluation", "write_files"]

# What spreadsheets take for the start of a formula, or ignore before one; also in the wide forms of East Asia.
_FORMULA = re.compile("'*[=+\\-@\t\r\uff1d\uff0b\uff0d\uff20]")


@dataclass(frozen=True)
class Origin:
    """Where a model comes from, for run.json."""

    command: Sequence[str] = ()  # the command line that asked for it
    model_dir: str | os.PathLike[str] = ""  # where it will be
    own_card: bytes | None = None  # a model card there that is the user's own
    started: float = field(default_factory=time.monotonic)


def write_files(model: TrainedModel, folder: Path, origin: Origin) -> dict[str, Any]:
    """Write everything that belongs into a model folder, which is empty.

    Returns what run.json holds.
    """
    export_started = time.monotonic()
    known = _write_model(model, folder)
    _write_results(model, folder)
    record = run_record(model, origin.command, model.result.timings, [])
    _write_for_people(model, folder, origin, record)
    digests = _digests_of(folder, known)
    if origin.own_card is not None:  # the program's files have a digest, and go when the model is replaced
        write_whole(folder / MODEL_CARD, origin.own_card)
    now = time.monotonic()
    written = {"export_seconds": now - export_started, "total_seconds": now - origin.started}
    timings = record["timings"] | {name: round(seconds, 3) for name, seconds in written.items()}
    files = [*digests, RUN]
    digests.pop(REPORT, None)  # `retrain report` makes it again
    record = seal(record | {"timings": timings, "files": files, "sha256": digests})
    _write_json(folder / RUN, record)
    return record


def _write_model(model: TrainedModel, folder: Path) -> dict[str, str]:
    """The model itself, in every form, and its labels. Returns the SHA-256 of the files of which it is known by now."""
    labels = model.result.labels
    network = model.graph.under(model.trained.head, labels)
    known = _write_onnx(network, folder) if model.graph.backbone.is_onnx else _write_tensorflow_forms(network, folder)
    write_labels(labels, folder / LABELS)
    if network.head.exact_thresholds is not None:
        write_thresholds(network.head.exact_thresholds, folder / THRESHOLDS)
    write_head(model.trained.head, labels, folder / HEAD)
    return {os.path.normpath(f"{name}/{path}"): known[name][path] for name in known for path in known[name]}


def _write_onnx(network: "TrainedNetwork", folder: Path) -> dict[str, Mapping[str, str]]:
    """The form of a model with an ONNX backbone. Returns what `_write_tensorflow_forms` does."""
    from retrain.export import OnnxClassifier

    OnnxClassifier().write(network, folder / ONNX_CLASSIFIER)
    return {ONNX_CLASSIFIER: OnnxClassifier().verify(network, folder / ONNX_CLASSIFIER)}


def _write_tensorflow_forms(network: "TrainedNetwork", folder: Path) -> dict[str, Mapping[str, str]]:
    """All other forms. Returns what SHA-256 is known: file or folder -> path in it -> digest."""
    from retrain.export import FrozenGraph, LiteRTModel, SavedModel

    _ = network.trunk  # if it must be made, then once, not in both threads
    is_convertible = network.converted is not None

    def write_graph() -> Mapping[str, str]:
        FrozenGraph().write(network, folder / GRAPH)
        return FrozenGraph().verify(network, folder / GRAPH)

    def write_saved_model() -> Mapping[str, str]:
        return SavedModel().write(network, folder / SAVED_MODEL)

    with ThreadPoolExecutor(1) as thread:  # what takes long is written at once
        written = {GRAPH: thread.submit(write_graph), SAVED_MODEL: thread.submit(write_saved_model)}
        known: dict[str, Mapping[str, str]] = {}
        if is_convertible:
            LiteRTModel().write(network, folder / CLASSIFIER)
            known[CLASSIFIER] = LiteRTModel().verify(network, folder / CLASSIFIER)
        known |= {name: future.result() for name, future in written.items()}
    return known


def _digests_of(folder: Path, known: Mapping[str, str]) -> dict[str, str]:
    """The SHA-256 of all files in a folder."""
    files = list_files(folder)
    with ThreadPoolExecutor(cores()) as threads:
        found = threads.map(lambda name: known.get(name) or digest_of_file(folder / name), files)
        return dict(zip(files, found, strict=True))


def _write_results(model: TrainedModel, folder: Path) -> None:
    """How training went, and what the model says of every picture."""
    from retrain.report import write_summaries

    result, measure = model.result, _measure(model)
    write_summaries(model.trained.history, folder / LOGS, measure)
    _write_csv(
        folder / HISTORY,
        ["step", *(f"{name}_{figure}" for name in ("train", "validation") for figure in (measure, "cross_entropy"))],
        [list(asdict(row).values()) for row in model.trained.history],
    )
    if result.fine_tuning:
        rows = [asdict(row) for row in result.fine_tuning.tuned.history]
        header = [name.replace("accuracy", measure) for name in rows[0]]
        _write_csv(folder / FINE_TUNING, header, [[*row.values()] for row in rows])
    if result.curve:
        _write_plots(model, folder)
    if result.tuning:
        header = [name.replace("accuracy", result.tuning.measure) for name in _TUNING_COLUMNS]
        _write_csv(folder / TUNING, header, _tuning_rows(result.tuning))
    _write_pictures(result.pictures, result.skipped, folder)
    _write_json(folder / METRICS, {name: m.as_dict() for name, m in result.metrics.items()})


def _measure(model: TrainedModel) -> str:
    """What files call the share of the pictures with the right label; of several, with exactly the right ones."""
    return "exact_match" if model.trained.head.activation == "sigmoid" else "accuracy"


def _write_for_people(model: TrainedModel, folder: Path, origin: Origin, record: Mapping[str, Any]) -> None:
    """The report, the model card, and what the projector shows. record: what run.json will hold, but for its files."""
    from retrain.pipeline.report import quick_report, recipe_of_run
    from retrain.report import model_card, rejection_sentence, write_projector

    options = model.options.report
    if options.projector:
        write_projector(model.judged, folder / LOGS)
    if options.level != "none":
        write_whole(folder / REPORT, quick_report(model, record, origin.model_dir))
    if origin.own_card is None:
        name = os.path.basename(os.path.abspath(origin.model_dir))
        metrics, recipe, split = model.result.metrics, recipe_of_run(record), model.result.split
        card = model_card(name, metrics, recipe, split, rejection_sentence(record))
        write_whole(folder / MODEL_CARD, card)


def _write_plots(model: TrainedModel, folder: Path) -> None:
    from retrain.report import draw_curves, draw_predictions

    result = model.result
    _write_csv(
        folder / CURVES,
        ["step", "epoch", *(f"{name}_{figure}" for name in SETS for figure in (_measure(model), "cross_entropy"))],
        [
            [point.step, round(point.epoch, 4), *(v for name in SETS for v in point.figures.get(name, (None, None)))]
            for point in result.curve
        ],
    )
    write_whole(folder / CURVES_PLOT, draw_curves(result.curve, _measure(model).replace("_", " ")))
    name, shown = "test", [picture for picture in result.pictures if picture.path in result.tested]
    if not shown:  # as with folders train/ and validation/
        name, shown = "validation", [picture for picture in result.pictures if picture.set == "validation"]
    wrong = sum(picture.predicted != picture.label for picture in shown)
    what = "a wrong label" if _measure(model) == "accuracy" else "a label too many or too few"
    title = f"{wrong} of {counted(len(shown), f'{name} picture')} {'has' if wrong == 1 else 'have'} {what}"
    sheet = draw_predictions(shown, model.image_dir, model.options.images, title, model.options.backbone.depth)
    if sheet is not None:
        write_whole(folder / PREDICTIONS_SHEET, sheet)


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


def run_record(
    model: TrainedModel, command: Sequence[str], timings: Mapping[str, float], files: list[str]
) -> dict[str, Any]:
    """What run.json holds: everything needed to understand and repeat the run.

    Args:
        timings: seconds.
        files: what lies in the model folder.
    """
    form, result, head = model.graph.form, model.result, model.trained.head
    return {
        "format": FORMATS[head.thresholds is not None or head.rejection is not None or bool(unusual(form))],
        "command": [utf8_path(word) for word in command],
        "image_dir": utf8_path(os.path.abspath(model.image_dir)),
        "manifest": _manifest(result.manifest),
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
            "height": form.height,
            "width": form.width,
            "fit": form.fit,
            "depth": form.depth,
            "bottleneck_size": head.bottleneck_size,
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
        "results": {name: _main_figures(found) for name, found in result.metrics.items()},
        "thresholds": head.exact_thresholds,
        "temperature": None if result.calibration is None else result.calibration.temperature,
        "rejection": None if result.rejection is None else result.rejection.as_dict(),
        "timings": {name: round(seconds, 3) for name, seconds in timings.items()},
        "files": files,
        "versions": _versions(),
    }


def _main_figures(found: AnyMetrics) -> dict[str, Any]:
    names = ["n", "accuracy", "cross_entropy"]
    if isinstance(found, MultiLabelMetrics):
        names = ["n", "mean_average_precision", "micro_f1", "macro_f1", "exact_match", "cross_entropy"]
    return {name: getattr(found, name) for name in names}


def _manifest(manifest: ManifestFile | None) -> dict[str, str] | None:
    if manifest is None:
        return None
    return {"path": utf8_path(os.path.abspath(manifest.path)), "sha256": manifest.sha256}


def _versions() -> dict[str, str]:
    versions = {"retrain": retrain.__version__, "python": platform.python_version()}
    for package in (
        "tensorflow",
        "keras",
        "ai-edge-litert",
        "numpy",
        "scipy",
        "h5py",
        "pillow",
        "openvino",
        "nncf",
        "onnx",
        "onnxruntime",
    ):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return versions


def write_evaluation(evaluation: FolderEvaluation, folder: str | os.PathLike[str]) -> None:
    """Write what `retrain evaluate` found: evaluation.json, confusion_matrix.csv, predictions.csv and skipped.csv.

    If pictures have several labels, co_occurrence.csv takes the place of the confusion matrix.
    If the folder is missing, it is made. Other files in it stay. Raises OutputError.
    """
    name, labels, matrix = _matrix(evaluation.metrics)
    rows = zip(labels, matrix, strict=True)
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        _write_json(Path(folder) / "evaluation.json", evaluation.as_dict())
        _write_csv(Path(folder) / f"{name}.csv", ["", *labels], [[label, *counts] for label, counts in rows])
        _write_pictures(evaluation.pictures, evaluation.extraction.skipped, Path(folder))
    except OSError as error:
        raise _not_written(folder, error) from error


def _matrix(metrics: AnyMetrics) -> tuple[str, list[str], Sequence[Sequence[int]]]:
    """The matrix of true and given labels: its name, the labels, and the counts."""
    if isinstance(metrics, MultiLabelMetrics):
        return "co_occurrence", [found.label for found in metrics.per_label], metrics.co_occurrence
    return "confusion_matrix", [found.label for found in metrics.per_class], metrics.confusion_matrix


def check_evaluation_place(folder: str | os.PathLike[str]) -> None:
    """Refuse a place where the files of an evaluation can't go, before any work is done. Raises OutputError."""
    if (Path(folder) / RUN).exists():
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
        folder / PREDICTIONS,
        ["path", "set", "label", "predicted", "score", "key"],
        [[utf8_path(p.path), p.set, p.label, p.predicted, f"{p.score:.6f}", p.key] for p in pictures],
    )
    _write_csv(folder / SKIPPED, ["path", "reason"], [[utf8_path(path), reason] for path, reason in skipped.items()])


def _guarded(cell: Any) -> Any:
    """A cell that no spreadsheet takes for a formula: names such as =1+1 get an apostrophe in front.

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
