"""The format `graph`: graph.pb, as the original program's clients load it, and a part of it for OpenCV."""

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrain.events import Emit, Warned
from retrain.export.export_format import Facts, Pictures, Takes
from retrain.export.labels_inside import thresholds_beside
from retrain.export.pixels_graph import pixels_graph
from retrain.export.stored_model import StoredModel
from retrain.files import write_whole
from retrain.model import KNOWN, read_labels
from retrain.model_files import GRAPH, LABELS

__all__ = ["GraphFormat"]

_PIXELS_GRAPH = "graph_pixels.pb"
_WITH_OPENCV = f"{_PIXELS_GRAPH} by OpenCV"


class GraphFormat:
    """Copies graph.pb, and writes its part from pixels on, which other programs than TensorFlow can read."""

    facts = Facts(
        name="graph",
        file=GRAPH,
        loaded_by=f"TensorFlow 1 and 2; {_PIXELS_GRAPH} beside it by OpenCV",
        takes="DecodeJpeg/contents: the bytes of a JPEG or PNG; or pixels",
        packages=("tensorflow",),
        scores_alone=(_PIXELS_GRAPH, _WITH_OPENCV),
    )

    def write(self, model: StoredModel, folder: Path, emit: Emit) -> None:
        """Write both files. Raises ExportError, ModelFolderError, OSError."""
        write_whole(folder / GRAPH, model.graph)
        part = pixels_graph(model, [model.description.final_tensor_name])  # OpenCV can't compute `known`
        write_whole(folder / _PIXELS_GRAPH, part.SerializeToString(deterministic=True))
        refusal = _by_opencv(folder)
        if isinstance(refusal, str):
            emit(Warned(f"OpenCV can't run {_PIXELS_GRAPH} of this model ({refusal}); TensorFlow can"))

    def load(self, folder: Path) -> "GraphRuntime":
        """Import both graphs, as their clients do."""
        return GraphRuntime(folder)


class GraphRuntime:
    """A `Runtime` of sessions of TensorFlow 1 and, if that is installed and knows the network, of OpenCV."""

    def __init__(self, folder: Path) -> None:
        self.labels, self.thresholds = read_labels(folder / LABELS), thresholds_beside(folder / GRAPH)
        whole, part = _session(folder / GRAPH), _session(folder / _PIXELS_GRAPH)
        self.inputs: dict[str, Takes] = {
            "DecodeJpeg/contents": "file",
            "DecodeJpeg": "picture",
            "Placeholder": "pixels",
            _PIXELS_GRAPH: "pixels",
        }
        self._run: dict[str, Callable[[Any], NDArray[np.float32]]] = {
            "DecodeJpeg/contents": lambda files: np.concatenate([whole("DecodeJpeg/contents", file) for file in files]),
            "DecodeJpeg": lambda pictures: np.concatenate([whole("DecodeJpeg", picture) for picture in pictures]),
            "Placeholder": lambda pixels: whole("Placeholder", np.float32(pixels) / 255),
            _PIXELS_GRAPH: lambda pixels: part("Placeholder", np.float32(pixels) / 255),
        }
        by_opencv = _by_opencv(folder)
        if callable(by_opencv):
            self.inputs[_WITH_OPENCV] = "pixels"
            self._run[_WITH_OPENCV] = by_opencv

    def answers(self, name: str, pictures: Pictures) -> NDArray[np.float32]:
        """Answers; files and pictures of other sizes go in one by one, pixels together."""
        return self._run[name](pictures)


def _session(path: Path) -> Callable[[str, Any], NDArray[np.float32]]:
    """A graph in a session: a function of the name of an input and its value."""
    from retrain._tensorflow import tf

    graph_def = tf.compat.v1.GraphDef.FromString(path.read_bytes())
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(graph_def, name="")
    session, outputs = tf.compat.v1.Session(graph=graph), [f"{graph_def.node[-1].name}:0"]  # the scores come last
    if any(node.name == KNOWN for node in graph_def.node):
        outputs.append(f"{KNOWN}:0")

    def run(name: str, value: Any) -> NDArray[np.float32]:
        found: NDArray[np.float32] = np.hstack(session.run(outputs, {f"{name}:0": value}))
        return found

    return run


def _by_opencv(folder: Path) -> Callable[[Any], NDArray[np.float32]] | str | None:
    """The part from pixels on as OpenCV runs it: a function of (n, height, width, 3) uint8.

    Or why OpenCV can't run it; None where OpenCV is not installed.
    """
    if importlib.util.find_spec("cv2") is None:
        return None
    import cv2

    def run(pixels: Any) -> NDArray[np.float32]:
        net = cv2.dnn.readNetFromTensorflow(os.fspath(folder / _PIXELS_GRAPH))  # anew: it keeps the size of a batch
        net.setInput(cv2.dnn.blobFromImages([*pixels], 1 / 255))
        return np.asarray(net.forward(), np.float32)

    try:
        run(np.zeros((1, *_size(folder / _PIXELS_GRAPH), 3), np.uint8))
    except cv2.error as error:
        return str(error.err)  # its message, without the place in its source
    return run


def _size(path: Path) -> tuple[int, int]:
    """Height and width of the pictures that a graph takes, in pixels."""
    from retrain._tensorflow import tf

    graph_def = tf.compat.v1.GraphDef.FromString(path.read_bytes())
    [start] = [node for node in graph_def.node if node.op == "Placeholder"]
    _, height, width, _ = (dim.size for dim in start.attr["shape"].shape.dim)
    return height, width
