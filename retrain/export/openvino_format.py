"""The format `openvino`: a model of OpenVINO from pictures of any size to scores."""

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrain.events import Emit
from retrain.export.export_format import Facts, Pictures, Takes
from retrain.export.onnx_format import onnx_network
from retrain.export.onnx_pictures import PICTURES, resizing
from retrain.export.stored_model import StoredModel
from retrain.model import read_labels
from retrain.model_files import LABELS

__all__ = ["OpenVinoFormat"]

# On processors that compute in bfloat16, OpenVINO does so unless it is told otherwise.
_SETTINGS = {"INFERENCE_PRECISION_HINT": "f32"}


class OpenVinoFormat:
    """Converts the model by way of ONNX."""

    facts = Facts(
        name="openvino",
        file="model.xml",
        loaded_by="OpenVINO",
        takes="pictures: (n, height, width, 3) uint8 of any size, RGB",
        packages=("tf2onnx", "onnx", "openvino"),
        extra="openvino",
    )

    def write(self, model: StoredModel, folder: Path, _: Emit) -> None:
        """Write model.xml and model.bin. Raises ExportError, ModelFolderError, OSError, and what converters raise."""
        openvino = import_openvino()
        network = openvino.Core().read_model(onnx_network(model).SerializeToString())
        description = model.description
        whole = joined(resizing(description.height, description.width).SerializeToString(), network)
        openvino.save_model(whole, folder / self.facts.file, compress_to_fp16=False)

    def load(self, folder: Path) -> "OpenVinoRuntime":
        """Load it with OpenVINO."""
        return OpenVinoRuntime(folder / self.facts.file)


class OpenVinoRuntime:
    """A `Runtime` of a compiled model."""

    inputs: Mapping[str, Takes] = {PICTURES: "picture"}

    def __init__(self, path: Path) -> None:
        self._model = import_openvino().Core().compile_model(path, "CPU", _SETTINGS)
        self.labels = read_labels(path.with_name(LABELS))

    def scores(self, name: str, pictures: Pictures) -> NDArray[np.float32]:
        """Scores of a batch."""
        scores: NDArray[np.float32] = np.array(self._model({name: pictures})[0])
        return scores


def joined(front: bytes, network: Any) -> Any:
    """A model of OpenVINO that takes `pictures` at any size.

    Args:
        front: an ONNX model, from them to the pixels that the network takes.
        network: a model of OpenVINO.
    """
    openvino = import_openvino()
    first = openvino.Core().read_model(front)
    [taken], [pixels] = network.get_parameters(), first.get_results()
    taken.output(0).replace(pixels.input_value(0))
    return openvino.Model(network.get_results(), first.get_parameters(), "classifier")


def import_openvino() -> Any:
    """OpenVINO, without its telemetry, which would write to the home folder and send data."""
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # as if it were not installed
    return importlib.import_module("openvino")
