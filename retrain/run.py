"""One run from folder to model: the stages in their order, and their timings."""

import contextlib
import dataclasses
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from retrain.augmentation import add_copies
from retrain.backbone import locate_backbone
from retrain.benchmark import MachineBenchmark, benchmark_machine, draw_pictures
from retrain.bottleneck_cache import BottleneckCache
from retrain.calibration import calibrate, check_pictures
from retrain.config import ExtractionOptions, ImageOptions, RunOptions, SplitOptions
from retrain.dataset import (
    Dataset,
    choose_extractor_for,
    extract,
    load_dataset,
    load_training_data,
    read_classes,
)
from retrain.errors import ImageFolderError, ModelFolderError, UsageError
from retrain.evaluation import Outcomes, judge, summarize
from retrain.extraction import Extraction, open_cache
from retrain.hooks import Hooks, nothing
from retrain.image_folder import SUBSETS, ImageFolder, display_path, read_image_folder
from retrain.model_folder import check_destination, read_sets, write_model_folder
from retrain.record import FolderEvaluation, PictureResult, RunResult, TrainedModel, extraction_summary, write_files
from retrain.split import SETS, assign_sets
from retrain.tuning import Tuning, choose_folds, tune
from retrain.vectors import SomeVectors

if TYPE_CHECKING:
    from retrain.classifier import Classifier
    from retrain.export import GraphBuilder
    from retrain.training import HeadTrainer, Observer

__all__ = ["benchmark", "evaluate_folder", "extract_folder", "train", "train_model"]


def extract_folder(
    image_dir: str | os.PathLike[str], options: RunOptions = RunOptions(), hooks: Hooks = Hooks()
) -> tuple[Extraction, BottleneckCache]:
    """Pass one alone: put the bottleneck of every picture of a folder into the cache."""
    folder = read_image_folder(image_dir, [options.extraction.cache_dir])
    extractor = choose_extractor_for(folder, locate_backbone(options.backbone), options, hooks)
    cache = open_cache(extractor, options.extraction)
    extraction = extract(folder, extractor, cache, options.extraction, options.images, hooks)
    return extraction, cache


def benchmark(
    image_dir: str | os.PathLike[str] | None,
    options: RunOptions = RunOptions(),
    on_step: Callable[[str], None] = nothing,
) -> MachineBenchmark:
    """How fast pass one is on this machine, on pictures of a folder; on drawn ones where it is None."""
    backbone = locate_backbone(options.backbone)
    with tempfile.TemporaryDirectory() as place:
        if image_dir is None:
            draw_pictures(Path(place))
        folder = read_image_folder(image_dir or place, [options.extraction.cache_dir])
        return benchmark_machine(folder, backbone, options.images, on_step)


def train(
    image_dir: str | os.PathLike[str],
    model_dir: str | os.PathLike[str] = "model",
    options: RunOptions = RunOptions(),
    hooks: Hooks = Hooks(),
    command: Sequence[str] = (),
) -> TrainedModel:
    """Folder of pictures to model folder: pass one, pass two, test, export.

    Args:
        image_dir: one sub-folder of pictures per class.
        model_dir: made anew; an older model there is replaced when the new one is complete.
        command: the command line, for run.json.
    Raises RetrainError.
    """
    started = time.monotonic()
    check_destination(model_dir, options.extraction.cache_dir)
    model = train_model(image_dir, options, hooks, exclude=[model_dir])
    model.command = command
    hooks.on_stage("export")
    write_model_folder(model_dir, lambda folder: write_files(model, folder, started))
    return model


