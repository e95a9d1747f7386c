"""Read a LiteRT model that `retrain train` wrote: the backbone in it, and the head's arrays."""

import struct
from typing import Any

import numpy as np

from retrain.errors import ModelFolderError
from retrain.model.head import array_identity

__all__ = ["BACKBONE_PLACE", "HEAD_SCOPE", "KNOWN_SCOPE", "backbone_part", "head_arrays"]

# Names in the file.
BACKBONE_PLACE = b"retrain.backbone"  # metadata: where in the file the backbone's own file begins, and its length
KNOWN_SCOPE = "head/known/"  # tensors and nodes from the bottleneck to `known`, of heads that have it
HEAD_SCOPE = "head/"  # tensors: head/0/weights (outputs, inputs), head/0/biases, and so on from the bottleneck upwards


def backbone_part(model: bytes, where: str) -> memoryview:
    """The backbone's own file. Raises ModelFolderError if there is none.

    Args:
        where: the model's file, for messages.
    """
    try:
        found = _root(model)
        places = {found.Metadata(n).Name(): found.Metadata(n).Buffer() for n in range(found.MetadataLength())}
        start, length = struct.unpack("<QQ", found.Buffers(places[BACKBONE_PLACE]).DataAsNumpy().tobytes())
    except (KeyError, TypeError, AttributeError, ValueError, IndexError, struct.error) as error:
        raise _damaged(where) from error
    if start + length != len(model):
        raise _damaged(where)
    return memoryview(model)[start:]


def head_arrays(model: bytes, where: str) -> set[tuple[tuple[int, ...], bytes]]:
    """The identities of the arrays of the head's layers, weights as (inputs, outputs). Raises ModelFolderError."""
    try:
        found = _root(model)
        graph = found.Subgraphs(0)
        arrays = set()
        for number in range(graph.TensorsLength()):
            tensor = graph.Tensors(number)
            name = tensor.Name().decode()
            is_of_layer = name.startswith(HEAD_SCOPE) and not name.startswith(KNOWN_SCOPE)
            if is_of_layer and name.endswith(("/weights", "/biases")):
                values = found.Buffers(tensor.Buffer()).DataAsNumpy().tobytes()
                arrays.add(array_identity(np.frombuffer(values, "<f4").reshape(tensor.ShapeAsNumpy()).T))
        return arrays
    except (TypeError, AttributeError, ValueError, IndexError, struct.error) as error:
        raise _damaged(where) from error


def _root(model: bytes) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    return schema.Model.GetRootAs(model)


def _damaged(where: str) -> ModelFolderError:
    return ModelFolderError(f"{where} is not a model of this program, or is damaged: train the model again")
