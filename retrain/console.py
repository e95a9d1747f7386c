"""What a person sees: progress on stderr, summaries as text. Used by `cli` alone."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from retrain.augmentation import Augmentation
from retrain.benchmark import MachineBenchmark
from retrain.config import DEFAULT_STEPS, TrainingOptions
from retrain.crossval import CrossValidation
from retrain.evaluation import Metrics
from retrain.extraction import ExtractionProgress
from retrain.image_folder import display_path
from retrain.inspection import FolderInspection
from retrain.record import FolderEvaluation, PictureResult, RunResult
from retrain.split import FEWEST_PICTURES

if TYPE_CHECKING:
    from retrain.finetuning import FineTuningRow
    from retrain.training import HistoryRow
    from retrain.tuning import Try

__all__ = [
    "Progress",
    "describe_benchmark",
    "describe_cross_validation",
    "describe_evaluation",
    "describe_inspection",
    "describe_metrics",
    "describe_misclassified",
    "describe_run",
]

_LINE_SECONDS = 5.0  # between progress lines where there is no terminal
_BAR = "{desc}: {percentage:3.0f}%|{bar:20}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"
_MOST_LISTED = 10  # of a list that may be long


class Progress:
    """Progress of a run: bars on a terminal, a line every few seconds elsewhere, nothing when quiet."""

    def __init__(self, quiet: bool, steps: int = 0) -> None:
        self.quiet = quiet
        self.steps = steps
        self._epochs: Callable[[int], str] = lambda steps: ""
        self.extraction: ExtractionProgress | None = None
        self._bar: Any = None
        self._preparing = self._epoch = ""
        self._last_line, self._last_text = time.monotonic(), ""

    def warn(self, message: str) -> None:
        """A warning, also when quiet."""
        tqdm.write(f"retrain: warning: {message}", file=sys.stderr)

    def say(self, message: str) -> None:
        """A line of its own."""
        if not self.quiet:
            tqdm.write(message, file=sys.stderr)

    def on_stage(self, name: str) -> None:
        """A stage begins."""
        self.close()
        if name == "export":
            self.say("writing the model ...")

    def on_preparation(self, what: str, done: int, total: int) -> None:
        """Work before pass one went on."""
        if what != self._preparing:
            self.close()
            self._preparing = what
        self._show(what, done, total, "")
        self._line(f"{what}: {done} of {total} pictures", False)

    def on_extraction(self, progress: ExtractionProgress) -> None:
        """Pass one went on."""
        first = self.extraction is None or self.extraction.counts_copies != progress.counts_copies
        self.extraction = progress
        rate = progress.extracted / progress.seconds if progress.extracted and progress.seconds > 0 else 0.0
        name, unit, what = "bottlenecks", "pictures/s", f"bottlenecks: {progress.done} of {progress.pictures} pictures"
        if progress.counts_copies:
            name, unit, what = "copies", "copies/s", f"distorted copies: {progress.done} of {progress.pictures}"
        self._show(name, progress.done, progress.pictures, f"{rate:.1f} {unit}" if rate else "")
        if first and progress.done < progress.pictures:
            self._line(f"{what} are there already", True)
        left = f", {rate:.1f} {unit}, {(progress.pictures - progress.done) / rate:.0f} s left" if rate else ""
        self._line(
            f"{what}{left}",
            progress.done == progress.pictures and progress.extracted > 0,
        )

    def on_fold(self, number: int, folds: int, metrics: Metrics) -> None:
        """A fold of a cross-validation was tested."""
        self.say(
            f"fold {number} of {folds}: accuracy {_ratio(metrics.accuracy)} of {metrics.n}, "
            f"cross-entropy {metrics.cross_entropy:.4f}"
        )

    def on_try(self, done: int, planned: int, tried: "Try") -> None:
        """Options were tried on a fold more."""
        options = tried.resolved
        rate = "" if options.learning_rate is None else f", learning rate {options.learning_rate:g}"
        what = f"tuning {done} of {planned}: {options.optimizer}{rate}, L2 {options.l2:g}"
        if tried.error or tried.cross_entropy is None:
            self.say(f"{what}: {tried.error}")
            return
        folds = len(tried.accuracies)
        self.say(
            f"{what}: accuracy {_ratio(tried.accuracy)}, cross-entropy {tried.cross_entropy:.4f} "
            f"({folds} {'fold' if folds == 1 else 'folds'})"
        )

    def on_training(self, options: TrainingOptions, pictures: int) -> None:
        """Pass two begins."""
        self.steps = options.steps or DEFAULT_STEPS
        if options.epochs is not None:
            self._epochs = lambda steps: (
                # the last one may end within a step
                f" (epoch {min(options.passes(steps, pictures), options.epochs or 0):.1f} of {options.epochs:g})"
            )

    def on_evaluation(self, row: "HistoryRow") -> None:
        """Pass two went on."""
        validation = "" if row.validation_accuracy is None else f", validation accuracy {row.validation_accuracy:.1%}"
        figures = f"train accuracy {row.train_accuracy:.1%}{validation}, cross-entropy {row.train_cross_entropy:.4f}"
        epoch = self._epochs(row.step + 1)
        self._show("training", row.step + 1, self.steps, f"{figures}{epoch}")
        self._line(f"step {row.step}{epoch}: {figures}", row.step == self.steps - 1)

    def on_fine_tuning(self, done: int, steps: int) -> None:
        """Fine-tuning went on."""
        self._show("fine-tuning", done, steps, self._epoch)
        self._line(f"fine-tuning: step {done} of {steps}", False)

    def on_epoch(self, row: "FineTuningRow") -> None:
        """An epoch of fine-tuning ended; 0 is before the first."""
        validation = ""
        if row.validation_accuracy is not None:
            validation = (
                f", validation accuracy {row.validation_accuracy:.1%}, cross-entropy {row.validation_cross_entropy:.4f}"
            )
        self._epoch = f"train accuracy {row.train_accuracy:.1%}{validation}"
        if self._bar is None:
            self.say(f"{f'epoch {row.epoch}' if row.epoch else 'before fine-tuning'}: {self._epoch}")

    def on_inspection(self, done: int, total: int) -> None:
        """Files were looked at."""
        self._show("reading", done, total, "")
        self._line(f"reading: {done} of {total} files", False)

    def close(self) -> None:
        """The bar stays as it is, and the cursor goes to the next line."""
        if self._bar is not None:
            self._bar.refresh()
            self._bar.close()
        self._bar = None
        self._last_line = time.monotonic()

    def _show(self, name: str, done: int, total: int, figures: str) -> None:
        """Put the bar, where there is one, to where the work is."""
        if self.quiet or not _has_terminal():
            return
        if self._bar is None:
            # what was done before it began is no work, and would spoil the time left
            self._bar = tqdm(total=total, initial=done, desc=name, file=sys.stderr, bar_format=_BAR, dynamic_ncols=True)
        self._bar.set_postfix_str(figures, refresh=False)
        self._bar.update(done - self._bar.n)

    def _line(self, text: str, now: bool) -> None:
        if self.quiet or self._bar is not None:
            return
        if text != self._last_text and (now or time.monotonic() - self._last_line >= _LINE_SECONDS):
            self._last_line, self._last_text = time.monotonic(), text
            self.say(text)


def _has_terminal() -> bool:
    """Whether stderr is a terminal that says how large it is."""
    try:
        size = os.get_terminal_size(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return min(size) > 0


def describe_benchmark(measured: MachineBenchmark) -> str:
    """What `retrain extract --benchmark` shows."""
    lines = [
        f"{measured.processor}, {measured.cores} cores; {measured.backbone}; pictures/s:",
        f"  reading, hashing, decoding, resizing alone   {measured.decoding:8.1f}",
        f"  {'precision':12} {'backbone alone':>16} {'all of pass one':>16} {'prepared in':>14}",
    ]
    for rates in measured.precisions:
        if rates.backbone is None or rates.pipeline is None:
            lines.append(f"  {rates.precision:12} not here: {rates.reason}")
        else:
            lines.append(
                f"  {rates.precision:12} {rates.backbone:16.1f} {rates.pipeline:16.1f} "
                f"{rates.preparation_seconds:12.1f} s" + (f"   {rates.warning}" if rates.warning else "")
            )
    return "\n".join([*lines, f"Recommendation: {measured.recommendation}"])


def describe_run(result: RunResult, record: dict[str, Any], model_dir: str) -> str:
    """What `retrain train` shows at the end; record: run.json."""
    lines = [_extraction_line(result), _backbone_line(record["backbone"])]
    if not result.metrics["test"].n and result.metrics["validation"].n:  # as with folders train/ and validation/
        lines += _metrics_lines("Validation", result.metrics["validation"])
    else:
        lines += _metrics_lines("Test", result.metrics["test"])
    lines += _ways_lines(result, record, model_dir)
    lines += _precision_line(record)
    if result.skipped:
        lines.append(f"Skipped: {len(result.skipped)} files, listed with reasons in {model_dir}/skipped.csv")
    extra = [
        name for name in ("fine_tuning.csv", "curves.csv", "curves.png", "predictions.png") if name in record["files"]
    ]
    files = ["graph.pb", "labels.txt", "saved_model/", "metrics.json", "history.csv", "predictions.csv", *extra]
    lines.append(f"Model: {model_dir}/ ({', '.join(files)})")
    lines.append(f"Next: retrain predict {model_dir} PICTURE ...")
    return "\n".join(lines)


def _ways_lines(result: RunResult, record: dict[str, Any], model_dir: str) -> Iterator[str]:
    """How the head came about, where that is out of the ordinary; record: run.json."""
    training = record["training"]
    yield from _augmentation_lines(result.augmentation, "training picture")
    if result.tuning:
        best = result.tuning.options.resolved(result.split["train"])
        rate = "" if best.learning_rate is None else f" at a learning rate of {best.learning_rate:g}"
        yield (
            f"Tuned: {best.optimizer}{rate}, L2 {best.l2:g}: the best of {result.tuning.as_dict()['tries']} tries, "
            f"all in {model_dir}/tuning.csv"
        )
    options, steps = record["options"], training["steps"]
    if options["epochs"] is not None:
        of = f", each of {options['batch_size']} pictures" if options["batch_size"] else ""
        yield f"{training['epochs']:.3g} epochs of {result.split['train']} pictures: {steps} steps{of}"
    if training["best_step"] is not None:
        yield f"Ended after {training['steps']} steps; the weights are those after step {training['best_step']}"
    elif training["converged"]:
        yield f"lbfgs came to its end in {training['steps']} steps"
    if result.fine_tuning:
        yield _fine_tuning_line(result.fine_tuning.as_dict(), result.fine_tuning.tuned.history)
    done = result.calibration
    if done is not None:
        change = f"{done.cross_entropy_before:.3f} -> {done.cross_entropy_after:.3f}"
        yield f"Calibrated: temperature {done.temperature:.2f} (validation cross-entropy {change})"


def _fine_tuning_line(done: dict[str, Any], history: "Sequence[FineTuningRow]") -> str:
    layers = done["layers"]
    what = f"{len(layers)} layers from {layers[0]} on" if len(layers) > 1 else layers[0]
    first, last = history[0], history[-1 if done["best_epoch"] is None else done["best_epoch"]]
    kept = "" if done["best_epoch"] is None else f", the weights are those after epoch {last.epoch}"
    figures = ""
    if last.validation_accuracy is not None:
        figures = (
            f"; validation accuracy {first.validation_accuracy:.1%} -> {last.validation_accuracy:.1%}, "
            f"cross-entropy {first.validation_cross_entropy:.3f} -> {last.validation_cross_entropy:.3f}"
        )
    return f"Fine-tuned: {what}, {done['epochs']} {'epoch' if done['epochs'] == 1 else 'epochs'}{kept}{figures}"


def _augmentation_lines(augmentation: Augmentation | None, what: str) -> Iterator[str]:
    if augmentation:
        extracted = f", {augmentation.extracted} extracted in {augmentation.seconds:.1f} s"
        yield f"Distorted copies: {augmentation.copies} of each {what}, {augmentation.rows} in all{extracted}"


def _backbone_line(backbone: dict[str, Any]) -> str:
    """backbone: of run.json."""
    reason = f", for {backbone['instead_of']} could not be had" if backbone["instead_of"] else ""
    return f"Backbone: {backbone['name']}, {backbone['height']} x {backbone['width']} pixels{reason}"


def _precision_line(run: dict[str, Any]) -> Iterator[str]:
    """Where the figures are not of what the exported graph computes."""
    precision = run["backbone"]["description"]["precision"]
    if precision != "float32":
        yield f"Measured on {precision} bottlenecks; the graph computes in float32, which retrain evaluate measures"


def _extraction_line(result: RunResult) -> str:
    split, extraction, seconds = result.split, result.extraction, result.timings
    return (
        f"{extraction['pictures'] - extraction['skipped']} pictures of {len(result.labels)} classes: "
        f"{split['train']} for training, {split['validation']} for validation, {split['test']} for the test; "
        f"{extraction['extracted']} extracted in {extraction['seconds']:.1f} s, "
        f"trained in {seconds['training_seconds']:.1f} s"
    )


def _metrics_lines(name: str, metrics: Metrics) -> Iterator[str]:
    if metrics.accuracy is None or metrics.accuracy_interval is None:
        yield f"{name} accuracy: none, for there are no such pictures"
        return
    low, high = metrics.accuracy_interval
    yield (
        f"{name} accuracy {metrics.accuracy:.1%} (95% interval {low:.1%} to {high:.1%}, N={metrics.n}), "
        f"cross-entropy {metrics.cross_entropy:.3f}"
    )
    yield _scores_line(metrics)
    worst = metrics.worst_classes()
    if worst:
        yield "Worst classes: " + ", ".join(f"{c.label} {c.recall:.1%} of {c.n}" for c in worst)
    confused = metrics.most_confused()
    if confused:
        yield f"Most confused: {confused[0]} taken for {confused[1]} ({confused[2]} times)"


def _scores_line(metrics: Metrics) -> str:
    """Top-k accuracy, where guessing would not reach it (k of four times as many classes), and calibration."""
    telling = [k for k in metrics.top_k_accuracy if 4 * int(k) <= len(metrics.per_class)]
    top = f"Top {telling[-1]}: {metrics.top_k_accuracy[telling[-1]]:.1%}, calibration" if telling else "Calibration"
    return f"{top} error {metrics.expected_calibration_error:.1%}"


def describe_cross_validation(found: CrossValidation) -> str:
    """What `retrain crossval` shows."""
    statistics, width = found.statistics, max(len("class"), *(len(c.label) for c in found.statistics.per_class))
    lines = [f"{'class':{width}}  pictures  recall  standard deviation"]
    for c in statistics.per_class:
        lines.append(f"{c.label:{width}}  {c.n:8}  {_ratio(c.mean):>6}  {_ratio(c.standard_deviation):>18}")
    (low, high), (low_loss, high_loss) = statistics.accuracy.interval, statistics.cross_entropy.interval
    accuracy, loss = statistics.accuracy, statistics.cross_entropy
    lines += [
        "",
        f"Accuracy {accuracy.mean:.1%} (95% interval {low:.1%} to {high:.1%}), standard deviation "
        f"{accuracy.standard_deviation:.1%} over {statistics.folds} folds of {statistics.n} pictures",
        f"Cross-entropy {loss.mean:.3f} (95% interval {low_loss:.3f} to {high_loss:.3f}), standard deviation "
        f"{loss.standard_deviation:.3f}",
        _scores_line(found.metrics),
        f"Backbone: {found.backbone}",
        *_augmentation_lines(found.augmentation, "picture"),
    ]
    confused = found.metrics.most_confused()
    if confused:
        lines.append(f"Most confused: {confused[0]} taken for {confused[1]} ({confused[2]} times)")
    return "\n".join(lines)


def describe_evaluation(evaluation: FolderEvaluation) -> str:
    """What `retrain evaluate` shows: all pictures, and apart from them those that the model was not trained on."""
    metrics, held_out = evaluation.metrics, evaluation.held_out
    lines = [describe_metrics(metrics)]
    if held_out.n < metrics.n:
        lines.append("")
        lines.append(f"{metrics.n - held_out.n} of these {metrics.n} pictures are some that the model was trained on.")
        lines += _metrics_lines("Without them:", held_out)
    return "\n".join(lines)


def describe_metrics(metrics: Metrics) -> str:
    """Totals, a line per class, the confusion matrix."""
    labels = [c.label for c in metrics.per_class]
    width = max(len("class"), *(len(label) for label in labels))
    lines = [*_metrics_lines("Total", metrics), ""]
    lines.append(f"{'class':{width}}  pictures  precision  recall  F1")
    for c in metrics.per_class:
        lines.append(f"{c.label:{width}}  {c.n:8}  {_ratio(c.precision):>9}  {_ratio(c.recall):>6}  {_ratio(c.f1):>6}")
    numbers = [f"[{number}]" for number in range(len(labels))]
    cell = max(4, *(len(number) for number in numbers))
    lines += ["", "Confusion matrix (rows: true class, columns: given label)"]
    lines.append(" " * (width + cell + 1) + "".join(f" {number:>{cell}}" for number in numbers))
    for number, label, row in zip(numbers, labels, metrics.confusion_matrix, strict=True):
        lines.append(f"{label:{width}} {number:>{cell}}" + "".join(f" {count:{cell}}" for count in row))
    return "\n".join(lines)


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def describe_misclassified(pictures: Sequence[PictureResult]) -> str:
    """A line for each picture with a wrong label."""
    if not pictures:
        return "No misclassified test pictures"
    lines = [f"{len(pictures)} misclassified test pictures:"]
    lines += [f"  {display_path(p.path)}: {p.predicted} ({p.score:.1%}), is {p.label}" for p in pictures]
    return "\n".join(lines)


def describe_inspection(inspection: FolderInspection) -> str:
    """What `retrain inspect` shows."""
    width = max(len("class"), *(len(c.label) for c in inspection.classes))
    lines = [f"{'class':{width}}  pictures  train  validation  test  unreadable"]
    for c in inspection.classes:
        lines.append(
            f"{c.label:{width}}  {c.pictures:8}  {c.train:5}  {c.validation:10}  {c.test:4}  {c.unreadable:10}"
        )
    lines.append(f"{inspection.pictures} pictures in {len(inspection.classes)} classes")
    few = [f"{c.label} ({c.pictures})" for c in inspection.classes if c.pictures < FEWEST_PICTURES]
    if few or len(inspection.classes) < 2:
        lines.append(
            f"retrain train will refuse this folder: it wants two classes, and {FEWEST_PICTURES} pictures in each"
            + (f"; too few in {', '.join(few)}" if few else "")
        )
    if inspection.formats:
        lines.append("Formats: " + ", ".join(f"{name} {count}" for name, count in inspection.formats.items()))
    if inspection.width and inspection.height:
        (w0, w1, w2), (h0, h1, h2) = inspection.width, inspection.height
        lines.append(f"Width: {w0} to {w2} pixels, median {w1}; height: {h0} to {h2}, median {h1}")
    if inspection.is_imbalanced:
        ratio = "no picture at all" if inspection.imbalance is None else f"1 for {inspection.imbalance:.1f}"
        lines.append(f"Imbalanced: the smallest class has {ratio} of the largest")
    lines += _listed("unreadable files", [f"{path}: {why}" for path, why in inspection.unreadable.items()])
    contradictions, leaks = (
        [" = ".join(group) for group in found] for found in (inspection.contradictions, inspection.leaks)
    )
    lines += _listed("pictures under several labels (one at most is right: keep that)", contradictions)
    lines += _listed("pictures in several sets (trained on, they say nothing in the test: keep one of each)", leaks)
    lines += _listed("pictures that are there twice", [" = ".join(g) for g in inspection.duplicates])
    lines += _listed("folders without files", list(inspection.empty_folders))
    lines += _listed("files beside the class folders", list(inspection.stray_files))
    return "\n".join(lines)


def _listed(title: str, entries: list[str]) -> Iterator[str]:
    if entries:
        yield f"{len(entries)} {title}:"
        yield from (f"  {entry}" for entry in entries[:_MOST_LISTED])
        if len(entries) > _MOST_LISTED:
            yield f"  ... and {len(entries) - _MOST_LISTED} more (all of them with --json)"
