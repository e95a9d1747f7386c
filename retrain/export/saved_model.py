"""The SavedModel: picture files or pixels in, scores and labels out.

TensorFlow needs seconds to trace and save one. All but the numbers is the same for every head with the same number of
layers, whatever its classes. So that is done once and kept as a template, and a run fills in the numbers.
"""

import errno
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from retrain._tensorflow import parse_saved_model, tf, write_fingerprint
from retrain.backbones import BOTTLENECK, PIXELS_INPUT, Trunk, graph_images
from retrain.errors import OutputError
from retrain.export.frozen_graph import apply_layers
from retrain.export.source import TrainedNetwork
from retrain.files import write_whole
from retrain.model import Layer
from retrain.paths import display_path

__all__ = ["SavedModel", "Template", "make_template", "reason_of"]

_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"  # the entry of a checkpoint that says whose the others are
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_TEMPLATE = "saved_model"  # how files in the cache begin
_SAMPLES = 3  # pictures to compare scores on


@dataclass(frozen=True)
class Template:
    """A SavedModel without its numbers."""

    model: bytes  # content of saved_model.pb, for any number of classes
    object_graph: bytes  # where its checkpoint says that the variables are


class SavedModel:
    """Writes a SavedModel.

    Signature `serving_default`: `image_bytes` (n,) string, the bytes of pictures (over REST: {"b64": ...}).
    Signature `pixels`: `pixels` (n, height, width, 3) float32 in [0, 1].
    Both give the scores (n, classes) float32 under the final tensor's name, and `labels` (n, classes) string in the
    order of the scores.
    """

    def write(self, network: TrainedNetwork, place: str | os.PathLike[str]) -> None:
        """Write the folder. Raises OutputError."""
        _fill(_template_for(network, place), network, place)

    def verify(self, network: TrainedNetwork, place: str | os.PathLike[str]) -> None:
        """Load the folder and compare labels and scores of a few pictures, singly and together.

        Takes seconds, for TensorFlow rebuilds the functions. Raises OutputError.
        """
        trunk = network.trunk
        shape = (_SAMPLES, trunk.height, trunk.width, 3)
        pixels = np.random.default_rng(0).uniform(0, 1, shape).astype(np.float32)
        try:
            run = tf.saved_model.load(os.fspath(place)).signatures["pixels"]
            answers = [run(pixels=tf.constant(part)) for part in (pixels, *np.split(pixels, len(pixels)))]
            together, *singly = [answer[network.final_tensor_name].numpy() for answer in answers]
            labels = [label.decode() for label in answers[0]["labels"].numpy()[0]]
        except (OSError, LookupError, ValueError, TypeError, AttributeError, tf.errors.OpError) as error:
            raise OutputError(f"can't load the SavedModel {display_path(place)}: {reason_of(error)}") from error
        expected = network.scores(pixels)
        is_same = all(np.allclose(found, expected, rtol=0, atol=1e-3) for found in (together, np.concatenate(singly)))
        if not is_same or labels != list(network.labels):
            raise OutputError(
                f"the SavedModel {display_path(place)} does not give the scores of the trained model: train it again"
            )


def _template_for(network: TrainedNetwork, place: str | os.PathLike[str]) -> Template:
    """Find the template in the cache. If it must be made, it is saved to `place` on the way."""
    layers, name = len(network.head.layers), network.final_tensor_name
    # the trunk's weights have no names in a SavedModel, only their places in the graph
    details = {"trunk": network.trunk.digest, "final_tensor_name": name, "layers": layers}
    kept_as = f"{_TEMPLATE}-{layers}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    found = network.source.find(kept_as)
    if found is not None and found[0].items() >= details.items():
        length = found[0]["model_bytes"]
        return Template(bytes(found[1][:length]), bytes(found[1][length:]))
    template = make_template(network.trunk, name, layers, place)
    details["model_bytes"] = len(template.model)
    network.source.keep(kept_as, details, [template.model, template.object_graph])
    return template


