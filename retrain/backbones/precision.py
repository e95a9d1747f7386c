"""What pass one computes in: the extractor that stands for a backbone in float32, bfloat16 or int8.

Each precision has its own bottlenecks, in its own part of the cache. For int8, the quantised model is kept there too:
it is made once, from the user's pictures, and used from then on, so that adding pictures changes no bottleneck.
"""

import contextlib
from collections.abc import Callable
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrain.backbones import bfloat16, quantization
from retrain.backbones.backbone import Backbone
from retrain.backbones.conversion import Converter
from retrain.backbones.extractor import Extractor, ExtractorNetwork
from retrain.backbones.representative_pictures import RepresentativePictures
from retrain.cache import QUANTIZED_MODEL, folder_name, only_process, read_error, read_notes, write_error, write_owner
from retrain.data import PictureForm
from retrain.errors import BackboneError
from retrain.events import Emit, Noted, Prepared, Warned, ignore
from retrain.folders import Kind, replace_folder, staging_folder, tidy_up
from retrain.paths import display_path

__all__ = ["choose_extractor", "low_precision"]

# More pictures make no difference: with 20, 100 and 200 the mean cosine of Inception v3's bottlenecks to float32's was
# 0.9961, 0.9961 and 0.9959, of MobileNetV2's 0.978, 0.980 and 0.980 (100 other photographs of flowers).
_CALIBRATION_PICTURES = 60
_HELD_OUT_PICTURES = 40  # on which the quantised model is compared with float32
_FEWEST_PICTURES = 20  # of both together
_GOOD_COSINE, _USABLE_COSINE = 0.98, 0.9
_WAITING = "waiting for another process that quantises a backbone in this cache"
_KIND = Kind(own=lambda _: (), last="extractor.json")


def low_precision(
    backbone: Backbone, precision: str, details: dict[str, Any], load: Callable[[], ExtractorNetwork]
) -> Extractor:
    """The extractor that computes a backbone in fewer bits.

    Args:
        backbone: in float32.
        precision: "bfloat16" or "int8".
        details: what else decides the bottlenecks.
        load: gives the network. Raises BackboneError if this machine or the installation can't run it.
    """
    return backbone.variant(precision, {"precision": precision} | details, load)


def choose_extractor(
    backbone: Backbone,
    precision: str,
    pictures: RepresentativePictures,
    emit: Emit = ignore,
) -> Extractor:
    """The extractor that computes in a precision: "float32" (the backbone itself), "bfloat16" or "int8".

    For int8 the cache is searched for the backbone's quantised model. If there is none, it is made from pictures of the
    folder: each of its files is read once to choose them, and making it takes about as long as extracting 200 of them
    in float32.

    Args:
        pictures: some that are to be extracted, and the cache.
    Raises BackboneError, CacheError.
    """
    if precision == "bfloat16":
        if backbone.is_onnx:
            raise BackboneError(
                f"--precision bfloat16 is for networks that TensorFlow runs, and {backbone.name} is an ONNX network: "
                "use --precision float32 or int8"
            )

        def load() -> bfloat16.Bfloat16Network:
            bfloat16.check_device()
            return bfloat16.Bfloat16Network(backbone.tensorflow_network)

        return low_precision(backbone, precision, {"arithmetic": bfloat16.arithmetic()}, load)
    if precision == "int8":
        with contextlib.suppress(OSError):  # if the cache can't be written
            tidy_up(_place(backbone, pictures.cache), _KIND)
        found = _find_model(backbone, pictures.cache, emit)
        model, details = found or _make_model(backbone, pictures, emit)
        return low_precision(backbone, precision, details, lambda: quantization.QuantizedNetwork(model))
    if backbone.is_onnx:
        return backbone
    converter = Converter(pictures.cache_dir, emit, pictures)
    return Extractor(
        backbone.name,
        lambda: backbone.description,
        lambda: converter.network(backbone, lambda: backbone.tensorflow_network.frozen_graph),
    )


