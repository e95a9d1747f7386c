"""Cross-validation: every picture tested once, by a head that was trained without it."""

import dataclasses
import os
import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from retrain.backbones.default import choose_backbone
from retrain.data.folds import assign_folds
from retrain.errors import UsageError
from retrain.evaluation.fold_statistics import FoldStatistics, summarize_folds
from retrain.evaluation.metrics import Metrics, Outcomes, summarize
from retrain.events import Emit, FoldTested, StageBegan, Warned, ignore
from retrain.extraction.augmentation import Augmentation, add_copies
from retrain.extraction.dataset import Dataset, choose_extractor_for, load_training_data, read_classes
from retrain.extraction.pass_one import Extraction
from retrain.options import CrossValidationOptions, RunOptions, TrainingOptions
from retrain.pipeline.checks import check_folds
from retrain.training.fold_trainer import FoldResult, FoldTrainer

__all__ = ["CrossValidation", "cross_validate"]


@dataclass(frozen=True)
class CrossValidation:
    """What a cross-validation found."""

    labels: tuple[str, ...]
    statistics: FoldStatistics
    folds: tuple[Metrics, ...]
    metrics: Metrics  # of all pictures, each as its own fold tested it
    extraction: Extraction
    training: TrainingOptions  # with every default filled in
    training_seconds: float
    augmentation: Augmentation | None = None  # where it was asked for; its copies are of all pictures
    backbone: str = ""  # the name of what computed the bottlenecks

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


def _without_matrix(metrics: Metrics) -> dict[str, Any]:
    """For JSON: of many classes, the matrix of each fold would be most of the document."""
    return {name: value for name, value in metrics.as_dict().items() if name != "confusion_matrix"}


def cross_validate(
    image_dir: str | os.PathLike[str],
    cross_validation: CrossValidationOptions = CrossValidationOptions(),
    options: RunOptions = RunOptions(),
    emit: Emit = ignore,
) -> CrossValidation:
    """Pass one, then for every fold a head that is trained on the others and tested on it.

    Nothing is written but the cache. A split that the folder comes with is not used.

    Raises RetrainError.
    """
    if options.fine_tuning.is_wanted:
        raise UsageError("cross-validation is of heads: leave --fine-tune-from and --fine-tune-layers out")
    folder, labels = read_classes(image_dir, options, emit)
    check_folds(folder, cross_validation.folds, options.training)
    backbone, options = choose_backbone(options, emit)
    extractor = choose_extractor_for(folder, backbone, options, emit)
    data = load_training_data(folder, extractor, options, emit)
    folds = assign_folds(data.samples, data.keys, cross_validation.folds, options.training.seed)

    # of all pictures, for each is trained on in all folds but one; each head gets those of its own pictures alone
    data, augmentation = add_copies(data, np.arange(len(data.chosen)), extractor, options, emit)
    emit(StageBegan("training"))
    from retrain.training.head_trainer import HeadTrainer

    started = time.monotonic()
    trainer = FoldTrainer(HeadTrainer(data.bottlenecks, len(labels)), folds, labels)
    results = []
    for number, trained in enumerate(trainer.train_all(options.training)):
        own = data.labels[trained.tested]
        metrics = summarize(trained.outcomes, own, labels, data.keys[trained.tested])
        result = dataclasses.replace(trained, metrics=metrics)
        results.append(result)
        for warning in result.warnings:
            emit(Warned(f"fold {number + 1}: {warning}"))
        tested = (metrics.n, metrics.accuracy, metrics.cross_entropy)
        emit(FoldTested(number + 1, cross_validation.folds, *tested))
    found = _summary(data, labels, results, time.monotonic() - started, augmentation)
    return dataclasses.replace(found, backbone=extractor.name)


def _summary(
    data: Dataset,
    labels: tuple[str, ...],
    results: list[FoldResult],
    seconds: float,
    augmentation: Augmentation | None,
) -> CrossValidation:
    order = np.argsort(np.concatenate([result.tested for result in results]))
    outcomes = Outcomes.joined([result.outcomes for result in results]).select(order)
    sizes = [result.metrics.n for result in results]  # copies left out, which are all in one fold
    held_out = np.roll(sizes, -1).tolist() if results[0].options.patience else [0] * len(sizes)
    training_pictures = [sum(sizes) - tested - kept for tested, kept in zip(sizes, held_out, strict=True)]
    return CrossValidation(
        labels,
        summarize_folds([result.metrics for result in results], training_pictures),
        tuple(result.metrics for result in results),
        summarize(outcomes, data.labels, labels, data.keys),
        data.extraction,
        results[0].options,
        seconds,
        augmentation,
    )
