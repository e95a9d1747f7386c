"""Networks that Keras builds: its Applications, and EfficientNet-Lite."""

import difflib
import importlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from retrain._tensorflow import import_keras, tf
from retrain.backbones.backbone import NAMES, BackboneSource
from retrain.backbones.layers import keras_groups
from retrain.backbones.network import Network
from retrain.backbones.sources import keras_weights
from retrain.backbones.sources.efficientnet_lite import (
    LITE_NETWORKS,
    build_network,
    preprocess_input,
    set_torch_weights,
)
from retrain.backbones.sources.known_digests import note_digest
from retrain.backbones.sources.torch_weights import read_torch_weights
from retrain.errors import BackboneError
from retrain.paths import display_path
from retrain.text import first_line, listing

__all__ = ["load_keras", "published_weights"]


def load_keras(source: BackboneSource) -> Network:
    """Build a network and load its weights, downloading them if they are missing. Raises BackboneError."""
    keras = import_keras()
    if keras.backend.backend() != "tensorflow":
        raise BackboneError(
            f"Keras runs on {keras.backend.backend()}, expected tensorflow: set KERAS_BACKEND=tensorflow"
        )
    build = _build_lite if source.architecture in LITE_NETWORKS else _build_application
    size = source.input_size or 224
    used: list[Path] = []  # of the files that Keras publishes
    try:
        with keras_weights.own_downloads(source.name, used.append):
            model, preprocess = build(source, size)
    except (ValueError, OSError, KeyError, TypeError, UserWarning) as error:
        weights = "" if source.location is None else f" with weights {display_path(source.location)}"
        raise BackboneError(
            f"backbone {source.name}{weights} at {size} x {size} can't be built: {first_line(error)}"
        ) from error
    groups = keras_groups(model)
    model.trainable = False

    def function(pixels: tf.Tensor) -> tf.Tensor:
        return model(preprocess(pixels * 255.0), training=False)

    network = Network(function, size, size, model, groups)
    if used:
        note_digest(source.network, used[-1], network.weights_digest())
    return network


def _build_application(source: BackboneSource, size: int) -> tuple[Any, Callable[[Any], Any]]:
    """A network of Keras Applications, and what it does to pixels in [0, 255] first."""
    build, options = _keras_application(source), _build_options(source, size)
    if source.location is None:
        model = build(weights="imagenet", **options)
    else:
        model = build(weights=None, **options)
        _load_keras_weights(model, source.location)
    return model, importlib.import_module(build.__module__).preprocess_input


def _build_options(source: BackboneSource, size: int) -> dict[str, Any]:
    options: dict[str, Any] = {"include_top": False, "pooling": "avg", "input_shape": (size, size, 3)}
    return options if source.alpha == 1.0 else options | {"alpha": source.alpha}


def _build_lite(source: BackboneSource, size: int) -> tuple[Any, Callable[[Any], Any]]:
    """An EfficientNet-Lite, and what it does to pixels in [0, 255] first."""
    name, path = str(source.architecture), Path(str(source.location))
    if path.suffix == ".pth":
        arrays = read_torch_weights(path, source.weights_sha256)  # first: a damaged file is told at once
        model = build_network(name, size)
        set_torch_weights(model, arrays)
    else:
        model = build_network(name, size)
        _load_keras_weights(model, str(path))
    return model, preprocess_input


def _load_keras_weights(model: Any, path: str) -> None:
    with warnings.catch_warnings():
        # Keras warns of layers that keep their random weights
        warnings.filterwarnings("error", "Skipping nested container", UserWarning)
        model.load_weights(path)


def _keras_application(source: BackboneSource) -> Any:
    """The function that builds an architecture: resnet50 -> keras.applications.ResNet50."""
    keras = import_keras()
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
        raise BackboneError(f"backbone {source.name} at {size} x {size} can't be built: {first_line(error)}") from error
    return found[-1]
