"""One run from folder to model: the stages in their order, and their timings."""

import contextlib
import dataclasses
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retrain.backbones.backbone import Backbone
from retrain.backbones.default import choose_backbone
from retrain.backbones.extractor import Extractor
from retrain.cache.store import BottleneckCache
from retrain.cache.vectors import LabelledBottlenecks, SomeVectors, VectorSource
from retrain.data.image_folder import ImageFolder, read_image_folder
from retrain.data.split import SETS, assign_sets
from retrain.errors import ImageFolderError
from retrain.evaluation.metrics import Outcomes, judge, summarize
from retrain.events import Emit, StageBegan, TrainingBegan, Warned, ignore
from retrain.extraction.augmentation import Augmentation, add_copies
from retrain.extraction.dataset import (
    Dataset,
    check_leaks,
    choose_extractor_for,
    extract,
    load_dataset,
    load_training_data,
    read_classes,
)
from retrain.extraction.pass_one import Extraction, open_cache
from retrain.model.folder import check_destination, write_model_folder
from retrain.model.head import Head
from retrain.options import (
    DEFAULT_BATCH_SIZE,
    DEFAULT_STEPS,
    ExtractionOptions,
    ImageOptions,
    RunOptions,
    TrainingOptions,
)
from retrain.paths import display_path
from retrain.pipeline.benchmark import MachineBenchmark, benchmark_machine, draw_pictures
from retrain.pipeline.checks import check_ready_made_split, check_sets, check_training
from retrain.pipeline.record import (
    FolderEvaluation,
    PictureResult,
    RunResult,
    TrainedModel,
    extraction_summary,
    write_files,
)
from retrain.text import listing
from retrain.training.calibration import Calibration, calibrate
from retrain.training.learning_curve import CurvePoint, CurveRecorder, figures_of
from retrain.training.tuning import Tuning, choose_folds, tune

if TYPE_CHECKING:
    from retrain.export.graph import GraphBuilder
    from retrain.model.classifier import Classifier
    from retrain.training.fine_tuning_plan import FineTuning, FineTuningPlan
    from retrain.training.head_trainer import HeadTrainer, TrainedHead

__all__ = ["IntermediateGraphs", "benchmark", "evaluate_folder", "extract_folder", "train", "train_model"]


@dataclass(frozen=True)
class IntermediateGraphs:
    """A request for the model as it is after some steps of pass two."""

    steps: Sequence[int] = ()
    write: "Callable[[int, Head, GraphBuilder], None]" = lambda steps, head, graph: None  # called after each of these


def extract_folder(
    image_dir: str | os.PathLike[str], options: RunOptions = RunOptions(), emit: Emit = ignore
) -> tuple[Extraction, BottleneckCache]:
    """Pass one alone: put the bottleneck of every picture of a folder into the cache."""
    folder = read_image_folder(image_dir, [options.extraction.cache_dir], emit)
    backbone, options = choose_backbone(options, emit)
    extractor = choose_extractor_for(folder, backbone, options, emit)
    cache = open_cache(extractor, options.extraction)
    extraction = extract(folder, extractor, cache, options.extraction, options.images, emit)
    return extraction, cache


def benchmark(
    image_dir: str | os.PathLike[str] | None,
    options: RunOptions = RunOptions(),
    emit: Emit = ignore,
) -> MachineBenchmark:
    """How fast pass one is on this machine, on pictures of a folder; on drawn ones where it is None."""
    backbone, options = choose_backbone(options, emit)
    with tempfile.TemporaryDirectory() as place:
        if image_dir is None:
            draw_pictures(Path(place))
        folder = read_image_folder(image_dir or place, [options.extraction.cache_dir])
        return benchmark_machine(folder, backbone, options.images, emit)


