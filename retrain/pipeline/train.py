"""`train`: one run from a folder of pictures to a model folder, stage by stage.

Each stage takes what it needs of the stages before it, and returns one frozen value.
"""

import dataclasses
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retrain.backbones import Backbone, Converter, Extractor, RepresentativePictures, choose_backbone
from retrain.cache import LabelledBottlenecks, SomeVectors, VectorSource
from retrain.data import SETS, STRANGERS, LabelledPictures, assign_sets
from retrain.evaluation import AnyMetrics, PictureResult, best_thresholds, summarize
from retrain.events import Emit, StageBegan, TrainingBegan, Warned, ignore
from retrain.extraction import (
    Augmentation,
    Dataset,
    add_copies,
    choose_extractor_for,
    load_unlabelled,
    with_local_cache,
)
from retrain.model import Head, check_destination, judge, own_card, write_model_folder
from retrain.options import DEFAULT_BATCH_SIZE, DEFAULT_STEPS, ExportOptions, PictureSource, RunOptions, TrainingOptions
from retrain.pipeline.checks import (
    check_backbone,
    check_leaks,
    check_ready_made_split,
    check_rejection,
    check_sets,
    check_training,
)
from retrain.pipeline.export import check_formats, export_formats
from retrain.pipeline.outputs import Origin, write_files
from retrain.pipeline.results import RunResult, TrainedModel, WrittenModel, results_of_pictures
from retrain.pipeline.training_data import ClassRules, load_training_data, read_classes
from retrain.report import JudgedLabels, JudgedPictures
from retrain.text import counted, listing
from retrain.training import (
    Calibration,
    CurvePoint,
    CurveRecorder,
    FoldTrainer,
    RejectionFit,
    Tuning,
    calibrate,
    choose_folds,
    fewest_for,
    figures_of,
    figures_of_strangers,
    fit_rejection,
    tune,
)

if TYPE_CHECKING:
    from retrain.export import ExportSource
    from retrain.training import FineTunedBackbone, FineTuning, FineTuningPlan, HeadTrainer, TrainedHead

__all__ = ["IntermediateGraphs", "train", "train_and_export", "train_model", "training_began"]


@dataclass(frozen=True)
class IntermediateGraphs:
    """A request for the model as it is after some steps of training."""

    steps: Sequence[int] = ()
    write: "Callable[[int, Head, ExportSource], None]" = lambda steps, head, graph: None  # called after each of these


def train(
    image_dir: PictureSource,
    model_dir: str | os.PathLike[str] = "model",
    options: RunOptions = RunOptions(),
    emit: Emit = ignore,
    command: Sequence[str] = (),
) -> WrittenModel:
    """Train a classifier on a folder of pictures, and write its model folder.

    Args:
        image_dir: one sub-folder of pictures per class, or a manifest.
        model_dir: the model folder. An older model there is replaced once the new one is complete.
        emit: called with events; see `retrain.events`.
        command: the command line, for run.json.
    Raises RetrainError; if it is an ExportError, the model is written.
    """
    model = train_and_export(image_dir, model_dir, options, emit, command)
    if model.exports:
        model.exports.check(is_after_training=True)
    return model


def train_and_export(
    image_dir: PictureSource,
    model_dir: str | os.PathLike[str],
    options: RunOptions,
    emit: Emit,
    command: Sequence[str],
) -> WrittenModel:
    """The same, but a failing export is no error: what is returned has it."""
    options = with_local_cache(options)
    names = options.export_formats
    check_formats(names)
    check_destination(model_dir, options.extraction.cache_dir, emit)
    origin = Origin(command, model_dir, own_card(model_dir))
    model = train_model(image_dir, options, emit, ClassRules(exclude=[model_dir]))
    emit(StageBegan("export"))
    record = write_model_folder(model_dir, lambda folder: write_files(model, folder, origin), emit)
    if model.result.fine_tuning:
        model.result.fine_tuning.checkpoint.remove()
    if options.report.level == "full":
        from retrain.pipeline.report import write_report

        write_report(model_dir, image_dir, options.extraction.cache_dir, emit)
    exports = export_formats(model_dir, names, None, ExportOptions(), emit) if names else None
    return WrittenModel(**vars(model), model_dir=os.fspath(model_dir), record=record, exports=exports)


