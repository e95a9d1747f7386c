"""A trained model, loaded from its folder, that gives pictures labels and scores."""

import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from retrain._tensorflow import has_gpu
from retrain.backbones import Extractor, is_litert_installed
from retrain.data import decode_image, read_picture
from retrain.errors import ModelFolderError, UnreadableImageError
from retrain.folders import read_consistently
from retrain.model.folder import MODEL, ModelDescription, read_description, read_file, read_record, read_sets
from retrain.model.head import ArrayIdentity, Head, array_identity, parse_head
from retrain.model.rejection import KNOWN_FROM, UNKNOWN, Limit
from retrain.model_files import CLASSIFIER, GRAPH, HEAD, LABELS, ONNX_CLASSIFIER, RUN
from retrain.options import DEFAULT_MAX_FILE_SIZE, DEFAULT_MAX_PIXELS
from retrain.paths import display_path

__all__ = ["Classifier", "PictureBytes", "Prediction"]

_BATCH = 16


@dataclass(frozen=True)
class Prediction:
    """The label and scores of one picture.

    Where a picture has one label, scores add up to 1. Where it can have several, each label has a score and a threshold
    of its own, and the most likely label need not be among those that the picture has.
    """

    path: str
    label: str | None  # the most likely one, or UNKNOWN; None if the picture can't be read
    score: float | None  # of the most likely one, in [0, 1]
    scores: dict[str, float]  # all labels, most likely first
    error: str | None = None  # why the picture can't be read
    thresholds: Mapping[str, float] | None = None  # label -> in [0, 1], of a model of several labels
    # of a model that tells pictures of no class: in [0, 1], at least 0.5 for pictures of a class; see `Limit`
    known: float | None = None
    distance: float | None = None  # to the nearest class, which `known` comes from

    @classmethod
    def of(
        cls, path: str, labels: Sequence[str], scores: Sequence[float], thresholds: Sequence[float] | None = None
    ) -> "Prediction":
        """What scores say of a picture.

        Args:
            scores: of the labels, in their order.
            thresholds: of the labels, if it can have several of them.
        """
        ranked = sorted(zip(labels, scores, strict=True), key=lambda pair: -pair[1])
        limits = None if thresholds is None else dict(zip(labels, thresholds, strict=True))
        return cls(path, *ranked[0], dict(ranked), thresholds=limits)

    def with_known(self, known: float, limit: Limit) -> "Prediction":
        """The same, of a model that also says whether the picture is of any class."""
        found = dataclasses.replace(self, known=known, distance=limit.distance(known))
        return dataclasses.replace(found, label=UNKNOWN) if found.is_unknown else found

    @property
    def first_label(self) -> str | None:
        """The most likely of the labels that the picture has; if it has none, the most likely of all."""
        return next(iter(self.labels), self.likeliest)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that the picture has, most likely first: those whose scores are at least their thresholds.

        Where it has one label, that one. Empty if the picture can't be read, if it is unknown, or if no label comes up
        to its threshold.
        """
        if self.label is None or self.is_unknown:
            return ()
        if self.thresholds is None:
            return (self.label,)
        return tuple(label for label, score in self.scores.items() if score >= self.thresholds[label])

    @property
    def is_unknown(self) -> bool:
        """Whether the model takes the picture for one of none of its classes."""
        return self.known is not None and self.known < KNOWN_FROM

    @property
    def likeliest(self) -> str | None:
        """The most likely label, even of a picture of none of the classes; None if the picture can't be read."""
        return next(iter(self.scores), None)


@dataclass(frozen=True)
class PictureBytes:
    """A picture that is not in a file."""

    name: str  # the path of its prediction
    data: bytes  # what a file would hold


