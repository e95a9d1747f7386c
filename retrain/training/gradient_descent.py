"""Gradient descent: the gradients of a batch's loss, and the steps that follow from them."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrain.options import DEFAULT_BATCH_SIZE, TrainingOptions
from retrain.training.batches import Batch
from retrain.training.layers import Dropout, Layers
from retrain.training.loss import Loss
from retrain.training.parameters import Parameters, pieces
from retrain.training.penalties import Penalties
from retrain.training.products import Products

__all__ = ["Adam", "BatchLoss", "PlainDescent", "optimizer_of"]

Array = NDArray[Any]  # float32; float64 where it is asked for

_BETAS, _EPSILON = (0.9, 0.999), 1e-7  # of Adam, as Keras has them


class BatchLoss:
    """The mean loss of the pictures in a batch, plus penalties.

    Args:
        parameters: of the head; may change between batches.
        products: what multiplies.
        options: resolved.
        loss: of the pictures, without penalties.
    """

    def __init__(
        self,
        parameters: Parameters,
        products: Products,
        options: TrainingOptions,
        loss: Loss,
    ) -> None:
        size = options.batch_size or DEFAULT_BATCH_SIZE
        widths = parameters.widths[:-1]
        dropout = Dropout(options.dropout, options.seed, widths, size) if options.dropout else None
        self._layers = Layers(parameters, products, size, dropout)
        self._parameters, self._penalties = parameters, Penalties(options.l1, options.l2 or 0.0)
        self._size, self._loss = size, loss

    def gradients(self, batch: Batch, step: int, gradients: Parameters) -> bool:
        """Compute the gradients of the parameters.

        Args:
            step: decides what dropout leaves out.
            gradients: where they go.
        Returns: whether the loss is finite.
        """
        shares = self._loss.row_weights(batch.labels, self._size)
        if batch.weights is not None:
            shares = shares * batch.weights
        logits = self._layers.forward(batch.vectors, step)
        is_finite = self._loss.to_gradients(logits, batch.labels, shares)
        self._layers.backward(logits, gradients)
        self._penalties.add_gradients(self._parameters, gradients)
        return is_finite

    def vector_gradients(self) -> Array:
        """Return the gradients of the batch's vectors, (n, d), after `gradients`."""
        return self._layers.vector_gradients()


class PlainDescent:
    """Moves parameters by their gradients times the learning rate.

    Args:
        parameters: (p,), moved in place.
        rate: learning rate.
    """

    averages: tuple[Array, ...] = ()  # (p,) each: what is remembered of earlier gradients

    def __init__(self, parameters: Array, rate: float) -> None:
        self._parameters, self._rate = parameters, rate

    def move(self, gradients: Array, step: int) -> None:
        """Do a step.

        Args:
            gradients: (p,), overwritten.
            step: its number, from 0 on.
        """
        rate = self._rate_at(step)
        for piece in pieces(len(gradients)):
            change = gradients[piece]
            self._to_move(change, piece)
            change *= rate
            self._parameters[piece] -= change

    def _rate_at(self, _step: int) -> float:
        return self._rate

    def _to_move(self, gradient: Array, piece: slice) -> None:
        """Replace gradients of a piece of the parameters by moves for a learning rate of 1."""


class Adam(PlainDescent):
    """Moves by averages of the gradients, each divided by its usual size (Kingma and Ba, ICLR 2015)."""

    def __init__(self, parameters: Array, rate: float) -> None:
        super().__init__(parameters, rate)
        self.averages = (np.zeros_like(parameters), np.zeros_like(parameters))  # of gradients, and of their squares

    def _rate_at(self, step: int) -> float:
        fast, slow = _BETAS
        # averages began at 0
        return self._rate * math.sqrt(1 - math.pow(slow, step + 1)) / (1 - math.pow(fast, step + 1))

    def _to_move(self, gradient: Array, piece: slice) -> None:
        (fast, slow), (means, squares) = _BETAS, self.averages
        mean, square = means[piece], squares[piece]
        mean *= fast
        mean += (1 - fast) * gradient
        np.multiply(gradient, gradient, out=gradient)
        gradient *= 1 - slow
        square *= slow
        square += gradient
        np.sqrt(square, out=gradient)
        gradient += _EPSILON
        np.divide(mean, gradient, out=gradient)


def optimizer_of(options: TrainingOptions, parameters: Array) -> PlainDescent:
    """Return the optimizer that the options name.

    Args:
        options: resolved.
        parameters: (p,), moved in place.
    """
    kind = Adam if options.optimizer == "adam" else PlainDescent
    return kind(parameters, options.learning_rate or 0.0)