def train_model(
    image_dir: str | os.PathLike[str],
    options: RunOptions = RunOptions(),
    hooks: Hooks = Hooks(),
    label_of: Callable[[str], str] = str,
    exclude: Sequence[str | os.PathLike[str]] = (),
) -> TrainedModel:
    """Pass one, pass two and the final test, without writing a model.

    Args:
        label_of: the label of a class folder's name.
        exclude: folders that are no classes, should they lie in image_dir; the cache is none in any case.
    Raises RetrainError.
    """
    timings: dict[str, float] = {}
    folder, labels = read_classes(image_dir, options, hooks, label_of, exclude)
    _check_ready_made_split(folder, options, hooks)
    _check_training(folder, options)
    backbone = locate_backbone(options.backbone)
    with _timed(timings, "extraction_seconds"):
        data, extractor = load_training_data(folder, backbone, options, hooks)
    sets = assign_sets(data.samples, data.keys, options.split, os.fspath(image_dir))

    from retrain.export import GraphBuilder
    from retrain.training import HeadTrainer

    graph = GraphBuilder(backbone, options.final_tensor_name, options.extraction.cache_dir, hooks.on_warning)
    graph.prepare()
    members = {name: np.flatnonzero(np.array(sets) == name) for name in SETS}
    _check_sets(labels, {name: data.labels[chosen] for name, chosen in members.items()}, options, hooks)
    with _timed(timings, "extraction_seconds"):
        data, augmentation = add_copies(data, members["train"], extractor, options, hooks)
    trainer = HeadTrainer(data.bottlenecks, len(labels))
    tuning = None
    if options.tuning.tune:
        with _timed(timings, "tuning_seconds"):
            tuning = _tune(trainer, data, sets, labels, options, hooks)
            options = dataclasses.replace(options, training=tuning.options)
    hooks.on_stage("training")
    with _timed(timings, "training_seconds"):
        observer = _observer(hooks, graph)
        trained = trainer.train(members["train"], members["validation"], options.training, observer)
    options = dataclasses.replace(options, training=options.training.resolved(len(members["train"])))
    for warning in trained.warnings(options.training):
        hooks.on_warning(warning)
    hooks.on_stage("evaluation")
    with _timed(timings, "evaluation_seconds"):
        calibration = None
        if options.evaluation.calibrate:
            held_out = members["validation"]
            head, calibration = calibrate(trained.head, SomeVectors(data.vectors, held_out), data.labels[held_out])
            trained = dataclasses.replace(trained, head=head)
        tested = _test_batch(members["test"], options)
        outcomes = judge(trained.head, data.vectors, data.labels)
        metrics = {
            name: summarize(outcomes.select(chosen), data.labels[chosen], labels)
            for name, chosen in (members | {"test": tested}).items()
        }
        pictures = _picture_results(data, sets, data.labels, outcomes, labels)
    result = RunResult(
        labels,
        {name: len(members[name]) for name in SETS},
        metrics,
        pictures,
        data.extraction.skipped,
        timings,
        extraction_summary(data.extraction),
        frozenset(data.samples[number].path for number in tested),
        calibration,
        tuning,
        augmentation,
    )
    return TrainedModel(os.fspath(image_dir), options, backbone, extractor, graph, trained, result)


def evaluate_folder(
    classifier: "Classifier",
    image_dir: str | os.PathLike[str],
    extraction: ExtractionOptions = ExtractionOptions(),
    images: ImageOptions = ImageOptions(),
    hooks: Hooks = Hooks(),
) -> FolderEvaluation:
    """How a trained model does on any labelled folder; its class folders are named like labels of the model.

    Raises ImageFolderError where the folder has a class that the model does not know, ModelFolderError where the files
    of the model folder don't belong together.
    """
    from retrain.head import read_head

    folder = read_image_folder(image_dir, [extraction.cache_dir, classifier.folder])
    known = {label: number for number, label in enumerate(classifier.labels)}
    unknown = [name for name in folder.class_names if name not in known]
    if unknown:
        raise ImageFolderError(
            f"{display_path(image_dir)} has classes that the model does not know: {', '.join(unknown)}; "
            f"its labels are {', '.join(classifier.labels)}: rename or remove these folders"
        )
    head, labels = read_head(classifier.folder / "head.h5")
    if tuple(labels) != classifier.labels or head.bottleneck_size != classifier.description.bottleneck_size:
        raise ModelFolderError(
            f"head.h5 in {display_path(classifier.folder)} does not fit labels.txt: train the model again"
        )
    sets = read_sets(classifier.folder)
    data = load_dataset(folder, classifier.extractor(), extraction, images, hooks)
    numbers = np.array([known[name] for name in folder.class_names], np.int32)[data.labels]
    outcomes = judge(head, data.vectors, numbers)
    pictures = _picture_results(data, [sets.get(key, "new") for key in data.hex_keys()], numbers, outcomes, labels)
    held_out = np.flatnonzero([picture.set != "train" for picture in pictures])
    return FolderEvaluation(
        summarize(outcomes, numbers, labels),
        summarize(outcomes.select(held_out), numbers[held_out], labels),
        pictures,
        data.extraction,
    )


# steps of a run


def _observer(hooks: Hooks, graph: "GraphBuilder") -> "Observer":
    """What of the hooks training calls."""
    from retrain.training import Observer

    return Observer(
        hooks.on_evaluation,
        checkpoints=hooks.checkpoints,
        on_checkpoint=lambda step, head: hooks.on_checkpoint(step, head, graph),
    )


