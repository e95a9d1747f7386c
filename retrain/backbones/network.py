"""Backbones as TensorFlow functions: pixels in, bottlenecks out, whatever form the network comes in."""

import difflib
import hashlib
import importlib
import os
import warnings
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from retrain._tensorflow import tf
from retrain.backbones.backbone import NAMES, BackboneSource
from retrain.backbones.layers import VariableGroup, find_layers, keras_groups, saved_groups
from retrain.backbones.sources import hub, keras_weights
from retrain.backbones.sources.efficientnet_lite import (
    LITE_NETWORKS,
    build_network,
    load_torch_weights,
    preprocess_input,
)
from retrain.backbones.sources.graph_safety import check_saved_model
from retrain.errors import BackboneError
from retrain.paths import display_path
from retrain.text import counted, listing

__all__ = ["Network", "graph_runner", "load_network", "published_weights", "suitable_batch_size"]

Runner = Callable[[NDArray[np.uint8]], NDArray[np.float32]]

# Pictures in one call of the network. Measured on processors: from 16 to 64 at 299 x 299 make no difference.
_GPU_BATCH_SIZE = 64
_BATCH_SIZE = 32
_BATCH_PIXELS = 32 * 331**2  # fewer of larger pictures, so that memory stays bounded

# Signatures and outputs of TensorFlow Hub's image modules, in order of preference.
_SIGNATURES = ("image_feature_vector", "default", "serving_default")
_OUTPUTS = ("default", "feature_vector", "bottleneck", "output_0")


