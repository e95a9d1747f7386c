"""The frozen graph: one file from picture to scores, as the original program's clients load it."""

import hashlib
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrain._tensorflow import tf
from retrain.backbones import BOTTLENECK, without_defaults
from retrain.errors import ModelFolderError, OutputError
from retrain.export.source import TrainedNetwork, softmax
from retrain.files import write_whole
from retrain.model import Layer, parse_graph
from retrain.paths import display_path

__all__ = ["FrozenGraph", "apply_layers"]

_MOST_BYTES = 2**31 - 1  # of a message of protocol buffers
_SAMPLES = 4  # bottlenecks to compare scores on


class FrozenGraph:
    """Writes a graph file. `Trunk` describes its inputs; the scores have the final tensor's name."""

    def write(self, network: TrainedNetwork, place: str | os.PathLike[str]) -> None:
        """Write the file. Raises OSError; OutputError if it would have over 2 GiB."""
        write_whole(place, *self.parts(network))

    def verify(self, network: TrainedNetwork, place: str | os.PathLike[str]) -> None:
        """Read the file again: the backbone's part must be the same, and the head's give the scores of the head.

        Takes a tenth of a second for a graph of 90 MB. Raises OutputError, OSError.
        """
        data, trunk = memoryview(Path(place).read_bytes()), network.trunk
        if hashlib.sha256(data[: len(trunk.graph)]).hexdigest() != trunk.digest:
            raise _differs(place)
        size = network.head.bottleneck_size
        vectors = np.random.default_rng(0).uniform(0, 1, (_SAMPLES, size)).astype(np.float32)
        try:
            graph_def = parse_graph(bytes(data[len(trunk.graph) :]), display_path(place))
            logits, scores = _run_head(graph_def, network.final_tensor_name, vectors)
        except (ModelFolderError, LookupError, ValueError, tf.errors.OpError) as error:
            raise _differs(place) from error
        expected = network.head.logits(vectors)
        # products are of float32: how exact they are depends on how large the logits are
        if not np.allclose(logits, expected, rtol=0, atol=1e-4 * max(1.0, float(np.abs(expected).max()))):
            raise _differs(place)
        if not np.allclose(scores, softmax(logits), rtol=0, atol=1e-5):
            raise _differs(place)

    def parts(self, network: TrainedNetwork) -> tuple[bytes | memoryview, bytes]:
        """Return the file's content in two parts, the backbone's and the head's.

        Messages one after the other are one message with the parts of both. Raises OutputError over 2 GiB.
        """
        with tf.Graph().as_default() as graph:
            vectors = tf.compat.v1.placeholder(tf.float32, [None, network.head.bottleneck_size], name=BOTTLENECK[:-2])
            with tf.name_scope("head"):
                logits = apply_layers(vectors, network.head.layers)
            tf.nn.softmax(logits, name=network.final_tensor_name)
            graph_def = without_defaults(graph)
        [stand_in] = [node for node in graph_def.node if node.name == BOTTLENECK[:-2]]
        graph_def.node.remove(stand_in)  # the backbone's part has the node of this name
        parts = network.trunk.graph, bytes(graph_def.SerializeToString(deterministic=True))
        size = sum(map(len, parts))
        if size > _MOST_BYTES:
            raise OutputError(
                f"the graph has {size} bytes, more than a graph file can hold ({_MOST_BYTES}): use a smaller backbone"
            )
        return parts


def apply_layers(vectors: tf.Tensor, layers: tuple[Layer, ...]) -> tf.Tensor:
    """Compute logits as `Head.logits` does, but on tensors."""
    for layer in layers[:-1]:
        vectors = tf.nn.relu(tf.matmul(vectors, layer.weights) + layer.biases)
    return tf.matmul(vectors, layers[-1].weights) + layers[-1].biases


def _run_head(
    graph_def: tf.compat.v1.GraphDef, final_tensor_name: str, vectors: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Logits and scores of bottlenecks. Raises LookupError, ValueError, OpError if the graph has no such head."""
    [final] = [node for node in graph_def.node if node.name == final_tensor_name]
    with tf.Graph().as_default() as graph, tf.device("CPU"):
        ends = [f"{final.input[0]}:0", f"{final.name}:0"]
        tensors = tf.import_graph_def(graph_def, {BOTTLENECK: tf.constant(vectors)}, return_elements=ends, name="")
        with tf.compat.v1.Session(graph=graph) as session:
            logits, scores = session.run(tensors)
    return logits, scores


def _differs(place: str | os.PathLike[str]) -> OutputError:
    return OutputError(f"{display_path(place)} does not give the scores of the trained model: train it again")