def _tune(
    trainer: "HeadTrainer",
    data: Dataset,
    sets: Sequence[str],
    labels: Sequence[str],
    options: RunOptions,
    hooks: Hooks,
) -> Tuning:
    hooks.on_stage("tuning")
    folds = choose_folds(data.samples, data.keys, sets, options.training)
    tuning = tune(trainer, folds, options.training, labels, options.tuning.tune_seconds, hooks.on_try)
    if not tuning.is_complete:
        hooks.on_warning(
            f"--tune ran out of time in round {tuning.folds + 1}: what it found depends on the speed of the machine; "
            "raise --tune-seconds for the same again on another"
        )
    return tuning


@contextlib.contextmanager
def _timed(timings: dict[str, float], name: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    timings[name] = timings.get(name, 0.0) + time.monotonic() - started


def _check_ready_made_split(folder: ImageFolder, options: RunOptions, hooks: Hooks) -> None:
    """Say what of the options, or of the folder, does not mean what it may seem to."""
    if folder.has_subsets and options.split != SplitOptions():
        hooks.on_warning(
            f"{display_path(folder.root)} comes with a split of its own, in folders: "
            "--split, --validation-percentage and --test-percentage have no effect"
        )
    sets = [name for name in folder.class_names if name.lower() in SUBSETS]
    if len(sets) > 1:
        others = [name for name in folder.class_names if name not in sets]
        hooks.on_warning(
            f"the folders {', '.join(sets)} are taken for classes, since there are others beside them "
            f"({', '.join(others)}): if they are sets, move the others away"
        )


def _check_training(folder: ImageFolder, options: RunOptions) -> None:
    """Refuse, before any picture is read, what can't be trained. Raises UsageError, ImageFolderError."""
    ready_made = folder.has_subsets
    training = [sample for sample in folder.samples if not ready_made or sample.subset == "train"]
    size = options.training.batch_size
    if size is not None and size > len(training):
        raise UsageError(f"--batch-size {size}: there are {len(training)} pictures to train on; give at most as many")
    if ready_made:
        there = {sample.label for sample in training}
        missing = [name for number, name in enumerate(folder.class_names) if number not in there]
        if missing:
            raise ImageFolderError(
                f"no training pictures of class {', '.join(missing)} in {display_path(folder.root)}: add some to the "
                "training folder, or remove the class from the others"
            )
        has_validation = any(sample.subset == "validation" for sample in folder.samples)
    else:
        has_validation = options.split.validation_percentage > 0
    for flag, is_wanted in (("--patience", options.training.patience), ("--calibrate", options.evaluation.calibrate)):
        if is_wanted and not has_validation:
            remedy = "add a folder validation/" if ready_made else "raise --validation-percentage"
            raise UsageError(f"{flag} needs validation pictures, and there are none: {remedy}, or leave it out")


def _check_sets(
    labels: Sequence[str], members: dict[str, NDArray[np.int32]], options: RunOptions, hooks: Hooks
) -> None:
    """Refuse a split that leaves a class without training pictures, or calibration without any; warn of other gaps.

    Args:
        members: set -> (n,) label numbers of its pictures.
    """
    present = {name: set(np.unique(members[name]).tolist()) for name in SETS}
    missing = {name: [label for number, label in enumerate(labels) if number not in present[name]] for name in SETS}
    if missing["train"]:
        raise ImageFolderError(
            f"no training pictures of class {', '.join(missing['train'])}: add pictures that differ from those there, "
            "or remove the folder"
        )
    if options.evaluation.calibrate:
        check_pictures(len(members["validation"]))
    for name, share in (
        ("validation", options.split.validation_percentage),
        ("test", options.split.test_percentage),
    ):
        if share and len(members[name]) and missing[name]:
            hooks.on_warning(f"no {name} pictures of class {', '.join(missing[name])}")


def _test_batch(members: NDArray[np.int64], options: RunOptions) -> NDArray[np.int64]:
    """The test pictures, or a random part of them where a size is given."""
    size = options.evaluation.test_batch_size
    if size == -1 or size >= len(members):
        return members
    return np.sort(np.random.default_rng(options.training.seed).permutation(members)[:size])


def _picture_results(
    data: Dataset, sets: Sequence[str], labels: NDArray[np.int32], outcomes: Outcomes, names: Sequence[str]
) -> tuple[PictureResult, ...]:
    rows = zip(data.samples, sets, labels, outcomes.given, outcomes.top_scores, data.hex_keys(), strict=True)
    return tuple(
        PictureResult(sample.path, set_, names[label], names[given], float(score), key)
        for sample, set_, label, given, score, key in rows
    )
