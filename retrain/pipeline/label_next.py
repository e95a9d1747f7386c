"""`label-next`: the unlabelled pictures whose labels would help most."""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrain.backbones import choose_backbone
from retrain.cache import LabelledBottlenecks, SomeVectors, VectorSource, chunks
from retrain.data import class_labels, read_source, read_unlabelled
from retrain.evaluation import LabellingOrder, different, labelling_order
from retrain.events import Emit, StageBegan, ignore
from retrain.extraction import Dataset, Extraction, choose_extractor_for, load_dataset, load_unlabelled
from retrain.options import LabellingOptions, PictureSource, RunOptions, TrainingOptions
from retrain.paths import utf8_path
from retrain.pipeline.checks import check_one_label
from retrain.text import counted

__all__ = ["LabelNext", "PictureToLabel", "Reasons", "Unlabelled", "label_next"]

_NEVER = 2**31 - 1  # an interval: nobody looks at the evaluations
_CLEAR = 0.5  # margin from which on one label is more likely than all others together


@dataclass(frozen=True)
class PictureToLabel:
    """An unlabelled picture, and why its label would help."""

    path: str  # the folder of unlabelled pictures, and the path in it
    reason: str
    scores: dict[str, float]  # of the two most likely labels, most likely first; fewer with fewer classes
    likeness: float  # cosine with the nearest labelled picture; 0 if nothing is labelled
    stands_for: int  # about how many unlabelled pictures are like it; 0 for copies, and beyond the first choices


@dataclass(frozen=True)
class LabelNext:
    """Pictures to label, the one whose label helps most first."""

    pictures: tuple[PictureToLabel, ...]
    labels: tuple[str, ...]  # those known now
    labelled: int  # different pictures with labels that could be read
    unlabelled: int  # different pictures without labels that could be read
    extraction: Extraction  # of the unlabelled pictures

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "pictures": [asdict(picture) | {"path": utf8_path(picture.path)} for picture in self.pictures],
            "labels": list(self.labels),
            "labelled": self.labelled,
            "unlabelled": self.unlabelled,
            "skipped_files": {utf8_path(path): reason for path, reason in self.extraction.skipped.items()},
        }


@dataclass(frozen=True)
class _Labelled:
    """The labelled pictures, copies counted once."""

    data: Dataset
    chosen: NDArray[np.int64]  # numbers of the pictures
    numbers: NDArray[np.int64]  # (classes,) of the classes that have pictures
    labels: tuple[str, ...]  # of these


def label_next(
    image_dir: PictureSource | None,
    unlabelled: str | os.PathLike[str],
    labelling: LabellingOptions = LabellingOptions(),
    options: RunOptions = RunOptions(),
    emit: Emit = ignore,
) -> LabelNext:
    """Find the unlabelled pictures whose labels would help most.

    A head is trained on all labelled pictures, to the optimum, and `labelling_order` chooses: pictures that speak for
    many of which the head is unsure. Writes to the cache only.

    Args:
        image_dir: one sub-folder of pictures per class, or a manifest. A class may have one picture, or there may be
            one class only. None: nothing is labelled yet.
        unlabelled: a folder of pictures, at any depth. Those that image_dir has are left out.
        labelling: how many pictures to name.
        options: those of the backbone, of extraction, images and labels count.
        emit: called with events; see `retrain.events`.
    Raises RetrainError.
    """
    check_one_label(options, "label-next")
    cache_dir = options.extraction.cache_dir
    folder = read_source(image_dir, [cache_dir], emit) if image_dir is not None else None
    names = class_labels(folder.class_names, options.labels.labels_file, emit=emit) if folder is not None else ()
    pool = read_unlabelled(unlabelled, folder, [cache_dir])
    backbone, options = choose_backbone(options, emit)
    extractor = choose_extractor_for(folder or pool, backbone, options, emit)
    known = _labelled(load_dataset(folder, extractor, options, emit), names) if folder is not None else None
    data = load_unlabelled(pool, extractor, options, emit)
    own = different(data.keys, data.labels)
    vectors = SomeVectors(data.vectors, own)
    emit(StageBegan("training"))
    scores = _scores(known, vectors)
    nearest = SomeVectors(known.data.vectors, known.chosen) if known else np.zeros((0, vectors.shape[1]), np.float32)
    labels = known.labels if known else ()
    paths = [os.path.join(os.fspath(unlabelled), data.samples[number].path) for number in own]
    return LabelNext(
        Unlabelled(paths, scores, vectors).most_helpful(nearest, labels, labelling.count),
        labels,
        len(known.chosen) if known else 0,
        len(own),
        data.extraction,
    )