def train(
    image_dir: str | os.PathLike[str],
    model_dir: str | os.PathLike[str] = "model",
    options: RunOptions = RunOptions(),
    emit: Emit = ignore,
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
    check_destination(model_dir, options.extraction.cache_dir, emit)
    model = train_model(image_dir, options, emit, exclude=[model_dir])
    model.command = command
    emit(StageBegan("export"))
    write_model_folder(model_dir, lambda folder: write_files(model, folder, started), emit)
    if model.result.fine_tuning:
        model.result.fine_tuning.checkpoint.remove()
    return model


def train_model(
    image_dir: str | os.PathLike[str],
    options: RunOptions = RunOptions(),
    emit: Emit = ignore,
    label_of: Callable[[str], str] = str,
    exclude: Sequence[str | os.PathLike[str]] = (),
    intermediate: IntermediateGraphs = IntermediateGraphs(),
) -> TrainedModel:
    """Pass one, pass two and the final test, without writing a model.

    Args:
        label_of: the label of a class folder's name, where --labels-file does not have it.
        exclude: folders that are no classes, should they lie in image_dir; the cache is none in any case.
        intermediate: graphs to write during training.
    Raises RetrainError.
    """
    timings: dict[str, float] = {}
    folder, labels = read_classes(image_dir, options, emit, label_of, exclude)
    check_ready_made_split(folder, options, emit)
    check_training(folder, options)
    backbone, options = choose_backbone(options, emit)

    from retrain.export.graph import GraphBuilder
    from retrain.training.fine_tuning_plan import FineTunedBackbone
    from retrain.training.head_trainer import HeadTrainer

    graph = GraphBuilder(backbone, options.final_tensor_name, options.extraction.cache_dir, emit)
    graph.prepare()
    ready = _prepare(os.fspath(image_dir), folder, labels, graph, options, emit, timings)
    data, members, plan = ready.data, ready.members, ready.plan
    trainer = HeadTrainer(ready.bottlenecks, len(labels))
    tuning = None
    if options.tuning.tune:
        with _timed(timings, "tuning_seconds"):
            tuning = _tune(trainer, data, ready.sets, labels, options, emit)
            options = dataclasses.replace(options, training=tuning.options)
    with _timed(timings, "training_seconds"):
        trained, options, curve = _train_head(trainer, members, options, emit, graph, intermediate)
    vectors, fine_tuning = data.vectors, None
    known_as: Backbone | FineTunedBackbone = backbone
    if plan:
        with _timed(timings, "fine_tuning_seconds"):
            fine_tuning = _fine_tune(plan, trained.head, data, members, options, curve, emit)
            trained = dataclasses.replace(trained, head=fine_tuning.tuned.head)
            vectors = plan.bottlenecks(data.vectors, fine_tuning.tuned.weights.values())
            graph = graph.with_weights(fine_tuning.tuned.weights)
            known_as = FineTunedBackbone(backbone, graph.trunk.digest)
    emit(StageBegan("evaluation"))
    with _timed(timings, "evaluation_seconds"):
        trained, calibration = _calibrated(trained, options, vectors, data.labels, members["validation"])
        tested = _test_batch(members["test"], options)
        outcomes = judge(trained.head, vectors, data.labels)
        metrics = {
            name: summarize(outcomes.select(chosen), data.labels[chosen], labels, data.keys[chosen])
            for name, chosen in (members | {"test": tested}).items()
        }
        pictures = _picture_results(data, ready.sets, data.labels, outcomes, labels)
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
        ready.augmentation,
        fine_tuning,
        folder.class_names,
        curve,
        data.extraction.left_out,
    )
    return TrainedModel(os.fspath(image_dir), options, known_as, ready.extractor, graph, trained, result)


