"""`crossval`: every picture is tested once, by a head that was trained without it."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrain.backbones import choose_backbone
from retrain.data import STRANGERS, LabelledPictures, assign_folds
from retrain.errors import UsageError
from retrain.evaluation import (
    AnyMetrics,
    FoldStatistics,
    LabelFoldStatistics,
    LabelOutcomes,
    Metrics,
    MultiLabelMetrics,
    best_thresholds,
    joined,
    logistic,
    main_figure,
    summarize,
    summarize_folds,
    summarize_label_folds,
)
from retrain.events import Emit, FoldTested, StageBegan, Warned, ignore
from retrain.extraction import Augmentation, Extraction, add_copies, choose_extractor_for, with_local_cache
from retrain.options import CrossValidationOptions, PictureSource, RunOptions, TrainingOptions
from retrain.pipeline.checks import check_folds
from retrain.pipeline.training_data import load_training_data, read_classes
from retrain.text import counted
from retrain.training import FoldResult, FoldTrainer

__all__ = ["CrossValidation", "cross_validate"]


@dataclass(frozen=True)
class CrossValidation:
    """The result of a cross-validation."""

    labels: tuple[str, ...]
    backbone: str  # name of what computed the bottlenecks
    statistics: FoldStatistics | LabelFoldStatistics
    folds: tuple[AnyMetrics, ...]
    metrics: AnyMetrics  # of all pictures, each as its own fold tested it
    extraction: Extraction
    training: TrainingOptions  # with every default filled in
    training_seconds: float
    augmentation: Augmentation | None  # if it was asked for; its copies are of all pictures

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "labels": list(self.labels),
            "backbone": self.backbone,
            "statistics": self.statistics.as_dict(),
            "folds": [_without_matrix(fold) for fold in self.folds],
            "metrics": self.metrics.as_dict(),
            "skipped": len(self.extraction.skipped),
            **self.extraction.losses(),
            "options": asdict(self.training),
            "augmentation": self.augmentation and self.augmentation.as_dict(),
            "training_seconds": round(self.training_seconds, 3),
        }


def _without_matrix(metrics: AnyMetrics) -> dict[str, Any]:
    """For JSON, without matrices: with many classes, those of the folds would be most of the document."""
    matrices = ("confusion_matrix", "co_occurrence", "together")
    return {name: value for name, value in metrics.as_dict().items() if name not in matrices}


def cross_validate(
    image_dir: PictureSource,
    cross_validation: CrossValidationOptions = CrossValidationOptions(),
    options: RunOptions = RunOptions(),
    emit: Emit = ignore,
) -> CrossValidation:
    """Extract the pictures, then train a head on all folds but one and test it on that one, for every fold.

    Writes to the cache only. If the folder comes with a split of its own, that is ignored.

    Args:
        image_dir: one sub-folder of pictures per class, or a manifest.
        emit: called with events; see `retrain.events`.
    Raises RetrainError.
    """
    if options.fine_tuning.is_wanted:
        raise UsageError("cross-validation is of heads: leave --fine-tune-from and --fine-tune-layers out")
    options = with_local_cache(options).settled()
    folder, labels, strangers = read_classes(image_dir, options, emit)
    _tell_left_out(strangers, emit)
    check_folds(folder, cross_validation.folds, options.training)
    backbone, options = choose_backbone(options, emit)
    extractor = choose_extractor_for(folder, backbone, options, emit)
    data = load_training_data(folder, labels, extractor, options, emit)
    folds = assign_folds(data.samples, data.keys, cross_validation.folds, options.training.seed)

    # copies of all pictures, since each is trained on in all folds but one; a head gets the copies of its own pictures
    data, augmentation = add_copies(data, np.arange(len(data.chosen)), extractor, options, emit)
    emit(StageBegan("training"))
    from retrain.training import HeadTrainer

    started = time.monotonic()
    trainer = FoldTrainer(HeadTrainer(data.bottlenecks, len(labels)), folds, labels)
    results: list[FoldResult] = []
    for number, result in enumerate(trainer.train_all(options.training), 1):
        metrics = summarize(result.outcomes, data.labels[result.tested], labels, data.keys[result.tested])
        results.append(result)
        for warning in result.warnings:
            emit(Warned(f"fold {number}: {warning}"))
        measure, figure = main_figure(metrics)
        emit(FoldTested(number, cross_validation.folds, metrics.n, figure, metrics.cross_entropy, measure))
    order = np.argsort(np.concatenate([result.tested for result in results]))
    outcomes = joined([result.outcomes for result in results]).select(order)
    if isinstance(outcomes, LabelOutcomes):
        outcomes = outcomes.with_thresholds(_thresholds(outcomes, folds))
    of_folds = [
        summarize(outcomes.select(own), data.labels[own], labels, data.keys[own])
        for own in (np.flatnonzero(folds == fold) for fold in range(cross_validation.folds))
    ]
    return CrossValidation(
        labels=labels,
        backbone=extractor.name,
        statistics=_statistics(of_folds, _training_pictures(of_folds, results[0].options)),
        folds=tuple(of_folds),
        metrics=summarize(outcomes, data.labels, labels, data.keys),
        extraction=data.extraction,
        training=results[0].options,
        training_seconds=time.monotonic() - started,
        augmentation=augmentation,
    )


def _thresholds(outcomes: LabelOutcomes, folds: NDArray[np.int32]) -> NDArray[np.float32]:
    """(n, classes) of each picture, chosen on the pictures of the other folds, by heads that had not seen those."""
    scores = logistic(outcomes.logits)
    chosen = np.empty(scores.shape, np.float32)
    for fold in range(int(folds.max()) + 1):
        others = folds != fold
        chosen[folds == fold] = best_thresholds(scores[others], outcomes.has[others])
    return chosen


def _statistics(folds: Sequence[AnyMetrics], training_pictures: Sequence[int]) -> FoldStatistics | LabelFoldStatistics:
    of_labels = [fold for fold in folds if isinstance(fold, MultiLabelMetrics)]
    if of_labels:
        return summarize_label_folds(of_labels, training_pictures)
    return summarize_folds([fold for fold in folds if isinstance(fold, Metrics)], training_pictures)


def _tell_left_out(strangers: LabelledPictures | None, emit: Emit) -> None:
    if strangers:
        of = counted(len(strangers.samples), "file")
        emit(Warned(f"left out {of} of {STRANGERS}, which is no class: cross-validation is of classes"))


def _training_pictures(folds: Sequence[AnyMetrics], options: TrainingOptions) -> list[int]:
    """How many pictures each fold's head was trained on, copies counted once: they are all in one fold."""
    sizes = [fold.n for fold in folds]
    held_out = np.roll(sizes, -1).tolist() if options.patience else [0] * len(sizes)
    return [sum(sizes) - tested - kept for tested, kept in zip(sizes, held_out, strict=True)]
