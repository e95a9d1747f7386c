"""SavedModels as backbones, TensorFlow Hub's modules among them: what to call, with pictures of which size."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from retrain._tensorflow import parse_saved_model, tf
from retrain.backbones.backbone import BackboneSource
from retrain.backbones.layers import saved_groups
from retrain.backbones.network import Network
from retrain.backbones.sources.graph_safety import check_saved_model
from retrain.errors import BackboneError
from retrain.paths import display_path
from retrain.text import counted, first_line, listing

__all__ = ["load_saved_model"]

# Signatures and outputs of TensorFlow Hub's image modules, in order of preference.
_SIGNATURES = ("image_feature_vector", "default", "serving_default")
_OUTPUTS = ("default", "feature_vector", "bottleneck", "output_0")


def load_saved_model(folder: str, source: BackboneSource) -> Network:
    """Load the SavedModel in a folder; one that is not trusted is checked first. Raises BackboneError."""
    if not source.trust:
        _check_saved_model(folder, source)
    is_tf1_module = os.path.exists(os.path.join(folder, "tfhub_module.pb"))
    try:
        loaded = tf.saved_model.load(folder, tags=[] if is_tf1_module else None)
    except Exception as error:  # TensorFlow raises many kinds for damaged models; the reason is kept
        raise BackboneError(
            f"backbone {source.name}: the SavedModel in {display_path(folder)} can't be loaded: {first_line(error)}"
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
            f"backbone {source.name} does not take (n, {height}, {width}, 3) float32 pixels: {first_line(error)}"
        ) from error


def _check_saved_model(folder: str, source: BackboneSource) -> None:
    """Refuse a SavedModel that may do more than compute, before it is loaded. Raises BackboneError."""
    where = f"the SavedModel in {display_path(folder)}"
    try:
        # the file that TensorFlow loads where there are several
        saved_model = parse_saved_model(Path(folder, "saved_model.pb").read_bytes())
    except OSError as error:
        raise BackboneError(
            f"backbone {source.name}: {where} has no readable saved_model.pb ({error.strerror}): give a SavedModel in "
            "its binary form"
        ) from error
    except DecodeError as error:
        raise BackboneError(
            f"backbone {source.name}: {where} can't be loaded: its saved_model.pb is damaged ({first_line(error)}); "
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
