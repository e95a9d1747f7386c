"""What a folder and options together forbid, or call for a warning, as soon as it can be known."""

from collections.abc import Container, Sequence

import numpy as np
from numpy.typing import NDArray

from retrain.data.image_folder import ImageFolder
from retrain.data.split import SETS, check_counts
from retrain.errors import ImageFolderError, TrainingError, UsageError
from retrain.events import Emit, Warned
from retrain.options import RunOptions, SplitOptions, TrainingOptions
from retrain.paths import display_path
from retrain.text import listing

__all__ = ["check_folds", "check_known_classes", "check_ready_made_split", "check_sets", "check_training"]


def check_ready_made_split(folder: ImageFolder, options: RunOptions, emit: Emit) -> None:
    """Warn of options that have no effect because the folder comes with a split of its own."""
    if folder.has_subsets and options.split != SplitOptions():
        emit(
            Warned(
                f"{display_path(folder.root)} comes with a split of its own, in folders: "
                "--split, --validation-percentage, --test-percentage, --train-per-class, --validation-per-class and "
                "--test-per-class have no effect"
            )
        )


def check_training(folder: ImageFolder, options: RunOptions) -> None:
    """Refuse what can't be trained, before any picture is read. Raises UsageError, ImageFolderError."""
    ready_made = folder.has_subsets
    training = [sample for sample in folder.samples if not ready_made or sample.subset == "train"]
    if ready_made:
        there = {sample.label for sample in training}
        missing = [name for number, name in enumerate(folder.class_names) if number not in there]
        if missing:
            raise ImageFolderError(
                f"no training pictures of class {listing(missing)} in {display_path(folder.root)}: add some to the "
                "training folder, or remove the class from the others"
            )
        has_validation = any(sample.subset == "validation" for sample in folder.samples)
    else:
        check_counts(dict(zip(folder.class_names, folder.counts(), strict=True)), options.split)
        has_validation = options.split.wants("validation")
    flag = _needing_validation(options)
    if flag and not has_validation:
        share = "percentage" if options.split.validation_per_class is None else "per-class"
        remedy = "add a folder validation/" if ready_made else f"raise --validation-{share}"
        raise UsageError(f"{flag} needs validation pictures, and there are none: {remedy}, or leave it out")


def _needing_validation(options: RunOptions) -> str | None:
    """An option that needs validation pictures, if one is given."""
    if options.training.patience:
        return "--patience"
    return "--calibrate" if options.evaluation.calibrate else None


def check_sets(
    labels: Sequence[str],
    members: dict[str, NDArray[np.int32]],
    is_ready_made: bool,
    options: RunOptions,
    emit: Emit,
) -> None:
    """Refuse a split in which a class or an option lacks the pictures it needs; warn of other gaps.

    Args:
        members: set -> (n,) label numbers of its pictures.
        is_ready_made: whether the folder came with the sets.
    Raises ImageFolderError, TrainingError.
    """
    present = {name: set(np.unique(members[name]).tolist()) for name in SETS}
    missing = {name: [label for number, label in enumerate(labels) if number not in present[name]] for name in SETS}
    if missing["train"]:
        raise ImageFolderError(
            f"no training pictures of class {listing(missing['train'])}: add pictures that differ from those there, "
            "or remove the folder"
        )
    flag = _needing_validation(options)
    if flag and not len(members["validation"]):
        raise TrainingError(
            f"{flag} needs validation pictures, and the split of this folder has none: add pictures, raise "
            f"--validation-percentage or --validation-per-class, or leave out {flag}"
        )
    for name in SETS:
        wanted: int | None = getattr(options.split, f"{name}_per_class")
        found = np.bincount(members[name], minlength=len(labels)).tolist()
        if wanted is not None and not is_ready_made:
            few = [f"{label} ({count})" for label, count in zip(labels, found, strict=True) if count < wanted]
            if few:
                emit(
                    Warned(
                        f"fewer {name} pictures than --{name}-per-class {wanted} in class {listing(few)}: pictures "
                        "that belong together, copies and _nohash_ groups, are not taken apart"
                    )
                )
        elif name != "train" and options.split.wants(name) and len(members[name]) and missing[name]:
            emit(Warned(f"no {name} pictures of class {listing(missing[name])}"))


def check_folds(folder: ImageFolder, folds: int, training: TrainingOptions) -> None:
    """Refuse folds that a folder can't have, before any picture is read. Raises UsageError, ImageFolderError."""
    few = [f"{n} of {name}" for name, n in zip(folder.class_names, folder.counts(), strict=True) if n < folds]
    if few:
        raise ImageFolderError(
            f"--folds {folds} is more than there are pictures ({listing(few)}): every fold needs one of each class; "
            "lower --folds or add pictures"
        )
    if training.patience and folds < 3:
        raise UsageError("--patience takes a fold for validation, besides those for training and testing: 3 or more")


def check_known_classes(folder: ImageFolder, known: Container[str], labels: Sequence[str]) -> None:
    """Refuse classes that a model does not know.

    Args:
        known: names of class folders that the model knows.
        labels: the model's.
    Raises ImageFolderError.
    """
    unknown = [name for name in folder.class_names if name not in known]
    if unknown:
        raise ImageFolderError(
            f"{display_path(folder.root)} has classes that the model does not know: {listing(unknown)}; "
            f"its labels are {listing(labels)}: rename or remove these folders"
        )
