"""The LiteRT model: one file from pixels to scores, which `retrain predict` and small devices run.

A file of LiteRT is a FlatBuffer, whose graph names buffers by their distance in bytes. So this one is a new graph, the
backbone's with the head behind it, in front of the backbone's own file, whose buffers it names. The weights are copied
as they are, and nobody has to parse them.
"""

import os
import struct
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from retrain.backbones import ConvertedNetwork, LiteRTError, LiteRTNetwork, probe_picture
from retrain.errors import OutputError
from retrain.export.litert_parts import AlignedBuffer, add_signature, packed, unpacked
from retrain.export.source import TrainedNetwork
from retrain.files import FilePart, write_whole
from retrain.model import BACKBONE_PLACE, HEAD_SCOPE, KNOWN, KNOWN_SCOPE, Activation, Head, Rejection
from retrain.paths import display_path

__all__ = ["LiteRTModel"]

_SIGNATURE = "serving_default"
_ACTIVATIONS: dict[Activation, tuple[int, Any]] = {
    "softmax": (schema.BuiltinOperator.SOFTMAX, schema.SoftmaxOptionsT(beta=1.0)),
    "sigmoid": (schema.BuiltinOperator.LOGISTIC, None),
}
_SMALL_BYTES = 1024  # buffers up to this size become part of the new graph
_ALIGNMENT = 64  # of the backbone's file in the new one; LiteRT wants buffers at multiples of 16 bytes
_MOST_BYTES = 2**31 - 1  # distances have 32 bits, some of them with a sign


class LiteRTModel:
    """Writes classifier.tflite.

    Its input `pixels` is (n, height, width, 3) float32 in [0, 1], RGB; its output, under the final tensor's name, the
    scores (n, classes) float32. A head that tells pictures of no class also gives `known`, (n, 1) float32 in [0, 1]. It
    has a signature, serving_default, with these names.
    """

    def write(self, network: TrainedNetwork, place: str | os.PathLike[str]) -> dict[str, str]:
        """Write the file, for a network that LiteRT can run.

        Raises OSError; OutputError if it would have over 2 GiB.
        """
        backbone = _converted(network)
        if isinstance(backbone.model, FilePart):
            with backbone.model.mapped() as model:  # little of it is looked at
                front = _front(model, network.head, network.final_tensor_name)
        else:
            front = _front(backbone.model, network.head, network.final_tensor_name)
        size = len(front) + len(backbone.model)
        if size > _MOST_BYTES:
            raise OutputError(
                f"the LiteRT model has {size} bytes, more than such a file can hold ({_MOST_BYTES}): "
                "use a smaller backbone"
            )
        write_whole(place, front, backbone.model)
        return {}

    def verify(self, network: TrainedNetwork, place: str | os.PathLike[str]) -> dict[str, str]:
        """Run the file on the probe picture: it must give the scores of the head. Takes 0.3 s for 90 MB.

        Raises OutputError, OSError.
        """
        try:
            running = LiteRTNetwork(Path(place))
            found = running.run(probe_picture(running.height, running.width)[np.newaxis])
        except LiteRTError as error:
            raise OutputError(f"{display_path(place)} can't be run: {error}") from error
        expected = network.head.answers(_converted(network).probe[np.newaxis])
        if found.shape != expected.shape or not np.allclose(found, expected, rtol=0, atol=1e-4):
            raise OutputError(f"{display_path(place)} does not give the scores of the trained model: train it again")
        return {}


def _converted(network: TrainedNetwork) -> ConvertedNetwork:
    """Raises OutputError if LiteRT can't run the network."""
    if network.converted is None:
        raise OutputError("LiteRT can't run this network, so there is no LiteRT model of it")
    return network.converted


def _front(backbone: bytes | memoryview, head: Head, name: str) -> bytes:
    """The new graph: what stands in front of the backbone's file."""
    old = schema.Model.GetRootAs(backbone)
    model = unpacked(backbone)
    outside = []
    for number, buffer in enumerate(model.buffers):
        if buffer.data is not None and len(buffer.data) > _SMALL_BYTES:
            outside.append(number)
            buffer.data = None
    _add_head(model, head, name)
    model.buffers.append(AlignedBuffer(np.zeros(2, "<u8")))
    place = schema.MetadataT(name=BACKBONE_PLACE, buffer=len(model.buffers) - 1)
    model.metadata = [*(model.metadata or ()), place]
    front = packed(model)
    front += bytes(-len(front) % _ALIGNMENT)
    new = schema.Model.GetRootAs(front)
    # places of tables and vectors in their files; distances are from where they are written to what they name
    first = new._tab.Vector(new._tab.Offset(_BUFFERS))
    for number in outside:
        here = first + 4 * number
        struct.pack_into("<I", front, here, len(front) + old.Buffers(number)._tab.Pos - here)
    note = new.Buffers(place.buffer)._tab
    struct.pack_into("<QQ", front, note.Vector(note.Offset(_DATA)), len(front), len(backbone))
    return bytes(front)


_BUFFERS, _DATA = 12, 4  # fields of Model and Buffer: places in their tables, from the schema