def evaluate_folder(
    classifier: "Classifier",
    image_dir: str | os.PathLike[str],
    extraction: ExtractionOptions = ExtractionOptions(),
    images: ImageOptions = ImageOptions(),
    emit: Emit = ignore,
) -> FolderEvaluation:
    """How a trained model does on any labelled folder, whose class folders are named like its labels or as in training.

    Raises ImageFolderError where the folder has a class that the model does not know, ModelFolderError where the files
    of the model folder don't belong together.
    """
    names = {*classifier.labels, *classifier.description.class_folders}
    folder = read_image_folder(image_dir, [extraction.cache_dir, classifier.model_dir], emit, names)
    known = classifier.description.class_names.numbers_of(folder.class_names)
    unknown = [name for name in folder.class_names if name not in known]
    if unknown:
        raise ImageFolderError(
            f"{display_path(image_dir)} has classes that the model does not know: {listing(unknown)}; "
            f"its labels are {listing(classifier.labels)}: rename or remove these folders"
        )
    head, labels, sets = classifier.head(), classifier.labels, classifier.sets()
    data = load_dataset(folder, classifier.extractor(extraction.cache_dir), extraction, images, emit)
    numbers = np.array([known[name] for name in folder.class_names], np.int32)[data.labels]
    outcomes = judge(head, data.vectors, numbers)
    pictures = _picture_results(data, [sets.get(key, "new") for key in data.hex_keys()], numbers, outcomes, labels)
    held_out = np.flatnonzero([picture.set != "train" for picture in pictures])
    return FolderEvaluation(
        summarize(outcomes, numbers, labels, data.keys),
        summarize(outcomes.select(held_out), numbers[held_out], labels, data.keys[held_out]),
        pictures,
        data.extraction,
    )


# steps of a run


@dataclass(frozen=True)
class _Ready:
    """What there is once pass one is done."""

    data: Dataset  # where the backbone is to be fine-tuned, of activations inside it
    sets: list[str]  # (n,) the set of each picture
    members: dict[str, NDArray[np.int64]]  # set -> numbers of its pictures
    extractor: Extractor
    augmentation: Augmentation | None
    plan: "FineTuningPlan | None"
    bottlenecks: LabelledBottlenecks  # of the pictures and their copies


def _prepare(
    image_dir: str,
    folder: ImageFolder,
    labels: Sequence[str],
    graph: "GraphBuilder",
    options: RunOptions,
    emit: Emit,
    timings: dict[str, float],
) -> _Ready:
    """Pass one, the split, and distorted copies of the training pictures where they are asked for."""
    from retrain.training.fine_tuning_plan import FineTuningPlan

    plan = None
    with _timed(timings, "extraction_seconds"):
        if options.fine_tuning.is_wanted:
            plan = FineTuningPlan(graph, options)
            plan.announce(len(folder.samples), emit)
        extractor: Extractor = plan.extractor if plan else choose_extractor_for(folder, graph.backbone, options, emit)
        data = load_training_data(folder, extractor, options, emit)
    check_leaks(data, emit)
    sets = assign_sets(data.samples, data.keys, options.split, image_dir)
    members = {name: np.flatnonzero(np.array(sets) == name) for name in SETS}
    labels_of = {name: data.labels[chosen] for name, chosen in members.items()}
    check_sets(labels, labels_of, folder.has_subsets, options, emit)
    augmentation = None
    if options.augmentation.augment:
        with _timed(timings, "extraction_seconds"):
            data, augmentation = add_copies(data, members["train"], extractor, options, emit)
    bottlenecks = plan.prepare(data, len(labels)) if plan else data.bottlenecks
    return _Ready(data, sets, members, extractor, augmentation, plan, bottlenecks)


def _tune(
    trainer: "HeadTrainer",
    data: Dataset,
    sets: Sequence[str],
    labels: Sequence[str],
    options: RunOptions,
    emit: Emit,
) -> Tuning:
    emit(StageBegan("tuning"))
    folds = choose_folds(data.samples, data.keys, sets, options.training)
    tuning = tune(trainer, folds, options.training, labels, options.tuning.tune_seconds, emit)
    if not tuning.is_complete:
        emit(
            Warned(
                f"--tune ran out of time in round {tuning.folds + 1}: what it found depends on the speed of the "
                "machine; raise --tune-seconds for the same again on another"
            )
        )
    return tuning