def train_model(
    image_dir: PictureSource,
    options: RunOptions = RunOptions(),
    emit: Emit = ignore,
    rules: ClassRules = ClassRules(),
    intermediate: IntermediateGraphs = IntermediateGraphs(),
) -> TrainedModel:
    """Extract, train and test, without writing a model. Raises RetrainError."""
    start = _start(image_dir, options, emit, rules)
    from retrain.training import HeadTrainer

    split = _extract(start)
    trainer = HeadTrainer(split.bottlenecks, len(start.labels))
    tuning = _tune(start, split, trainer) if options.tuning.tune else None
    wanted = tuning.options if tuning else start.options.training
    head = _train_head(start, split, trainer, wanted, intermediate)
    network = _fine_tune(start, split, head, split.plan) if split.plan else _unchanged(start, split, head)
    test = _test(start, split, network)
    seconds = {
        "extraction_seconds": split.seconds,
        "tuning_seconds": tuning.seconds if tuning else None,
        "training_seconds": head.seconds,
        "fine_tuning_seconds": network.seconds,
        "evaluation_seconds": test.seconds,
    }
    result = RunResult(
        labels=start.labels,
        split={name: len(split.members[name]) for name in SETS},
        metrics=test.metrics,
        pictures=test.pictures,
        skipped=split.data.extraction.skipped,
        timings={name: value for name, value in seconds.items() if value is not None},
        extraction=split.data.extraction.figures(),
        tested=test.tested,
        calibration=test.calibration,
        rejection=test.rejection,
        tuning=tuning,
        augmentation=split.augmentation,
        fine_tuning=network.fine_tuning,
        class_folders=start.folder.class_names,
        curve=network.curve,
        left_out=split.data.extraction.left_out,
        manifest=start.folder.manifest,
    )
    options = dataclasses.replace(start.options, training=head.options)
    return TrainedModel(
        start.folder.spelling,
        options,
        network.backbone,
        split.extractor,
        network.graph,
        test.trained,
        result,
        test.judged,
    )


@dataclass(frozen=True)
class _Start:
    """What is known before a picture is read."""

    folder: LabelledPictures
    labels: tuple[str, ...]
    strangers: LabelledPictures | None  # pictures of no class
    graph: "ExportSource"
    options: RunOptions  # with the backbone filled in
    emit: Emit


def _start(image_dir: PictureSource, options: RunOptions, emit: Emit, rules: ClassRules) -> _Start:
    """Read the folder, refuse what can't be trained, choose the backbone."""
    options = options.settled()
    folder, labels, strangers = read_classes(image_dir, options, emit, rules)
    check_rejection(labels, strangers, options)
    check_ready_made_split(folder, options, emit)
    check_training(folder, options)
    backbone, options = choose_backbone(options, emit)
    check_backbone(backbone, options)
    from retrain.export import export_source

    pictures = RepresentativePictures(folder, options.extraction.cache_dir, options.images)
    converter = Converter(pictures.cache_dir, emit, pictures)
    graph = export_source(backbone, options.final_tensor_name, converter)
    graph.prepare()
    return _Start(folder, labels, strangers, graph, options, emit)


@dataclass(frozen=True)
class _Split:
    """Pictures with bottlenecks, in their sets."""

    data: Dataset  # of activations inside the backbone, if that is to be fine-tuned
    sets: list[str]  # (n,) the set of each picture
    members: dict[str, NDArray[np.int64]]  # set -> numbers of its pictures
    extractor: Extractor
    bottlenecks: LabelledBottlenecks  # of the pictures and their copies
    seconds: float
    augmentation: Augmentation | None
    plan: "FineTuningPlan | None"
    strangers: VectorSource | None  # (n, ...) bottlenecks, or activations, of pictures of no class