class Network:
    """A frozen network.

    Args:
        function: (n, height, width, 3) float32, RGB in [0, 1], to (n, bottleneck_size) float32.
        height, width: of the pictures, in pixels.
        owner: the Keras model or loaded SavedModel that `function` calls; its variables live as long as it does.
        groups: its layers.
    """

    def __init__(
        self,
        function: Callable[[tf.Tensor], tf.Tensor],
        height: int,
        width: int,
        owner: Any,
        groups: Sequence[VariableGroup] = (),
    ) -> None:
        self.height, self.width = height, width
        self.batch_size = suitable_batch_size(height, width)
        self._owner = owner
        spec = tf.TensorSpec([None, height, width, 3], tf.float32, name="pixels")
        # without autograph, which would put its own text before that of an error
        self.function = tf.function(function, input_signature=[spec], autograph=False).get_concrete_function()
        shape = self.function.outputs[0].shape
        if shape.rank != 2 or shape[1] is None:
            raise BackboneError(f"the backbone gives {shape} for a batch of pictures, expected (n, length)")
        self.bottleneck_size = int(shape[1])
        self.layers = find_layers(self.function, groups)

    def bottlenecks(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run the network: (n, height, width, 3) uint8, RGB, to (n, bottleneck_size) float32.

        Raises BackboneError where it gives NaN or infinity.
        """
        vectors = self._run(pixels)
        if not np.isfinite(vectors).all():
            raise BackboneError("the backbone gives values that are not finite: check its weights and input range")
        return vectors

    @cached_property
    def _run(self) -> Runner:
        return self.runner()

    def runner(self, config: tf.compat.v1.ConfigProto | None = None) -> Runner:
        """The network as a function of uint8 pixels, for many calls, with a session's settings."""
        return graph_runner(*self.frozen_graph, self.height, self.width, config)

    def weights_digest(self) -> str:
        """SHA-256 over the arrays of a Keras model, in its order."""
        digest = hashlib.sha256()
        for array in self._owner.get_weights():
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    @cached_property
    def frozen_graph(self) -> tuple[tf.compat.v1.GraphDef, str, str]:
        """The network with its weights as constants, and the names of its input and output tensors."""
        from tensorflow.python.framework import convert_to_constants

        # The public convert_variables_to_constants_v2 does this, then makes a function of the graph again, which takes
        # ten times as long and is not needed here.
        data = convert_to_constants._FunctionConverterDataInEager(
            func=self.function, lower_control_flow=True, aggressive_inlining=False
        )
        graph_def, _ = convert_to_constants._replace_variables_by_constants(converter_data=data)
        for node in graph_def.node:
            # tied to a function that is not in the graph (as of swish); the operations have gradients of their own
            node.attr.pop("_gradient_op_type", None)
        return graph_def, self.function.inputs[0].name, self.function.outputs[0].name


def graph_runner(
    graph_def: tf.compat.v1.GraphDef,
    start: str,
    end: str,
    height: int,
    width: int,
    config: tf.compat.v1.ConfigProto | None = None,
) -> Runner:
    """A frozen graph as a function of (n, height, width, 3) uint8 pixels, for many calls.

    Its weights are constants, so that TensorFlow arranges them for the processor once and not in each call: 1.1
    (Inception v3) to 1.5 times (MobileNetV2) as fast as a function that has variables.

    Args:
        start: the tensor that takes pixels, float32 in [0, 1].
        end: the tensor that is wanted.
        config: the session's settings.
    """
    graph = tf.Graph()
    with graph.as_default():
        pixels = tf.compat.v1.placeholder(tf.uint8, [None, height, width, 3])
        [vectors] = tf.graph_util.import_graph_def(
            graph_def, {start: tf.cast(pixels, tf.float32) / 255.0}, return_elements=[end]
        )
    config = config or tf.compat.v1.ConfigProto()
    config.gpu_options.allow_growth = True
    run: Runner = tf.compat.v1.Session(graph=graph, config=config).make_callable(vectors, [pixels])
    return run


def suitable_batch_size(height: int, width: int) -> int:
    """How many pictures of a size, in pixels, go into one call of a network on this machine's device."""
    if tf.config.list_physical_devices("GPU"):
        return _GPU_BATCH_SIZE
    return max(1, min(_BATCH_SIZE, _BATCH_PIXELS // (height * width)))


def load_network(source: BackboneSource) -> Network:
    """Load a backbone, downloading it first where need be. Raises BackboneError."""
    if source.kind == "keras":
        return _load_keras(source)
    folder = str(hub.resolve_handle(str(source.location)) if source.kind == "hub" else source.location)
    return _load_saved_model(folder, source)


# Networks of Keras: its Applications, and EfficientNet-Lite


def _load_keras(source: BackboneSource) -> Network:
    import keras

    if keras.backend.backend() != "tensorflow":
        raise BackboneError(
            f"Keras runs on {keras.backend.backend()}, expected tensorflow: set KERAS_BACKEND=tensorflow"
        )
    build = _build_lite if source.architecture in LITE_NETWORKS else _build_application
    size = source.input_size or 224
    try:
        model, preprocess = build(source, size)
    except (ValueError, OSError, KeyError, TypeError, UserWarning) as error:
        weights = "" if source.location is None else f" with weights {display_path(source.location)}"
        raise BackboneError(
            f"backbone {source.name}{weights} at {size} x {size} can't be built: {_first_line(error)}"
        ) from error
    groups = keras_groups(model)
    model.trainable = False

    def function(pixels: tf.Tensor) -> tf.Tensor:
        return model(preprocess(pixels * 255.0), training=False)

    return Network(function, size, size, model, groups)


def _build_application(source: BackboneSource, size: int) -> tuple[Any, Callable[[Any], Any]]:
    """A network of Keras Applications, and what it does to pixels in [0, 255] first."""
    build, options = _keras_application(source), _build_options(source, size)
    if source.location is None:
        model = _download(lambda: build(weights="imagenet", **options), source.name)
    else:
        model = build(weights=None, **options)
        _load_keras_weights(model, source.location)
    return model, importlib.import_module(build.__module__).preprocess_input


def _build_options(source: BackboneSource, size: int) -> dict[str, Any]:
    options: dict[str, Any] = {"include_top": False, "pooling": "avg", "input_shape": (size, size, 3)}
    return options if source.alpha == 1.0 else options | {"alpha": source.alpha}


def _build_lite(source: BackboneSource, size: int) -> tuple[Any, Callable[[Any], Any]]:
    """An EfficientNet-Lite, and what it does to pixels in [0, 255] first."""
    model, path = build_network(str(source.architecture), size), Path(str(source.location))
    if path.suffix == ".pth":
        load_torch_weights(model, path, source.weights_sha256)
    else:
        _load_keras_weights(model, str(path))
    return model, preprocess_input


def _load_keras_weights(model: Any, path: str) -> None:
    with warnings.catch_warnings():
        # Keras warns of layers that keep their random weights
        warnings.filterwarnings("error", "Skipping nested container", UserWarning)
        model.load_weights(path)


def _keras_application(source: BackboneSource) -> Any:
    """The function that builds an architecture: resnet50 -> keras.applications.ResNet50."""
    import keras

    builders = {
        name.lower(): getattr(keras.applications, name) for name in dir(keras.applications) if name[0].isupper()
    }
    wanted = str(source.architecture).lower().replace("_", "")
    if wanted not in builders:
        near = difflib.get_close_matches(str(source.architecture), NAMES, 1)
        raise BackboneError(
            f"unknown backbone {source.name!r}: no such folder, and no network of that name"
            + (
                f"; did you mean {near[0]}?"
                if near
                else f" ({listing(sorted(NAMES))}; retrain backbones lists them all)"
            )
        )
    return builders[wanted]


def _download(build: Callable[[], Any], name: str) -> Any:
    """Call what takes weights that Keras publishes; they are downloaded where they are not here."""
    with keras_weights.own_downloads(name):
        return build()


def published_weights(source: BackboneSource) -> Path:
    """The weights file that Keras publishes for a network, tried; downloaded where it is not here.

    Raises BackboneError, and BackboneUnavailableError where it can't be had.
    """
    build, size = _keras_application(source), source.input_size or 224
    found: list[Path] = []
    try:
        with keras_weights.own_downloads(source.name, found.append):
            build(weights="imagenet", **_build_options(source, size))
    except (ValueError, OSError, KeyError, TypeError) as error:
        raise BackboneError(
            f"backbone {source.name} at {size} x {size} can't be built: {_first_line(error)}"
        ) from error
    return found[-1]


# SavedModels and TensorFlow Hub's modules


def _load_saved_model(folder: str, source: BackboneSource) -> Network:
    if not source.trust:
        _check_saved_model(folder, source)
    is_tf1_module = os.path.exists(os.path.join(folder, "tfhub_module.pb"))
    try:
        loaded = tf.saved_model.load(folder, tags=[] if is_tf1_module else None)
    except Exception as error:  # TensorFlow raises many kinds for damaged models; the reason is kept
        raise BackboneError(
            f"backbone {source.name}: the SavedModel in {display_path(folder)} can't be loaded: {_first_line(error)}"
        ) from error
    call, shape = _callable_of(loaded, source)
    height, width = _picture_size(shape, source)
    low, high = {"0..1": (0.0, 1.0), "-1..1": (-1.0, 1.0), "0..255": (0.0, 255.0)}[source.input_range or "0..1"]

    def function(pixels: tf.Tensor) -> tf.Tensor:
        scaled = pixels if (low, high) == (0.0, 1.0) else pixels * (high - low) + low
        return _as_vector(call(scaled), source)

    try:
        return Network(function, height, width, loaded, saved_groups(loaded))
    except (ValueError, TypeError, tf.errors.InvalidArgumentError) as error:
        raise BackboneError(
            f"backbone {source.name} does not take (n, {height}, {width}, 3) float32 pixels: {_first_line(error)}"
        ) from error


def _check_saved_model(folder: str, source: BackboneSource) -> None:
    """Refuse a SavedModel that may do more than compute, before it is loaded. Raises BackboneError."""
    from tensorflow.core.protobuf import saved_model_pb2

    where = f"the SavedModel in {display_path(folder)}"
    try:
        # the file that TensorFlow loads where there are several
        saved_model = saved_model_pb2.SavedModel.FromString(Path(folder, "saved_model.pb").read_bytes())
    except OSError as error:
        raise BackboneError(
            f"backbone {source.name}: {where} has no readable saved_model.pb ({error.strerror}): give a SavedModel in "
            "its binary form"
        ) from error
    except DecodeError as error:
        raise BackboneError(
            f"backbone {source.name}: {where} can't be loaded: its saved_model.pb is damaged ({_first_line(error)}); "
            "get it again"
        ) from error
    check_saved_model(saved_model, f"backbone {source.name}: {where}", BackboneError)


def _callable_of(loaded: Any, source: BackboneSource) -> tuple[Callable[[tf.Tensor], Any], tf.TensorShape]:
    """What to call with pixels, and the shape that it wants."""
    signatures = dict(getattr(loaded, "signatures", {}))
    name = next((name for name in _SIGNATURES if name in signatures), None)
    if callable(loaded):
        shape = _shape_of_call(loaded)
        if shape is None and name:
            shape = _input_spec(signatures[name])[1]
        if shape is None:
            shape = tf.TensorShape([None, None, None, 3])
        return lambda pixels: _call_loaded(loaded, pixels), shape
    if name is None:
        raise BackboneError(
            f"backbone {source.name} has neither a call nor one of the signatures {', '.join(_SIGNATURES)}; "
            f"found: {listing(sorted(signatures)) or 'none'}"
        )
    argument, shape = _input_spec(signatures[name])
    return lambda pixels: signatures[name](**{argument: pixels}), shape


def _input_spec(signature: Any) -> tuple[str, tf.TensorShape]:
    """Name and shape of the only input of a signature."""
    inputs = signature.structured_input_signature[1]
    if len(inputs) != 1:
        raise BackboneError(
            f"the backbone's signature takes {counted(len(inputs), 'input')} ({listing(sorted(inputs))}), expected one"
        )
    [(name, spec)] = inputs.items()
    return name, spec.shape


def _shape_of_call(loaded: Any) -> tf.TensorShape | None:
    """The shape of the first tensor that a call takes; None where it does not say."""
    for function in getattr(loaded.__call__, "concrete_functions", []):
        for spec in tf.nest.flatten(function.structured_input_signature):
            if isinstance(spec, tf.TensorSpec) and spec.shape.rank not in (0, None):
                return spec.shape
    return None


def _call_loaded(loaded: Any, pixels: tf.Tensor) -> Any:
    """Call a reusable SavedModel in inference mode; not all have the argument `training`."""
    try:
        return loaded(pixels, training=False)
    except (TypeError, ValueError):
        return loaded(pixels)


def _as_vector(output: Any, source: BackboneSource) -> tf.Tensor:
    """The bottleneck out of what a model returns: a tensor, or a dictionary of them; feature maps are averaged."""
    if isinstance(output, dict):
        name = next((name for name in _OUTPUTS if name in output), None)
        if name is None and len(output) > 1:
            raise BackboneError(
                f"backbone {source.name} has the outputs {listing(sorted(output))}; "
                f"expected one, or one named {_OUTPUTS[0]}"
            )
        output = output[name] if name else next(iter(output.values()))
    if output.shape.rank == 4:
        output = tf.reduce_mean(output, axis=[1, 2])
    return tf.cast(output, tf.float32)


def _picture_size(shape: tf.TensorShape, source: BackboneSource) -> tuple[int, int]:
    """Height and width that a model wants; --input-size where it leaves them open."""
    if shape.rank != 4 or shape[3] not in (3, None):
        raise BackboneError(f"backbone {source.name} takes {shape}, expected pictures (n, height, width, 3)")
    if shape[0] is not None:
        raise BackboneError(f"backbone {source.name} takes batches of exactly {shape[0]}, expected any number")
    height, width, wanted = shape[1], shape[2], source.input_size
    if height is None or width is None:
        if wanted is None:
            raise BackboneError(f"backbone {source.name} takes pictures of any size: say which with --input-size")
        return wanted, wanted
    if wanted is not None and (height, width) != (wanted, wanted):
        raise BackboneError(
            f"backbone {source.name} takes pictures of {height} x {width} only, not of --input-size {wanted} "
            f"(it is the SavedModel {display_path(str(source.location))})"
        )
    return int(height), int(width)


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]
