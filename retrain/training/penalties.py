"""Penalties on a head's weights, which training adds to the loss."""

from typing import NamedTuple

import numpy as np

from retrain.training.parameters import Parameters, pieces

__all__ = ["Penalties"]


class Penalties(NamedTuple):
    """How much large weights cost. Biases cost nothing."""

    l1: float  # times the sum of the weights' magnitudes
    l2: float  # half of it times the sum of their squares

    def add_gradients(self, parameters: Parameters, gradients: Parameters) -> None:
        """Add the penalties' gradients to those of the rest of the loss. The magnitude's at 0 is taken to be 0."""
        if not (self.l1 or self.l2):
            return
        for layer, own in zip(parameters.layers, gradients.layers, strict=True):
            weights, sums = layer.weights.reshape(-1), own.weights.reshape(-1)
            for piece in pieces(len(weights)):
                if self.l2:
                    sums[piece] += self.l2 * weights[piece]
                if self.l1:
                    sums[piece] += self.l1 * np.sign(weights[piece])
