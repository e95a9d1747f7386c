"""What a converted network sees before it takes the mean over all places of a picture: its last activations.

LiteRT gives any tensor that its file lists as an output. So the file is changed to list the one before the pooling, in
place of the vector: a number of four bytes. TensorFlow is not needed, and nothing else is kept.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrain.backbones.litert import LiteRTError, LiteRTNetwork

__all__ = ["LastActivations"]


class LastActivations:
    """Gives the activations that a network pools to its vector.

    Args:
        model: the file's content; one of a model folder, or a converted network.
        bottleneck: the name of the tensor with the vector; empty: the output.
    Raises LiteRTError if the network does not pool, or has more layers between pooling and vector.
    """

    def __init__(self, model: bytes, bottleneck: str = "") -> None:
        changed = bytearray(model)
        pooling = _find(changed, bottleneck)
        self.shape = pooling.shape  # (rows, columns, channels) of one picture
        self.is_mean = pooling.is_mean  # whether the vector is the mean over rows and columns; if not, the maximum
        self._network = LiteRTNetwork(bytes(changed))
        self.height, self.width = self._network.height, self._network.width

    def of(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(n, height, width, 3) uint8, RGB, to (n, rows, columns, channels) float32. Raises LiteRTError."""
        return self._network.run(pixels).reshape(len(pixels), *self.shape)


@dataclass(frozen=True)
class _Pooling:
    """An operator that makes a vector of a map."""

    shape: tuple[int, int, int]
    is_mean: bool


def _find(model: bytearray, bottleneck: str) -> _Pooling:
    """Find the pooling, and make its input the output of the file. Raises LiteRTError."""
    from ai_edge_litert import schema_py_generated as schema

    found = schema.Model.GetRootAs(model)
    graph = found.Subgraphs(0)
    operators = [graph.Operators(number) for number in range(graph.OperatorsLength())]
    makers = {int(output): operator for operator in operators for output in operator.OutputsAsNumpy()}
    tensor = _named(graph, bottleneck) if bottleneck else int(graph.OutputsAsNumpy()[0])
    codes = schema.BuiltinOperator
    means, maxima = {codes.MEAN, codes.AVERAGE_POOL_2D}, {codes.REDUCE_MAX, codes.MAX_POOL_2D}
    while tensor in makers:
        operator = makers[tensor]
        tensor = int(operator.InputsAsNumpy()[0])
        shape = [*graph.Tensors(tensor).ShapeAsNumpy()]
        kind = found.OperatorCodes(operator.OpcodeIndex()).BuiltinCode()
        if len(shape) == 4 and shape[1] * shape[2] > 1:
            made = int(np.prod(graph.Tensors(int(operator.OutputsAsNumpy()[0])).ShapeAsNumpy()))
            if kind not in means | maxima or made != shape[3]:
                break
            graph.OutputsAsNumpy()[0] = tensor
            return _Pooling((int(shape[1]), int(shape[2]), int(shape[3])), kind in means)
        if kind not in {codes.RESHAPE, codes.SQUEEZE}:
            break
    raise LiteRTError("this network does not end with a mean or a maximum over the places of a picture")


def _named(graph: Any, name: str) -> int:
    names = (graph.Tensors(number).Name() for number in range(graph.TensorsLength()))
    place = next((number for number, found in enumerate(names) if found == name.encode()), None)
    if place is None:
        raise LiteRTError(f"this network has no tensor {name}")
    return place
