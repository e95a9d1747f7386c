"""`train`: one run from a folder of pictures to a model folder, stage by stage.

Each stage takes what it needs of the stages before it, and returns one frozen value.
"""

import dataclasses
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from retrain.backbones import Converter, Extractor, RepresentativePictures, choose_backbone
from retrain.cache import LabelledBottlenecks, SomeVectors, VectorSource
from retrain.data import SETS, STRANGERS, assign_sets
from retrain.events import Emit, StageBegan, TrainingBegan, Warned, ignore
from retrain.extraction import (
    Dataset,
    add_copies,
    choose_extractor_for,
    load_unlabelled,
    with_local_cache,
)
from retrain.model import Head, check_destination, own_card, write_model_folder
from retrain.options import DEFAULT_BATCH_SIZE, DEFAULT_STEPS, ExportOptions, PictureSource, RunOptions, TrainingOptions
from retrain.pipeline.checks import (
    check_backbone,
    check_leaks,
    check_ready_made_split,
    check_rejection,
    check_sets,
    check_training,
)
from retrain.pipeline.evaluation_stage import finish
from retrain.pipeline.export import check_formats, export_formats
from retrain.pipeline.fine_tuning_stage import fine_tune
from retrain.pipeline.outputs import Origin, write_files
from retrain.pipeline.results import RunResult, TrainedModel, WrittenModel
from retrain.pipeline.stages import HeadStage, Network, Split, Start
from retrain.pipeline.training_data import ClassRules, load_training_data, read_classes
from retrain.text import counted
from retrain.training import (
    CurveRecorder,
    FoldTrainer,
    Tuning,
    choose_folds,
    tune,
)

if TYPE_CHECKING:
    from retrain.export import ExportSource
    from retrain.training import HeadTrainer

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
    network = fine_tune(start, split, head, split.plan) if split.plan else _unchanged(start, split, head)
    test = finish(start, split, network)
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


def _start(image_dir: PictureSource, options: RunOptions, emit: Emit, rules: ClassRules) -> Start:
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
    return Start(folder, labels, strangers, graph, options, emit)


def _extract(start: Start) -> Split:
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
    return Split(data, sets, members, extractor, bottlenecks, seconds, augmentation, plan, strangers)


def _strangers(start: Start, data: Dataset, extractor: Extractor) -> VectorSource | None:
    """What pass one gives of pictures of no class that are in no class either; None if there are none."""
    assert start.strangers
    strangers = load_unlabelled(start.strangers, extractor, start.options, start.emit)
    known = set(data.hex_keys())
    own = np.flatnonzero([key not in known for key in strangers.hex_keys()])
    if len(own) < len(strangers.keys):
        twice = counted(len(strangers.keys) - len(own), "picture", "is/are")
        start.emit(Warned(f"{twice} in {STRANGERS} and in a class, too: not counted among those of no class"))
    return SomeVectors(strangers.vectors, own) if len(own) else None


def _tune(start: Start, split: Split, trainer: "HeadTrainer") -> Tuning:
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


def _train_head(
    start: Start, split: Split, trainer: "HeadTrainer", options: TrainingOptions, intermediate: IntermediateGraphs
) -> HeadStage:
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
    return HeadStage(trained, resolved, curve, time.monotonic() - began)


def training_began(options: TrainingOptions, pictures: int, measure: str = "accuracy") -> TrainingBegan:
    """What is told when training begins.

    Args:
        options: with steps filled in.
        measure: what accuracies are.
    """
    batch = pictures if options.optimizer == "lbfgs" else options.batch_size or DEFAULT_BATCH_SIZE
    return TrainingBegan(pictures, options.steps or DEFAULT_STEPS, options.epochs, batch, measure)


def _unchanged(start: Start, split: Split, head: HeadStage) -> Network:
    vectors, strangers = split.data.vectors, split.strangers
    return Network(head.trained, start.graph, start.graph.backbone, vectors, strangers, head.curve)
