"""Cross-validation: every picture tested once, by a head that was trained without it."""

import dataclasses
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retrain.backbone import locate_backbone
from retrain.config import CrossValidationOptions, RunOptions, TrainingOptions
from retrain.dataset import Dataset, load_training_data, read_classes
from retrain.errors import ImageFolderError, UsageError
from retrain.evaluation import Metrics, evaluate_logits
from retrain.extraction import Extraction
from retrain.fold_statistics import FoldStatistics, summarize_folds
from retrain.folds import assign_folds
from retrain.hooks import Hooks
from retrain.image_folder import ImageFolder
from retrain.vectors import LabelledBottlenecks

if TYPE_CHECKING:
    from retrain.training import HeadTrainer

__all__ = ["CrossValidation", "FoldResult", "cross_validate", "train_folds"]

_NEVER = 2**31 - 1  # evaluated at the first and last step only


@dataclass(frozen=True)
class FoldResult:
    """One fold, tested by the head that was trained on the others."""

    tested: NDArray[np.int64]  # (m,) numbers of its pictures
    logits: NDArray[np.float32]  # (m, classes)
    metrics: Metrics
    training_pictures: int
    warnings: tuple[str, ...]


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

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "labels": list(self.labels),
            "statistics": self.statistics.as_dict(),
            "folds": [fold.as_dict() for fold in self.folds],
            "metrics": self.metrics.as_dict(),
            "skipped": len(self.extraction.skipped),
            "options": asdict(self.training),
            "training_seconds": round(self.training_seconds, 3),
        }


def cross_validate(
    image_dir: str | os.PathLike[str],
    cross_validation: CrossValidationOptions = CrossValidationOptions(),
    options: RunOptions = RunOptions(),
    hooks: Hooks = Hooks(),
) -> CrossValidation:
    """Pass one, then for every fold a head that is trained on the others and tested on it.

    Nothing is written but the cache. A split that the folder comes with is not used.

    Raises RetrainError.
    """
    folder, labels = read_classes(image_dir, options, hooks)
    _check(folder, cross_validation.folds, options.training)
    data, _ = load_training_data(folder, locate_backbone(options.backbone), options, hooks)
    folds = assign_folds(data.samples, data.keys, cross_validation.folds, options.training.seed)

    hooks.on_stage("training")
    from retrain.training import HeadTrainer

    started = time.monotonic()
    trainer = HeadTrainer(LabelledBottlenecks(data.vectors, data.labels), len(labels))
    results = []
    for number, result in enumerate(train_folds(trainer, folds, options.training, labels)):
        results.append(result)
        for warning in result.warnings:
            hooks.on_warning(f"fold {number + 1}: {warning}")
        hooks.on_fold(number + 1, cross_validation.folds, result.metrics)
    return _summary(data, labels, results, options, time.monotonic() - started)


def train_folds(
    trainer: "HeadTrainer", folds: NDArray[np.int32], options: TrainingOptions, labels: tuple[str, ...]
) -> Iterator[FoldResult]:
    """Train and test, fold by fold. With patience, the next fold is there for validation, and not trained on.

    Args:
        folds: (n,) the fold of each of the trainer's pictures, in [0, k); of pictures that take no part, -1.
    """
    count = int(folds.max()) + 1
    if options.patience is None:
        options = dataclasses.replace(options, eval_step_interval=_NEVER)
    for fold in range(count):
        tested = np.flatnonzero(folds == fold)
        held_out = folds == (fold + 1) % count if options.patience else np.zeros(len(folds), bool)
        training = np.flatnonzero((folds >= 0) & (folds != fold) & ~held_out)
        trained = trainer.train(training, np.flatnonzero(held_out), options)
        logits = trained.head.logits(trainer.data.vectors[tested])
        metrics = evaluate_logits(logits, trainer.data.labels[tested], labels)
        warnings = tuple(trained.warnings(options.resolved(len(training))))
        yield FoldResult(tested, logits, metrics, len(training), warnings)


def _check(folder: ImageFolder, folds: int, training: TrainingOptions) -> None:
    """Refuse, before any picture is read, what is known not to work."""
    few = [f"{n} of {name}" for name, n in zip(folder.class_names, folder.counts(), strict=True) if n < folds]
    if few:
        raise ImageFolderError(
            f"--folds {folds} is more than there are pictures ({', '.join(few)}): every fold needs one of each class; "
            "lower --folds or add pictures"
        )
    if training.patience and folds < 3:
        raise UsageError("--patience takes a fold for validation, beside those for training and testing: 3 or more")


def _summary(
    data: Dataset, labels: tuple[str, ...], results: list[FoldResult], options: RunOptions, seconds: float
) -> CrossValidation:
    logits = np.empty((len(data.labels), len(labels)), np.float32)
    for result in results:
        logits[result.tested] = result.logits
    training_pictures = [result.training_pictures for result in results]
    return CrossValidation(
        labels,
        summarize_folds([result.metrics for result in results], training_pictures),
        tuple(result.metrics for result in results),
        evaluate_logits(logits, data.labels, labels),
        data.extraction,
        options.training.resolved(training_pictures[0]),
        seconds,
    )
