"""`predict --few-shot`: classify by a few pictures of each class, without training."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from retrain.backbones import choose_backbone
from retrain.data import class_labels, list_pictures, read_source
from retrain.errors import ImageFolderError
from retrain.evaluation import different
from retrain.events import Emit, ignore
from retrain.extraction import choose_extractor_for, load_dataset, load_listed
from retrain.model import FewShotClassifier, PictureBytes
from retrain.options import PictureSource, RunOptions
from retrain.paths import display_path
from retrain.pipeline.checks import check_one_label
from retrain.text import listing, shown

__all__ = ["FewShotPrediction", "few_shot"]


@dataclass(frozen=True)
class FewShotPrediction:
    """The label of one picture, and how similar it is to the examples of each class."""

    path: str
    label: str | None  # the most similar one; None if the picture can't be read
    similarity: float | None  # to that label's examples
    # all labels, the most similar first; about 1 for the class of a picture and about 0 for others, at times beyond;
    # they add up to 1, and are no probabilities
    similarities: dict[str, float]
    error: str | None = None  # why the picture can't be read


def few_shot(
    examples: PictureSource,
    pictures: Sequence[str | os.PathLike[str] | PictureBytes],
    options: RunOptions = RunOptions(),
    emit: Emit = ignore,
) -> list[FewShotPrediction]:
    """Classify pictures by a few examples of each class. The vectors of all go to the cache.

    Args:
        examples: one sub-folder of pictures per class, or a manifest; one picture of each class is enough.
        pictures: to classify. One that can't be read gives a prediction with an error.
        options: those of the backbone, of extraction, images and labels count.
        emit: called with events; see `retrain.events`.
    Returns: predictions in the order of the pictures.
    Raises RetrainError.
    """
    check_one_label(options, "predict --few-shot")
    folder = read_source(examples, [options.extraction.cache_dir], emit)
    names = class_labels(folder.class_names, options.labels.labels_file, emit=emit)
    if len(names) < 2:
        raise ImageFolderError(
            f"only one class of examples ({shown(names[0])}) in {display_path(folder.source)}: add a folder for another"
        )
    listed = list_pictures(picture.data if isinstance(picture, PictureBytes) else picture for picture in pictures)
    backbone, options = choose_backbone(options, emit)
    extractor = choose_extractor_for(folder, backbone, options, emit)
    known = load_dataset(folder, extractor, options, emit)
    missing = np.setdiff1d(np.arange(len(names)), known.labels)
    if len(missing):
        named = listing(folder.class_names[number] for number in missing)
        raise ImageFolderError(f"no readable picture of class {named} in {display_path(folder.source)}: add one")
    chosen = different(known.keys, known.labels)
    classifier = FewShotClassifier(known.vectors[chosen], known.labels[chosen])
    data = load_listed(listed, extractor, options, emit)
    rows = dict(zip(data.chosen.tolist(), classifier.similarities(data.vectors).tolist(), strict=True))
    skipped = data.extraction.skipped
    return [
        _prediction(_name_of(picture), names, rows.get(number), skipped.get(sample.path))
        for number, (picture, sample) in enumerate(zip(pictures, listed.samples, strict=True))
    ]


def _name_of(picture: str | os.PathLike[str] | PictureBytes) -> str:
    return picture.name if isinstance(picture, PictureBytes) else os.fspath(picture)


def _prediction(path: str, names: Sequence[str], row: list[float] | None, problem: str | None) -> FewShotPrediction:
    if row is None:
        return FewShotPrediction(path, None, None, {}, problem)
    ranked = sorted(zip(names, row, strict=True), key=lambda pair: -pair[1])
    return FewShotPrediction(path, *ranked[0], dict(ranked))
