"""The command line of TensorFlow's retrain.py (tensorflow/hub, examples/image_retraining), with the same meanings.

`retrain --image_dir X --output_graph G ...` takes every flag of its releases from 2016 to 2018.
"""

import argparse
import contextlib
import logging
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrain.cli.arguments import Parser
from retrain.cli.output import log_to_stderr
from retrain.errors import Interrupted, OutputError, RetrainError, UsageError
from retrain.events import Evaluated, Event, Extracted, Warned
from retrain.files import check_writable
from retrain.options import (
    DEFAULT_BATCH_SIZE,
    DEFAULT_STEPS,
    AugmentationOptions,
    BackboneOptions,
    EvaluationOptions,
    ExtractionOptions,
    RunOptions,
    SplitOptions,
    TrainingOptions,
)
from retrain.options.fields import flag_of
from retrain.paths import display_path
from retrain.text import listing

if TYPE_CHECKING:
    from retrain.export import ExportSource
    from retrain.model import Head
    from retrain.pipeline.results import TrainedModel

__all__ = ["main", "normalized_label"]

logger = logging.getLogger(__name__)

_HUB_DEFAULT = "https://tfhub.dev/google/imagenet/inception_v3/feature_vector/3"

# The original distorts every picture anew for every batch. We make copies once, and cache their bottlenecks.
_COPIES = 10
_COPIES_TEXT = f"any distortion adds {_COPIES} distorted copies of every training picture"

# flag, type or bool, default, meaning; in the order of the original's help
_FLAGS: tuple[tuple[str, type, Any, str], ...] = (
    ("image_dir", str, "", "folder with one sub-folder of pictures per class"),
    ("output_graph", str, "/tmp/output_graph.pb", "where the trained graph goes"),
    ("intermediate_output_graphs_dir", str, "/tmp/intermediate_graph/", "folder for graphs saved during training"),
    ("intermediate_store_frequency", int, 0, "save a graph every N steps as intermediate_<step>.pb; 0: never"),
    ("output_labels", str, "/tmp/output_labels.txt", "where the labels go, one per line"),
    ("summaries_dir", str, "/tmp/retrain_logs", "folder for TensorBoard summaries; other files there are left alone"),
    ("how_many_training_steps", int, DEFAULT_STEPS, "training steps"),
    ("learning_rate", float, 0.01, "learning rate of gradient descent"),
    ("testing_percentage", float, 10, "share of the pictures for the final test"),
    ("validation_percentage", float, 10, "share of the pictures for validation"),
    ("eval_step_interval", int, 10, "evaluate every N steps and after the last"),
    ("train_batch_size", int, DEFAULT_BATCH_SIZE, "pictures in a training batch"),
    ("test_batch_size", int, -1, "pictures in the final test; -1: all"),
    ("validation_batch_size", int, 100, "pictures in a validation batch; -1: all"),
    ("print_misclassified_test_images", bool, False, "list the misclassified test pictures at the end"),
    ("bottleneck_dir", str, "/tmp/bottleneck", "the cache (HDF5; the original's text files are not read)"),
    ("final_tensor_name", str, "final_result", "name of the output in the graph"),
    ("flip_left_right", bool, False, f"mirror half of the copies; {_COPIES_TEXT}"),
    ("random_crop", int, 0, f"margin to crop from copies, in percent; {_COPIES_TEXT}"),
    ("random_scale", int, 0, f"enlarge copies by up to this many percent; {_COPIES_TEXT}"),
    ("random_brightness", int, 0, f"make copies brighter or darker by up to this many percent; {_COPIES_TEXT}"),
    ("tfhub_module", str, _HUB_DEFAULT, "the backbone; the default means inception_v3"),
    ("saved_model_dir", str, "", "also write a SavedModel to this folder, which must not exist yet"),
    ("logging_verbosity", str, "INFO", "DEBUG, INFO, WARN, ERROR or FATAL"),
    ("checkpoint_path", str, "/tmp/_retrain_checkpoint", "no effect: an interrupted run loses nothing"),
    ("model_dir", str, "/tmp/imagenet", "no effect: Keras and TensorFlow Hub keep their downloads elsewhere"),
    ("architecture", str, "inception_v3", "inception_v3 or mobilenet_<1.0|0.75|0.50|0.25>_<224|192|160|128>"),
)

