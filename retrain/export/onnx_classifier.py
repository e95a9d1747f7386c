"""classifier.onnx: the preprocessing, the network and the head of a model with an ONNX backbone, in one file.

It is what `retrain predict` runs for such a model, and what ONNX Runtime, OpenVINO and others load as it is.
"""

import os
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

import retrain
from retrain.backbones import (
    ONNX_BOTTLENECK,
    Backbone,
    Converter,
    OnnxBackbone,
    OnnxError,
    OnnxFacts,
    OnnxNetwork,
    import_onnx,
    onnx_facts_of,
    operators_version,
    probe_picture,
    set_batch,
    set_outputs,
)
from retrain.data import PictureForm
from retrain.errors import OutputError
from retrain.export.labels_inside import metadata
from retrain.export.source import ExportSource, TrainedNetwork
from retrain.files import write_whole
from retrain.model import HEAD_SCOPE, KNOWN, KNOWN_SCOPE, Activation, Head, Rejection
from retrain.paths import display_path

__all__ = ["OnnxClassifier", "OnnxSource", "export_source"]

_ACTIVATIONS: dict[Activation, tuple[str, dict[str, int]]] = {
    "softmax": ("Softmax", {"axis": 1}),
    "sigmoid": ("Sigmoid", {}),
}
_LEAST = np.float32(1e-30)  # of the sum of the squares of a bottleneck, so that zeros stay zeros
_AXES_ARE_INPUTS = {"ReduceMin": 18, "ReduceSum": 13}  # from these versions of the operators on
_TOLERANCE = 1e-4  # of a score
_MOST_BYTES = 2**31 - 1  # of a message of protocol buffers


class OnnxSource(ExportSource):
    """An ONNX backbone as exports need it. TensorFlow has no form of it.

    Args:
        backbone: in float32.
        final_tensor_name: name of the scores.
        converter: knows the cache, and who is told of damaged files there.
    """

    backbone: OnnxBackbone

    def __init__(self, backbone: OnnxBackbone, final_tensor_name: str, converter: Converter) -> None:
        super().__init__(backbone, final_tensor_name, converter)

    def prepare(self) -> None:
        """Do nothing: there is little to read."""

    @property
    def form(self) -> PictureForm:
        """The form in which the network sees pictures. Raises BackboneError."""
        plan, source = self.backbone.plan, self.backbone.source
        return PictureForm(plan.height, plan.width, source.fit, source.depth)

    @cached_property
    def facts(self) -> OnnxFacts:
        """What is known of the backbone's graph. Raises BackboneError."""
        return onnx_facts_of(self.backbone, self.converter.cache_dir, self.converter.emit)

    def graph(self, network: TrainedNetwork) -> Any:
        """The whole model, a ModelProto. Raises BackboneError."""
        helper = import_onnx("onnx.helper")
        model = self.backbone.graph()
        _add_head(model, network.head, self.final_tensor_name)
        classes = network.head.layers[-1].biases.size
        known = {} if network.head.rejection is None else {KNOWN: 1}
        set_outputs(model, {self.final_tensor_name: classes, **known, ONNX_BOTTLENECK: network.head.bottleneck_size})
        set_batch(model, None if self.facts.takes_batches else 1)
        model.producer_name, model.producer_version = "retrain", retrain.__version__
        helper.set_model_props(model, metadata(network.labels, network.head.exact_thresholds))
        return model


def export_source(backbone: Backbone, final_tensor_name: str, converter: Converter) -> ExportSource:
    """A backbone as exports need it, of whatever kind it is. `ExportSource` has the meaning of the arguments."""
    if isinstance(backbone, OnnxBackbone):
        return OnnxSource(backbone, final_tensor_name, converter)
    return ExportSource(backbone, final_tensor_name, converter)


class OnnxClassifier:
    """Writes classifier.onnx, for a model with an ONNX backbone.

    Its input `pictures` is (n, height, width, 3) uint8, RGB. Its outputs are, under the final tensor's name, the scores
    (n, classes) float32, and `bottleneck` (n, d) float32; between them, if the head tells pictures of no class, `known`
    (n, 1) float32 in [0, 1]. n is any number, or 1 if the network can't take more at once. Its metadata has the labels
    as a JSON list and, for several labels, the thresholds.
    """

    def write(self, network: TrainedNetwork, place: str | os.PathLike[str]) -> dict[str, str]:
        """Write the file. Raises OSError, BackboneError; OutputError if it would have over 2 GiB."""
        model = _source_of(network).graph(network)
        size = model.ByteSize()
        if size > _MOST_BYTES:
            raise OutputError(
                f"the ONNX model has {size} bytes, more than such a file can hold ({_MOST_BYTES}): "
                "use a smaller backbone"
            )
        write_whole(place, model.SerializeToString(deterministic=True))
        return {}

    def verify(self, network: TrainedNetwork, place: str | os.PathLike[str]) -> dict[str, str]:
        """Run the file on the probe picture, alone and in a batch: it must give the scores of the head.

        Raises OutputError, OSError, BackboneError.
        """
        facts = _source_of(network).facts
        try:
            outputs = [network.final_tensor_name, *([] if network.head.rejection is None else [KNOWN])]
            running = OnnxNetwork(Path(place).read_bytes(), outputs)
            probe = probe_picture(running.height, running.width)[np.newaxis]
            found = running.run(probe)
            if facts.takes_batches:
                found = np.concatenate([found, running.together(np.concatenate([255 - probe, probe]))[1:]])
        except OnnxError as error:
            raise OutputError(f"{display_path(place)} can't be run: {error}") from error
        expected = network.head.answers(facts.probe[np.newaxis])
        if found.shape[1:] != expected.shape[1:] or not np.allclose(found, expected, rtol=0, atol=_TOLERANCE):
            raise OutputError(f"{display_path(place)} does not give the scores of the trained model: train it again")
        return {}


