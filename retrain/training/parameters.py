"""A head's weights and biases in one vector, so that they are moved, copied and compared together."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrain.cache import new_vectors
from retrain.model import Head, Layer
from retrain.training.random_streams import Stream, generator

__all__ = ["LayerParameters", "Parameters", "aligned", "initial_head", "pieces"]

Array = NDArray[Any]  # float32; float64 where it is asked for

_PIECE = 2**15  # numbers: 128 KB, so that several arrays of that size stay in the processor's cache


class LayerParameters(NamedTuple):
    """The parameters of a layer, which maps (inputs, n) values to (outputs, n): weights @ values + biases."""

    weights: Array  # (outputs, inputs): with the long axis last, products of thin layers are fastest
    biases: Array  # (outputs, 1)


class Parameters:
    """A head's parameters, or something of the same form, such as gradients.

    Args:
        widths: length of a bottleneck, number of units of each hidden layer, number of classes.
        flat: (size,) of the layers' weights and biases, bottom up. The layers are views of it.
        thresholds: those of the head, which training leaves alone.
    """

    def __init__(self, widths: tuple[int, ...], flat: Array, thresholds: NDArray[np.float32] | None = None) -> None:
        self.widths, self.flat, self._thresholds = widths, flat, thresholds
        layers, start = [], 0
        for inputs, outputs in pairwise(widths):
            middle, end = start + outputs * inputs, start + outputs * (inputs + 1)
            layers.append(
                LayerParameters(flat[start:middle].reshape(outputs, inputs), flat[middle:end].reshape(outputs, 1))
            )
            start = end
        self.layers = tuple(layers)

    @staticmethod
    def size(widths: tuple[int, ...]) -> int:
        """Return how many numbers there are."""
        return sum(outputs * (inputs + 1) for inputs, outputs in pairwise(widths))

    @classmethod
    def of(cls, head: Head, flat: Array | None = None) -> "Parameters":
        """Return a head's parameters, in `flat` if that is given, else in float32."""
        widths = (head.bottleneck_size, *(layer.biases.size for layer in head.layers))
        size = cls.size(widths)
        parameters = cls(widths, aligned(size) if flat is None else flat[:size], head.thresholds)
        for own, layer in zip(parameters.layers, head.layers, strict=True):
            own.weights[:], own.biases[:, 0] = layer.weights.T, layer.biases
        return parameters

    def like(self, flat: Array) -> "Parameters":
        """Return other numbers in the same form."""
        return Parameters(self.widths, flat, self._thresholds)

    def head(self) -> Head:
        """Return them as a head, in float32; a copy."""
        return Head(
            tuple(
                Layer(np.array(layer.weights.T, np.float32, order="C"), np.array(layer.biases[:, 0], np.float32))
                for layer in self.layers
            ),
            self._thresholds,
        )


def aligned(size: int) -> NDArray[np.float32]:
    """Return room for so many numbers that begins at a multiple of 64 bytes, where products are fastest."""
    room: NDArray[np.float32] = new_vectors(1, size)[0]
    return room


def initial_head(bottleneck_size: int, classes: int, seed: int, hidden_units: int = 0) -> Head:
    """Return the head before the first step.

    The softmax layer's weights come from a normal distribution of standard deviation 0.001, truncated at two
    deviations, as in the original program; a hidden layer's from Glorot's uniform distribution (Glorot and Bengio,
    AISTATS 2010); biases are 0.
    """
    random = generator(seed, Stream.WEIGHTS)
    layers: list[Layer] = []
    inputs = bottleneck_size
    if hidden_units:
        limit = (6 / (inputs + hidden_units)) ** 0.5
        weights = random.uniform(-limit, limit, (inputs, hidden_units)).astype(np.float32)
        layers.append(Layer(weights, np.zeros(hidden_units, np.float32)))
        inputs = hidden_units
    weights = random.standard_normal((inputs, classes), np.float32)
    while (beyond := np.abs(weights) > 2).any():
        weights[beyond] = random.standard_normal(int(beyond.sum()), np.float32)
    return Head((*layers, Layer(np.float32(0.001) * weights, np.zeros(classes, np.float32))))


def pieces(size: int) -> Iterator[slice]:
    """Yield slices that cover so many numbers, of which several arrays' worth stay in the processor's cache."""
    for start in range(0, size, _PIECE):
        yield slice(start, min(start + _PIECE, size))