_LEVELS = {"DEBUG": 10, "INFO": 20, "WARN": 30, "ERROR": 40, "FATAL": 50}
_RENAMED = {
    "--steps": "--how_many_training_steps",
    "--batch-size": "--train_batch_size",
    "--learning-rate": "--learning_rate",
    "--test-percentage": "--testing_percentage",
    "--validation-percentage": "--validation_percentage",
    "--eval-step-interval": "--eval_step_interval",
    "--test-batch-size": "--test_batch_size",
    "--validation-batch-size": "--validation_batch_size",
    "--final-tensor-name": "--final_tensor_name",
    "--crop": "--random_crop",
    "--zoom": "--random_scale",
    "--brightness": "--random_brightness",
    "--backbone": "--tfhub_module",
    "--cache-dir": "--bottleneck_dir",
}
_LACKING = {flag_of(name) for name in RunOptions().as_dict()} - set(_RENAMED)
_ARCHITECTURE = re.compile(r"inception_v3|mobilenet_(1\.0|0\.75|0\.50|0\.25)_(224|192|160|128)")


def normalized_label(name: str) -> str:
    """The label that the original gives a folder: lower case, everything but a-z and 0-9 a space."""
    return re.sub(r"[^a-z0-9]+", " ", name.lower())


def main(argv: Sequence[str]) -> int:
    """Run the original's command line; returns the exit code. Raises RetrainError."""
    try:
        return _main(argv)
    except RetrainError as error:
        raise type(error)(_renamed(str(error))) from error


def _main(argv: Sequence[str]) -> int:
    flags = _parse(argv)
    log_to_stderr(_LEVELS[flags.logging_verbosity], "%(message)s")
    options = _run_options(flags)
    _check_outputs(flags)
    for name in ("checkpoint_path", "model_dir"):
        if any(word.split("=")[0] == f"--{name}" for word in argv):
            logger.warning("--%s is accepted for compatibility and has no effect", name)
    if options.augmentation.augment:
        logger.info("%d distorted copies of every training picture are cached and trained on", _COPIES)
    from retrain.pipeline.train import IntermediateGraphs, train_model
    from retrain.pipeline.training_data import ClassRules

    log = _Log(flags)
    every = flags.intermediate_store_frequency
    intermediate = IntermediateGraphs(
        # the original names a graph by the number of its last step, from 0 on
        range(every + 1, flags.how_many_training_steps + 1, every) if every else (),
        lambda steps, head, graph: _write_intermediate(flags, steps - 1, head, graph),
    )
    try:
        model = train_model(
            flags.image_dir, options, log.show, ClassRules(normalized_label, _output_folders(flags)), intermediate
        )
    except KeyboardInterrupt:
        raise Interrupted("interrupted; the bottlenecks so far are kept: the same command goes on from there") from None
    log.result(model)
    _write_outputs(flags, model)
    return 0


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        prog="retrain --image_dir DIR",
        description="The command line of TensorFlow's retrain.py. For everything newer, see retrain --help.",
    )
    for name, kind, default, text in _FLAGS:
        text += "" if kind is bool or default == "" else f" (default: {default})"
        if kind is bool:
            parser.add_argument(f"--{name}", action="store_true", help=text)
        else:
            parser.add_argument(f"--{name}", type=kind, default=default, metavar=_metavar(name), help=text)
    flags = parser.parse_args(argv)
    given = {word.partition("=")[0] for word in argv}
    flags.names_backbone = bool(given & {"--tfhub_module", "--architecture"})
    if not flags.image_dir:
        parser.error("--image_dir is missing: give the folder with one sub-folder of pictures per class")
    if flags.logging_verbosity not in _LEVELS:
        parser.error(f"--logging_verbosity {flags.logging_verbosity}: not one of {', '.join(_LEVELS)}")
    if flags.intermediate_store_frequency < 0:
        parser.error(f"--intermediate_store_frequency {flags.intermediate_store_frequency}: must be at least 0")
    return flags


