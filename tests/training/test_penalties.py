import numpy as np
import pytest

from retrain.training.parameters import Parameters
from retrain.training.penalties import Penalties


def test_penalties_are_of_weights_alone():
    parameters = Parameters((2, 1), np.array([3.0, -2.0, 9.0]))
    gradients = parameters.like(np.array([1.0, 1.0, 1.0]))
    Penalties(0.1, 0.5).add_gradients(parameters, gradients)
    assert gradients.flat == pytest.approx([1 + 1.5 + 0.1, 1 - 1 - 0.1, 1])
