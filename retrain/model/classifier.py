"""A trained model, loaded from its folder, that gives pictures labels and scores."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrain._tensorflow import tf
from retrain.backbones.extractor import Extractor
from retrain.backbones.graph import BOTTLENECK, PIXELS_INPUT
from retrain.backbones.kept_exports import kept_trunk
from retrain.backbones.network import FrozenGraph, suitable_batch_size
from retrain.backbones.sources.graph_safety import check_graph
from retrain.cache.fingerprint import fingerprint_of
from retrain.data.decoding import DECODER_VERSION, decode_image
from retrain.data.picture_file import read_picture
from retrain.errors import ModelFolderError, UnreadableImageError
from retrain.folders import read_consistently
from retrain.model.folder import MODEL, ModelDescription, read_description, read_file, read_sets
from retrain.model.graph_file import array_identity, checked_run, head_constants, parse_graph, part_below, part_of_graph
from retrain.model.head import Head, parse_head
from retrain.model_files import GRAPH, HEAD, LABELS
from retrain.options import DEFAULT_MAX_FILE_SIZE, DEFAULT_MAX_PIXELS
from retrain.paths import display_path

__all__ = ["Classifier", "PictureBytes", "Prediction"]

_BATCH = 16


@dataclass(frozen=True)
class Prediction:
    """The label and scores of one picture."""

    path: str
    label: str | None  # the most likely one; None if the picture can't be read
    score: float | None  # of that label, in [0, 1]
    scores: dict[str, float]  # all labels, most likely first; they add up to 1
    error: str | None = None  # why the picture can't be read


@dataclass(frozen=True)
class PictureBytes:
    """A picture that is not in a file."""

    name: str  # the path of its prediction
    data: bytes  # what a file would hold


class Classifier:
    """A model folder, ready to classify.

    Args:
        model_dir: a folder made by `retrain train`.
        trust: run the graph even if it has operations that do more than compute, such as writing files.
    Raises ModelFolderError.
    """

    def __init__(self, model_dir: str | os.PathLike[str], trust: bool = False) -> None:
        self.model_dir = Path(model_dir)
        self.folder, self.description, self._graph = read_consistently(self.model_dir, MODEL, _read)
        where = display_path(self.model_dir / GRAPH)
        graph_def = parse_graph(self._graph, where)
        if not trust:
            check_graph(graph_def, f"the graph {where}", ModelFolderError)
        self._head_constants = head_constants(graph_def)
        picture, end = (self.description.height, self.description.width, 3), self.description.final_tensor_name
        self._scores = part_of_graph(graph_def, PIXELS_INPUT, f"{end}:0", picture, len(self.labels))

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the scores."""
        return self.description.labels

    def scores(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Map (n, height, width, 3) uint8, RGB at the model's size, to (n, classes) float32 scores in [0, 1]."""
        return self._scores(np.asarray(pixels, np.float32) / np.float32(255))

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
        return _graph_extractor(self._graph, self.description, cache_dir)

    def head(self) -> Head:
        """Return the head alone. Raises ModelFolderError if head.h5 is damaged, or does not belong to this graph."""
        with self._unreplaced():
            data = read_file(self.folder, HEAD, self.description)
        head, labels = parse_head(data, display_path(self.folder / HEAD))
        where = f"{HEAD} in {display_path(self.folder)}"
        if labels not in (None, [*self.labels]) or head.layers[-1].biases.size != len(self.labels):
            raise ModelFolderError(f"{where} does not fit {LABELS}: train the model again")
        arrays = {array_identity(array) for layer in head.layers for array in (layer.weights, layer.biases)}
        if head.bottleneck_size != self.description.bottleneck_size or self._head_constants not in (set(), arrays):
            raise ModelFolderError(f"{where} does not fit {GRAPH}: train the model again")
        return head

    def sets(self) -> dict[str, str]:
        """Return which set each picture was in when the model was trained: SHA-256 of the file -> set."""
        with self._unreplaced():
            return read_sets(self.folder, self.description)

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
            return decode_image(data, self.description.height, self.description.width, max_pixels)
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


def _read(folder: Path) -> tuple[Path, ModelDescription, bytes]:
    """Return the folder, what run.json says, and the bytes of the graph. Raises ModelFolderError."""
    description = read_description(folder)
    return folder, description, read_file(folder, GRAPH, description)


def _description_in(model_dir: Path) -> ModelDescription | None:
    """Return what run.json says now. None if it can't be read."""
    try:
        return read_consistently(model_dir, MODEL, read_description)
    except ModelFolderError:
        return None


def _graph_extractor(graph: bytes, description: ModelDescription, cache_dir: str | os.PathLike[str]) -> Extractor:
    """The extractor of the backbone inside a model's graph.

    What run.json says of the backbone is a claim. The extractor goes by that backbone's name and fingerprint if its
    graph is the one that the cache holds of it, byte for byte: `FrozenGraph` runs either, and gives the same bits. Any
    other graph goes by its own SHA-256, and has bottlenecks of its own.

    Args:
        graph: the bytes of a graph file.
        cache_dir: where the bottlenecks are to be.
    """
    # a model of another version of the decoder sees pictures through this one's, which has bottlenecks of its own
    name, claimed = description.backbone_name, description.backbone_description | {"decoder": DECODER_VERSION}
    kept = kept_trunk(cache_dir, name, fingerprint_of(claimed))
    if kept and hashlib.sha256(memoryview(graph)[: kept[1]]).hexdigest() == kept[0]:
        trunk = memoryview(graph)[: kept[1]]
        return Extractor(name, lambda: claimed, lambda: _GraphNetwork(trunk, description))
    part = part_below(tf.compat.v1.GraphDef.FromString(graph), BOTTLENECK)
    found = {
        "graph": hashlib.sha256(part).hexdigest(),
        "input_size": [description.height, description.width],
        "decoder": DECODER_VERSION,
        "precision": "float32",
        "cut": "bottleneck",
    }
    return Extractor(f"{name}_graph", lambda: found, lambda: _GraphNetwork(part, description))


class _GraphNetwork:
    """The backbone inside a model's graph, as pass one runs it."""

    def __init__(self, trunk: bytes | memoryview, description: ModelDescription) -> None:
        self.height, self.width = description.height, description.width
        self.batch_size = suitable_batch_size(self.height, self.width)
        self._length, self._trunk = description.bottleneck_size, trunk

    @cached_property
    def _run(self) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
        trunk = tf.compat.v1.GraphDef.FromString(self._trunk)
        return FrozenGraph(trunk, PIXELS_INPUT, BOTTLENECK, self.height, self.width).runner()

    def bottlenecks(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(n, height, width, 3) uint8, RGB, to (n, d) float32. Raises ModelFolderError."""
        return checked_run(lambda: self._run(pixels), len(pixels), self._length)