def _extract(start: _Start) -> _Split:
    """Pass one, the split, and distorted copies of the training pictures if they are asked for."""
    folder, options, emit, plan = start.folder, start.options, start.emit, None
    began = time.monotonic()
    if options.fine_tuning.is_wanted:
        from retrain.training import FineTuningPlan

        plan = FineTuningPlan(start.graph.backbone, start.graph.trunk, options, start.graph.converter)
        plan.announce(len(folder.samples), emit)
    extractor = plan.extractor if plan else choose_extractor_for(folder, start.graph.backbone, options, emit)
    data = load_training_data(folder, start.labels, extractor, options, emit)
    check_leaks(data, emit)
    sets = assign_sets(data.samples, data.keys, options.split, folder.spelling)
    members = {name: np.flatnonzero(np.array(sets) == name) for name in SETS}
    labels_of = {name: data.labels_in(chosen) for name, chosen in members.items()}
    check_sets(start.labels, labels_of, folder.has_subsets, options, emit)
    data, augmentation = add_copies(data, members["train"], extractor, options, emit)
    strangers = _strangers(start, data, extractor) if start.strangers else None
    seconds = time.monotonic() - began
    bottlenecks = plan.prepare(data, len(start.labels)) if plan else data.bottlenecks
    return _Split(data, sets, members, extractor, bottlenecks, seconds, augmentation, plan, strangers)


def _strangers(start: _Start, data: Dataset, extractor: Extractor) -> VectorSource | None:
    """What pass one gives of pictures of no class that are in no class either; None if there are none."""
    assert start.strangers
    strangers = load_unlabelled(start.strangers, extractor, start.options, start.emit)
    known = set(data.hex_keys())
    own = np.flatnonzero([key not in known for key in strangers.hex_keys()])
    if len(own) < len(strangers.keys):
        twice = counted(len(strangers.keys) - len(own), "picture", "is/are")
        start.emit(Warned(f"{twice} in {STRANGERS} and in a class, too: not counted among those of no class"))
    return SomeVectors(strangers.vectors, own) if len(own) else None


def _tune(start: _Start, split: _Split, trainer: "HeadTrainer") -> Tuning:
    options, emit = start.options, start.emit
    emit(StageBegan("tuning"))
    folds = choose_folds(split.data.samples, split.data.keys, split.sets, options.training)
    tuning = tune(FoldTrainer(trainer, folds, start.labels), options.training, options.tuning.tune_seconds, emit)
    if not tuning.is_complete:
        emit(
            Warned(
                f"--tune ran out of time in round {tuning.folds + 1}: the result depends on the speed of this machine; "
                "raise --tune-seconds to get the same on another"
            )
        )
    return tuning


@dataclass(frozen=True)
class _HeadStage:
    """A head, trained on the frozen backbone."""

    trained: "TrainedHead"
    options: TrainingOptions  # with every default filled in
    curve: list[CurvePoint]  # if it was asked for
    seconds: float


def _train_head(
    start: _Start, split: _Split, trainer: "HeadTrainer", options: TrainingOptions, intermediate: IntermediateGraphs
) -> _HeadStage:
    """Pass two."""
    from retrain.training import Snapshots

    began, members, emit = time.monotonic(), split.members, start.emit
    pictures = len(members["train"])
    options = options.with_steps(pictures)  # an epoch is of pictures
    emit(StageBegan("training"))
    emit(training_began(options, pictures, "exact match" if start.options.labels.multi_label else "accuracy"))
    recorder = None
    if start.options.evaluation.plots:
        alone = np.arange(sum(map(len, members.values())))  # pictures come before their copies
        vectors = SomeVectors(trainer.data.vectors, alone)
        shown = LabelledBottlenecks(vectors, trainer.data.labels[alone], label_sets=trainer.data.label_sets)
        recorder = CurveRecorder(shown, members, options)

    def take(step: int, head: Head) -> None:
        if step in intermediate.steps:
            intermediate.write(step, head, start.graph)
        if recorder:
            recorder.measure(step, head)

    snapshots = Snapshots(sorted({*intermediate.steps, *(recorder.steps if recorder else ())}), take)
    trained = trainer.train(members["train"], members["validation"], options, emit, snapshots)
    resolved = options.resolved(pictures)
    for warning in trained.warnings(resolved):
        emit(Warned(warning))
    curve = recorder.finish(trained.steps, trained.head) if recorder else []
    return _HeadStage(trained, resolved, curve, time.monotonic() - began)


