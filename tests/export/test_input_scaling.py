import numpy as np
import pytest

from retrain._tensorflow import tf
from retrain.export.input_scaling import InputScaling

pytestmark = pytest.mark.network

STEPS = {
    "none": lambda x: x,
    "keras": lambda x: x * 255.0 / 127.5 - 1.0,
    "identities": lambda x: tf.identity(tf.identity(x) * 2.0) - 1.0,
    "number first": lambda x: 3.0 + 2.0 * x,
    "turned round": lambda x: 1.0 - x,
    "through a constant's identity": lambda x: x * tf.identity(tf.constant([[4.0]])),
}


def graph_of(steps, end=lambda x: tf.nn.relu(x)):
    """A graph that does some steps, and then something else; the name of what the steps come to."""
    with tf.Graph().as_default() as graph:
        pixels = tf.compat.v1.placeholder(tf.float32, [None, 2, 2, 3], name="Placeholder")
        values = steps(pixels)
        end(values)
    return graph.as_graph_def(), values.name


@pytest.mark.parametrize("name", STEPS)
def test_steps_become_a_factor_and_an_offset(name):
    graph_def, tensor = graph_of(STEPS[name])
    scaling = InputScaling.of_graph(graph_def)
    assert scaling.tensor == tensor
    levels = np.array([0, 1, 128, 255], np.float32)
    expected = STEPS[name](tf.constant(levels / 255)).numpy().ravel()
    np.testing.assert_allclose(levels * scaling.factor + scaling.offset, expected, atol=1e-6)


def test_what_differs_between_channels_is_left_to_the_graph():
    graph_def, _ = graph_of(lambda x: x * 255.0 - [103.0, 116.0, 123.0])
    scaling = InputScaling.of_graph(graph_def)
    assert (scaling.tensor, scaling.factor, scaling.offset) == ("mul:0", 1.0, 0.0)


@pytest.mark.parametrize(
    "step",
    [tf.square, lambda x: 1.0 / x, lambda x: x * x, lambda x: x / 0.0, lambda x: x - tf.reduce_mean(x)],
    ids=["square", "quotient", "itself", "zero", "mean"],
)
def test_other_steps_end_it(step):
    graph_def, _ = graph_of(lambda x: step(x * 2.0))
    assert InputScaling.of_graph(graph_def).tensor == "mul:0"


def test_values_that_go_two_ways_are_the_last():
    graph_def, _ = graph_of(lambda x: x * 2.0, lambda x: (x + 1.0, x - 1.0))
    assert InputScaling.of_graph(graph_def).tensor == "mul:0"
