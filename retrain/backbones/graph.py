"""Freezing a network, with the original program's inputs in front of it, makes a trunk of it."""

from retrain._tensorflow import tf
from retrain.backbones import graph_images
from retrain.backbones.layers import NetworkLayer
from retrain.backbones.network import FrozenGraph, Network
from retrain.backbones.trunk import BOTTLENECK, JPEG_INPUT, PIXELS_INPUT, Trunk
from retrain.data import PictureForm

__all__ = ["make_trunk", "trunk_network", "without_defaults"]


def make_trunk(network: Network, form: PictureForm | None = None) -> Trunk:
    """Freeze a network, and put the inputs in front of it.

    Args:
        form: that they bring pictures to; by default whole pictures to the network's size.
    """
    frozen = network.frozen_graph
    with tf.Graph().as_default() as graph:
        pixels = _picture_inputs(form or PictureForm(network.height, network.width))
        [vectors] = tf.import_graph_def(
            frozen.graph_def, input_map={frozen.start: pixels}, return_elements=[frozen.end], name="backbone"
        )
        tf.identity(vectors, name=BOTTLENECK[:-2])
        serialized = without_defaults(graph).SerializeToString(deterministic=True)
    layers = tuple(
        NetworkLayer(layer.name, tuple(f"backbone/{name}" for name in layer.weights)) for layer in network.layers
    )
    size = network.height, network.width, network.bottleneck_size
    return Trunk.of_graph(serialized, size, layers, int(tf.version.GRAPH_DEF_VERSION))


def without_defaults(graph: tf.Graph) -> tf.compat.v1.GraphDef:
    """A graph as a message, without attributes at their defaults, so that TensorFlow 1 can load it."""
    return tf.compat.v1.train.export_meta_graph(graph=graph, strip_default_attrs=True).graph_def


def _picture_inputs(form: PictureForm) -> tf.Tensor:
    """The inputs of the original program's releases, one after the other, in the default graph.

    What lies between them has names in scopes, since names must differ in more than case: `mul` would block `Mul`.
    """
    feed = tf.compat.v1.placeholder_with_default
    contents = tf.compat.v1.placeholder(tf.string, [], name=JPEG_INPUT[:-2])
    with tf.name_scope("decode"):
        upright = graph_images.decode_jpeg(contents, form)
    pixels = tf.identity(upright, name="DecodeJpeg")
    pixels = tf.expand_dims(tf.cast(pixels, tf.float32, name="Cast"), 0, name="ExpandDims")
    with tf.name_scope("any_size"):
        pixels = pixels / 127.5 - 1.0
    pixels = feed(pixels, [None, None, None, 3], name="input")
    with tf.name_scope("resize"):
        pixels = graph_images.resize((pixels + 1.0) * 127.5, form) / 127.5 - 1.0
    pixels = feed(pixels, [None, *form.size, 3], name="Mul")
    with tf.name_scope("unit_range"):
        pixels = pixels * 0.5 + 0.5
    return feed(pixels, [None, *form.size, 3], name=PIXELS_INPUT[:-2])


def trunk_network(trunk: Trunk) -> FrozenGraph:
    """The network of a trunk: from pixels to bottlenecks."""
    return FrozenGraph(trunk.nodes(), PIXELS_INPUT, BOTTLENECK, trunk.height, trunk.width)