def _train_head(
    trainer: "HeadTrainer",
    members: dict[str, NDArray[np.int64]],
    options: RunOptions,
    emit: Emit,
    graph: "GraphBuilder",
    intermediate: IntermediateGraphs,
) -> "tuple[TrainedHead, RunOptions, list[CurvePoint]]":
    """Pass two: the head, the options with every default filled in, and the curve where it was asked for."""
    from retrain.training.head_trainer import Snapshots

    pictures = len(members["train"])
    training = options.training.with_steps(pictures)  # an epoch is of pictures
    emit(StageBegan("training"))
    emit(_training_began(training, pictures))
    recorder = None
    if options.evaluation.plots:
        pictures_alone = np.arange(sum(map(len, members.values())))  # they come before their copies
        vectors = SomeVectors(trainer.data.vectors, pictures_alone)
        recorder = CurveRecorder(vectors, trainer.data.labels[pictures_alone], members, training)

    def take(step: int, head: Head) -> None:
        if step in intermediate.steps:
            intermediate.write(step, head, graph)
        if recorder:
            recorder.measure(step, head)

    snapshots = Snapshots(sorted({*intermediate.steps, *(recorder.steps if recorder else ())}), take)
    trained = trainer.train(members["train"], members["validation"], training, emit, snapshots)
    training = training.resolved(pictures)
    for warning in trained.warnings(training):
        emit(Warned(warning))
    curve = recorder.finish(trained.steps, trained.head) if recorder else []
    return trained, dataclasses.replace(options, training=training), curve


def _training_began(options: TrainingOptions, pictures: int) -> TrainingBegan:
    batch = pictures if options.optimizer == "lbfgs" else options.batch_size or DEFAULT_BATCH_SIZE
    return TrainingBegan(pictures, options.steps or DEFAULT_STEPS, options.epochs, batch)


def _fine_tune(
    plan: "FineTuningPlan",
    head: Head,
    data: Dataset,
    members: dict[str, NDArray[np.int64]],
    options: RunOptions,
    curve: list[CurvePoint],
    emit: Emit,
) -> "FineTuning":
    """Fine-tuning after the head was trained; the ends of its epochs go on with the curve, where there is one."""
    points = len(curve)
    steps = math.ceil(len(members["train"]) / options.fine_tuning.fine_tune_batch_size)
    done = plan.train(head, members, options.training, emit, _FineTuningCurve(plan, data, members, steps, curve))
    if done.tuned.best_epoch is not None:  # the curve ends with what was kept
        del curve[points + done.tuned.best_epoch :]
    return done


@dataclass(frozen=True)
class _FineTuningCurve:
    """Adds a point to the curve, where there is one, at the end of every epoch of fine-tuning."""

    plan: "FineTuningPlan"
    data: Dataset
    members: dict[str, NDArray[np.int64]]
    steps: int  # of an epoch
    curve: list[CurvePoint]

    def measure(self, head: Head, weights: Sequence[Any]) -> dict[str, Any] | None:
        """Add the point, and return it."""
        if not self.curve:
            return None
        vectors = self.plan.bottlenecks(self.data.vectors, weights)
        last, figures = self.curve[-1], figures_of(head, vectors, self.data.labels, self.members)
        self.curve.append(CurvePoint(last.step + self.steps, last.epoch + 1, figures))
        return dataclasses.asdict(self.curve[-1])

    def restore(self, kept: Sequence[dict[str, Any] | None]) -> None:
        """Add the points of epochs that an earlier run has finished."""
        for point in filter(None, kept):
            figures = {name: tuple(values) for name, values in point["figures"].items()}  # JSON has lists
            self.curve.append(CurvePoint(point["step"], point["epoch"], figures))


def _calibrated(
    trained: "TrainedHead",
    options: RunOptions,
    vectors: VectorSource,
    labels: NDArray[np.int32],
    held_out: NDArray[np.int64],
) -> "tuple[TrainedHead, Calibration | None]":
    """The head, calibrated on pictures that it was not trained on, where that is asked for."""
    if not options.evaluation.calibrate:
        return trained, None
    head, calibration = calibrate(trained.head, SomeVectors(vectors, held_out), labels[held_out])
    return dataclasses.replace(trained, head=head), calibration


@contextlib.contextmanager
def _timed(timings: dict[str, float], name: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    timings[name] = timings.get(name, 0.0) + time.monotonic() - started


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
