"""What other programs load: the frozen graph, the labels, the SavedModel, TensorBoard summaries."""

import os
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from retrain import graph_images
from retrain.errors import ModelFolderError, OutputError
from retrain.files import write_whole
from retrain.head import Head, Layer
from retrain.image_folder import display_path
from retrain.network import Network
from retrain.quiet import tf
from retrain.training import HistoryRow

__all__ = [
    "BOTTLENECK",
    "JPEG_INPUT",
    "PIXELS_INPUT",
    "GraphBuilder",
    "part_of_graph",
    "read_graph",
    "write_labels",
    "write_saved_model",
    "write_summaries",
]

# Names in graph.pb. Those of the inputs are the ones that the original program's releases gave them.
JPEG_INPUT = "DecodeJpeg/contents:0"  # () string: the bytes of a JPEG; of 2015 and 2016
PIXELS_INPUT = "Placeholder:0"  # (n, height, width, 3) float32 in [0, 1]; of 2018
BOTTLENECK = "bottleneck:0"  # (n, d) float32

# Largest message that protocol buffers can hold.
_MOST_BYTES = 2**31 - 1


class GraphBuilder:
    """Makes frozen graphs of one backbone under different heads; the backbone is frozen once.

    Args:
        network: gives the backbone when the first graph is built.
        final_tensor_name: name of the scores.
    """

    def __init__(self, network: Callable[[], Network], final_tensor_name: str) -> None:
        self._get_network = network
        self._final_tensor_name = final_tensor_name

    @cached_property
    def _network(self) -> Network:
        return self._get_network()

    @cached_property
    def _frozen(self) -> tuple[tf.compat.v1.GraphDef, str, str]:
        return self._network.frozen_graph

    def build(self, head: Head) -> tf.compat.v1.GraphDef:
        """The graph from picture to scores.

        One chain, which may be fed at any of these points:
        `DecodeJpeg/contents` () string, JPEG bytes; `DecodeJpeg` (any, any, 3) uint8 (a large JPEG arrives there
        scaled); `input` (n, any, any, 3) float32 in [-1, 1]; `Mul` (n, height, width, 3) float32 in [-1, 1];
        `Placeholder` (n, height, width, 3) float32 in [0, 1]. Out come `bottleneck` (n, d) and the scores (n, classes)
        under the final tensor's name.
        """
        backbone, input_name, output_name = self._frozen
        height, width = self._network.height, self._network.width
        graph = tf.Graph()
        with graph.as_default():
            pixels = _picture_inputs(height, width)
            [vectors] = tf.import_graph_def(
                backbone, input_map={input_name: pixels}, return_elements=[output_name], name="backbone"
            )
            vectors = tf.identity(vectors, name=BOTTLENECK[:-2])
            with tf.name_scope("head"):
                logits = _logits(vectors, head.layers)
            tf.nn.softmax(logits, name=self._final_tensor_name)
            # without attributes at their defaults, TensorFlow 1 can load it, too
            meta = tf.compat.v1.train.export_meta_graph(graph=graph, strip_default_attrs=True)
        return meta.graph_def

    def serialized(self, head: Head) -> bytes:
        """The same as the bytes of a graph file. Raises OutputError over 2 GiB."""
        graph_def = self.build(head)
        if graph_def.ByteSize() > _MOST_BYTES:
            raise OutputError(
                f"the graph has {graph_def.ByteSize()} bytes, more than a graph file can hold ({_MOST_BYTES}): "
                "use a smaller backbone"
            )
        return bytes(graph_def.SerializeToString(deterministic=True))


def _logits(vectors: tf.Tensor, layers: Sequence[Layer]) -> tf.Tensor:
    """What `Head.logits` does, on tensors."""
    for layer in layers[:-1]:
        vectors = tf.nn.relu(tf.matmul(vectors, layer.weights) + layer.biases)
    return tf.matmul(vectors, layers[-1].weights) + layers[-1].biases


def _picture_inputs(height: int, width: int) -> tf.Tensor:
    """The inputs of the original program's releases, one behind the other, in the default graph.

    What lies between them is named in scopes, for names are unique whatever their case: `mul` would turn `Mul` away.
    """
    feed = tf.compat.v1.placeholder_with_default
    contents = tf.compat.v1.placeholder(tf.string, [], name=JPEG_INPUT[:-2])
    with tf.name_scope("decode"):
        upright = graph_images.decode_jpeg(contents, height, width)
    pixels = tf.identity(upright, name="DecodeJpeg")
    pixels = tf.expand_dims(tf.cast(pixels, tf.float32, name="Cast"), 0, name="ExpandDims")
    with tf.name_scope("any_size"):
        pixels = pixels / 127.5 - 1.0
    pixels = feed(pixels, [None, None, None, 3], name="input")
    with tf.name_scope("resize"):
        pixels = graph_images.resize((pixels + 1.0) * 127.5, height, width) / 127.5 - 1.0
    pixels = feed(pixels, [None, height, width, 3], name="Mul")
    with tf.name_scope("unit_range"):
        pixels = pixels * 0.5 + 0.5
    return feed(pixels, [None, height, width, 3], name=PIXELS_INPUT[:-2])


