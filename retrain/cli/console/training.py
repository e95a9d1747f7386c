"""What `retrain train` shows at its end."""

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from retrain.cli.console.figures import pictures_text
from retrain.cli.console.metrics import metrics_lines
from retrain.data import STRANGERS, shown_form
from retrain.extraction import Augmentation
from retrain.model import UNKNOWN
from retrain.paths import display_path
from retrain.pipeline.results import RunResult
from retrain.text import counted, pasteable, ratio

if TYPE_CHECKING:
    from retrain.events import EpochEnded
    from retrain.training import RejectionFit, StrangerFigures

__all__ = ["augmentation_lines", "describe_run", "stranger_lines"]


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
        lines += metrics_lines("Validation", result.metrics["validation"], result.is_imbalanced)
    else:
        lines += metrics_lines("Test", result.metrics["test"], result.is_imbalanced)
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


def _extraction_line(result: RunResult) -> str:
    split, extraction, seconds = result.split, result.extraction, result.timings
    return (
        f"{pictures_text(extraction['pictures'] - extraction['skipped'], extraction['different'])} of "
        f"{counted(len(result.labels), 'label' if result.is_multi_label else 'class')}: "
        f"{split['train']} for training, {split['validation']} for validation, {split['test']} for the test; "
        f"{extraction['extracted']} extracted in {extraction['seconds']:.1f} s, "
        f"trained in {seconds['training_seconds']:.1f} s"
    )


def _backbone_line(backbone: dict[str, Any]) -> str:
    """backbone: of run.json."""
    reason = f", because {backbone['instead_of']} could not be downloaded" if backbone["instead_of"] else ""
    form = shown_form(backbone["description"])
    return f"Backbone: {backbone['name']}, {backbone['height']} x {backbone['width']} pixels{form}{reason}"


def _ways_lines(result: RunResult, record: dict[str, Any], place: str) -> Iterator[str]:
    """How the head was trained, if not in the ordinary way. record: run.json."""
    training = record["training"]
    yield from augmentation_lines(result.augmentation, "training picture")
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


def augmentation_lines(augmentation: Augmentation | None, what: str) -> Iterator[str]:
    """How many distorted copies there are, and of what."""
    if augmentation:
        extracted = f", {augmentation.extracted} extracted in {augmentation.seconds:.1f} s"
        yield f"Distorted copies: {augmentation.copies} of each {what}, {augmentation.rows} in all{extracted}"


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


def _rejection_lines(fit: "RejectionFit") -> Iterator[str]:
    """How many pictures a model keeps that tells those of no class."""
    threshold = f"{fit.rejection.limit.threshold:.3f}"
    kept = [f"{ratio(known / n)} of {name} (n={n})" for name, (n, known) in fit.known.items() if n and name != "train"]
    yield f"Known as one of the classes, by a distance of at most {threshold}: {', '.join(kept)}"
    yield from stranger_lines(fit.strangers)


def stranger_lines(strangers: "StrangerFigures | None") -> Iterator[str]:
    """What becomes of pictures of no class, if there are any."""
    if strangers:
        refused = f"{ratio(strangers.refused / strangers.n)} of {counted(strangers.n, 'picture')}"
        yield f"Of no class ({STRANGERS}): {refused} refused as {UNKNOWN}, AUROC {strangers.auroc:.3f}"


def _precision_line(run: dict[str, Any]) -> Iterator[str]:
    """A note if the exported graph computes in another precision than that of the figures."""
    precision = run["backbone"]["description"]["precision"]
    if precision != "float32":
        yield f"Measured on {precision} bottlenecks; the graph computes in float32, which retrain evaluate measures"
