"""Results as text for people."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from retrain.data import FEWEST_PICTURES, STRANGERS, FolderInspection, shown_form
from retrain.evaluation import AnyMetrics, LabelFoldStatistics, Metrics, MultiLabelMetrics, PictureResult
from retrain.extraction import Augmentation
from retrain.model import UNKNOWN
from retrain.paths import display_path
from retrain.pipeline.benchmark import MachineBenchmark
from retrain.pipeline.crossval import CrossValidation
from retrain.pipeline.extract import FolderExtraction
from retrain.pipeline.results import FolderEvaluation, Refused, RunResult
from retrain.text import MOST_NAMED, counted, listed_lines, listing, pasteable, ratio, shown

if TYPE_CHECKING:
    from retrain.events import EpochEnded
    from retrain.export import WrittenExport
    from retrain.training import RejectionFit, StrangerFigures

__all__ = [
    "describe_benchmark",
    "describe_cross_validation",
    "describe_evaluation",
    "describe_exports",
    "describe_extraction",
    "describe_formats",
    "describe_inspection",
    "describe_metrics",
    "describe_misclassified",
    "describe_run",
    "table",
]

_MOST_ROWS = 20  # classes of which a table or a matrix shows all
_ALL_IN_JSON = "all of them with --json"

_Class = TypeVar("_Class")


def describe_benchmark(measured: MachineBenchmark) -> str:
    """What `retrain extract --benchmark` shows."""
    lines = [
        f"{measured.processor}, {counted(measured.cores, 'core')}; {measured.backbone}; pictures/s:",
        f"  reading, hashing, decoding, resizing alone   {measured.decoding:8.1f}",
        f"  {'precision':12} {'backbone alone':>16} {'all of pass one':>16} {'prepared in':>14}",
    ]
    for rates in measured.precisions:
        if rates.backbone is None or rates.pipeline is None:
            lines.append(f"  {rates.precision:12} not available: {rates.reason}")
        else:
            lines.append(
                f"  {rates.precision:12} {rates.backbone:16.1f} {rates.pipeline:16.1f} "
                f"{rates.preparation_seconds:12.1f} s" + (f"   {rates.warning}" if rates.warning else "")
            )
    return "\n".join([*lines, f"Recommendation: {measured.recommendation}"])


def describe_exports(exports: "Sequence[WrittenExport]") -> str:
    """What `retrain export` shows: a row for each export, and where they are."""
    rows = [
        (
            export.format,
            f"{export.bytes / 10**6:.1f} MB",
            "-" if export.checked.pictures_per_second is None else f"{export.checked.pictures_per_second:.1f}",
            f"{export.checked.largest_difference:.1e}",
            ", ".join(
                f"{found.set} {ratio(found.correct / found.n)} ({ratio(found.correct_before / found.n)}, n={found.n})"
                for found in export.checked.accuracy
                if found.n
            )
            or "as predict",
        )
        for export in exports
    ]
    lines = table(["format", "size", "pictures/s", "largest difference", "accuracy (float32's)"], rows)
    compared = counted(max(export.checked.pictures for export in exports), "picture")
    lines.append(f"Differences are those of a score to retrain predict, of {compared}, one by one and in a batch.")
    for export in exports:
        lines.append(f"{export.format}: {display_path(os.path.join(export.folder, export.file))}")
    return "\n".join(lines)


def describe_formats(formats: Sequence[dict[str, Any]]) -> str:
    """What `retrain export --list` shows."""
    lines = []
    for one in formats:
        lines.append(f"{one['format']}: {one['file']}, loaded by {one['loaded_by']}")
        lines.append(f"  takes {one['takes']}")
        missing = listing(one["missing_packages"])
        state = f"which lacks {missing} here" if missing else "which is here"
        lines.append(f"  needs pip install 'retrain[{one['extra']}]', {state}" if one["extra"] else "  needs no extra")
    return "\n".join(lines)


def describe_extraction(done: FolderExtraction) -> str:
    """What `retrain extract` shows."""
    extraction, cache = done.extraction, display_path(done.cache.folder)
    lines = [f"skipped {display_path(path)}: {reason}" for path, reason in extraction.skipped.items()]
    if len(lines) > MOST_NAMED + 1:
        lines[MOST_NAMED:] = [f"... and {len(lines) - MOST_NAMED:,} more ({_ALL_IN_JSON})"]
    if extraction.left_out.count:
        lines.append(f"Skipped {extraction.left_out.told()}")
    rate = extraction.pictures_per_second
    part = "" if done.shard is None else f"Part {done.shard}: "
    speed = "" if rate is None else f" at {rate:.1f} pictures/s"
    lines.append(
        f"{part}{counted(len(extraction.readable), 'file')}: {extraction.cached:,} cached, {extraction.extracted:,} "
        f"extracted{speed}, {len(extraction.skipped):,} skipped; cache: {cache}"
    )
    if done.output is not None:
        length = done.cache.bottleneck_size
        lines.append(f"Wrote {counted(done.written, 'vector')} of length {length} to {display_path(done.output)}")
    return "\n".join(lines)


def describe_run(result: RunResult, record: dict[str, Any], model_dir: str, picture: str = "PICTURE") -> str:
    """What `retrain train` shows at the end.

    Args:
        record: run.json.
        picture: the path of one, for a command to try next.
    """
    place = display_path(os.path.join(model_dir, ""))
    lines = [_extraction_line(result), _backbone_line(record["backbone"])]
    is_without_test = not result.metrics["test"].n and result.metrics["validation"].n  # as with train/ and validation/
    if is_without_test:
        lines += _metrics_lines("Validation", result.metrics["validation"], result.is_imbalanced)
    else:
        lines += _metrics_lines("Test", result.metrics["test"], result.is_imbalanced)
    lines += _ways_lines(result, record, place)
    lines += _precision_line(record)
    if result.left_out.count:
        lines.append(f"Skipped {result.left_out.told()}; all are in {place}skipped.csv")
    names = [
        *("graph.pb", "classifier.tflite", "classifier.onnx", "labels.txt", "saved_model/", "metrics.json"),
        *("history.csv", "report.html", "predictions.csv", "fine_tuning.csv", "curves.csv", "curves.png"),
        "predictions.png",
    ]
    written = {*record["files"], *(f"{name.partition('/')[0]}/" for name in record["files"] if "/" in name)}
    lines.append(f"Model: {place} ({', '.join(name for name in names if name in written)})")
    lines.append(f"Next: retrain predict {pasteable(model_dir)} {picture}")
    return "\n".join(lines)


def _ways_lines(result: RunResult, record: dict[str, Any], place: str) -> Iterator[str]:
    """How the head was trained, if not in the ordinary way. record: run.json."""
    training = record["training"]
    yield from _augmentation_lines(result.augmentation, "training picture")
    if result.tuning:
        best = result.tuning.options.resolved(result.split["train"])
        rate = "" if best.learning_rate is None else f" at a learning rate of {best.learning_rate:g}"
        yield (
            f"Tuned: {best.optimizer}{rate}, L2 {best.l2:g}: the best of {counted(len(result.tuning.tries), 'try')}, "
            f"all in {place}tuning.csv"
        )
    options, steps = record["options"], training["steps"]
    if options["epochs"] is not None:
        of = f", each of {counted(options['batch_size'], 'picture')}" if options["batch_size"] else ""
        epochs = f"{training['epochs']:.3g} {'epoch' if training['epochs'] == 1 else 'epochs'}"
        yield f"{epochs} of {counted(result.split['train'], 'picture')}: {counted(steps, 'step')}{of}"
    if training["best_step"] is not None:
        length = counted(training["steps"], "step")
        yield f"Stopped after {length}; the weights are those of step {training['best_step']}"
    elif training["converged"]:
        yield f"lbfgs converged in {counted(training['steps'], 'step')}"
    if result.fine_tuning:
        yield _fine_tuning_line(result.fine_tuning.as_dict(), result.fine_tuning.tuned.history)
    done = result.calibration
    if done is not None:
        change = f"{done.cross_entropy_before:.3f} -> {done.cross_entropy_after:.3f}"
        yield f"Calibrated: temperature {done.temperature:.2f} (validation cross-entropy {change})"
    if result.rejection:
        yield from _rejection_lines(result.rejection)


def _rejection_lines(fit: "RejectionFit") -> Iterator[str]:
    """How many pictures a model keeps that tells those of no class."""
    threshold = f"{fit.rejection.limit.threshold:.3f}"
    kept = [f"{ratio(known / n)} of {name} (n={n})" for name, (n, known) in fit.known.items() if n and name != "train"]
    yield f"Known as one of the classes, by a distance of at most {threshold}: {', '.join(kept)}"
    yield from _stranger_lines(fit.strangers)


def _refused_lines(found: Refused) -> Iterator[str]:
    """What a model takes for pictures of none of its classes; the figures above count them like all others."""
    held_out = ""
    if 0 < found.held_out_n < found.n:
        share = ratio(found.held_out_refused / found.held_out_n)
        held_out = f"; {share} of {found.held_out_n:,} that it was not trained on"
    yield f"Unknown to the model: {ratio(found.refused / found.n)} of {counted(found.n, 'picture')}{held_out}"
    yield from _stranger_lines(found.strangers)


def _stranger_lines(strangers: "StrangerFigures | None") -> Iterator[str]:
    if strangers:
        refused = f"{ratio(strangers.refused / strangers.n)} of {counted(strangers.n, 'picture')}"
        yield f"Of no class ({STRANGERS}): {refused} refused as {UNKNOWN}, AUROC {strangers.auroc:.3f}"


def _fine_tuning_line(done: dict[str, Any], history: "Sequence[EpochEnded]") -> str:
    layers = done["layers"]
    what = f"{len(layers)} layers from {layers[0]} on" if len(layers) > 1 else layers[0]
    first, last = history[0], history[-1 if done["best_epoch"] is None else done["best_epoch"]]
    kept = "" if done["best_epoch"] is None else f", the weights are those of epoch {last.epoch}"
    figures = ""
    if last.validation_accuracy is not None:
        figures = (
            f"; validation accuracy {first.validation_accuracy:.1%} -> {last.validation_accuracy:.1%}, "
            f"cross-entropy {first.validation_cross_entropy:.3f} -> {last.validation_cross_entropy:.3f}"
        )
    return f"Fine-tuned: {what}, {counted(done['epochs'], 'epoch')}{kept}{figures}"


def _augmentation_lines(augmentation: Augmentation | None, what: str) -> Iterator[str]:
    if augmentation:
        extracted = f", {augmentation.extracted} extracted in {augmentation.seconds:.1f} s"
        yield f"Distorted copies: {augmentation.copies} of each {what}, {augmentation.rows} in all{extracted}"


def _backbone_line(backbone: dict[str, Any]) -> str:
    """backbone: of run.json."""
    reason = f", because {backbone['instead_of']} could not be downloaded" if backbone["instead_of"] else ""
    form = shown_form(backbone["description"])
    return f"Backbone: {backbone['name']}, {backbone['height']} x {backbone['width']} pixels{form}{reason}"


def _precision_line(run: dict[str, Any]) -> Iterator[str]:
    """A note if the exported graph computes in another precision than that of the figures."""
    precision = run["backbone"]["description"]["precision"]
    if precision != "float32":
        yield f"Measured on {precision} bottlenecks; the graph computes in float32, which retrain evaluate measures"


def _extraction_line(result: RunResult) -> str:
    split, extraction, seconds = result.split, result.extraction, result.timings
    return (
        f"{_pictures(extraction['pictures'] - extraction['skipped'], extraction['different'])} of "
        f"{counted(len(result.labels), 'label' if result.is_multi_label else 'class')}: "
        f"{split['train']} for training, {split['validation']} for validation, {split['test']} for the test; "
        f"{extraction['extracted']} extracted in {extraction['seconds']:.1f} s, "
        f"trained in {seconds['training_seconds']:.1f} s"
    )


def _pictures(count: int, different: int) -> str:
    """How many pictures there are, and how many without copies."""
    return counted(count, "picture") + ("" if count == different else f" ({different:,} different)")


def _metrics_lines(name: str, metrics: AnyMetrics, is_imbalanced: bool = False) -> Iterator[str]:
    """is_imbalanced: whether there are other pictures of which this is known."""
    if isinstance(metrics, MultiLabelMetrics):
        yield from _label_metrics_lines(name, metrics)
        return
    if metrics.accuracy is None or metrics.accuracy_interval is None:
        yield f"{name} accuracy: none, because there are no such pictures"
        return
    low, high = metrics.accuracy_interval
    copies = f" different pictures; {counted(metrics.copies, 'copy')} not counted" if metrics.copies else ""
    yield (
        f"{name} accuracy {metrics.accuracy:.1%} (95% interval {low:.1%} to {high:.1%}, N={metrics.n}{copies}), "
        f"cross-entropy {metrics.cross_entropy:.3f}"
    )
    yield _scores_line(metrics)
    yield from _balance_line(metrics, is_imbalanced)
    worst = metrics.worst_classes()
    if worst:
        yield "Worst classes: " + ", ".join(f"{c.label} {c.recall:.1%} of {c.n}" for c in worst)
    yield from _confused_line(metrics)


def _label_metrics_lines(name: str, metrics: MultiLabelMetrics) -> Iterator[str]:
    """The same of pictures with several labels."""
    if metrics.mean_average_precision is None or metrics.mean_average_precision_interval is None:
        reason = "of them has a label" if metrics.n else "there are no such pictures"
        yield f"{name} mAP: none, because {'none ' if metrics.n else ''}{reason}"
        return
    low, high = metrics.mean_average_precision_interval
    copies = f" different pictures; {counted(metrics.copies, 'copy')} not counted" if metrics.copies else ""
    yield (
        f"{name} mAP {metrics.mean_average_precision:.1%} (95% interval {low:.1%} to {high:.1%}, "
        f"N={metrics.n}{copies}), cross-entropy {metrics.cross_entropy:.3f}"
    )
    yield (
        f"F1 {ratio(metrics.micro_f1)} (micro), {ratio(metrics.macro_f1)} (macro); exactly the right labels: "
        f"{ratio(metrics.exact_match)}"
    )
    worst = metrics.worst_labels()
    if worst:
        yield "Worst labels: " + ", ".join(f"{c.label} AP {ratio(c.average_precision)} of {c.n}" for c in worst)


def _balance_line(metrics: Metrics, is_imbalanced: bool = False) -> Iterator[str]:
    if (is_imbalanced or metrics.is_imbalanced) and metrics.balanced_accuracy is not None:
        yield (
            f"Every class counted the same: accuracy {metrics.balanced_accuracy:.1%} (balanced), "
            f"F1 {ratio(metrics.macro_f1)} (macro)"
        )


def _confused_line(metrics: Metrics) -> Iterator[str]:
    for true, given, pictures in metrics.most_confused():
        yield f"Most confused: {true} taken for {given} ({counted(pictures, 'time')})"


def _scores_line(metrics: Metrics) -> str:
    """Calibration error, and top-k accuracy if it means something: for k of at most a quarter of the classes."""
    telling = [k for k in metrics.top_k_accuracy if 4 * int(k) <= len(metrics.per_class)]
    top = f"Top {telling[-1]}: {metrics.top_k_accuracy[telling[-1]]:.1%}, calibration" if telling else "Calibration"
    return f"{top} error {metrics.expected_calibration_error:.1%}"


def describe_cross_validation(found: CrossValidation) -> str:
    """What `retrain crossval` shows."""
    statistics = found.statistics
    if isinstance(statistics, LabelFoldStatistics) or isinstance(found.metrics, MultiLabelMetrics):
        return _describe_label_folds(found)
    lines = table(
        ["class", "pictures", "recall", "standard deviation"],
        [
            (c.label, str(c.n), ratio(c.mean), ratio(c.standard_deviation))
            for c in _few(statistics.per_class, lambda c: c.mean)
        ],
    )
    lines += _rest_line(len(statistics.per_class), "with the lowest recall")
    (low, high), (low_loss, high_loss) = statistics.accuracy.interval, statistics.cross_entropy.interval
    accuracy, loss = statistics.accuracy, statistics.cross_entropy
    lines += [
        "",
        f"Accuracy {accuracy.mean:.1%} (95% interval {low:.1%} to {high:.1%}), standard deviation "
        f"{accuracy.standard_deviation:.1%} over {counted(statistics.folds, 'fold')} of "
        f"{_pictures(statistics.n + found.metrics.copies, statistics.n)}",
        f"Cross-entropy {loss.mean:.3f} (95% interval {low_loss:.3f} to {high_loss:.3f}), standard deviation "
        f"{loss.standard_deviation:.3f}",
        _scores_line(found.metrics),
        *_balance_line(found.metrics),
        f"Backbone: {found.backbone}",
        *_augmentation_lines(found.augmentation, "picture"),
        *_confused_line(found.metrics),
    ]
    if found.extraction.left_out.count:
        lines.append(f"Skipped {found.extraction.left_out.told()}; all are listed with --json")
    return "\n".join(lines)


def _describe_label_folds(found: CrossValidation) -> str:
    """The same of pictures with several labels."""
    statistics, metrics = found.statistics, found.metrics
    if not isinstance(statistics, LabelFoldStatistics) or not isinstance(metrics, MultiLabelMetrics):
        raise TypeError("the pictures have one label each")
    lines = table(
        ["label", "pictures", "AP", "standard deviation"],
        [
            (c.label, str(c.n), ratio(c.mean), ratio(c.standard_deviation))
            for c in _few(statistics.per_label, lambda c: c.mean)
        ],
    )
    lines += _rest_line(len(statistics.per_label), "with the lowest average precision")
    (low, high), figure = statistics.mean_average_precision.interval, statistics.mean_average_precision
    (low_loss, high_loss), loss = statistics.cross_entropy.interval, statistics.cross_entropy
    lines += [
        "",
        f"mAP {figure.mean:.1%} (95% interval {low:.1%} to {high:.1%}), standard deviation "
        f"{figure.standard_deviation:.1%} over {counted(statistics.folds, 'fold')} of "
        f"{_pictures(statistics.n + metrics.copies, statistics.n)}",
        f"Cross-entropy {loss.mean:.3f} (95% interval {low_loss:.3f} to {high_loss:.3f}), standard deviation "
        f"{loss.standard_deviation:.3f}",
        f"F1 {statistics.micro_f1.mean:.1%} (micro), {statistics.macro_f1.mean:.1%} (macro); exactly the right labels: "
        f"{statistics.exact_match.mean:.1%}",
        f"Backbone: {found.backbone}",
        *_augmentation_lines(found.augmentation, "picture"),
    ]
    if found.extraction.left_out.count:
        lines.append(f"Skipped {found.extraction.left_out.told()}; all are listed with --json")
    return "\n".join(lines)


def describe_evaluation(evaluation: FolderEvaluation, output: str | None = None) -> str:
    """What `retrain evaluate` shows: all pictures, and apart from them those that the model was not trained on.

    Args:
        output: the folder that its files went to, if any.
    """
    metrics, held_out = evaluation.metrics, evaluation.held_out
    lines = [describe_metrics(metrics)]
    if held_out.n < metrics.n:
        lines.append("")
        trained_on = metrics.n - held_out.n
        lines.append(f"The model was trained on {trained_on:,} of {counted(metrics.n, 'picture')}.")
        lines += _metrics_lines("Without them:" if trained_on > 1 else "Without it:", held_out)
    if evaluation.rejection:
        lines += ["", *_refused_lines(evaluation.rejection)]
    if evaluation.extraction.left_out.count:
        all_in = f"in {display_path(os.path.join(output, 'skipped.csv'))}" if output else "listed with --json"
        lines += ["", f"Skipped {evaluation.extraction.left_out.told()}; all are {all_in}"]
    if output:
        is_multi_label = isinstance(metrics, MultiLabelMetrics)
        matrix = "co_occurrence.csv" if is_multi_label else "confusion_matrix.csv"
        files = f"evaluation.json, {matrix}, predictions.csv, skipped.csv"
        lines.append(f"Files: {display_path(os.path.join(output, ''))} ({files})")
    return "\n".join(lines)


def describe_metrics(metrics: AnyMetrics) -> str:
    """Totals, a line per class, and the confusion matrix; of many classes, only the worst ones."""
    if isinstance(metrics, MultiLabelMetrics):
        return _describe_label_metrics(metrics)
    lines = [*_metrics_lines("Total", metrics), ""]
    lines += table(
        ["class", "pictures", "precision", "recall", "F1"],
        [
            (c.label, str(c.n), ratio(c.precision), ratio(c.recall), ratio(c.f1))
            for c in _few(metrics.per_class, lambda c: c.recall)
        ],
    )
    if len(metrics.per_class) <= _MOST_ROWS:
        return "\n".join([*lines, "", *_matrix_lines(metrics)])
    lines += _rest_line(len(metrics.per_class), "with the lowest recall")
    confused = metrics.most_confused(MOST_NAMED)
    if confused:
        lines += ["", "Most confused:"]
        lines += [f"  {true} taken for {given} ({counted(n, 'time')})" for true, given, n in confused]
    lines += ["", "The whole confusion matrix: with --json, or as a file with --output DIR"]
    return "\n".join(lines)


def _describe_label_metrics(metrics: MultiLabelMetrics) -> str:
    """The same of pictures with several labels; co-occurrence takes the place of the confusion matrix."""
    labels = metrics.per_label
    lines = [*_metrics_lines("Total", metrics), ""]
    lines += table(
        ["label", "pictures", "precision", "recall", "F1", "AP", "threshold"],
        [
            (
                *(c.label, str(c.n), ratio(c.precision), ratio(c.recall), ratio(c.f1)),
                *(ratio(c.average_precision), f"{c.threshold:.3f}"),
            )
            for c in _few(labels, lambda c: c.average_precision)
        ],
    )
    if len(labels) <= _MOST_ROWS:
        title = "Co-occurrence (rows: label that a picture has, columns: label that it was given)"
        return "\n".join([*lines, "", *_grid_lines(title, [c.label for c in labels], metrics.co_occurrence)])
    lines += _rest_line(len(labels), "with the lowest average precision")
    lines += ["", "Co-occurrence of labels: with --json, or as a file with --output DIR"]
    return "\n".join(lines)


def _matrix_lines(metrics: Metrics) -> Iterator[str]:
    title = "Confusion matrix (rows: true class, columns: given label)"
    return _grid_lines(title, [found.label for found in metrics.per_class], metrics.confusion_matrix)


def _grid_lines(title: str, names: Sequence[str], matrix: Sequence[Sequence[int]]) -> Iterator[str]:
    labels = [shown(name) for name in names]
    width = max(len("class"), *map(len, labels))
    numbers = [f"[{number}]" for number in range(len(labels))]
    cell = max(4, *map(len, numbers), *(len(str(count)) for row in matrix for count in row))
    yield title
    yield " " * (width + cell + 1) + "".join(f" {number:>{cell}}" for number in numbers)
    for number, label, row in zip(numbers, labels, matrix, strict=True):
        yield f"{label:{width}} {number:>{cell}}" + "".join(f" {count:{cell}}" for count in row)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table: the first column is aligned to the left, numbers to the right."""
    cells = [header, *([shown(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            [f"{row[0]:{widths[0]}}", *(f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in cells
    ]


def _few(classes: Sequence[_Class], figure: Callable[[_Class], float | None]) -> Sequence[_Class]:
    """The classes for a table: all, or if there are many, those with the lowest figures."""
    if len(classes) <= _MOST_ROWS:
        return classes
    known = [(value, place) for place, value in enumerate(map(figure, classes)) if value is not None]
    return [classes[place] for _, place in sorted(known)[:MOST_NAMED]]


def _rest_line(classes: int, which: str) -> Iterator[str]:
    """A line that says what a table leaves out."""
    if classes > _MOST_ROWS:
        yield f"... and {classes - MOST_NAMED:,} more (above: those {which}; all of them with --json)"


def describe_misclassified(pictures: Sequence[PictureResult]) -> str:
    """A line for each picture with a wrong label."""
    if not pictures:
        return "No misclassified test pictures"
    lines = [f"{counted(len(pictures), 'misclassified test picture')}:"]
    none = "no label"  # of pictures that may have several
    lines += [
        f"  {display_path(p.path)}: {p.predicted or none} ({p.score:.1%}), is {p.label or none}" for p in pictures
    ]
    return "\n".join(lines)


def describe_inspection(inspection: FolderInspection) -> str:
    """What `retrain inspect` shows."""
    lines = table(
        ["class", "pictures", "train", "validation", "test", "unreadable"],
        [
            (c.label, *map(str, (c.pictures, c.train, c.validation, c.test, c.unreadable)))
            for c in _few(inspection.classes, lambda c: c.pictures)
        ],
    )
    lines += _rest_line(len(inspection.classes), "with the fewest pictures")
    pictures = _pictures(inspection.pictures, inspection.different)
    lines.append(f"{pictures} in {counted(len(inspection.classes), 'class')}")
    few = [f"{c.label} ({c.pictures})" for c in inspection.classes if c.pictures < FEWEST_PICTURES]
    if few or len(inspection.classes) < 2:
        lines.append(
            f"retrain train will refuse this folder: it needs two classes with {FEWEST_PICTURES} pictures each"
            + (f"; too few in {listing(few)}" if few else "")
        )
    if inspection.formats:
        lines.append("Formats: " + ", ".join(f"{name} {count}" for name, count in inspection.formats.items()))
    if inspection.width and inspection.height:
        (w0, w1, w2), (h0, h1, h2) = inspection.width, inspection.height
        lines.append(f"Width: {w0} to {w2} pixels, median {w1}; height: {h0} to {h2}, median {h1}")
    if inspection.is_imbalanced:
        largest = "the largest class has pictures, and another has none"
        if inspection.imbalance is not None:
            largest = f"the largest class has {inspection.imbalance:.1f} times the pictures of the smallest"
        lines.append(f"Imbalanced: {largest}")
    lines += _finding_lines(inspection)
    return "\n".join(lines)


def _finding_lines(inspection: FolderInspection) -> Iterator[str]:
    """What a person should look at in the folder."""
    if inspection.left_out.count:
        yield f"Unreadable: {inspection.left_out.told()}"
        yield from listed_lines([f"{path}: {why}" for path, why in inspection.unreadable.items()], _ALL_IN_JSON)
    for groups, title in (
        (
            inspection.contradictions,
            "in several classes (at most one is right: keep that one; or all are, with --multi-label)",
        ),
        (inspection.leaks, "in several sets (a test picture that was also trained on proves nothing: keep one copy)"),
        (inspection.duplicates, "more than once in the same class"),
    ):
        if groups:
            yield f"{counted(len(groups), 'picture')} {title}:"
            yield from listed_lines([" = ".join(group) for group in groups], _ALL_IN_JSON)
    for names, noun, place in (
        (inspection.one_colour, "picture", "of one flat colour"),
        (inspection.one_colour_classes, "class", "with nothing but one flat colour"),
        (inspection.empty_folders, "folder", "without files"),
        (inspection.stray_files, "file", "beside the class folders"),
    ):
        if names:
            yield f"{counted(len(names), noun)} {place}:"
            yield from listed_lines(names, _ALL_IN_JSON)
