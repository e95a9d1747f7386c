"""What a run refuses, or warns of, as soon as it can be known."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from retrain.data.image_folder import ImageFolder
from retrain.data.split import SETS, check_counts
from retrain.errors import ImageFolderError, UsageError
from retrain.events import Emit, Warned
from retrain.options import RunOptions, SplitOptions
from retrain.paths import display_path
from retrain.text import listing
from retrain.training.calibration import check_pictures

__all__ = ["check_ready_made_split", "check_sets", "check_training"]


def check_ready_made_split(folder: ImageFolder, options: RunOptions, emit: Emit) -> None:
    """Say which options have no effect on a folder that comes with a split of its own."""
    if folder.has_subsets and options.split != SplitOptions():
        emit(
            Warned(
                f"{display_path(folder.root)} comes with a split of its own, in folders: "
                "--split, --validation-percentage, --test-percentage, --train-per-class, --validation-per-class and "
                "--test-per-class have no effect"
            )
        )


def check_training(folder: ImageFolder, options: RunOptions) -> None:
    """Refuse, before any picture is read, what can't be trained. Raises UsageError, ImageFolderError."""
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
    for flag, is_wanted in (("--patience", options.training.patience), ("--calibrate", options.evaluation.calibrate)):
        if is_wanted and not has_validation:
            share = options.split.validation_per_class is None
            remedy = (
                "add a folder validation/"
                if ready_made
                else f"raise --validation-{'percentage' if share else 'per-class'}"
            )
            raise UsageError(f"{flag} needs validation pictures, and there are none: {remedy}, or leave it out")


def check_sets(
    labels: Sequence[str],
    members: dict[str, NDArray[np.int32]],
    is_ready_made: bool,
    options: RunOptions,
    emit: Emit,
) -> None:
    """Refuse a split that leaves a class without training pictures, or calibration without any; warn of other gaps.

    Args:
        members: set -> (n,) label numbers of its pictures.
        is_ready_made: whether the folder came with the sets.
    """
    present = {name: set(np.unique(members[name]).tolist()) for name in SETS}
    missing = {name: [label for number, label in enumerate(labels) if number not in present[name]] for name in SETS}
    if missing["train"]:
        raise ImageFolderError(
            f"no training pictures of class {listing(missing['train'])}: add pictures that differ from those there, "
            "or remove the folder"
        )
    if options.evaluation.calibrate:
        check_pictures(len(members["validation"]))
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