def _metavar(name: str) -> str:
    """What a flag takes. The parser treats DIR and FILE as paths."""
    if name == "tfhub_module":
        return "URL|DIR"
    if name.endswith("_dir"):
        return "DIR"
    return "FILE" if name in ("output_graph", "output_labels", "checkpoint_path") else "VALUE"


def _renamed(message: str) -> str:
    """Rewrite a message for these users: our options get their names, or a note that they belong to retrain train."""
    named = set(re.findall(r"(?<![\w-])--[a-z0-9-]+", message))
    for ours, theirs in _RENAMED.items():
        message = re.sub(rf"(?<![\w-]){ours}(?![\w-])", theirs, message)
    lacking = sorted(named & _LACKING)
    if not lacking:
        return message
    return f"{message} ({listing(lacking)} {'is an option' if len(lacking) == 1 else 'are options'} of retrain train)"


def _run_options(flags: argparse.Namespace) -> RunOptions:
    """Our options for the original's flags. Raises UsageError."""
    return RunOptions(
        backbone=BackboneOptions(backbone=_backbone(flags)),
        extraction=ExtractionOptions(cache_dir=flags.bottleneck_dir),
        split=SplitOptions(validation_percentage=flags.validation_percentage, test_percentage=flags.testing_percentage),
        augmentation=_augmentation(flags),
        training=TrainingOptions(
            steps=flags.how_many_training_steps,
            batch_size=None if flags.train_batch_size == DEFAULT_BATCH_SIZE else flags.train_batch_size,
            learning_rate=flags.learning_rate,
            eval_step_interval=flags.eval_step_interval,
            validation_batch_size=flags.validation_batch_size,
        ),
        evaluation=EvaluationOptions(
            test_batch_size=flags.test_batch_size, print_misclassified=flags.print_misclassified_test_images
        ),
        final_tensor_name=flags.final_tensor_name,
    )


def _augmentation(flags: argparse.Namespace) -> AugmentationOptions:
    distortions = (flags.flip_left_right, flags.random_crop, flags.random_scale, flags.random_brightness)
    return AugmentationOptions(
        augment=_COPIES if any(distortions) else 0,
        flip=flags.flip_left_right,
        crop=flags.random_crop,
        zoom=flags.random_scale,
        brightness=flags.random_brightness,
    )


def _backbone(flags: argparse.Namespace) -> str | None:
    if not flags.names_backbone:
        return None
    if flags.architecture == "inception_v3":
        module = str(flags.tfhub_module)
        if module.lower().endswith(".onnx"):
            raise UsageError(
                f"--tfhub_module {display_path(module)} is an ONNX network, of which there is no TensorFlow graph to "
                "write: use retrain train --backbone"
            )
        return module
    if flags.tfhub_module != _HUB_DEFAULT:
        raise UsageError("--architecture and --tfhub_module both name a backbone: give one of them")
    if not _ARCHITECTURE.fullmatch(flags.architecture):
        raise UsageError(
            f"--architecture {flags.architecture}: expected inception_v3 or "
            "mobilenet_<1.0|0.75|0.50|0.25>_<224|192|160|128>"
        )
    return str(flags.architecture)


def _check_outputs(flags: argparse.Namespace) -> None:
    """Refuse, before any work is done, places that can't be written. Raises OutputError."""
    if flags.saved_model_dir and Path(flags.saved_model_dir).exists():
        raise OutputError(f"--saved_model_dir {display_path(flags.saved_model_dir)} exists: give a new place")
    if os.path.realpath(flags.output_graph) == os.path.realpath(flags.output_labels) != os.devnull:
        raise OutputError(
            f"--output_graph and --output_labels are both {display_path(flags.output_graph)}: give two files"
        )
    for name in ("output_graph", "output_labels"):
        path = Path(getattr(flags, name))
        if path.is_dir():
            raise OutputError(f"--{name} {display_path(path)} is a folder: give a file")
        with _named(name, path):
            _make_folder(path.parent)
            check_writable(os.path.realpath(path))
    folders = {"summaries_dir": Path(flags.summaries_dir)}
    if flags.saved_model_dir:
        folders["saved_model_dir"] = Path(flags.saved_model_dir).parent
    if flags.intermediate_store_frequency:
        folders["intermediate_output_graphs_dir"] = Path(flags.intermediate_output_graphs_dir)
    for name, folder in folders.items():
        with _named(name, Path(getattr(flags, name))):
            _make_folder(folder)
            check_writable(folder / "file")


