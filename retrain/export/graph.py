"""What other programs load: the frozen graph, the labels, the SavedModel, TensorBoard summaries."""

import copy
import hashlib
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from retrain._tensorflow import tf
from retrain.backbones.backbone import Backbone
from retrain.backbones.graph import BOTTLENECK, Trunk, make_trunk, without_defaults
from retrain.backbones.kept_exports import TRUNK, KeptExports
from retrain.backbones.layers import NetworkLayer
from retrain.backbones.sources.graph_safety import check_graph
from retrain.errors import BackboneError, ModelFolderError, OutputError
from retrain.events import Emit, Evaluated, Warned, ignore
from retrain.export.saved_model import Template, apply_layers, make_template, reason_of, write_saved_model
from retrain.files import write_whole
from retrain.model.head import Head
from retrain.paths import display_path

__all__ = [
    "GraphBuilder",
    "checked_run",
    "parse_graph",
    "part_of_graph",
    "write_labels",
    "write_summaries",
]

# Largest message that protocol buffers can hold.
_MOST_BYTES = 2**31 - 1

# A file in the cache.
_TEMPLATE = "saved_model"
_DETAILS = ("height", "width", "bottleneck_size", "digest", "layers")  # of a trunk


class GraphBuilder:
    """Makes graphs and SavedModels of one backbone under different heads.

    What all of them have in common is found in the cache, or made when the first one is asked for and kept there.

    Args:
        backbone: in float32.
        final_tensor_name: name of the scores.
        cache_dir: the bottleneck cache.
        emit: told of what is damaged there.
    """

    def __init__(
        self,
        backbone: Backbone,
        final_tensor_name: str,
        cache_dir: str | os.PathLike[str],
        emit: Emit = ignore,
    ) -> None:
        self.backbone = backbone
        self._final_tensor_name = final_tensor_name
        self._cache_dir, self._emit = cache_dir, emit
        self._reading: Future[Trunk | None] | None = None
        self._is_of_many = True  # whether what it makes is of use to later runs

    @cached_property
    def _kept(self) -> KeptExports:
        return KeptExports(self.backbone, self._cache_dir)

    def prepare(self) -> None:
        """Begin to read what the cache has of the backbone, in a thread of its own, while something else goes on."""
        thread = ThreadPoolExecutor(1)
        self._reading = thread.submit(self._read_trunk)
        thread.shutdown(wait=False)

    def _read_trunk(self) -> Trunk | None:
        found = self._kept.find(TRUNK)
        if found is None or set(found[0]) != set(_DETAILS):
            return None
        layers = tuple(NetworkLayer(name, tuple(weights)) for name, weights in found[0]["layers"])
        trunk = Trunk(found[1], **found[0] | {"layers": layers})
        _ = trunk.weights
        source = self.backbone.source
        if source.kind != "keras" and not source.trust:  # as when the backbone was loaded
            check_graph(trunk.nodes(), f"the graph of backbone {self.backbone.name}", BackboneError)
        return trunk

    @cached_property
    def trunk(self) -> Trunk:
        """The backbone's part. Raises BackboneError, CacheError."""
        trunk = self._reading.result() if self._reading else self._read_trunk()
        self._tell_warnings()
        if trunk is not None:
            return trunk
        trunk = make_trunk(self.backbone.network)
        details = {name: getattr(trunk, name) for name in _DETAILS}
        details["layers"] = [[layer.name, list(layer.weights)] for layer in trunk.layers]
        self._kept.keep(TRUNK, details, [trunk.graph])
        return trunk

    def with_weights(self, weights: Mapping[str, NDArray[np.float32]]) -> "GraphBuilder":
        """Makes graphs of the same network with other constants, as `Trunk.with_weights` has them; keeps nothing."""
        other = copy.copy(self)
        other.trunk = self.trunk.with_weights(weights)
        other._is_of_many = False
        return other

    def serialized(self, head: Head) -> tuple[bytes | memoryview, bytes]:
        """The graph from picture to scores as the bytes of a graph file, in two parts: that of the trunk, the head's.

        Messages one after the other are one message that has the parts of both. Raises OutputError over 2 GiB.
        """
        with tf.Graph().as_default() as graph:
            vectors = tf.compat.v1.placeholder(tf.float32, [None, head.bottleneck_size], name=BOTTLENECK[:-2])
            with tf.name_scope("head"):
                logits = apply_layers(vectors, head.layers)
            tf.nn.softmax(logits, name=self._final_tensor_name)
            graph_def = without_defaults(graph)
        [stand_in] = [node for node in graph_def.node if node.name == BOTTLENECK[:-2]]
        graph_def.node.remove(stand_in)  # for the node of this name in the trunk
        parts = self.trunk.graph, bytes(graph_def.SerializeToString(deterministic=True))
        size = sum(map(len, parts))
        if size > _MOST_BYTES:
            raise OutputError(
                f"the graph has {size} bytes, more than a graph file can hold ({_MOST_BYTES}): use a smaller backbone"
            )
        return parts

    def write_saved_model(self, head: Head, labels: Sequence[str], folder: str | os.PathLike[str]) -> None:
        """Write a SavedModel, as `saved_model.write_saved_model` describes it. Raises OutputError."""
        template = self._template(len(head.layers), folder)
        write_saved_model(self.trunk, template, head, labels, self._final_tensor_name, folder)

    def _template(self, layers: int, place: str | os.PathLike[str]) -> Template:
        """The SavedModel for heads of so many layers; where it must be made, it is saved to `place` on the way."""
        # the trunk's weights have no names in a SavedModel but their places in the graph
        details = {"trunk": self.trunk.digest, "final_tensor_name": self._final_tensor_name, "layers": layers}
        name = f"{_TEMPLATE}-{layers}-{hashlib.sha256(self._final_tensor_name.encode()).hexdigest()[:8]}"
        found = self._kept.find(name) if self._is_of_many else None
        self._tell_warnings()
        if found is not None and found[0].items() >= details.items():
            length = found[0]["model_bytes"]
            return Template(bytes(found[1][:length]), bytes(found[1][length:]))
        template = make_template(self.trunk, self._final_tensor_name, layers, place)
        details["model_bytes"] = len(template.model)
        if self._is_of_many:
            self._kept.keep(name, details, [template.model, template.object_graph])
        return template

    def _tell_warnings(self) -> None:
        while self._kept.warnings:
            self._emit(Warned(self._kept.warnings.pop()))


