"""The backbone of a run that names none: Inception v3, or if that can't be had, one that comes with the program."""

import contextlib
import dataclasses
from pathlib import Path

from retrain.backbones.backbone import DEFAULT, Backbone, locate_backbone
from retrain.backbones.sources import keras_weights
from retrain.backbones.sources.listener import Limits
from retrain.cache import read_notes
from retrain.errors import BackboneError, BackboneUnavailableError, CacheError
from retrain.events import Emit, Noted, Warned
from retrain.options import BackboneOptions, RunOptions
from retrain.paths import display_path

__all__ = ["FALLBACK", "choose_backbone"]

FALLBACK = "efficientnet_lite0"  # comes with the program

# What Keras asks for when it builds Inception v3: name, address and MD5 of the weights file. Asking here, without
# TensorFlow, shows at once that there is no network connection.
_FILE = "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5"
_URL = f"https://storage.googleapis.com/tensorflow/keras-applications/inception_v3/{_FILE}"
_MD5 = "bcbd6486424b2319ff4ef7d526e38f63"

# How long a run waits for the server, if an earlier run waited in vain.
_IMPATIENT = Limits(answer_seconds=3.0, tries=1)


def choose_backbone(options: RunOptions, emit: Emit) -> tuple[Backbone, RunOptions]:
    """The backbone of a run, and its options with the backbone's name filled in.

    If none is named, Inception v3 is downloaded now unless it is on this machine: whether that works decides.

    Args:
        emit: told, in one line, where the backbone is another one than Inception v3, or than in earlier runs.
    Raises BackboneError.
    """
    if options.backbone.backbone is not None:
        located = locate_backbone(options.backbone)
        for remark in located.remarks:
            emit(Noted(remark))
        return located, options
    named = dataclasses.replace(options.backbone, backbone=DEFAULT)
    backbone, cache_dir = locate_backbone(named), Path(options.extraction.cache_dir)
    has_fallback, has_default = _has_rows(cache_dir, FALLBACK), _has_rows(cache_dir, DEFAULT)
    try:
        if backbone.source.kind == "keras" and backbone.source.location is None:
            limits = _IMPATIENT if has_fallback and not has_default else Limits()
            keras_weights.weights_file(DEFAULT, _FILE, _URL, _MD5, limits)
    except BackboneUnavailableError as error:
        named = dataclasses.replace(named, backbone=FALLBACK)
        backbone = _fall_back(named, error)
        unused = f" (the bottlenecks of {DEFAULT} in {display_path(cache_dir)} can't be used without its weights)"
        emit(
            Warned(
                f"no --backbone is named and Inception v3 can't be had: using {FALLBACK}, which comes with this program"
                f"{unused if has_default else ''}; {error}"
            )
        )
    else:
        if has_fallback and not has_default:
            emit(
                Warned(
                    f"using {DEFAULT}, the default: {display_path(cache_dir)} has bottlenecks of {FALLBACK} from "
                    f"earlier runs and none of {DEFAULT}, so every picture is extracted anew; give --backbone "
                    f"{FALLBACK} to use those of the earlier runs"
                )
            )
    return backbone, dataclasses.replace(options, backbone=named)


def _fall_back(options: BackboneOptions, error: BackboneUnavailableError) -> Backbone:
    try:
        located = locate_backbone(options)
    except BackboneError as missing:
        raise BackboneUnavailableError(f"{error}; {FALLBACK} would be used in its place, but {missing}") from missing
    return Backbone(located.source, instead_of=DEFAULT)


def _has_rows(cache_dir: Path, name: str) -> bool:
    """Whether a cache has bottlenecks of a backbone, in any precision or size; False if it can't be read."""
    with contextlib.suppress(CacheError):
        return any(str(note.get("name", folder.name)).startswith(name) for folder, note in read_notes(cache_dir))
    return False