def training_began(options: TrainingOptions, pictures: int, measure: str = "accuracy") -> TrainingBegan:
    """What is told when training begins.

    Args:
        options: with steps filled in.
        measure: what accuracies are.
    """
    batch = pictures if options.optimizer == "lbfgs" else options.batch_size or DEFAULT_BATCH_SIZE
    return TrainingBegan(pictures, options.steps or DEFAULT_STEPS, options.epochs, batch, measure)


@dataclass(frozen=True)
class _Network:
    """The head on its backbone, after fine-tuning if that was asked for."""

    trained: "TrainedHead"
    graph: "ExportSource"
    backbone: "Backbone | FineTunedBackbone"  # what the model is known by
    vectors: VectorSource  # (n, d) bottlenecks of the pictures
    strangers: VectorSource | None  # (n, d) those of pictures of no class
    curve: list[CurvePoint]
    fine_tuning: "FineTuning | None" = None
    seconds: float | None = None  # of fine-tuning


def _unchanged(start: _Start, split: _Split, head: _HeadStage) -> _Network:
    vectors, strangers = split.data.vectors, split.strangers
    return _Network(head.trained, start.graph, start.graph.backbone, vectors, strangers, head.curve)


def _fine_tune(start: _Start, split: _Split, head: _HeadStage, plan: "FineTuningPlan") -> _Network:
    """Train the head and the layers above the cut together; the curve continues with the ends of epochs."""
    from retrain.training import FineTunedBackbone

    began = time.monotonic()
    steps = math.ceil(len(split.members["train"]) / start.options.fine_tuning.fine_tune_batch_size)
    recorder = _EpochCurve(plan, split, steps, head.curve[-1] if head.curve else None)
    done = plan.train(head.trained.head, split.members, head.options, start.emit, recorder)
    weights = done.tuned.weights
    graph = start.graph.with_weights(weights)
    return _Network(
        dataclasses.replace(head.trained, head=done.tuned.head),
        graph,
        FineTunedBackbone(start.graph.backbone, graph.trunk.digest),
        plan.bottlenecks(split.data.vectors, weights.values()),
        None if split.strangers is None else plan.bottlenecks(split.strangers, weights.values()),
        head.curve + recorder.points[: done.tuned.best_epoch],  # it ends with what was kept
        done,
        time.monotonic() - began,
    )


@dataclass(frozen=True)
class _EpochCurve:
    """Adds a point to the curve, if there is one, at the end of every epoch of fine-tuning."""

    plan: "FineTuningPlan"
    split: _Split
    steps: int  # of an epoch
    last: CurvePoint | None  # of the training of the head
    points: list[CurvePoint] = field(default_factory=list)

    def measure(self, head: Head, weights: Sequence[Any]) -> dict[str, Any] | None:
        """Add the point, and return it."""
        last = self.points[-1] if self.points else self.last
        if last is None:
            return None
        data = self.split.data
        vectors = self.plan.bottlenecks(data.vectors, weights)
        shown = LabelledBottlenecks(vectors, data.labels, label_sets=data.label_sets)
        figures = figures_of(head, shown, self.split.members)
        self.points.append(CurvePoint(last.step + self.steps, last.epoch + 1, figures))
        return dataclasses.asdict(self.points[-1])

    def restore(self, kept: Sequence[dict[str, Any] | None]) -> None:
        """Add the points of epochs that an earlier run finished."""
        for point in filter(None, kept):
            figures = {name: tuple(values) for name, values in point["figures"].items()}  # JSON has lists
            self.points.append(CurvePoint(point["step"], point["epoch"], figures))


@dataclass(frozen=True)
class _Test:
    """What the finished network says of all pictures."""

    trained: "TrainedHead"  # calibrated, and able to reject, if that was asked for
    calibration: Calibration | None
    rejection: RejectionFit | None
    metrics: dict[str, AnyMetrics]  # set -> metrics
    pictures: tuple[PictureResult, ...]
    tested: frozenset[str]  # paths of the test pictures that the metrics are of
    judged: JudgedPictures | JudgedLabels
    seconds: float


