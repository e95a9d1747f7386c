"""ONNX files: read, and checked before anything runs them.

The packages `onnx` and `onnxruntime` come with `pip install 'retrain[onnx]'`; without them, an error says so.
"""

import contextlib
import hashlib
import importlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from google.protobuf.message import DecodeError

from retrain.errors import BackboneError
from retrain.files import digest_of_file
from retrain.paths import display_path
from retrain.text import first_line, listing

__all__ = [
    "OnnxFile",
    "TensorType",
    "describe_onnx",
    "import_onnx",
    "inner_type",
    "named",
    "read_onnx",
    "weights_elsewhere",
]

_MOST_BYTES = 2**31 - 1  # of a message of protocol buffers
_TOO_LARGE = ", more than the 2 GiB that one file can hold: use a smaller network, or one in float16"
_MOST_NAMED = 5  # tensors in a message
_GIT_LFS = b"version https://git-lfs"
_EXPORT_AGAIN = "get the file again, or export the network anew"


@dataclass(frozen=True)
class TensorType:
    """What a network takes or gives."""

    name: str
    dtype: str  # as ONNX calls it: "float", "float16", "uint8"
    dims: tuple[int | None, ...] | None  # None: any; the whole is None if the file does not say

    def __str__(self) -> str:
        dims = (
            "of any shape" if self.dims is None else f"[{', '.join('?' if d is None else str(d) for d in self.dims)}]"
        )
        return f"{self.name} {self.dtype} {dims}"


@dataclass(frozen=True)
class OnnxFile:
    """What is known of a file before its network is loaded."""

    path: Path
    digest: str  # SHA-256 of the file, and of those in which its weights lie
    inputs: tuple[TensorType, ...]  # without weights, which old files list there, too
    outputs: tuple[TensorType, ...]
    inner: tuple[str, ...] = ()  # names of what its operations give


def import_onnx(name: str = "onnx") -> ModuleType:
    """A module of the packages of the extra `onnx`. Raises BackboneError if it is missing or broken."""
    try:
        return importlib.import_module(name)
    except (ImportError, OSError, AttributeError) as error:
        raise BackboneError(
            f"an ONNX network needs the packages onnx and onnxruntime ({first_line(error)}): "
            "pip install 'retrain[onnx]'"
        ) from error


def describe_onnx(path: Path) -> OnnxFile:
    """What is to know of a file. Raises BackboneError if it can't be read, or is not a sound ONNX file."""
    return _described(path, *_parsed(path))


def inner_type(file: OnnxFile, name: str) -> TensorType:
    """The type of what one of a network's operations gives. Raises BackboneError if it can't be told."""
    model, _ = _parsed(file.path)
    known = {value.name: value for value in model.graph.value_info}
    if name not in known:
        inference = import_onnx("onnx.shape_inference")
        try:
            known = {value.name: value for value in inference.infer_shapes(model).graph.value_info}
        except (ValueError, RuntimeError, TypeError) as error:  # also for networks of more than 2 GiB
            raise BackboneError(
                f"the ONNX network {display_path(file.path)} does not say what {name} is ({first_line(error)}): use "
                "one of its outputs"
            ) from error
    return _type_of(known[name]) if name in known else TensorType(name, "of an unknown type", None)


def read_onnx(file: OnnxFile) -> Any:
    """The network of a file that was described before, a ModelProto with all weights in it.

    Raises BackboneError, also if the file has changed since.
    """
    model, digest = _parsed(file.path)
    if _described(file.path, model, digest).digest != file.digest:
        raise BackboneError(f"{display_path(file.path)} has changed since this run began: run again")
    contents: dict[Path, bytes] = {}
    for tensor, place, start, length in _parts_outside(file.path, model):
        if place not in contents:
            contents[place] = _content(place)
        whole = contents[place]
        tensor.raw_data = whole[start : len(whole) if length is None else start + length]
        tensor.data_location = tensor.DEFAULT
        del tensor.external_data[:]
    size = model.ByteSize()
    if size > _MOST_BYTES:
        raise BackboneError(
            f"the ONNX network {display_path(file.path)} has {size / 2**30:.1f} GiB with all its weights{_TOO_LARGE}"
        )
    return model


def weights_elsewhere(model: Any) -> bool:
    """Whether some weights of a ModelProto lie in other files."""
    return any(tensor.data_location == tensor.EXTERNAL for tensor in _tensors(model))


def _parsed(path: Path) -> tuple[Any, str]:
    """The file as a ModelProto, and its SHA-256; weights in other files are left there."""
    onnx = import_onnx()
    where = display_path(path)
    data = _content(path)
    if data.startswith(_GIT_LFS):
        raise BackboneError(
            f"{where} is not the network, but a note of Git LFS about it: get the file with git lfs pull"
        )
    try:
        model = onnx.ModelProto.FromString(data)
    except DecodeError as error:
        raise BackboneError(
            f"{where} is damaged, or is not an ONNX file ({first_line(error)}): {_EXPORT_AGAIN}"
        ) from error
    reason = "it has no network" if not model.graph.node or not model.opset_import else None
    if not all(isinstance(name, str) for name in _names(model.graph)):  # protobuf gives bytes then
        reason = "a name in it is not UTF-8"
    if reason:
        raise BackboneError(f"{where} is damaged, or is not an ONNX file ({reason}): {_EXPORT_AGAIN}")
    return model, hashlib.sha256(data).hexdigest()