def parse_graph(data: bytes, where: str) -> tf.compat.v1.GraphDef:
    """The graph that a graph file holds; where: the file, for messages. Raises ModelFolderError."""
    try:
        return tf.compat.v1.GraphDef.FromString(data)
    except DecodeError as error:
        raise ModelFolderError(f"{where} is damaged ({error}): train the model again") from error


def part_of_graph(
    graph_def: tf.compat.v1.GraphDef, start: str, end: str, picture: tuple[int, int, int], length: int
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """The part of a graph from pictures to a tensor, as a function of arrays: (n, *picture) to (n, length) float32.

    Args:
        start: the tensor that takes pictures.
        end: the tensor that is wanted.
        picture: the shape of one.
    Raises ModelFolderError where the graph has no such part; the function does where it can't be run, or gives what is
    not finite.
    """

    def run(values: tf.Tensor) -> tf.Tensor:
        [result] = tf.import_graph_def(graph_def, input_map={start: values}, return_elements=[end], name="")
        return result

    spec = tf.TensorSpec([None, *picture], tf.float32)
    try:
        attributes = next(node.attr for node in graph_def.node if f"{node.name}:0" == start)
        found = tf.TensorSpec(tf.TensorShape(attributes["shape"].shape), tf.as_dtype(attributes["dtype"].type))
        if found != spec:
            raise ValueError(f"it takes {found.dtype.name} {found.shape}, expected float32 {spec.shape}")
        function = tf.function(run, input_signature=[spec])
        [result] = function.get_concrete_function().outputs
        if result.dtype != tf.float32 or not result.shape.is_compatible_with([None, length]):
            raise ValueError(f"{end} is {result.dtype.name} {result.shape}, expected float32 (n, {length})")
    except StopIteration:
        raise ModelFolderError(f"the graph has no tensor {start}: train the model again") from None
    except (AttributeError, LookupError, ValueError, TypeError, RuntimeError, tf.errors.OpError) as error:
        raise _unusable(error) from error
    return lambda values: checked_run(lambda: function(tf.constant(values)).numpy(), len(values), length)


def checked_run(run: Callable[[], NDArray[np.float32]], rows: int, length: int) -> NDArray[np.float32]:
    """What a foreign graph gives: (rows, length) float32, all finite. Raises ModelFolderError where it does not."""
    try:
        values = np.asarray(run())
    except (ValueError, TypeError, tf.errors.OpError) as error:
        raise _unusable(error) from error
    if values.shape != (rows, length):
        raise ModelFolderError(
            f"the graph gives {values.shape} for {rows} pictures, expected {(rows, length)}: train the model again"
        )
    if not np.isfinite(values).all():
        raise ModelFolderError("the graph gives values that are not finite: train the model again")
    return values


def _unusable(error: Exception) -> ModelFolderError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return ModelFolderError(f"the graph can't be used ({lines[0][:200]}): train the model again")


def write_labels(labels: Sequence[str], path: str | os.PathLike[str]) -> None:
    """Write labels.txt: one label a line, UTF-8, in the order of the outputs."""
    write_whole(path, "".join(f"{label}\n" for label in labels).encode())


def write_summaries(history: Sequence[Evaluated], folder: str | os.PathLike[str]) -> None:
    """Write TensorBoard summaries of the evaluations, below `train` and `validation`. Raises OutputError."""
    try:
        for name in ("train", "validation"):
            figures = [
                (row.step, getattr(row, f"{name}_accuracy"), getattr(row, f"{name}_cross_entropy")) for row in history
            ]
            if figures and figures[0][1] is not None:
                _write_events(figures, Path(folder, name))
    except (tf.errors.OpError, OSError) as error:
        raise OutputError(f"can't write the summaries {display_path(folder)}: {reason_of(error)}") from error


def _write_events(figures: Sequence[tuple[int, float, float]], folder: Path) -> None:
    """Write a file of events, each of step, accuracy and cross-entropy.

    TensorFlow 2's writer needs the package tensorboard; the older one writes in a thread, which ends with a traceback
    where the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    now = time.time()
    path = folder / f"events.out.tfevents.{now:.0f}.{socket.gethostname()}.{os.getpid()}"
    with tf.io.TFRecordWriter(os.fspath(path)) as file:
        file.write(tf.compat.v1.Event(wall_time=now, file_version="brain.Event:2").SerializeToString())
        for step, accuracy, cross_entropy in figures:
            event = tf.compat.v1.Event(wall_time=now, step=step)
            event.summary.value.add(tag="accuracy", simple_value=accuracy)
            event.summary.value.add(tag="cross_entropy", simple_value=cross_entropy)
            file.write(event.SerializeToString())