def _test(start: _Start, split: _Split, network: _Network) -> _Test:
    """Finish the head with what is asked for, then judge all pictures."""
    start.emit(StageBegan("evaluation"))
    began, options = time.monotonic(), start.options
    data, members, head, calibration = split.data, split.members, network.trained.head, None
    held_out = members["validation"]
    if options.evaluation.calibrate:
        vectors = SomeVectors(network.vectors, held_out)
        head, calibration = calibrate(head, vectors, data.labels[held_out], data.label_sets)
    if data.label_sets is not None:
        head = dataclasses.replace(head, thresholds=_thresholds(start, split, network, head))
    rejection = _rejection(start, split, network)
    if rejection:
        head = dataclasses.replace(head, rejection=rejection.rejection)
    trained = dataclasses.replace(network.trained, head=head)
    tested = _test_batch(members["test"], options)
    outcomes = judge(trained.head, network.vectors, data.labels, data.label_sets)
    metrics = {
        name: summarize(outcomes.select(chosen), data.labels[chosen], start.labels, data.keys[chosen])
        for name, chosen in (members | {"test": tested}).items()
    }
    pictures = results_of_pictures(data, split.sets, data.labels, outcomes, start.labels)
    paths = frozenset(data.samples[number].path for number in tested)
    judged = _judged(start, split, dataclasses.replace(network, trained=trained), tested)
    return _Test(trained, calibration, rejection, metrics, pictures, paths, judged, time.monotonic() - began)


def _rejection(start: _Start, split: _Split, network: _Network) -> RejectionFit | None:
    """What tells pictures of no class, if that is asked for, by the bottlenecks that the finished network gives."""
    share = start.options.evaluation.reject
    if share is None:
        return None
    data = LabelledBottlenecks(network.vectors, split.data.labels)
    fitted = fit_rejection(data, split.members, len(start.labels), share)
    if not fitted.has_enough:
        start.emit(
            Warned(
                f"--reject {share:g} of {counted(fitted.pictures, 'validation picture')}: all of them are kept, and of "
                f"new pictures perhaps fewer; {fewest_for(share)} are enough: add pictures, raise "
                "--validation-percentage or lower --reject"
            )
        )
    if network.strangers is None:
        return fitted
    known = SomeVectors(network.vectors, split.members["test" if len(split.members["test"]) else "validation"])
    strangers = figures_of_strangers(fitted.rejection, known, network.strangers)
    return dataclasses.replace(fitted, strangers=strangers)


def _thresholds(start: _Start, split: _Split, network: _Network, head: Head) -> NDArray[np.float32]:
    """(classes,) the score from which on each label is given: that with the highest F1 of the validation pictures."""
    chosen, data = split.members["validation"], split.data
    has = (
        np.zeros((0, len(start.labels)), np.bool_) if data.label_sets is None else data.label_sets[data.labels[chosen]]
    )
    unknown = [label for number, label in enumerate(start.labels) if not has[:, number].any()]
    if not len(chosen):
        start.emit(Warned("there are no validation pictures to choose thresholds on: all are 0.5"))
    elif unknown:
        labels = counted(len(unknown), "label", "has/have")
        start.emit(Warned(f"{labels} no validation pictures to choose a threshold on, and 0.5: {listing(unknown)}"))
    return best_thresholds(head.scores(SomeVectors(network.vectors, chosen)), has)


def _judged(
    start: _Start, split: _Split, network: _Network, tested: NDArray[np.int64]
) -> JudgedPictures | JudgedLabels:
    """What the report is made of. Test pictures that --test-batch-size left out count as unused."""
    data, sets = split.data, np.array(split.sets)
    left_out = np.setdiff1d(split.members["test"], tested)
    sets[left_out] = "unused"
    paths = [sample.path for sample in data.samples]
    if data.label_sets is not None:
        known = (data.labels, data.keys, network.vectors, network.trained.head)
        return JudgedLabels(start.labels, paths, sets, *known, label_sets=data.label_sets)
    return JudgedPictures(
        start.labels,
        paths,
        sets,
        data.labels,
        data.keys,
        network.vectors,
        network.trained.head,
        [sample.group for sample in data.samples],
    )


def _test_batch(members: NDArray[np.int64], options: RunOptions) -> NDArray[np.int64]:
    """The test pictures, or a random part of them if a size is given."""
    size = options.evaluation.test_batch_size
    if size == -1 or size >= len(members):
        return members
    return np.sort(np.random.default_rng(options.training.seed).permutation(members)[:size])
