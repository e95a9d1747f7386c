"""The format `openvino`: a model of OpenVINO from pictures of any size to scores."""

import importlib
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrain.backbones import own_signal_stack, quantize
from retrain.cache import QUANTIZED_MODEL
from retrain.errors import BackboneError, ExportError
from retrain.events import Emit, Prepared
from retrain.export.export_format import Facts, Pictures, Takes
from retrain.export.labels_inside import thresholds_beside
from retrain.export.onnx_format import onnx_network
from retrain.export.onnx_pictures import PICTURES, resizing
from retrain.export.stored_model import StoredModel
from retrain.model import read_labels
from retrain.model_files import LABELS
from retrain.text import first_line

__all__ = ["OpenVinoFormat"]

# On processors that compute in bfloat16, OpenVINO does so unless it is told otherwise.
_SETTINGS = {"INFERENCE_PRECISION_HINT": "f32"}
_FILE = "model.xml"
_QUANTISING_PICTURES = 300  # NNCF's default


class OpenVinoFormat:
    """Converts the model by way of ONNX, in float32 or, with NNCF, in int8."""

    def __init__(self, is_int8: bool = False) -> None:
        self.facts = Facts(
            name="openvino-int8" if is_int8 else "openvino",
            file=_FILE,
            loaded_by="OpenVINO",
            takes="pictures: (n, height, width, 3) uint8 of any size, RGB",
            packages=("tf2onnx", "onnx", "openvino", *(("nncf",) if is_int8 else ())),
            extra="openvino",
            is_rounded=is_int8,
            template="openvino",
        )

    def write(self, model: StoredModel, folder: Path, emit: Emit) -> None:
        """Write model.xml and model.bin. Raises ExportError, ModelFolderError, OSError, and what converters raise."""
        openvino = import_openvino()
        network = onnx_network(model).SerializeToString()
        read = _quantized(network, model, emit) if self.facts.is_rounded else openvino.Core().read_model(network)
        whole = _joined(resizing(model.description.form).SerializeToString(), read)
        openvino.save_model(whole, folder / _FILE, compress_to_fp16=False)

    def load(self, folder: Path) -> "OpenVinoRuntime":
        """Load it with OpenVINO."""
        return OpenVinoRuntime(folder / _FILE)


class OpenVinoRuntime:
    """A `Runtime` of a compiled model."""

    inputs: Mapping[str, Takes] = {PICTURES: "picture"}

    def __init__(self, path: Path) -> None:
        with own_signal_stack():
            self._model = import_openvino().Core().compile_model(path, "CPU", _SETTINGS)
        self._is_single = self._model.input(0).partial_shape[0].is_static
        self.labels, self.thresholds = read_labels(path.with_name(LABELS)), thresholds_beside(path)

    def answers(self, name: str, pictures: Pictures) -> NDArray[np.float32]:
        """Answers for a batch; of one after the other if the network takes no more."""
        parts = [[picture] for picture in pictures] if self._is_single else [pictures]
        return np.concatenate([self._answer({name: np.asarray(part)}) for part in parts])

    def _answer(self, pictures: Mapping[str, NDArray[np.uint8]]) -> NDArray[np.float32]:
        found = self._model(pictures)
        return np.hstack([np.array(found[output], np.float32) for output in self._model.outputs])


def _quantized(network: bytes, model: StoredModel, emit: Emit) -> Any:
    """A model of OpenVINO in int8. Raises ExportError.

    Args:
        network: an ONNX model that takes pixels.
    """
    pixels = model.training_pixels(_QUANTISING_PICTURES, "quantising", emit)
    with tempfile.TemporaryDirectory() as folder:
        try:
            quantize(
                ("network.onnx", network),
                pixels,
                Path(folder),
                lambda done, total: emit(Prepared("quantising", done, total)),
            )
        except BackboneError as error:
            reason = first_line(error.__cause__ or error)
            raise ExportError(f"OpenVINO can't make int8 of this model ({reason}): use the format openvino") from error
        return import_openvino().Core().read_model(Path(folder, QUANTIZED_MODEL.names[0]))


def _joined(front: bytes, network: Any) -> Any:
    """A model of OpenVINO that takes `pictures` at any size.

    Args:
        front: an ONNX model, from them to the pixels that the network takes.
        network: a model of OpenVINO.
    """
    openvino = import_openvino()
    first = openvino.Core().read_model(front)
    [taken], [pixels] = network.get_parameters(), first.get_results()
    if taken.get_partial_shape()[0].is_static:
        first.reshape([1, -1, -1, 3])
    taken.output(0).replace(pixels.input_value(0))
    return openvino.Model(network.get_results(), first.get_parameters(), "classifier")


def import_openvino() -> Any:
    """OpenVINO, without its telemetry, which would write to the home folder and send data."""
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # as if it were not installed
    return importlib.import_module("openvino")
