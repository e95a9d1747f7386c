"""What a folder and options together forbid, or call for a warning, as soon as it can be known."""

from collections import defaultdict
from collections.abc import Container, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from retrain.backbones import Backbone
from retrain.data import SETS, STRANGERS, LabelledPictures, Sample, check_class_sizes, check_counts, check_groups
from retrain.errors import ImageFolderError, TrainingError, UsageError
from retrain.evaluation import different
from retrain.events import Emit, Warned
from retrain.model import UNKNOWN
from retrain.options import RunOptions, SplitOptions, TrainingOptions
from retrain.paths import display_path
from retrain.text import counted, listing

__all__ = [
    "check_backbone",
    "check_class_counts",
    "check_contradictions",
    "check_copies",
    "check_folds",
    "check_known_classes",
    "check_leaks",
    "check_no_strangers",
    "check_one_label",
    "check_ready_made_split",
    "check_rejection",
    "check_sets",
    "check_training",
]


class KnownPictures(Protocol):
    """Readable pictures of a folder, and their content."""

    @property
    def folder(self) -> LabelledPictures:
        """That they are in."""
        ...

    @property
    def samples(self) -> Sequence[Sample]:
        """(n,)."""
        ...

    @property
    def keys(self) -> NDArray[np.uint8]:
        """(n, 32)."""
        ...

    @property
    def labels(self) -> NDArray[np.int32]:
        """(n,)."""
        ...


_FEW_PICTURES = 20  # a class with fewer gets a warning, as in the original program


def check_one_label(options: RunOptions, command: str) -> None:
    """Refuse --multi-label where a picture has one label. Raises UsageError."""
    if options.labels.multi_label:
        raise UsageError(f"retrain {command} is for pictures with one label each: leave --multi-label out")


def check_backbone(backbone: Backbone, options: RunOptions) -> None:
    """Refuse what a backbone can't do, before any picture is read. Raises UsageError."""
    if backbone.is_onnx and options.fine_tuning.is_wanted:
        raise UsageError(
            f"fine-tuning needs TensorFlow's graph of the backbone, and {backbone.name} is an ONNX network: leave "
            "--fine-tune-from and --fine-tune-layers out"
        )


def check_class_counts(folder: LabelledPictures, counts: Sequence[int], emit: Emit) -> None:
    """Refuse a class with too few pictures to train on; warn of those with few, and of empty folders.

    Args:
        counts: pictures of each class.
    Raises ImageFolderError.
    """
    check_class_sizes(folder.class_names, counts)
    few = [f"{name} ({n})" for name, n in zip(folder.class_names, counts, strict=True) if n < _FEW_PICTURES]
    if few:
        emit(Warned(f"fewer than {_FEW_PICTURES} pictures in class {listing(few)}: results may be poor, add more"))
    if folder.empty_folders:
        names = listing(map(display_path, folder.empty_folders))
        emit(
            Warned(f"{counted(len(folder.empty_folders), 'folder', 'holds/hold')} no files and make no class: {names}")
        )


def check_contradictions(data: KnownPictures, emit: Emit) -> None:
    """Warn of pictures that are in several classes."""
    first: dict[bytes, int] = {}
    labels = zip(data.keys, data.labels.tolist(), strict=True)
    several = {key.tobytes() for key, label in labels if first.setdefault(key.tobytes(), label) != label}
    if several:
        emit(
            Warned(
                f"{counted(len(several), 'picture', 'is/are')} in several classes: retrain inspect "
                "shows which, keep one of each, or give --multi-label"
            )
        )


def check_copies(data: KnownPictures, emit: Emit) -> None:
    """Warn of classes with enough pictures of which too few differ."""
    files = np.bincount(data.labels, minlength=len(data.folder.class_names)).tolist()
    unique = np.bincount(data.labels[different(data.keys, data.labels)], minlength=len(files)).tolist()
    rows = zip(data.folder.class_names, files, unique, strict=True)
    few = [f"{name} ({own})" for name, count, own in rows if own < _FEW_PICTURES <= count]
    if few:
        emit(
            Warned(
                f"fewer than {_FEW_PICTURES} different pictures in class {listing(few)}, the others are copies: "
                "results may be poor, add more"
            )
        )


def check_leaks(data: KnownPictures, emit: Emit) -> None:
    """Warn of pictures that are in several of the sets that the folder comes with."""
    found: dict[bytes, set[str]] = defaultdict(set)
    for key, sample in zip(data.keys, data.samples, strict=True):
        if sample.subset:
            found[key.tobytes()].add(sample.subset)
    several = [sets for sets in found.values() if len(sets) > 1]
    if several:
        names = [name for name in SETS if any(name in sets for sets in several)]
        emit(
            Warned(
                f"{counted(len(several), 'picture', 'is/are')} in more than one of the sets {', '.join(names)}: "
                "retrain inspect shows which; figures of pictures that were trained on are too good, keep one of each"
            )
        )