def _names(graph: Any) -> Iterator[Any]:
    """All names in a graph, and in graphs inside of its operations."""
    for value in (*graph.initializer, *graph.input, *graph.output, *graph.value_info):
        yield value.name
    yield from (sparse.values.name for sparse in graph.sparse_initializer)
    for tensor in _tensors_of_graph(graph):
        for entry in tensor.external_data:
            yield from (entry.key, entry.value)
    for node in graph.node:
        yield from (node.name, *node.input, *node.output)
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _names(inner)


def _content(path: Path) -> bytes:
    """Raises BackboneError if a file can't be read or is too large."""
    try:
        size = os.stat(path).st_size
        if size > _MOST_BYTES:
            raise BackboneError(f"the backbone {display_path(path)} has {size / 2**30:.1f} GiB{_TOO_LARGE}")
        return path.read_bytes()
    except OSError as error:
        raise BackboneError(f"can't read the backbone {display_path(path)}: {error.strerror}") from error


def _described(path: Path, model: Any, digest: str) -> OnnxFile:
    weights = {tensor.name for tensor in model.graph.initializer}
    weights |= {tensor.values.name for tensor in model.graph.sparse_initializer}
    inputs = tuple(_type_of(value) for value in model.graph.input if value.name not in weights)
    outputs = tuple(map(_type_of, model.graph.output))
    places = sorted({place for _, place, _, _ in _parts_outside(path, model)})
    try:
        digests = [digest, *map(digest_of_file, places)]
    except OSError as error:
        raise BackboneError(f"can't read the backbone {display_path(path)}: {error.strerror}") from error
    whole = hashlib.sha256("\n".join(digests).encode()).hexdigest() if places else digest
    inner = tuple(name for node in model.graph.node for name in node.output if name)
    return OnnxFile(path, whole, inputs, outputs, inner)


def _type_of(value: Any) -> TensorType:
    onnx = import_onnx()
    if value.type.WhichOneof("value") != "tensor_type":
        return TensorType(value.name, str(value.type.WhichOneof("value") or "nothing").removesuffix("_type"), None)
    found = value.type.tensor_type
    with contextlib.suppress(ValueError):
        dtype = onnx.TensorProto.DataType.Name(found.elem_type).lower()
        dims = tuple(d.dim_value if d.WhichOneof("value") == "dim_value" else None for d in found.shape.dim)
        return TensorType(value.name, dtype, dims if found.HasField("shape") else None)
    return TensorType(value.name, f"type {found.elem_type}", None)


# weights in other files


def _parts_outside(path: Path, model: Any) -> Iterator[tuple[Any, Path, int, int | None]]:
    """The tensors whose numbers lie in other files: tensor, file, first byte, bytes (None: to its end).

    Raises BackboneError for a file that is missing, too short, or not in the folder of the network.
    """
    for tensor in _tensors(model):
        if tensor.data_location != tensor.EXTERNAL:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        place = _place_of(path, entries.get("location", ""))
        try:
            start, size = int(entries.get("offset", 0)), place.stat().st_size
            length = int(entries["length"]) if "length" in entries else None
        except (ValueError, OSError) as error:
            raise _bad_weights(path, first_line(error)) from error
        if start < 0 or (length or 0) < 0 or start + (length or 0) > size:
            raise _bad_weights(path, f"{display_path(place)} is cut short: it has {size} bytes")
        yield tensor, place, start, length


def _place_of(path: Path, location: str) -> Path:
    """The file that a location means. What it leads to lies beside the network, or beside what a link to that names.

    The latter is so in the cache of Hugging Face's hub, where both are links to a folder of their own.
    """
    place = path.parent / location
    parts = Path(location).parts
    if not parts or Path(location).is_absolute() or ".." in parts or "\0" in location:
        raise _bad_weights(
            path, f"they are said to lie in {display_path(location) or 'no file'}, outside of its folder"
        )
    if not place.is_file():
        raise BackboneError(
            f"weights of the ONNX network {display_path(path)} lie in {display_path(place)}, which is missing: put it "
            "beside the network"
        )
    real = Path(os.path.realpath(place))
    homes = Path(os.path.realpath(path.parent)), Path(os.path.realpath(path)).parent
    if not any(real.is_relative_to(home) for home in homes):
        raise _bad_weights(path, f"{display_path(location)} is a link to outside of its folder")
    return place


def _bad_weights(path: Path, reason: str) -> BackboneError:
    return BackboneError(
        f"the weights of the ONNX network {display_path(path)} can't be used: {reason}; {_EXPORT_AGAIN}"
    )


def _tensors(model: Any) -> Iterator[Any]:
    """All constants of a network, those inside of its operations and functions included."""
    yield from _tensors_of_graph(model.graph)
    for function in model.functions:
        yield from _tensors_of_nodes(function.node)


def _tensors_of_graph(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _tensors_of_nodes(graph.node)


def _tensors_of_nodes(nodes: Any) -> Iterator[Any]:
    for node in nodes:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            for graph in (attribute.g, *attribute.graphs):
                yield from _tensors_of_graph(graph)


def named(tensors: tuple[TensorType, ...]) -> str:
    """Tensors for a message."""
    return listing([str(tensor) for tensor in tensors], _MOST_NAMED) or "nothing"
