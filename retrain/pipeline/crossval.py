"""Cross-validation: every picture tested once, by a head that was trained without it."""

import dataclasses
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retrain.backbones.default import choose_backbone
from retrain.cache.vectors import SomeVectors
from retrain.data.folds import assign_folds
from retrain.data.image_folder import ImageFolder
from retrain.errors import ImageFolderError, TrainingError, UsageError
from retrain.evaluation.fold_statistics import FoldStatistics, summarize_folds
from retrain.evaluation.metrics import Metrics, Outcomes, judge, summarize
from retrain.events import Emit, FoldTested, StageBegan, Warned, ignore
from retrain.extraction.augmentation import Augmentation, add_copies
from retrain.extraction.dataset import Dataset, choose_extractor_for, load_training_data, read_classes
from retrain.extraction.pass_one import Extraction
from retrain.options import CrossValidationOptions, RunOptions, TrainingOptions
from retrain.text import listing

if TYPE_CHECKING:
    from retrain.training.head_trainer import HeadTrainer

__all__ = ["CrossValidation", "FoldResult", "cross_validate", "train_fold", "train_folds"]

_NEVER = 2**31 - 1  # evaluated at the first and last step only


@dataclass(frozen=True)
class FoldResult:
    """One fold, tested by the head that was trained on the others."""

    tested: NDArray[np.int64]  # (m,) numbers of its pictures
    outcomes: Outcomes
    metrics: Metrics
    training_pictures: int
    options: TrainingOptions  # with every default filled in
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
    _check(folder, cross_validation.folds, options.training)
    backbone, options = choose_backbone(options, emit)
    extractor = choose_extractor_for(folder, backbone, options, emit)
    data = load_training_data(folder, extractor, options, emit)
    folds = assign_folds(data.samples, data.keys, cross_validation.folds, options.training.seed)

    # of all pictures, for each is trained on in all folds but one; each head gets those of its own pictures alone
    data, augmentation = add_copies(data, np.arange(len(data.chosen)), extractor, options, emit)
    emit(StageBegan("training"))
    from retrain.training.head_trainer import HeadTrainer

    started = time.monotonic()
    trainer = HeadTrainer(data.bottlenecks, len(labels))
    results = []
    for number, trained in enumerate(train_folds(trainer, folds, options.training, labels)):
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


def train_folds(
    trainer: "HeadTrainer", folds: NDArray[np.int32], options: TrainingOptions, labels: Sequence[str]
) -> Iterator[FoldResult]:
    """Train and test, fold by fold.

    Args:
        folds: (n,) the fold of each of the trainer's pictures, in [0, k); of pictures that take no part, -1.
    """
    for fold in range(int(folds.max()) + 1):
        yield train_fold(trainer, folds, fold, options, labels)


def train_fold(
    trainer: "HeadTrainer",
    folds: NDArray[np.int32],
    fold: int,
    options: TrainingOptions,
    labels: Sequence[str],
    emit: Emit = ignore,
) -> FoldResult:
    """Train on all folds but one, and test that. With patience, the next one is for validation, and not trained on.

    Raises TrainingError where the other folds lack a class, and as training does.
    """
    # without patience nobody looks at evaluations
    used = options if options.patience else dataclasses.replace(options, eval_step_interval=_NEVER)
    held_out = folds == (fold + 1) % (int(folds.max()) + 1) if options.patience else np.zeros(len(folds), bool)
    tested, training = np.flatnonzero(folds == fold), np.flatnonzero((folds >= 0) & (folds != fold) & ~held_out)
    own = trainer.data.labels[: len(folds)]  # of the pictures, without copies
    missing = np.setdiff1d(own[folds >= 0], own[training])
    if len(missing):
        raise TrainingError(
            f"all pictures of class {listing(labels[number] for number in missing)} are in one fold, for they belong "
            "together: lower --folds, or keep one copy of each picture that is in folders of several classes"
        )
    used = used.with_steps(len(training))
    trained = trainer.train(training, np.flatnonzero(held_out), used, emit)
    outcomes = judge(trained.head, SomeVectors(trainer.data.vectors, tested), own[tested])
    metrics = summarize(outcomes, own[tested], labels)
    resolved = options.resolved(len(training))
    return FoldResult(tested, outcomes, metrics, len(training), resolved, tuple(trained.warnings(resolved)))


def _check(folder: ImageFolder, folds: int, training: TrainingOptions) -> None:
    """Refuse, before any picture is read, what is known not to work."""
    few = [f"{n} of {name}" for name, n in zip(folder.class_names, folder.counts(), strict=True) if n < folds]
    if few:
        raise ImageFolderError(
            f"--folds {folds} is more than there are pictures ({listing(few)}): every fold needs one of each class; "
            "lower --folds or add pictures"
        )
    if training.patience and folds < 3:
        raise UsageError("--patience takes a fold for validation, beside those for training and testing: 3 or more")


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