def read_graph(path: str | os.PathLike[str]) -> tf.compat.v1.GraphDef:
    """Read a graph file. Raises ModelFolderError."""
    graph_def = tf.compat.v1.GraphDef()
    try:
        graph_def.ParseFromString(Path(path).read_bytes())
    except OSError as error:
        raise ModelFolderError(f"can't read {display_path(path)}: {error.strerror}") from error
    except DecodeError as error:
        raise ModelFolderError(f"{display_path(path)} is damaged ({error}): train the model again") from error
    return graph_def


def part_of_graph(
    graph_def: tf.compat.v1.GraphDef, start: str, end: str
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """The part of a graph from one tensor to another, as a function of arrays. Raises ModelFolderError."""

    def run(values: tf.Tensor) -> tf.Tensor:
        [result] = tf.import_graph_def(graph_def, input_map={start: values}, return_elements=[end], name="")
        return result

    try:
        attributes = next(node.attr for node in graph_def.node if f"{node.name}:0" == start)
        spec = tf.TensorSpec(tf.TensorShape(attributes["shape"].shape), tf.as_dtype(attributes["dtype"].type))
        function = tf.function(run, input_signature=[spec])
        function.get_concrete_function()
    except StopIteration:
        raise ModelFolderError(f"the graph has no tensor {start}: train the model again") from None
    except (KeyError, ValueError, TypeError, tf.errors.OpError) as error:
        raise ModelFolderError(
            f"the graph can't be used ({str(error).splitlines()[0][:200]}): train the model again"
        ) from error
    return lambda values: np.asarray(function(tf.constant(values)).numpy())


def write_labels(labels: Sequence[str], path: str | os.PathLike[str]) -> None:
    """Write labels.txt: one label a line, UTF-8, in the order of the outputs."""
    write_whole(path, "".join(f"{label}\n" for label in labels).encode())


def write_saved_model(
    network: Network,
    head: Head,
    labels: Sequence[str],
    final_tensor_name: str,
    folder: str | os.PathLike[str],
) -> None:
    """Write a SavedModel.

    Signature `serving_default`: `image_bytes` (n,) string, the bytes of pictures (over REST: {"b64": ...}).
    Signature `pixels`: `pixels` (n, height, width, 3) float32 in [0, 1].
    Both give the scores (n, classes) float32 under the final tensor's name, and `labels` (n, classes) string in the
    order of the scores.
    """
    height, width = network.height, network.width
    module = tf.Module()
    module.backbone = network.trackable
    layers = [Layer(tf.Variable(layer.weights), tf.Variable(layer.biases)) for layer in head.layers]
    module.head = [(layer.weights, layer.biases) for layer in layers]
    names = tf.constant(list(labels))

    def answer(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        scores = tf.nn.softmax(_logits(network.function(pixels), layers))
        return {final_tensor_name: scores, "labels": tf.tile(names[tf.newaxis], [tf.shape(scores)[0], 1])}

    def decode(contents: tf.Tensor) -> tf.Tensor:
        pixels = tf.cast(graph_images.decode_any(contents, height, width), tf.float32)[tf.newaxis]
        return tf.ensure_shape(graph_images.resize(pixels, height, width)[0] / 255.0, [height, width, 3])

    def from_files(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        return answer(tf.map_fn(decode, image_bytes, fn_output_signature=tf.float32))

    def from_pixels(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        return answer(pixels)

    files = tf.TensorSpec([None], tf.string, "image_bytes")
    arrays = tf.TensorSpec([None, height, width, 3], tf.float32, "pixels")
    module.__call__ = tf.function(from_files, input_signature=[files])
    module.from_pixels = tf.function(from_pixels, input_signature=[arrays])
    signatures = {"serving_default": module.__call__, "pixels": module.from_pixels}
    try:
        tf.saved_model.save(module, os.fspath(folder), signatures=signatures)
    except tf.errors.OpError as error:
        raise OutputError(f"can't write the SavedModel {display_path(folder)}: {error.message}") from error


def write_summaries(history: Sequence[HistoryRow], folder: str | os.PathLike[str]) -> None:
    """Write TensorBoard summaries of the evaluations, below `train` and `validation`. Raises OutputError."""
    try:
        _write_events(history, folder)
    except tf.errors.OpError as error:
        raise OutputError(f"can't write the summaries {display_path(folder)}: {error.message}") from error


def _write_events(history: Sequence[HistoryRow], folder: str | os.PathLike[str]) -> None:
    for name in ("train", "validation"):
        figures = [
            (row.step, getattr(row, f"{name}_accuracy"), getattr(row, f"{name}_cross_entropy")) for row in history
        ]
        if not figures or figures[0][1] is None:
            continue
        # TensorFlow 2's writer needs the package tensorboard, and the older one a graph
        with tf.Graph().as_default():
            writer = tf.compat.v1.summary.FileWriter(os.path.join(folder, name))
            for step, accuracy, cross_entropy in figures:
                summary = tf.compat.v1.Summary()
                summary.value.add(tag="accuracy", simple_value=accuracy)
                summary.value.add(tag="cross_entropy", simple_value=cross_entropy)
                writer.add_summary(summary, step)
            writer.close()