def _add_head(model: Any, head: Head, name: str) -> None:
    """Add the head's layers, what makes scores of logits, and a signature to an unpacked model."""
    graph = model.subgraphs[0]
    [bottleneck] = graph.outputs
    graph.tensors[bottleneck].name = b"bottleneck"
    values = bottleneck
    for number, layer in enumerate(head.layers):
        is_last = number == len(head.layers) - 1
        scope = f"{HEAD_SCOPE}{number}"
        inputs = [
            values,
            _add_tensor(model, f"{scope}/weights", layer.weights.T),
            _add_tensor(model, f"{scope}/biases", layer.biases),
        ]
        values = _add_tensor(model, "logits" if is_last else scope, layer.biases.size)
        options = schema.FullyConnectedOptionsT(
            fusedActivationFunction=schema.ActivationFunctionType.NONE
            if is_last
            else schema.ActivationFunctionType.RELU
        )
        _add_operator(model, schema.BuiltinOperator.FULLY_CONNECTED, options, inputs, values)
    scores = _add_tensor(model, name, head.layers[-1].biases.size)
    _add_operator(model, *_ACTIVATIONS[head.activation], [values], scores)
    model.signatureDefs = []
    if head.rejection is None:
        graph.outputs = [scores]
        add_signature(model, _SIGNATURE, 0, "pixels", [name])
    else:
        graph.outputs = [scores, _add_known(model, bottleneck, head.rejection)]
        add_signature(model, _SIGNATURE, 0, "pixels", [name, KNOWN])


def _add_known(model: Any, bottleneck: int, rejection: Rejection) -> int:
    """Add what computes `known`, (n, 1), as `Rejection` does; returns its tensor's number."""
    codes = schema.BuiltinOperator

    def constant(name: str, values: Any) -> int:
        return _add_tensor(model, f"{KNOWN_SCOPE}{name}", np.asarray(values))

    def operation(code: int, name: str, inputs: list[int], width: int = 1, how: Any = None) -> int:
        output = _add_tensor(model, name if name == KNOWN else f"{KNOWN_SCOPE}{name}", width)
        _add_operator(model, code, how, inputs, output)
        return output

    def layer(name: str, weights: NDArray[np.float32], biases: int) -> int:
        inputs = [unit, constant(f"{name}/weights", weights.T), biases]
        how = schema.FullyConnectedOptionsT()
        return operation(codes.FULLY_CONNECTED, f"{name}/products", inputs, weights.shape[1], how)

    limit, size = rejection.limit, len(rejection.slopes)
    unit = operation(codes.L2_NORMALIZATION, "unit", [bottleneck], size, schema.L2NormOptionsT())
    axis = constant("axis", np.array([1], np.int32))
    along = layer("directions", rejection.directions, -1)  # without biases
    squares = operation(codes.SQUARE, "squares", [along], rejection.directions.shape[1], schema.SquareOptionsT())
    reducing = schema.ReducerOptionsT(keepDims=True)
    taken_off = operation(codes.SUM, "taken_off", [squares, axis], how=reducing)
    sums = layer("slopes", rejection.slopes, constant("offsets", rejection.offsets))
    nearest = operation(codes.REDUCE_MIN, "nearest", [sums, axis], how=reducing)
    distance = operation(codes.SUB, "distance", [nearest, taken_off], how=schema.SubOptionsT())
    threshold, scale = (constant(name, np.array([[value]], np.float32)) for name, value in asdict(limit).items())
    margin = operation(codes.SUB, "margin", [threshold, distance], how=schema.SubOptionsT())
    scaled = operation(codes.DIV, "scaled", [margin, scale], how=schema.DivOptionsT())
    return operation(codes.LOGISTIC, KNOWN, [scaled])


def _add_tensor(model: Any, name: str, content: NDArray[Any] | int) -> int:
    """Add a constant, or values of a length for each picture; returns the tensor's number."""
    tensor = schema.TensorT(type=schema.TensorType.FLOAT32, name=name.encode(), hasRank=True)
    if isinstance(content, int):
        tensor.shape, tensor.shapeSignature = [1, content], [-1, content]
    else:
        form = "<f4"
        if content.dtype == np.int32:
            tensor.type, form = schema.TensorType.INT32, "<i4"
        model.buffers.append(AlignedBuffer(np.ascontiguousarray(content, form)))
        tensor.shape, tensor.buffer = [*content.shape], len(model.buffers) - 1
    tensors = model.subgraphs[0].tensors
    tensors.append(tensor)
    return len(tensors) - 1


def _add_operator(model: Any, code: int, options: Any, inputs: list[int], output: int) -> None:
    """Add an operator.

    Args:
        options: those of its kind; None if it has none.
    """
    model.operatorCodes.append(schema.OperatorCodeT(deprecatedBuiltinCode=code, builtinCode=code))
    name = "NONE" if options is None else type(options).__name__.removesuffix("T")
    model.subgraphs[0].operators.append(
        schema.OperatorT(
            opcodeIndex=len(model.operatorCodes) - 1,
            inputs=inputs,
            outputs=[output],
            builtinOptionsType=getattr(schema.BuiltinOptions, name),
            builtinOptions=options,
        )
    )