def make_template(trunk: Trunk, final_tensor_name: str, layers: int, place: str | os.PathLike[str]) -> Template:
    """Trace and save a SavedModel of a backbone under any head of so many layers.

    Large weights are variables, because TensorFlow copies constants into every function that calls theirs: with
    constants, Inception v3 took three times as long to load, eight seconds for the first answer, and twice the memory.
    Small weights are constants: tracing took 0.6 s with 93 variables, 1.1 s with 188.

    Args:
        place: the folder to save it to. It takes as much room as the finished one.
    Raises OutputError.
    """
    module = tf.Module()
    module.backbone = [tf.Variable(array, trainable=False) for array in trunk.weights.values()]
    graph_def = _without_weights(trunk)
    module.head = [
        (
            tf.Variable(tf.zeros([inputs or 1, 1]), shape=[inputs, None], trainable=False),
            tf.Variable(tf.zeros([1]), shape=[None], trainable=False),
        )
        for inputs in (trunk.bottleneck_size, None)[:layers]
    ]
    module.labels = tf.Variable([""], shape=[None], trainable=False)

    def backbone(pixels: tf.Tensor) -> tf.Tensor:
        inputs = {f"{name}:0": value.value() for name, value in zip(trunk.weights, module.backbone, strict=True)}
        [vectors] = tf.graph_util.import_graph_def(
            graph_def, inputs | {PIXELS_INPUT: pixels}, return_elements=[BOTTLENECK], name=""
        )
        return vectors

    arrays = tf.TensorSpec([None, trunk.height, trunk.width, 3], tf.float32, "pixels")
    bottlenecks = _function(backbone, arrays).get_concrete_function()

    def answer(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        scores = tf.nn.softmax(apply_layers(bottlenecks(pixels), tuple(Layer(*pair) for pair in module.head)))
        labels = tf.tile(module.labels.value()[tf.newaxis], [tf.shape(scores)[0], 1])
        return {final_tensor_name: scores, "labels": labels}

    def decoded(contents: tf.Tensor) -> tf.Tensor:
        pixels = tf.cast(graph_images.decode_any(contents, trunk.height, trunk.width), tf.float32)[tf.newaxis]
        pixels = graph_images.resize(pixels, trunk.height, trunk.width)[0] / 255.0
        return tf.ensure_shape(pixels, [trunk.height, trunk.width, 3])

    # traced once, here: TensorFlow traces its callers twice
    decode = _function(decoded, tf.TensorSpec([], tf.string, "contents")).get_concrete_function()

    def answer_files(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        return answer(tf.map_fn(decode, image_bytes, fn_output_signature=tf.float32))

    module.__call__ = _function(answer_files, tf.TensorSpec([None], tf.string, "image_bytes"))
    module.from_pixels = _function(answer, arrays)
    signatures = {"serving_default": module.__call__, "pixels": module.from_pixels}
    # given as functions, TensorFlow would trace them once more
    signatures = {name: function.get_concrete_function() for name, function in signatures.items()}
    try:
        tf.saved_model.save(module, os.fspath(place), signatures=signatures)
        checkpoint = tf.train.load_checkpoint(os.path.join(place, "variables", "variables"))
        return Template(Path(place, "saved_model.pb").read_bytes(), checkpoint.get_tensor(_OBJECT_GRAPH))
    except (tf.errors.OpError, OSError) as error:
        raise _not_written(place, error) from error


def _fill(template: Template, network: TrainedNetwork, place: str | os.PathLike[str]) -> None:
    """Write a template with the numbers of a network."""
    model = parse_saved_model(template.model)
    for signature in ("serving_default", "pixels"):  # tells clients of a server how many classes there are
        outputs = model.meta_graphs[0].signature_def[signature].outputs
        for name in (network.final_tensor_name, "labels"):
            outputs[name].tensor_shape.dim[1].size = len(network.labels)
    entries: dict[str, Any] = {_OBJECT_GRAPH: template.object_graph, f"labels{_VALUE}": list(network.labels)}
    for number, array in enumerate(network.trunk.weights.values()):
        entries[f"backbone/{number}{_VALUE}"] = array
    for number, layer in enumerate(network.head.layers):
        entries[f"head/{number}/0{_VALUE}"], entries[f"head/{number}/1{_VALUE}"] = layer.weights, layer.biases
    folder = Path(place)
    try:
        for part in ("assets", "variables"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        with tf.device("CPU"):
            tf.raw_ops.SaveV2(
                prefix=os.fspath(folder / "variables" / "variables"),
                tensor_names=list(entries),
                shape_and_slices=[""] * len(entries),
                tensors=[tf.constant(value) for value in entries.values()],
            )
        write_whole(folder / "saved_model.pb", model.SerializeToString(deterministic=True))
        write_fingerprint(folder)
    except (tf.errors.OpError, OSError) as error:
        raise _not_written(place, error) from error


def reason_of(error: Exception) -> str:
    """Return why a file couldn't be written, in the words of the operating system.

    TensorFlow's own messages name operations, devices and temporary files.
    """
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    message = str(error.message if isinstance(error, tf.errors.OpError) else error)
    known = [reason for reason in map(os.strerror, errno.errorcode) if reason in message]
    return max(known, key=len, default=message.partition("\n")[0])


def _function(function: Callable[..., Any], spec: tf.TensorSpec) -> Any:
    return tf.function(function, input_signature=[spec], autograph=False)


def _without_weights(trunk: Trunk) -> tf.compat.v1.GraphDef:
    """Return the network of a trunk without its large constants."""
    whole, graph_def = trunk.nodes(), tf.compat.v1.GraphDef()
    graph_def.versions.CopyFrom(whole.versions)
    for node in whole.node:
        if node.name not in trunk.weights and node.name.startswith(("backbone/", BOTTLENECK[:-2])):
            kept = graph_def.node.add()
            kept.CopyFrom(node)
            # a function's arguments can't be waited for, only used
            del kept.input[:]
            kept.input.extend(name for name in node.input if name != f"^{PIXELS_INPUT[:-2]}")
    return graph_def


def _not_written(folder: str | os.PathLike[str], error: Exception) -> OutputError:
    return OutputError(f"can't write the SavedModel {display_path(folder)}: {reason_of(error)}")
