"""The format `graph`: graph.pb, as clients of TensorFlow and of the original program load it."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrain.events import Emit
from retrain.export.export_format import Facts, Pictures, Takes
from retrain.export.stored_model import StoredModel
from retrain.files import write_whole
from retrain.model import read_labels
from retrain.model_files import GRAPH, LABELS

__all__ = ["GraphFormat"]


class GraphFormat:
    """Copies graph.pb."""

    facts = Facts(
        name="graph",
        file=GRAPH,
        loaded_by="TensorFlow 1 and 2",
        takes="the bytes of a JPEG or PNG, or pixels",
        packages=("tensorflow",),
    )

    def write(self, model: StoredModel, folder: Path, _: Emit) -> None:
        """Write graph.pb. Raises ExportError, ModelFolderError, OSError."""
        write_whole(folder / GRAPH, model.graph)

    def load(self, folder: Path) -> "GraphRuntime":
        """Import the graph, as its clients do."""
        return GraphRuntime(folder)


class GraphRuntime:
    """A `Runtime` of a session of TensorFlow 1."""

    inputs: Mapping[str, Takes] = {"DecodeJpeg/contents": "file", "DecodeJpeg": "picture", "Placeholder": "pixels"}

    def __init__(self, folder: Path) -> None:
        from retrain._tensorflow import tf

        self.labels = read_labels(folder / LABELS)
        graph_def = tf.compat.v1.GraphDef.FromString((folder / GRAPH).read_bytes())
        graph = tf.Graph()
        with graph.as_default():
            tf.import_graph_def(graph_def, name="")
        self._session = tf.compat.v1.Session(graph=graph)
        self._scores = f"{graph_def.node[-1].name}:0"  # the head comes last

    def scores(self, name: str, pictures: Pictures) -> NDArray[np.float32]:
        """Scores; bytes and pictures of other sizes go in one by one, pixels together."""
        feed = f"{name}:0"
        if self.inputs[name] == "pixels":
            scores: NDArray[np.float32] = self._session.run(
                self._scores, {feed: np.asarray(pictures, np.float32) / 255}
            )
            return scores
        return np.concatenate([self._session.run(self._scores, {feed: picture}) for picture in pictures])