def _find_model(backbone: Backbone, cache_dir: Path, emit: Emit) -> tuple[Path, dict[str, Any]] | None:
    """The oldest sound quantised model of a backbone: its folder, and what its note says beyond the backbone's."""
    wanted = backbone.description | {"precision": "int8"}
    found = []
    for folder, note in read_notes(cache_dir):
        if not note and QUANTIZED_MODEL.are_in(folder):
            emit(Warned(f"the note {display_path(folder)}/extractor.json is damaged: the model there is not used"))
        if any(note.get(name) != value for name, value in wanted.items()):
            continue
        details = {name: note[name] for name in note if name not in {*wanted, "format", "fingerprint", "name"}}
        if not QUANTIZED_MODEL.are_in(folder):
            continue
        made = low_precision(backbone, "int8", details, partial(quantization.QuantizedNetwork, folder))
        if folder.name != folder_name(made.name, made.fingerprint) and made.fingerprint != note.get("fingerprint"):
            # the model may be sound: the note is damaged
            emit(
                Warned(
                    f"the note {display_path(folder)}/extractor.json is damaged, it does not fit its fingerprint: the "
                    "model there is not used; restore the note, or remove the folder"
                )
            )
            continue
        try:
            is_sound = QUANTIZED_MODEL.digest(folder) == details.get(QUANTIZED_MODEL.field)
        except OSError as error:
            raise read_error(folder / QUANTIZED_MODEL.names[0], error) from error
        if is_sound:
            found.append((str(details.get("quantized_at")), folder, details))
        else:
            done = QUANTIZED_MODEL.set_aside(folder)
            emit(
                Warned(
                    f"{QUANTIZED_MODEL.what} in {display_path(folder)} is damaged, and {done}: another one is needed; "
                    "the bottlenecks that it gave stay where they are"
                )
            )
    return min(found)[1:] if found else None


def _make_model(backbone: Backbone, pictures: RepresentativePictures, emit: Emit) -> tuple[Path, dict[str, Any]]:
    """Quantise a backbone, and keep the model in the folder for its bottlenecks.

    One process at a time: the others wait, and use the same model.
    """
    quantization.check_installed()
    network, cache_dir = backbone.network, pictures.cache
    try:
        with (
            staging_folder(_place(backbone, cache_dir)) as staging,
            only_process(cache_dir, lambda: emit(Noted(_WAITING))),
        ):
            found = _find_model(backbone, cache_dir, emit)
            if found is not None:
                return found
            pixels = _chosen_pictures(pictures, backbone.form, emit)
            held_out = pixels[-min(_HELD_OUT_PICTURES, len(pixels) * 2 // 7) :]
            pixels = pixels[: len(pixels) - len(held_out)]
            quantized = quantization.quantize(
                backbone.openvino_form(), pixels, staging, lambda done, total: emit(Prepared("quantising", done, total))
            )
            cosine = quantization.mean_cosine(network.bottlenecks(held_out), quantized.bottlenecks(held_out))
            _judge(cosine, len(pixels), len(held_out), emit)
            details = {
                QUANTIZED_MODEL.field: QUANTIZED_MODEL.digest(staging),
                "quantized_at": datetime.now(timezone.utc).isoformat(timespec="microseconds"),
                "calibration_pictures": len(pixels),
                "mean_cosine": round(cosine, 5),
            }
            made = low_precision(backbone, "int8", details, lambda: quantized)
            write_owner(staging, made.fingerprint, {"name": made.name} | made.description)
            final = cache_dir / folder_name(made.name, made.fingerprint)
            replace_folder(staging, final, _KIND)
            return final, details
    except OSError as error:
        raise write_error(cache_dir, error) from error


def _place(backbone: Backbone, cache_dir: Path) -> Path:
    """What the temporary folder in which a model is made is named after."""
    return cache_dir / f"{backbone.name}_int8"


def _judge(cosine: float, pictures: int, held_out: int, emit: Emit) -> None:
    """Say how close the quantised model is to float32. Raises BackboneError if it is of no use."""
    text = f"int8 model made from {pictures} pictures; mean cosine to float32 on {held_out} others: {cosine:.4f}"
    if cosine < _USABLE_COSINE:
        raise BackboneError(
            f"this backbone loses too much in int8: {text} (expected {_USABLE_COSINE} at least); "
            "use --precision float32 or bfloat16"
        )
    if cosine < _GOOD_COSINE:
        emit(Warned(f"{text} (expected {_GOOD_COSINE} at least); check the accuracy against --precision float32"))
    else:
        emit(Noted(text))


def _chosen_pictures(pictures: RepresentativePictures, form: PictureForm, emit: Emit) -> NDArray[np.uint8]:
    """(n, height, width, 3) uint8. Raises BackboneError if there are too few."""
    most = _CALIBRATION_PICTURES + _HELD_OUT_PICTURES
    chosen = pictures.at_random(form, most, emit)
    if len(chosen) < _FEWEST_PICTURES:
        raise BackboneError(
            f"--precision int8: {len(chosen)} readable pictures that differ in {display_path(pictures.folder.root)} "
            f"are too few to quantise the backbone with, at least {_FEWEST_PICTURES} are needed: "
            "use --precision float32"
        )
    if len(chosen) < most:
        emit(Noted(f"few pictures to quantise the backbone with: {len(chosen)}, where {most} are better"))
    return chosen