def _labelled(data: Dataset, names: tuple[str, ...]) -> _Labelled:
    numbers = np.unique(data.labels).astype(np.int64)  # a class may have no readable picture
    return _Labelled(data, different(data.keys, data.labels), numbers, tuple(names[number] for number in numbers))


def _scores(known: _Labelled | None, vectors: SomeVectors) -> NDArray[np.float64]:
    """(n, classes) of the unlabelled pictures, by a head trained on the labelled ones; equal with one class or none."""
    if known is None or len(known.labels) < 2:
        return np.ones((vectors.shape[0], len(known.labels) if known else 0))
    from retrain.training import HeadTrainer

    labels = np.searchsorted(known.numbers, known.data.labels).astype(np.int32)
    trainer = HeadTrainer(LabelledBottlenecks(known.data.vectors, labels), len(known.labels))
    options = TrainingOptions(optimizer="lbfgs", eval_step_interval=_NEVER)
    head = trainer.train(known.chosen, known.chosen[:0], options).head
    return np.concatenate([head.scores(vectors[part]) for part in chunks(vectors.shape[0])])


@dataclass(frozen=True)
class Unlabelled:
    """Different pictures without labels, and what a head says of them."""

    paths: Sequence[str]  # (n,)
    scores: NDArray[np.float64]  # (n, classes); no classes: nothing is labelled
    vectors: VectorSource  # (n, d)

    def most_helpful(self, known: VectorSource, labels: tuple[str, ...], count: int) -> tuple[PictureToLabel, ...]:
        """The pictures whose labels would help most, `count` at most.

        Args:
            known: (m, d) bottlenecks of the labelled pictures.
            labels: (classes,).
        """
        order = labelling_order(self.scores, self.vectors, known, count)
        reasons = Reasons(labels, self.scores, order)
        return tuple(reasons.of(number, self.paths[number]) for number in order.numbers[:count].tolist())


class Reasons:
    """Why each picture is named.

    What stands out more is the reason: of all unlabelled pictures, how many have a smaller margin, or a smaller
    likeness to the labelled ones. A picture that is liker to these than half of the others is never called unlike.
    """

    def __init__(self, labels: tuple[str, ...], scores: NDArray[np.float64], order: LabellingOrder) -> None:
        self._labels, self._scores, self._order = labels, scores, order
        self._margins, self._likeness = np.sort(order.margins), np.sort(order.likeness)

    def of(self, number: int, path: str) -> PictureToLabel:
        """A picture, with the reason."""
        best = np.argsort(-self._scores[number], kind="stable")[:2].tolist()
        scores = {self._labels[label]: float(self._scores[number, label]) for label in best}
        stands_for = int(self._order.stands_for[number])
        likeness = float(self._order.likeness[number])
        return PictureToLabel(path, self._reason(number, scores), scores, likeness, stands_for)

    def _reason(self, number: int, scores: dict[str, float]) -> str:
        margin, likeness = self._order.margins[number], self._order.likeness[number]
        if self._order.is_copy[number]:
            return f"looks like a labelled picture (cosine {likeness:.2f})"
        stands_for = int(self._order.stands_for[number])
        if not self._labels:
            return f"typical of {counted(stands_for, 'picture')}" if stands_for else "like one above"
        named = [f"{label} ({score:.2f})" for label, score in scores.items()]
        less_like = np.searchsorted(self._likeness, likeness)
        if len(named) < 2 or less_like < min(np.searchsorted(self._margins, margin), len(self._likeness) // 2):
            why = f"unlike what is labelled (cosine {likeness:.2f})"
        else:
            why = f"probably {named[0]}" if margin > _CLEAR else f"between {named[0]} and {named[1]}"
        return f"{why}, stands for {counted(stands_for, 'picture')}" if stands_for else why
