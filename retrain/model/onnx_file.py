"""Read an ONNX model that `retrain train` wrote: the backbone in it, and the head's arrays."""

from typing import Any

from google.protobuf.message import DecodeError

from retrain.backbones import ONNX_BOTTLENECK, import_onnx, set_batch, set_outputs, weights_elsewhere
from retrain.errors import ModelFolderError
from retrain.model.head import ArrayIdentity, array_identity
from retrain.model.litert_file import HEAD_SCOPE, KNOWN_SCOPE

__all__ = ["check_in_one_file", "onnx_backbone_part", "onnx_head_arrays"]

_ELSEWHERE = b"location"  # stands in every file that names another with some of its weights


def check_in_one_file(model: bytes, where: str) -> None:
    """Refuse a model with weights in other files, which ONNX Runtime would read wherever they lie.

    Raises ModelFolderError, BackboneError if the package onnx is missing.
    """
    if _ELSEWHERE in model and weights_elsewhere(_parsed(model, where)):
        raise ModelFolderError(
            f"{where} names other files as its own parts, as no model of this program does: don't use it"
        )


def onnx_backbone_part(model: bytes, where: str) -> bytes:
    """The backbone's own graph, as it was before a head was put on it.

    Args:
        where: the model's file, for messages.
    Raises ModelFolderError, BackboneError if the package onnx is missing.
    """
    found = _parsed(model, where)
    for field in ("producer_name", "producer_version", "metadata_props"):
        found.ClearField(field)
    for parts in (found.graph.node, found.graph.initializer):
        parts.extend([part for part in _taken_out(parts) if not part.name.startswith(HEAD_SCOPE)])
    set_outputs(found, {ONNX_BOTTLENECK: None})
    set_batch(found, 1)
    return bytes(found.SerializeToString(deterministic=True))


def onnx_head_arrays(model: bytes, where: str) -> set[ArrayIdentity]:
    """The identities of the arrays of the head's layers, weights as (inputs, outputs).

    Raises ModelFolderError, BackboneError.
    """
    found = (one for one in _parsed(model, where).graph.initializer if one.name.startswith(HEAD_SCOPE))
    arrays = [one for one in found if not one.name.startswith(KNOWN_SCOPE)]
    to_array = import_onnx("onnx.numpy_helper").to_array
    try:
        return {array_identity(to_array(array)) for array in arrays}
    except (ValueError, TypeError) as error:
        raise _damaged(where) from error


def _taken_out(parts: Any) -> list[Any]:
    """What a repeated field has, which is empty then."""
    kept = [*parts]
    del parts[:]
    return kept


def _parsed(model: bytes, where: str) -> Any:
    try:
        return import_onnx().ModelProto.FromString(model)
    except DecodeError as error:
        raise _damaged(where) from error


def _damaged(where: str) -> ModelFolderError:
    return ModelFolderError(f"{where} is not a model of this program, or is damaged: train the model again")
