"""What training and cross-validation start from: the classes of a folder, and its pictures with bottlenecks."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from retrain.backbones import Extractor
from retrain.data import LabelledPictures, check_separable, class_labels, read_source
from retrain.events import Emit
from retrain.extraction import Dataset, load_dataset
from retrain.options import PictureSource, RunOptions
from retrain.pipeline.checks import check_class_counts, check_contradictions, check_copies

__all__ = ["ClassRules", "load_training_data", "read_classes"]


@dataclass(frozen=True)
class ClassRules:
    """Which folders are classes, and what their labels are, beyond what options say."""

    label_of: Callable[[str], str] = str  # the label of a class folder's name, if --labels-file does not have it
    exclude: Sequence[str | os.PathLike[str]] = ()  # folders in the image folder that are no classes, as is the cache


def read_classes(
    source: PictureSource, options: RunOptions, emit: Emit, rules: ClassRules = ClassRules()
) -> tuple[LabelledPictures, tuple[str, ...], LabelledPictures | None]:
    """The classes, their labels, and pictures of no class; checked as far as possible without reading a picture.

    Raises ImageFolderError, ManifestError, LabelsFileError, UsageError for a --class-weight of an unknown label.
    """
    multi_label = options.labels.multi_label
    folder = read_source(source, [options.extraction.cache_dir, *rules.exclude], emit, multi_label=multi_label)
    folder, strangers = folder.without_strangers()
    labels = class_labels(folder.class_names, options.labels.labels_file, rules.label_of, emit)
    if multi_label:
        check_separable(labels)
    check_class_counts(folder, folder.counts(), emit)
    options.training.weights_of(labels)
    return folder, labels, strangers


def load_training_data(
    folder: LabelledPictures, labels: Sequence[str], extractor: Extractor, options: RunOptions, emit: Emit
) -> Dataset:
    """Extract the pictures, and warn of what they show of the folder.

    Args:
        labels: of the classes.
    Raises ImageFolderError if a class has too few readable pictures, CacheError, BackboneError.
    """
    data = load_dataset(folder, extractor, options, emit)
    if len(data.chosen) < len(folder.samples):
        own = data.labels_in(np.arange(len(data.labels)))
        check_class_counts(folder, np.bincount(own, minlength=len(folder.class_names)).tolist(), emit)
    if data.label_sets is None:  # else copies are one picture, which has the labels of all
        check_contradictions(data, emit)
        check_copies(data, emit)
    weights = options.training.weights_of(labels)
    return data if weights is None else replace(data, class_weights=tuple(weights))
