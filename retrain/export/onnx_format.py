"""The format `onnx`: one file from pictures of any size to scores."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from retrain.backbones import PIXELS_INPUT
from retrain.events import Emit
from retrain.export.export_format import Facts, Pictures, Takes
from retrain.export.labels_inside import metadata, metadata_labels, metadata_thresholds
from retrain.export.onnx_pictures import PICTURES, with_resizing
from retrain.export.pixels_graph import pixels_graph
from retrain.export.stored_model import StoredModel
from retrain.files import write_whole
from retrain.model import KNOWN
from retrain.model_files import ONNX_CLASSIFIER

if TYPE_CHECKING:
    import onnx

__all__ = ["OnnxFormat", "onnx_model", "onnx_network"]

_OPSET = 18


class OnnxFormat:
    """Converts the graph from pixels on, and puts resizing and scaling in front of it."""

    facts = Facts(
        name="onnx",
        file="model.onnx",
        loaded_by="ONNX Runtime",
        takes="pictures: (n, height, width, 3) uint8 of any size, RGB",
        packages=("tf2onnx", "onnx", "onnxruntime"),
        extra="onnx",
    )

    def write(self, model: StoredModel, folder: Path, _: Emit) -> None:
        """Write model.onnx. Raises ExportError, ModelFolderError, OSError, and what tf2onnx raises."""
        write_whole(folder / self.facts.file, onnx_model(model).SerializeToString())

    def load(self, folder: Path) -> "OnnxRuntime":
        """Load it with ONNX Runtime."""
        return OnnxRuntime(folder / self.facts.file)


class OnnxRuntime:
    """A `Runtime` of a session of ONNX Runtime."""

    inputs: Mapping[str, Takes] = {PICTURES: "picture"}

    def __init__(self, path: Path) -> None:
        import onnxruntime

        self._session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        entries = self._session.get_modelmeta().custom_metadata_map
        self.labels, self.thresholds = metadata_labels(entries), metadata_thresholds(entries)

    def answers(self, name: str, pictures: Pictures) -> NDArray[np.float32]:
        """Answers for a batch; of one after the other if the network takes no more."""
        is_single = self._session.get_inputs()[0].shape[0] == 1
        parts = [[picture] for picture in pictures] if is_single else [pictures]
        return np.concatenate([np.hstack(self._session.run(None, {name: np.asarray(part)})) for part in parts])


def onnx_model(model: StoredModel) -> "onnx.ModelProto":
    """The whole model: `pictures`, (n, height, width, 3) uint8 of any size, to scores (n, classes) float32.

    Raises ExportError, ModelFolderError, and what tf2onnx raises.
    """
    import onnx

    whole = with_resizing(onnx_network(model), model.description.form)
    whole.producer_name = "retrain"
    whole.graph.name = "classifier"
    onnx.helper.set_model_props(whole, metadata(model.labels, model.description.thresholds))
    onnx.checker.check_model(whole)
    return whole


def onnx_network(model: StoredModel) -> "onnx.ModelProto":
    """The model from pixels, (n, height, width, 3) uint8, to scores. Raises as `onnx_model` does.

    Networks that can't take several pictures at once have n = 1.
    """
    return _own_network(model) if model.description.is_onnx else _converted(model)


def _own_network(model: StoredModel) -> "onnx.ModelProto":
    """Of a model with an ONNX backbone: its classifier.onnx, without the bottleneck."""
    import onnx

    network: onnx.ModelProto = onnx.ModelProto.FromString(model.read(ONNX_CLASSIFIER))
    outputs = [*network.graph.output]
    del network.graph.output[:]
    network.graph.output.extend(one for one in outputs if one.name in model.description.outputs)
    network.ClearField("metadata_props")
    return network


def _converted(model: StoredModel) -> "onnx.ModelProto":
    """Of any other model: its graph, as tf2onnx converts it, which raises all kinds for what it can't convert."""
    import onnx
    import tf2onnx
    from onnx import TensorProto, helper

    description = model.description
    names = [f"{name}:0" for name in description.outputs]
    network, _ = tf2onnx.convert.from_graph_def(
        pixels_graph(model, description.outputs), input_names=[PIXELS_INPUT], output_names=names, opset=_OPSET
    )
    graph = network.graph
    [pixels] = graph.input
    levels = helper.make_tensor("levels", TensorProto.FLOAT, [], [255.0])
    nodes = [
        helper.make_node("Cast", ["pixels"], ["pixels_float"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["pixels_float", "levels"], [pixels.name]),
        *graph.node,
        *(helper.make_node("Identity", [name], [name.partition(":")[0]]) for name in names),
    ]
    picture: list[str | int | None] = ["n", description.height, description.width, 3]
    lengths = [1 if name == KNOWN else len(model.labels) for name in description.outputs]
    inputs = [helper.make_tensor_value_info("pixels", TensorProto.UINT8, picture)]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", length])
        for name, length in zip(description.outputs, lengths, strict=True)
    ]
    made = helper.make_graph(nodes, "network", inputs, outputs, [*graph.initializer, levels])
    return onnx.helper.make_model(made, opset_imports=network.opset_import, ir_version=network.ir_version)