class Scorer(Protocol):
    """What computes a model's answers: one of the forms in its folder."""

    @property
    def head_arrays(self) -> set[ArrayIdentity]:
        """The head's arrays in the file; empty if they can't be told. Raises ModelFolderError."""

    def answers(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(n, height, width, 3) uint8 to what `Classifier.answers` gives. Raises ModelFolderError."""

    def extractor(self, cache_dir: str | os.PathLike[str]) -> Extractor:
        """The extractor of the backbone inside the file.

        What run.json says of the backbone is a claim. The extractor goes by that backbone's name and fingerprint if the
        file holds the form of it that the cache has, byte for byte. Any other goes by its own SHA-256, and has
        bottlenecks of its own.

        Args:
            cache_dir: where the bottlenecks are to be.
        """


class Classifier:
    """A model folder, ready to classify.

    Args:
        model_dir: a folder made by `retrain train`.
        trust: run its graph, where there is no other form, even if it has operations that do more than compute, such as
            writing files.
    Raises ModelFolderError.
    """

    def __init__(self, model_dir: str | os.PathLike[str], trust: bool = False) -> None:
        self.model_dir = Path(model_dir)
        self.trust = trust
        self.folder, self.description, self._file = read_consistently(self.model_dir, MODEL, _read)
        self._scorer = self._scorer_of(self._file)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the scores."""
        return self.description.labels

    @property
    def thresholds(self) -> tuple[float, ...] | None:
        """(classes,) in [0, 1]: a picture has the labels whose scores are at least this. None if it has one label."""
        return self.description.thresholds

    @property
    def limit(self) -> Limit | None:
        """How far from its classes it knows pictures; None if every picture gets a label."""
        return self.description.limit

    @property
    def litert_model(self) -> bytes | None:
        """The content of classifier.tflite; None if the scores come from another form of the model."""
        return self._file.data if self._file.name == CLASSIFIER else None

    def scores(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Map (n, height, width, 3) uint8, RGB at the model's size, to (n, classes) float32 scores in [0, 1]."""
        return self.answers(pixels)[:, : len(self.labels)]

    def answers(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The same, with `known` as one more column if the model tells it."""
        return self._scorer.answers(pixels)

    def predict(
        self,
        paths: Iterable[str | os.PathLike[str] | PictureBytes],
        max_pixels: int = DEFAULT_MAX_PIXELS,
        max_file_size: int = DEFAULT_MAX_FILE_SIZE,
    ) -> Iterator[Prediction]:
        """Classify picture files, in the order given. A file that can't be read gives a Prediction with an error.

        Args:
            max_file_size: MiB.
        """
        waiting: list[tuple[str, NDArray[np.uint8] | str]] = []
        for path in paths:
            name = path.name if isinstance(path, PictureBytes) else os.fspath(path)
            waiting.append((name, self._pixels(path, max_pixels, max_file_size)))
            if len(waiting) == _BATCH:
                yield from self._answers(waiting)
                waiting = []
        yield from self._answers(waiting)

    def extractor(self, cache_dir: str | os.PathLike[str]) -> Extractor:
        """Return the backbone alone, to fill and use a bottleneck cache."""
        scorer = self._scorer
        if self._file.name == CLASSIFIER and has_gpu():
            with self._unreplaced():
                scorer = self._scorer_of(_ModelFile(GRAPH, read_file(self.folder, GRAPH, self.description)))
        return scorer.extractor(cache_dir)

    def head(self) -> Head:
        """Return the head alone. Raises ModelFolderError if head.h5 is damaged, or does not belong to this graph."""
        with self._unreplaced():
            data = read_file(self.folder, HEAD, self.description)
        head, labels = parse_head(data, display_path(self.folder / HEAD))
        where = f"{HEAD} in {display_path(self.folder)}"
        if labels not in (None, [*self.labels]) or head.layers[-1].biases.size != len(self.labels):
            raise ModelFolderError(f"{where} does not fit {LABELS}: train the model again")
        if head.exact_thresholds != self.thresholds:
            raise ModelFolderError(f"{where} does not fit {RUN}, which has other thresholds: train the model again")
        if (head.rejection.limit if head.rejection else None) != self.limit:
            raise ModelFolderError(f"{where} does not fit {RUN}, which has another rejection: train the model again")
        arrays = {array_identity(array) for layer in head.layers for array in (layer.weights, layer.biases)}
        if head.bottleneck_size != self.description.bottleneck_size or self._scorer.head_arrays not in (set(), arrays):
            raise ModelFolderError(f"{where} does not fit {self._file.name}: train the model again")
        return head

    def record(self) -> dict[str, Any]:
        """Return what run.json holds. Raises ModelFolderError."""
        with self._unreplaced():
            return read_record(self.folder)

    def sets(self) -> dict[str, str]:
        """Return which set each picture was in when the model was trained: SHA-256 of the file -> set."""
        with self._unreplaced():
            return read_sets(self.folder, self.description)

    def _scorer_of(self, file: "_ModelFile") -> "Scorer":
        where = display_path(self.model_dir / file.name)
        if file.name == CLASSIFIER:
            from retrain.model.litert_scorer import LiteRTScorer

            return LiteRTScorer(file.data, self.description, where)
        if file.name == ONNX_CLASSIFIER:
            from retrain.model.onnx_scorer import OnnxScorer

            return OnnxScorer(file.data, self.description, where)
        from retrain.model.graph_scorer import GraphScorer

        return GraphScorer(file.data, self.description, where, self.trust)

    @contextmanager
    def _unreplaced(self) -> Iterator[None]:
        """Read files of the model. Raises ModelFolderError, which says so if another training has replaced them."""
        try:
            yield
        except ModelFolderError as error:
            if _description_in(self.model_dir) in (None, self.description):
                raise
            raise ModelFolderError(
                f"the model in {display_path(self.model_dir)} was replaced while it was read: run the command again"
            ) from error

    def _pixels(
        self, path: str | os.PathLike[str] | PictureBytes, max_pixels: int, max_file_size: int
    ) -> NDArray[np.uint8] | str:
        try:
            data = path.data if isinstance(path, PictureBytes) else read_picture(path, max_file_size)
            return decode_image(data, self.description.form, max_pixels)
        except UnreadableImageError as error:
            return str(error)

    def _answers(self, pictures: Sequence[tuple[str, NDArray[np.uint8] | str]]) -> Iterator[Prediction]:
        readable = [pixels for _, pixels in pictures if not isinstance(pixels, str)]
        rows = iter(self.answers(np.stack(readable)).tolist()) if readable else iter(())
        for path, pixels in pictures:
            if isinstance(pixels, str):
                yield Prediction(path, None, None, {}, pixels)
            else:
                yield self.prediction(path, next(rows))

    def prediction(self, path: str, answer: Sequence[float]) -> Prediction:
        """What one row of `answers` says of a picture."""
        scores, known = answer[: len(self.labels)], answer[len(self.labels) :]
        found = Prediction.of(path, self.labels, scores, self.thresholds)
        return found if self.limit is None else found.with_known(known[0], self.limit)


@dataclass(frozen=True)
class _ModelFile:
    """The file that scores come from."""

    name: str  # in the model folder
    data: bytes


def _read(folder: Path) -> tuple[Path, ModelDescription, _ModelFile]:
    """Return the folder, what run.json says, and the model's file. Raises ModelFolderError.

    That is the LiteRT model, or the ONNX model if the backbone is an ONNX network. Folders of earlier versions, and of
    networks that LiteRT can't run, have only the graph.
    """
    description = read_description(folder)
    has_litert = CLASSIFIER in description.digests and (folder / CLASSIFIER).exists() and is_litert_installed()
    name = ONNX_CLASSIFIER if description.is_onnx else CLASSIFIER if has_litert else GRAPH
    return folder, description, _ModelFile(name, read_file(folder, name, description))


def _description_in(model_dir: Path) -> ModelDescription | None:
    """Return what run.json says now. None if it can't be read."""
    try:
        return read_consistently(model_dir, MODEL, read_description)
    except ModelFolderError:
        return None
