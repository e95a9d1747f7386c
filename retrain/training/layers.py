"""A head's layers, forwards and backwards."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrain.cache import new_vectors
from retrain.training.parameters import Parameters
from retrain.training.products import Products
from retrain.training.random_streams import Stream, random_halves

__all__ = ["Dropout", "Layers", "logits_of"]

Array = NDArray[Any]  # float32; float64 where it is asked for


def logits_of(parameters: Parameters, vectors: Array, products: Products) -> Array:
    """Return the logits (classes, n) of bottlenecks (n, d)."""
    values: Array = vectors.T
    for number, (weights, biases) in enumerate(parameters.layers):
        if number:
            np.maximum(values, 0, out=values)
        outputs = np.empty((len(weights), len(vectors)), weights.dtype)
        products.multiply(weights, values, outputs)
        values = outputs
        values += biases
    return values


class Dropout:
    """Leaves out a random share of each layer's input values (Srivastava et al., JMLR 15, 2014).

    Args:
        share: in (0, 1), rounded to 1 / 65,536.
        seed: of the random numbers.
        widths: input values of each layer.
        batch_size: pictures in a batch.
    """

    def __init__(self, share: float, seed: int, widths: tuple[int, ...], batch_size: int) -> None:
        self._limit = np.uint16(round(share * 2**16))
        self.scale = 2**16 / (2**16 - int(self._limit))  # what keeps expected values as they were
        self._sizes = [width * batch_size for width in widths]
        self._seed = seed

    def kept(self, step: int) -> list[NDArray[np.bool_]]:
        """Return for each layer which of its input values a step keeps, (inputs * batch_size,)."""
        bits = random_halves(self._seed, Stream.DROPOUT, step, sum(self._sizes))
        return np.split(bits >= self._limit, np.cumsum(self._sizes)[:-1])


class Layers:
    """A head's layers over batches of one size.

    Buffers are used again, and nothing of the size of a batch is copied unless dropout asks for it.

    Args:
        parameters: may change between batches.
        products: what multiplies.
        batch_size: pictures in a batch.
        dropout: None: every value is kept.
    """

    def __init__(
        self, parameters: Parameters, products: Products, batch_size: int, dropout: Dropout | None = None
    ) -> None:
        self._parameters, self._products, self._dropout = parameters, products, dropout
        dtype = parameters.flat.dtype
        self._outputs = [new_vectors(width, batch_size, dtype) for width in parameters.widths[1:]]
        self._dropped = new_vectors(batch_size, parameters.widths[0], dtype) if dropout else None
        self._inputs: list[Array] = []  # of each layer, (inputs, n), after dropout
        self._kept: list[NDArray[np.bool_]] = []
        self._scale = dropout.scale if dropout else 1.0

    def forward(self, vectors: Array, step: int = 0) -> Array:
        """Compute logits.

        Args:
            vectors: (n, d) bottlenecks, which must stay as they are until `backward`.
            step: decides what dropout leaves out.
        Returns: (classes, n), in a buffer.
        """
        if self._dropout is not None and self._dropped is not None:
            self._kept = self._dropout.kept(step)
            vectors = np.multiply(vectors, self._kept[0].reshape(vectors.shape), out=self._dropped)
        values: Array = vectors.T
        self._inputs = []
        for number, ((weights, biases), outputs) in enumerate(zip(self._parameters.layers, self._outputs, strict=True)):
            if number:
                np.maximum(values, 0, out=values)
                if self._kept:
                    values *= self._kept[number].reshape(values.shape)
            self._inputs.append(values)
            self._products.multiply(weights, values, outputs)
            values = outputs
            if self._kept:
                values *= self._scale
            values += biases
        return values

    def backward(self, slopes: Array, gradients: Parameters) -> None:
        """Compute the gradients of the parameters.

        Args:
            slopes: (classes, n) the gradients of the logits that `forward` returned; changed in place.
            gradients: where they go.
        """
        for number in range(len(self._inputs) - 1, -1, -1):
            own, values = gradients.layers[number], self._inputs[number]
            np.add.reduce(slopes, axis=1, keepdims=True, out=own.biases)
            if self._kept:
                slopes *= self._scale
            self._products.multiply(slopes, values.T, own.weights)
            if number:
                # a unit that gave 0, or was dropped, passes nothing on
                slopes = (self._parameters.layers[number].weights.T @ slopes) * (values > 0)
        self._slopes = slopes

    def vector_gradients(self) -> Array:
        """Return the gradients of the vectors, (n, d), after `backward`."""
        gradients: Array = np.matmul(self._slopes.T, self._parameters.layers[0].weights)
        if self._kept:
            gradients *= self._kept[0].reshape(gradients.shape)
        return gradients
