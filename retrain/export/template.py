"""The template of a SavedModel: TensorFlow traces a backbone under any head, once, and saves it without its numbers.

It takes seconds. All but the numbers is the same for every head with the same number of layers, whatever its classes.
"""

import functools
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from retrain._tensorflow import tf
from retrain.backbones import BOTTLENECK, PIXELS_INPUT, Trunk, graph_images
from retrain.data import PictureForm
from retrain.export.saved_model import OBJECT_GRAPH, HeadForm, Template
from retrain.model import KNOWN, Layer

__all__ = ["apply_layers", "apply_rejection", "make_template"]

_LEAST = 1e-30  # of the sum of the squares of a bottleneck, so that zeros stay zeros


def make_template(trunk: Trunk, pictures: PictureForm, form: HeadForm, place: str | os.PathLike[str]) -> Template:
    """Trace and save a SavedModel of a backbone under any head of a form.

    Large weights are variables, because TensorFlow copies constants into every function that calls theirs: with
    constants, Inception v3 took three times as long to load, eight seconds for the first answer, and twice the memory.
    Small weights are constants: tracing took 0.6 s with 93 variables, 1.1 s with 188.

    Args:
        pictures: what the bytes of files are brought to.
        place: a folder; it is saved in there for a moment, and takes as much room as the finished one.
    Raises tf.errors.OpError, OSError.
    """
    weights, module = trunk.arrays(), tf.Module()
    module.backbone = [tf.Variable(array, trainable=False) for array in weights.values()]
    graph_def = _without_weights(trunk)
    _add_head(module, form, trunk.bottleneck_size)

    def backbone(pixels: tf.Tensor) -> tf.Tensor:
        inputs = {f"{name}:0": value.value() for name, value in zip(weights, module.backbone, strict=True)}
        [vectors] = tf.graph_util.import_graph_def(
            graph_def, inputs | {PIXELS_INPUT: pixels}, return_elements=[BOTTLENECK], name=""
        )
        return vectors

    arrays = tf.TensorSpec([None, trunk.height, trunk.width, 3], tf.float32, "pixels")
    bottlenecks = _function(backbone, arrays).get_concrete_function()

    def answer(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        return _answer(bottlenecks(pixels), module, form)

    decode = _decoding(pictures)  # here: TensorFlow traces the caller twice

    def answer_files(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        return answer(tf.map_fn(decode, image_bytes, fn_output_signature=tf.float32))

    module.__call__ = _function(answer_files, tf.TensorSpec([None], tf.string, "image_bytes"))
    module.from_pixels = _function(answer, arrays)
    signatures = {"serving_default": module.__call__, "pixels": module.from_pixels}
    # given as functions, TensorFlow would trace them once more
    signatures = {name: function.get_concrete_function() for name, function in signatures.items()}
    with tempfile.TemporaryDirectory(dir=place) as folder:
        tf.saved_model.save(module, folder, signatures=signatures)
        checkpoint = tf.train.load_checkpoint(os.path.join(folder, "variables", "variables"))
        return Template(Path(folder, "saved_model.pb").read_bytes(), checkpoint.get_tensor(OBJECT_GRAPH))


@functools.lru_cache(maxsize=4)
def _decoding(pictures: PictureForm) -> Any:
    """From a file to (height, width, 3) float32 in [0, 1]: a concrete function.

    Its 900 operations are traced once in a process: they took two thirds of the time of every further backbone.
    """

    def decoded(contents: tf.Tensor) -> tf.Tensor:
        return graph_images.decode_resized(contents, pictures) / 255.0

    return _function(decoded, tf.TensorSpec([], tf.string, "contents")).get_concrete_function()


def _add_head(module: tf.Module, form: HeadForm, size: int) -> None:
    """Give a module the variables of a head, for any number of classes. size: of a bottleneck."""

    def variable(*shape: int | None) -> tf.Variable:
        return tf.Variable(tf.zeros([length or 1 for length in shape]), shape=shape, trainable=False)

    module.head = [(variable(inputs, None), variable(None)) for inputs in (size, None)[: form.layers]]
    module.labels = tf.Variable([""], shape=[None], trainable=False)
    if form.activation == "sigmoid":
        module.thresholds = variable(None)
    if form.tells_known:
        module.rejection = [variable(size, None), variable(size, None), variable(None), variable(), variable()]


def _answer(vectors: tf.Tensor, module: tf.Module, form: HeadForm) -> dict[str, tf.Tensor]:
    """The outputs of both signatures, by the variables of the head."""
    logits = apply_layers(vectors, tuple(Layer(*pair) for pair in module.head))
    scores = tf.nn.softmax(logits) if form.activation == "softmax" else tf.nn.sigmoid(logits)

    def for_each_picture(values: tf.Variable) -> tf.Tensor:
        return tf.tile(values.value()[tf.newaxis], [tf.shape(scores)[0], 1])

    answers = {form.final_tensor_name: scores, "labels": for_each_picture(module.labels)}
    if form.activation == "sigmoid":
        answers["thresholds"] = for_each_picture(module.thresholds)
    if form.tells_known:
        answers[KNOWN] = apply_rejection(vectors, *module.rejection)
    return answers


def apply_rejection(
    vectors: tf.Tensor, directions: tf.Tensor, slopes: tf.Tensor, offsets: tf.Tensor, *limit: tf.Tensor
) -> tf.Tensor:
    """Compute `known`, (n, 1), as `Rejection` does, but on tensors. limit: threshold and scale."""
    threshold, scale = limit
    unit = tf.math.l2_normalize(vectors, axis=1, epsilon=_LEAST)
    taken_off = tf.reduce_sum(tf.square(tf.matmul(unit, directions)), axis=1, keepdims=True)
    nearest = tf.reduce_min(tf.matmul(unit, slopes) + offsets, axis=1, keepdims=True)
    return tf.sigmoid((threshold - (nearest - taken_off)) / scale)


def apply_layers(vectors: tf.Tensor, layers: tuple[Layer, ...]) -> tf.Tensor:
    """Compute logits as `Head.logits` does, but on tensors."""
    for layer in layers[:-1]:
        vectors = tf.nn.relu(tf.matmul(vectors, layer.weights) + layer.biases)
    return tf.matmul(vectors, layers[-1].weights) + layers[-1].biases


def _function(function: Callable[..., Any], spec: tf.TensorSpec) -> Any:
    return tf.function(function, input_signature=[spec], autograph=False)


def _without_weights(trunk: Trunk) -> tf.compat.v1.GraphDef:
    """Return the network of a trunk without its large constants."""
    whole, graph_def = trunk.nodes(), tf.compat.v1.GraphDef()
    weights = {weight.name for weight in trunk.weights}
    graph_def.versions.CopyFrom(whole.versions)
    for node in whole.node:
        if node.name not in weights and node.name.startswith(("backbone/", BOTTLENECK[:-2])):
            kept = graph_def.node.add()
            kept.CopyFrom(node)
            # a function's arguments can't be waited for, only used
            del kept.input[:]
            kept.input.extend(name for name in node.input if name != f"^{PIXELS_INPUT[:-2]}")
    return graph_def