def check_ready_made_split(folder: LabelledPictures, options: RunOptions, emit: Emit) -> None:
    """Warn of options that have no effect because the pictures come with a split of its own."""
    if folder.has_subsets and options.split != SplitOptions():
        emit(
            Warned(
                f"{display_path(folder.source)} comes with a split of its own: "
                "--split, --validation-percentage, --test-percentage, --train-per-class, --validation-per-class and "
                "--test-per-class have no effect"
            )
        )


def check_training(folder: LabelledPictures, options: RunOptions) -> None:
    """Refuse what can't be trained, before any picture is read. Raises UsageError, ImageFolderError."""
    ready_made = folder.has_subsets
    training = [sample for sample in folder.samples if not ready_made or sample.subset == "train"]
    if ready_made:
        there = {label for sample in training for label in sample.classes}
        missing = [name for number, name in enumerate(folder.class_names) if number not in there]
        if missing:
            raise ImageFolderError(
                f"no training pictures of class {listing(missing)} in {display_path(folder.source)}: add some to the "
                "training set, or remove the class from the others"
            )
        has_validation = any(sample.subset == "validation" for sample in folder.samples)
    else:
        check_groups(folder.samples, options.split)
        check_counts(dict(zip(folder.class_names, folder.counts(), strict=True)), options.split)
        has_validation = options.split.wants("validation")
    flag = _needing_validation(options)
    if flag and not has_validation:
        share = "percentage" if options.split.validation_per_class is None else "per-class"
        remedy = "add some to the set validation" if ready_made else f"raise --validation-{share}"
        raise UsageError(f"{flag} needs validation pictures, and there are none: {remedy}, or leave it out")


def _needing_validation(options: RunOptions) -> str | None:
    """An option that needs validation pictures, if one is given."""
    if options.training.patience:
        return "--patience"
    if options.evaluation.calibrate:
        return "--calibrate"
    return "--reject" if options.evaluation.reject else None


def check_rejection(labels: Sequence[str], strangers: LabelledPictures | None, options: RunOptions) -> None:
    """Refuse classes that can't be told from the answer to pictures of none, and such pictures without --reject.

    Args:
        strangers: pictures of no class.
    Raises UsageError.
    """
    if options.evaluation.reject is None:
        if strangers:
            raise UsageError(
                f"{display_path(strangers.source)} has {counted(len(strangers.samples), 'picture')} of no class "
                f"({STRANGERS}), which measure --reject: give --reject 0.95, or rename {STRANGERS} if it is a class"
            )
    elif UNKNOWN in labels:
        raise UsageError(
            f"--reject gives pictures of no class the answer {UNKNOWN}, and a class has this label: rename it, or "
            "leave --reject out"
        )


def check_no_strangers(folder: LabelledPictures) -> None:
    """Refuse pictures of no class where nothing can be done with them. Raises ImageFolderError."""
    if STRANGERS in folder.class_names:
        raise ImageFolderError(
            f"{display_path(folder.source)} has pictures of no class ({STRANGERS}), which measure retrain train "
            f"--reject, and a model that follows its folder has none: move {STRANGERS} away, or rename it if it is a "
            "class"
        )


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
    present = {name: set(members[name].tolist()) for name in SETS}
    missing = {name: [label for number, label in enumerate(labels) if number not in present[name]] for name in SETS}
    if missing["train"]:
        raise ImageFolderError(
            f"no training pictures of class {listing(missing['train'])}: add pictures that differ from those there, "
            "or leave the class out"
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


def check_folds(folder: LabelledPictures, folds: int, training: TrainingOptions) -> None:
    """Refuse folds that a folder can't have, before any picture is read. Raises UsageError, ImageFolderError."""
    few = [f"{n} of {name}" for name, n in zip(folder.class_names, folder.counts(), strict=True) if n < folds]
    if few:
        raise ImageFolderError(
            f"--folds {folds} is more than there are pictures ({listing(few)}): every fold needs one of each class; "
            "lower --folds or add pictures"
        )
    if training.patience and folds < 3:
        raise UsageError("--patience takes a fold for validation, besides those for training and testing: 3 or more")


def check_known_classes(folder: LabelledPictures, known: Container[str], labels: Sequence[str]) -> None:
    """Refuse classes that a model does not know.

    Args:
        known: names of class folders that the model knows.
        labels: the model's.
    Raises ImageFolderError.
    """
    unknown = [name for name in folder.class_names if name not in known]
    if unknown:
        raise ImageFolderError(
            f"{display_path(folder.source)} has classes that the model does not know: {listing(unknown)}; "
            f"its labels are {listing(labels)}: rename these classes, or leave them out"
        )