def _output_folders(flags: argparse.Namespace) -> list[str]:
    """The folders of outputs. One that lies in the folder of pictures is not a class."""
    return [flags.summaries_dir, flags.intermediate_output_graphs_dir, flags.saved_model_dir]


def _make_folder(folder: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        folder.stat()  # mkdir says that links in a circle exist
    folder.mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def _named(name: str, path: Path) -> Iterator[None]:
    """Turn an OSError into an OutputError that names the flag."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"--{name} {display_path(path)}: {error.strerror or error}; make room, check its permissions, or give "
            "another place"
        ) from error


def _write_intermediate(flags: argparse.Namespace, step: int, head: "Head", graph: "ExportSource") -> None:
    from retrain.export import FrozenGraph

    folder = Path(flags.intermediate_output_graphs_dir)
    path = folder / f"intermediate_{step}.pb"
    logger.info("Save intermediate result to : %s", display_path(path))
    with _named("intermediate_output_graphs_dir", folder):
        folder.mkdir(parents=True, exist_ok=True)
        FrozenGraph().write(graph.under(head), path)


def _write_outputs(flags: argparse.Namespace, model: "TrainedModel") -> None:
    from retrain.export import FrozenGraph, SavedModel
    from retrain.model import write_labels
    from retrain.report import write_summaries

    labels = model.result.labels
    network = model.graph.under(model.trained.head, labels)
    # like the original, write to where links lead, and keep the links
    with _named("output_graph", Path(flags.output_graph)):
        FrozenGraph().write(network, os.path.realpath(flags.output_graph))
    with _named("output_labels", Path(flags.output_labels)):
        write_labels(labels, os.path.realpath(flags.output_labels))
    write_summaries(model.trained.history, flags.summaries_dir)
    if flags.saved_model_dir:
        SavedModel().write(network, flags.saved_model_dir)


@dataclass
class _Log:
    """Logs what the original logs, in its words."""

    flags: argparse.Namespace
    reported: int = 0

    def show(self, event: Event) -> None:
        match event:
            case Warned(message):
                logger.warning("WARNING: %s", _renamed(message))
            case Extracted(extracted=extracted) if extracted // 100 > self.reported:
                self.reported = extracted // 100
                logger.info("%d bottleneck files created.", extracted)
            case Evaluated():
                self._evaluation(event)

    def _evaluation(self, row: Evaluated) -> None:
        start = f"{datetime.now()}: Step {row.step}:"
        logger.info("%s Train accuracy = %.1f%%", start, row.train_accuracy * 100)
        logger.info("%s Cross entropy = %f", start, row.train_cross_entropy)
        if row.validation_accuracy is not None:
            size = self.flags.validation_batch_size
            count = f" (N={size})" if size != -1 else ""
            logger.info("%s Validation accuracy = %.1f%%%s", start, row.validation_accuracy * 100, count)

    def result(self, model: "TrainedModel") -> None:
        test = model.result.metrics["test"]
        if test.accuracy is None:
            logger.info("Final test accuracy: none, because there are no test pictures")
        else:
            logger.info("Final test accuracy = %.1f%% (N=%d)", test.accuracy * 100, test.n)
        if model.result.left_out.count:
            logger.warning("WARNING: skipped %s", model.result.left_out.told())
        if self.flags.print_misclassified_test_images:
            logger.info("=== MISCLASSIFIED TEST IMAGES ===")
            for picture in model.result.misclassified():
                path = os.path.join(model.image_dir, picture.path)
                logger.info("%70s  %s", display_path(path), picture.predicted)
