"""`evaluate`: how a trained model does on a labelled folder."""

import os

import numpy as np
from numpy.typing import NDArray

from retrain.cache import SomeVectors
from retrain.data import STRANGERS, read_source
from retrain.evaluation import summarize
from retrain.events import Emit, ignore
from retrain.extraction import Dataset, load_dataset, load_unlabelled, with_local_cache
from retrain.model import Classifier, Rejection, judge
from retrain.options import ExtractionOptions, ImageOptions, PictureSource, RunOptions
from retrain.pipeline.checks import check_known_classes
from retrain.pipeline.results import FolderEvaluation, Refused, results_of_pictures
from retrain.training import figures_of_strangers

__all__ = ["evaluate"]


def evaluate(
    model: Classifier | str | os.PathLike[str],
    image_dir: PictureSource,
    extraction: ExtractionOptions = ExtractionOptions(),
    images: ImageOptions = ImageOptions(),
    emit: Emit = ignore,
) -> FolderEvaluation:
    """Measure a model on any labelled folder.

    Args:
        model: or its folder.
        image_dir: one sub-folder of pictures per class, or a manifest. Classes are named like the model's labels, or
            like the folders that it was trained on.
        emit: called with events; see `retrain.events`.
    Raises ImageFolderError if the folder has a class that the model doesn't know, ModelFolderError if the files of the
    model folder don't belong together, and other kinds of RetrainError.
    """
    extraction = with_local_cache(RunOptions(extraction=extraction)).extraction
    classifier = model if isinstance(model, Classifier) else Classifier(model)
    names = {*classifier.labels, *classifier.description.class_folders}
    head, labels, sets = classifier.head(), classifier.labels, classifier.sets()
    is_multi_label = head.activation == "sigmoid"
    folder = read_source(image_dir, [extraction.cache_dir, classifier.model_dir], emit, names, is_multi_label)
    strangers = None
    if classifier.limit and STRANGERS not in names:
        folder, strangers = folder.without_strangers()
    known = classifier.description.class_names.numbers_of(folder.class_names)
    check_known_classes(folder, known, classifier.labels)
    options = RunOptions(extraction=extraction, images=images)
    extractor = classifier.extractor(extraction.cache_dir)
    data = load_dataset(folder, extractor, options, emit)
    data = data.with_classes([known[name] for name in folder.class_names], len(labels))
    numbers = data.labels
    outcomes = judge(head, data.vectors, numbers, data.label_sets)
    pictures = results_of_pictures(data, [sets.get(key, "new") for key in data.hex_keys()], numbers, outcomes, labels)
    held_out = np.flatnonzero([picture.set != "train" for picture in pictures])
    rejection = None
    if head.rejection:
        others = load_unlabelled(strangers, extractor, options, emit) if strangers else None
        rejection = _refused(head.rejection, data, held_out, others)
    return FolderEvaluation(
        summarize(outcomes, numbers, labels, data.keys),
        summarize(outcomes.select(held_out), numbers[held_out], labels, data.keys[held_out]),
        pictures,
        data.extraction,
        rejection,
    )


def _refused(rejection: Rejection, data: Dataset, held_out: NDArray[np.int64], strangers: Dataset | None) -> Refused:
    """How many pictures a model takes for none of its classes.

    Args:
        held_out: numbers of pictures that it was not trained on.
        strangers: pictures of no class.
    """
    is_refused = rejection.distances(data.vectors) > rejection.limit.threshold
    known = SomeVectors(data.vectors, held_out) if len(held_out) else data.vectors
    figures = None if strangers is None else figures_of_strangers(rejection, known, strangers.vectors)
    return Refused(len(is_refused), int(is_refused.sum()), len(held_out), int(is_refused[held_out].sum()), figures)