def _source_of(network: TrainedNetwork) -> OnnxSource:
    """Raises OutputError if the backbone is no ONNX network."""
    if not isinstance(network.source, OnnxSource):
        raise OutputError(
            f"the backbone {network.source.backbone.name} is no ONNX network, so there is no ONNX model of it"
        )
    return network.source


def _add_head(model: Any, head: Head, name: str) -> None:
    """Put a head's layers, and what makes scores of logits, behind the bottleneck."""
    helper, to_tensor = import_onnx("onnx.helper"), import_onnx("onnx.numpy_helper").from_array
    nodes, constants = model.graph.node, model.graph.initializer
    values = ONNX_BOTTLENECK
    for number, layer in enumerate(head.layers):
        scope = f"{HEAD_SCOPE}{number}"
        constants.append(to_tensor(layer.weights, f"{scope}/weights"))
        constants.append(to_tensor(layer.biases, f"{scope}/biases"))
        is_last = number == len(head.layers) - 1
        nodes.append(helper.make_node("MatMul", [values, f"{scope}/weights"], [f"{scope}/product"], f"{scope}/matmul"))
        nodes.append(helper.make_node("Add", [f"{scope}/product", f"{scope}/biases"], [f"{scope}/sum"], f"{scope}/add"))
        values = f"{scope}/sum"
        if not is_last:
            nodes.append(helper.make_node("Relu", [values], [scope], f"{scope}/relu"))
            values = scope
    operation, options = _ACTIVATIONS[head.activation]
    nodes.append(helper.make_node(operation, [values], [name], f"{HEAD_SCOPE}{head.activation}", **options))
    if head.rejection is not None:
        _add_known(model, head.rejection)


def _add_known(model: Any, rejection: Rejection) -> None:
    """Put what computes `known`, (n, 1), behind the bottleneck, as `Rejection` does."""
    helper, to_tensor = import_onnx("onnx.helper"), import_onnx("onnx.numpy_helper").from_array
    nodes, constants = model.graph.node, model.graph.initializer

    def constant(name: str, values: Any) -> str:
        constants.append(to_tensor(np.asarray(values), f"{KNOWN_SCOPE}{name}"))
        return f"{KNOWN_SCOPE}{name}"

    def operation(kind: str, name: str, *inputs: str, **how: Any) -> str:
        output = name if name == KNOWN else f"{KNOWN_SCOPE}{name}"
        nodes.append(helper.make_node(kind, [*inputs], [output], f"{KNOWN_SCOPE}{name}_node", **how))
        return output

    def reduction(kind: str, name: str, values: str) -> str:
        if operators_version(model) < _AXES_ARE_INPUTS[kind]:
            return operation(kind, name, values, axes=[1], keepdims=1)
        return operation(kind, name, values, constant(f"{name}_axes", np.array([1])), keepdims=1)

    total = reduction("ReduceSum", "total", operation("Mul", "squares", ONNX_BOTTLENECK, ONNX_BOTTLENECK))
    root = operation("Sqrt", "length", operation("Add", "positive", total, constant("least", _LEAST)))
    unit = operation("Div", "unit", ONNX_BOTTLENECK, root)
    along = operation("MatMul", "along", unit, constant("directions", rejection.directions))
    taken_off = reduction("ReduceSum", "taken_off", operation("Mul", "along_squares", along, along))
    products = operation("MatMul", "products", unit, constant("slopes", rejection.slopes))
    sums = operation("Add", "sums", products, constant("offsets", rejection.offsets))
    distance = operation("Sub", "distance", reduction("ReduceMin", "nearest", sums), taken_off)
    margin = operation("Sub", "margin", constant("threshold", np.float32(rejection.limit.threshold)), distance)
    operation(
        "Sigmoid", KNOWN, operation("Div", "scaled", margin, constant("scale", np.float32(rejection.limit.scale)))
    )
