"""A trained model, loaded from its folder: labels and scores for pictures."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrain.backbone import fingerprint_of
from retrain.config import DEFAULT_MAX_PIXELS
from retrain.errors import UnreadableImageError
from retrain.export import part_of_graph, read_graph
from retrain.folders import read_consistently
from retrain.images import DECODER_VERSION, decode_image
from retrain.model_folder import MODEL, ModelDescription, read_description
from retrain.network import suitable_batch_size
from retrain.quiet import tf
from retrain.trunk import BOTTLENECK, PIXELS_INPUT

__all__ = ["Classifier", "PictureBytes", "Prediction", "picture_files"]

_BATCH = 16


@dataclass(frozen=True)
class Prediction:
    """What the model says of one picture."""

    path: str
    label: str | None  # the most likely one; None where the picture can't be read
    score: float | None  # of that label, in [0, 1]
    scores: dict[str, float]  # all labels, most likely first; they add up to 1
    error: str | None = None  # why the picture can't be read


@dataclass(frozen=True)
class PictureBytes:
    """A picture that is in no file."""

    name: str  # what predictions call it
    data: bytes  # as they would be in a file


class Classifier:
    """A model folder, ready to classify.

    Args:
        model_dir: a folder that `retrain train` made.
    Raises ModelFolderError.
    """

    def __init__(self, model_dir: str | os.PathLike[str]) -> None:
        self.model_dir = Path(model_dir)
        self.folder, self.description, self._graph = read_consistently(self.model_dir, MODEL, _read)
        self._scores = part_of_graph(self._graph, PIXELS_INPUT, f"{self.description.final_tensor_name}:0")

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the scores."""
        return self.description.labels

    def scores(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(n, height, width, 3) uint8, RGB at the model's size, to (n, classes) float32 scores in [0, 1]."""
        return self._scores(np.asarray(pixels, np.float32) / np.float32(255))

    def predict(
        self, paths: Iterable[str | os.PathLike[str] | PictureBytes], max_pixels: int = DEFAULT_MAX_PIXELS
    ) -> Iterator[Prediction]:
        """Classify picture files, in the order given; one that can't be read gives a Prediction with its error."""
        waiting: list[tuple[str, NDArray[np.uint8] | str]] = []
        for path in paths:
            name = path.name if isinstance(path, PictureBytes) else os.fspath(path)
            waiting.append((name, self._pixels(path, max_pixels)))
            if len(waiting) == _BATCH:
                yield from self._answers(waiting)
                waiting = []
        yield from self._answers(waiting)

    def extractor(self) -> "GraphExtractor":
        """The model's backbone alone, for filling and using the bottleneck cache."""
        return GraphExtractor(self)

    def _pixels(self, path: str | os.PathLike[str] | PictureBytes, max_pixels: int) -> NDArray[np.uint8] | str:
        try:
            data = path.data if isinstance(path, PictureBytes) else Path(path).read_bytes()
            return decode_image(data, self.description.height, self.description.width, max_pixels)
        except OSError as error:
            return f"can't be read: {error.strerror}"
        except UnreadableImageError as error:
            return str(error)

    def _answers(self, pictures: Sequence[tuple[str, NDArray[np.uint8] | str]]) -> Iterator[Prediction]:
        readable = [pixels for _, pixels in pictures if not isinstance(pixels, str)]
        rows = iter(self.scores(np.stack(readable)).tolist()) if readable else iter(())
        for path, pixels in pictures:
            if isinstance(pixels, str):
                yield Prediction(path, None, None, {}, pixels)
            else:
                ranked = sorted(zip(self.labels, next(rows), strict=True), key=lambda pair: -pair[1])
                yield Prediction(path, ranked[0][0], ranked[0][1], dict(ranked))


def _read(folder: Path) -> tuple[Path, ModelDescription, tf.compat.v1.GraphDef]:
    """Raises ModelFolderError."""
    return folder, read_description(folder), read_graph(folder / "graph.pb")


def picture_files(paths: Iterable[str | os.PathLike[str]]) -> Iterator[str]:
    """The files of a list of files and folders; of a folder all files at any depth, sorted, hidden ones left out."""
    for path in paths:
        if not os.path.isdir(path):
            yield os.fspath(path)
            continue
        for folder, subfolders, files in os.walk(path):
            subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
            yield from (os.path.join(folder, name) for name in sorted(files) if not name.startswith("."))


class GraphExtractor:
    """The backbone inside a model's graph; stands in for `backbone.Backbone` in pass one."""

    def __init__(self, classifier: Classifier) -> None:
        description = classifier.description
        self.name = description.backbone_name
        # a model of another version of the decoder sees pictures through this one's, which has bottlenecks of its own
        self.description = description.backbone_description | {"decoder": DECODER_VERSION}
        self.fingerprint = fingerprint_of(self.description)
        self.height, self.width = description.height, description.width
        self.batch_size = suitable_batch_size(self.height, self.width)
        self._run = part_of_graph(classifier._graph, PIXELS_INPUT, BOTTLENECK)

    @property
    def network(self) -> "GraphExtractor":
        """What runs the pictures."""
        return self

    def bottlenecks(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(n, height, width, 3) uint8, RGB, to (n, d) float32."""
        return self._run(np.asarray(pixels, np.float32) / np.float32(255))
