"""The format `keras`: a model of Keras's own layers and operations, which loads in safe mode."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrain.events import Emit
from retrain.export.export_format import Facts, Pictures, Takes
from retrain.export.input_scaling import InputScaling
from retrain.export.labels_inside import labels_in, thresholds_in, with_labels
from retrain.export.resizing import resized
from retrain.export.stored_model import StoredModel
from retrain.files import write_whole

__all__ = ["KerasFormat"]

_FILE = "model.keras"


class KerasFormat:
    """Translates the graph into a functional model.

    Its input `pictures` is (n, any, any, 3) uint8, RGB; its output the scores (n, classes) float32. A model that tells
    pictures of no class has a second output, `known` (n, 1) float32. Its layers with weights can be trained on.
    `labels.txt` and, for several labels, `thresholds.txt` can be unzipped from the file.
    """

    facts = Facts(
        name="keras",
        file=_FILE,
        loaded_by="Keras 3, in safe mode",
        takes="pixels of a picture of any size",
        packages=("tensorflow", "keras"),
    )

    def write(self, model: StoredModel, folder: Path, _: Emit) -> None:
        """Write model.keras. Raises ExportError if an operation has no layer, ModelFolderError, OSError."""
        from retrain._tensorflow import import_keras
        from retrain.export.graph_reader import GraphReader
        from retrain.export.keras_layers import KerasTranslation

        keras, description, graph_def = import_keras(), model.description, model.graph_def
        scaling = InputScaling.of_graph(graph_def)
        size = description.height, description.width
        graph = GraphReader(graph_def, scaling.tensor.partition(":")[0], description.outputs, (None, *size, 3))
        pictures = keras.Input((None, None, 3), dtype="uint8", name="pictures")
        pixels = resized(pictures, description.form, keras.ops)
        scaled = keras.layers.Rescaling(scaling.factor, scaling.offset, name="scaling")(pixels)
        outputs = KerasTranslation(graph, ("pictures", "scaling")).model_on(scaled)
        keras.Model(pictures, outputs if len(outputs) > 1 else outputs[0]).save(folder / _FILE)
        write_whole(folder / _FILE, with_labels((folder / _FILE).read_bytes(), model.labels, description.thresholds))

    def load(self, folder: Path) -> "KerasRuntime":
        """Load it with Keras alone."""
        return KerasRuntime(folder / _FILE)


class KerasRuntime:
    """A `Runtime` of Keras."""

    inputs: Mapping[str, Takes] = {"pictures": "picture"}

    def __init__(self, file: Path) -> None:
        from retrain._tensorflow import import_keras

        self.labels, self.thresholds = labels_in(file), thresholds_in(file)
        self._model = import_keras().saving.load_model(file, safe_mode=True)

    def answers(self, _: str, pictures: Pictures) -> NDArray[np.float32]:
        """Answers for pictures in one call."""
        found = self._model.predict_on_batch(np.asarray(pictures))
        return np.asarray(np.hstack(found) if isinstance(found, list) else found, np.float32)
