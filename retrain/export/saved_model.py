"""The SavedModel: picture files or pixels in, scores and labels out.

TensorFlow needs seconds to trace and save one. All but the numbers is the same for every head of as many layers,
whatever its classes, so that is done once and kept as a template; a run fills in the numbers.
"""

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retrain._tensorflow import parse_saved_model, tf, write_fingerprint
from retrain.backbones import graph_images
from retrain.backbones.graph import BOTTLENECK, PIXELS_INPUT, Trunk
from retrain.errors import OutputError
from retrain.files import write_whole
from retrain.model.head import Head, Layer
from retrain.paths import display_path

__all__ = ["Template", "apply_layers", "make_template", "reason_of", "write_saved_model"]

_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"  # the entry of a checkpoint that says whose the others are
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


@dataclass(frozen=True)
class Template:
    """A SavedModel without its numbers."""

    model: bytes  # what saved_model.pb holds, for any number of classes
    object_graph: bytes  # what its checkpoint says of the variables' places


def apply_layers(vectors: tf.Tensor, layers: Sequence[Layer]) -> tf.Tensor:
    """What `Head.logits` does, on tensors."""
    for layer in layers[:-1]:
        vectors = tf.nn.relu(tf.matmul(vectors, layer.weights) + layer.biases)
    return tf.matmul(vectors, layers[-1].weights) + layers[-1].biases


def make_template(trunk: Trunk, final_tensor_name: str, layers: int, place: str | os.PathLike[str]) -> Template:
    """Trace and save a SavedModel of a backbone below any head of so many layers.

    Large weights are variables, for TensorFlow copies constants with every function that calls theirs: as constants,
    Inception v3 took three times as long to load, eight seconds to answer for the first time, and twice the memory.
    Small ones are constants: with 93 variables tracing took 0.6 s, with 188 it took 1.1 s.

    Args:
        place: a folder that it is saved to; it takes as much room as the finished one.
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
        scores = tf.nn.softmax(apply_layers(bottlenecks(pixels), [Layer(*pair) for pair in module.head]))
        labels = tf.tile(module.labels.value()[tf.newaxis], [tf.shape(scores)[0], 1])
        return {final_tensor_name: scores, "labels": labels}

    def decoded(contents: tf.Tensor) -> tf.Tensor:
        pixels = tf.cast(graph_images.decode_any(contents, trunk.height, trunk.width), tf.float32)[tf.newaxis]
        pixels = graph_images.resize(pixels, trunk.height, trunk.width)[0] / 255.0
        return tf.ensure_shape(pixels, [trunk.height, trunk.width, 3])

    # traced here, once: TensorFlow traces what calls it twice
    decode = _function(decoded, tf.TensorSpec([], tf.string, "contents")).get_concrete_function()

    def answer_files(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        return answer(tf.map_fn(decode, image_bytes, fn_output_signature=tf.float32))

    module.__call__ = _function(answer_files, tf.TensorSpec([None], tf.string, "image_bytes"))
    module.from_pixels = _function(answer, arrays)
    signatures = {"serving_default": module.__call__, "pixels": module.from_pixels}
    # given as they are, TensorFlow would trace them once more
    signatures = {name: function.get_concrete_function() for name, function in signatures.items()}
    try:
        tf.saved_model.save(module, os.fspath(place), signatures=signatures)
        checkpoint = tf.train.load_checkpoint(os.path.join(place, "variables", "variables"))
        return Template(Path(place, "saved_model.pb").read_bytes(), checkpoint.get_tensor(_OBJECT_GRAPH))
    except (tf.errors.OpError, OSError) as error:
        raise _not_written(place, error) from error


def write_saved_model(
    trunk: Trunk,
    template: Template,
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

    Args:
        template: made from this trunk, for this final tensor's name and this many layers.
    Raises OutputError.
    """
    model = parse_saved_model(template.model)
    for signature in ("serving_default", "pixels"):  # says how many classes there are to whoever asks the server
        outputs = model.meta_graphs[0].signature_def[signature].outputs
        for name in (final_tensor_name, "labels"):
            outputs[name].tensor_shape.dim[1].size = len(labels)
    entries: dict[str, Any] = {_OBJECT_GRAPH: template.object_graph, f"labels{_VALUE}": list(labels)}
    for number, array in enumerate(trunk.weights.values()):
        entries[f"backbone/{number}{_VALUE}"] = array
    for number, layer in enumerate(head.layers):
        entries[f"head/{number}/0{_VALUE}"], entries[f"head/{number}/1{_VALUE}"] = layer.weights, layer.biases
    folder = Path(folder)
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
        raise _not_written(folder, error) from error


def reason_of(error: Exception) -> str:
    """Why a file couldn't be written, as the operating system says it.

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
    """The network of a trunk without its large constants."""
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
