"""The Open Inference Protocol, version 2 (github.com/kserve/open-inference-protocol), and its binary tensor extension.

One input: `image_bytes`, BYTES, shape [n] or [n, 1]: the bytes of n pictures. In JSON they are in base64; in the binary
extension (docs.nvidia.com/deeplearning/triton-inference-server, "Binary Tensor Data Extension") as they are, each
behind its length. Outputs, all or those that the request names: the scores, and `labels` in their order, as the
SavedModel has them, so are `thresholds` where a picture can have several labels, and `known` where the model tells
pictures of no class; `label`, the most likely one, or unknown; and `error`, why a picture can't be read, or nothing.
Such a picture has no scores: null in JSON, NaN in the binary extension.
"""

import json
import math
import re
import struct
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

import retrain
from retrain.json_fields import FieldError, Fields, shown_value
from retrain.model import KNOWN
from retrain.serving.answers import Answer, NoPicture
from retrain.serving.bodies import document_of
from retrain.serving.context import Context, json_answer, problems
from retrain.serving.models import ServedModel
from retrain.serving.pictures_in_json import picture_in
from retrain.serving.problems import Problem

__all__ = ["v2_routes"]

HEADER_LENGTH = "Inference-Header-Content-Length"
_INPUT = "image_bytes"
_LENGTH = struct.Struct("<I")  # before each element of a BYTES tensor
_BODY = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["inputs"],
                "properties": {
                    "id": {"type": "string"},
                    "inputs": {
                        "type": "array",
                        "minItems": 1,
                        "maxItems": 1,
                        "items": {
                            "type": "object",
                            "required": ["name", "shape", "datatype", "data"],
                            "properties": {
                                "name": {"const": _INPUT},
                                "shape": {"type": "array", "items": {"type": "integer", "minimum": 1}, "maxItems": 2},
                                "datatype": {"const": "BYTES"},
                                "data": {"type": "array", "items": {"type": "string", "format": "byte"}},
                            },
                        },
                    },
                    "outputs": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["name"],
                            "properties": {"name": {"type": "string"}, "parameters": {"type": "object"}},
                        },
                    },
                },
            },
            "example": {
                "inputs": [{"name": _INPUT, "shape": [1], "datatype": "BYTES", "data": ["/9j/4AAQSkZJRg..."]}],
                "outputs": [{"name": "label"}],
            },
        },
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
    },
}


class ServerMetadata(BaseModel):
    """What answers."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(BaseModel):
    """An input or output; -1: of any size."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """What goes in and comes out."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class OutputTensor(TensorMetadata):
    """An output."""

    parameters: dict[str, Any] | None = None
    data: list[Any] | None = Field(None, description="row by row; with the binary extension it follows the JSON")


class InferenceResponse(BaseModel):
    """Answers, in the order of the pictures."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[OutputTensor]


class Live(BaseModel):
    """The server runs."""

    live: bool


class Ready(BaseModel):
    """The server answers."""

    ready: bool


class ModelReady(Ready):
    """The model answers."""

    name: str


@dataclass(frozen=True)
class _Wanted:
    """What a request asks for."""

    pictures: list[bytes | NoPicture]
    outputs: Mapping[str, bool]  # name -> whether in binary
    id: str | None


def v2_routes(context: Context) -> APIRouter:
    """Health, metadata and inference."""
    router = APIRouter(prefix="/v2", tags=["Open Inference Protocol, version 2"])
    _add_server_routes(router, context)
    _add_model_routes(router, context)
    return router


def _add_server_routes(router: APIRouter, context: Context) -> None:
    @router.get("", summary="What answers", response_model=ServerMetadata, responses=problems())
    async def server() -> dict[str, Any]:
        return {"name": "retrain", "version": retrain.__version__, "extensions": ["binary_tensor_data"]}

    @router.get("/health/live", summary="Whether the server runs", response_model=Live, responses=problems())
    async def live() -> dict[str, Any]:
        return {"live": True}

    @router.get("/health/ready", summary="Whether the server answers", response_model=Ready, responses=problems(503))
    async def ready() -> dict[str, Any]:
        context.check_ready()
        return {"ready": True}


def _add_model_routes(router: APIRouter, context: Context) -> None:
    one, versioned = "/models/{name}", "/models/{name}/versions/{version}"
    about_model: dict[str, Any] = {"response_model": ModelMetadata, "responses": problems(404)}
    about_ready: dict[str, Any] = {"response_model": ModelReady, "responses": problems(404, 503)}
    about_infer: dict[str, Any] = {
        "openapi_extra": {"requestBody": _BODY},
        "responses": {200: {"model": InferenceResponse}, **problems(404, 408, 413, 415, 503)},
        "response_class": Response,
    }

    @router.get(one, summary="What goes in and comes out", **about_model)
    async def metadata(name: str) -> dict[str, Any]:
        return _metadata(context.models.get(name))

    @router.get(versioned, summary="What goes in and comes out of a version", **about_model)
    async def metadata_of(name: str, version: str) -> dict[str, Any]:
        return _metadata(context.model(name, version))

    @router.get(f"{one}/ready", summary="Whether the model answers", **about_ready)
    async def ready(name: str) -> dict[str, Any]:
        return _ready(context, context.models.get(name))

    @router.get(f"{versioned}/ready", summary="Whether a version answers", **about_ready)
    async def ready_of(name: str, version: str) -> dict[str, Any]:
        return _ready(context, context.model(name, version))

    @router.post(f"{one}/infer", summary="Classify pictures", **about_infer)
    async def infer(request: Request, name: str) -> Response:
        return await _infer(context, context.models.get(name), request)

    @router.post(f"{versioned}/infer", summary="Classify pictures with a version", **about_infer)
    async def infer_by(request: Request, name: str, version: str) -> Response:
        return await _infer(context, context.model(name, version), request)


def _ready(context: Context, model: ServedModel) -> dict[str, Any]:
    context.check_ready()
    return {"name": model.name, "ready": True}


def _outputs(model: ServedModel) -> dict[str, tuple[str, list[int]]]:
    """Name -> datatype and shape of an output, but for the number of pictures."""
    classes = len(model.labels)
    return {
        model.scores_name: ("FP32", [classes]),
        "labels": ("BYTES", [classes]),
        **({} if model.thresholds is None else {"thresholds": ("FP32", [classes])}),
        **({KNOWN: ("FP32", [1])} if model.tells_known else {}),
        "label": ("BYTES", []),
        "error": ("BYTES", []),
    }


def _metadata(model: ServedModel) -> dict[str, Any]:
    return {
        "name": model.name,
        "versions": [str(model.version)],
        "platform": "retrain",
        "inputs": [{"name": _INPUT, "datatype": "BYTES", "shape": [-1]}],
        "outputs": [
            {"name": name, "datatype": datatype, "shape": [-1, *shape]}
            for name, (datatype, shape) in _outputs(model).items()
        ],
    }


async def _infer(context: Context, model: ServedModel, request: Request) -> Response:
    length = request.headers.get(HEADER_LENGTH)
    known = frozenset(_outputs(model))
    async with context.parsed(request, lambda body: _wanted(*_parts(body, length), known)) as wanted:
        answers = await context.answerer.answers(model, wanted.pictures)
    return _response(model, wanted, answers)


# what comes in


def _parts(body: bytes, length: str | None) -> tuple[bytes, bytes]:
    """The JSON and the binary part of a body. Raises Problem."""
    if length is None:
        return body, b""
    size = int(length) if re.fullmatch(r"[0-9]{1,19}", length) else -1
    if not 0 <= size <= len(body):
        raise Problem(400, f"{HEADER_LENGTH} is {length!r:.40}, expected the bytes of JSON, of {len(body):,} in all")
    return body[:size], body[size:]


def _wanted(head: bytes, binary: bytes, known: Set[str]) -> _Wanted:
    """Raises Problem."""
    document = document_of(head)
    try:
        inputs = document.values.get("inputs")
        if not isinstance(inputs, list) or len(inputs) != 1:
            raise FieldError(f"inputs is {shown_value(inputs)}, expected a list of one tensor, {_INPUT}")
        tensor = Fields(inputs[0], "inputs[0]")
        tensor.text("name", _INPUT, _INPUT)
        tensor.text("datatype", "BYTES", "BYTES: the bytes of pictures")
        pictures = _pictures(tensor, binary)
        parameters = document.fields("parameters").values if "parameters" in document else {}
        name = document.values.get("id")
        if name is not None and not isinstance(name, str):
            raise FieldError(f"id is {shown_value(name)}, expected a text")
        all_binary = parameters.get("binary_data_output") is True
        outputs = dict(_wanted_outputs(document.values.get("outputs"), known, all_binary))
    except FieldError as error:
        raise Problem(400, f"the request is wrong: {error}") from None
    return _Wanted(pictures, outputs or dict.fromkeys(known, all_binary), name)


def _pictures(tensor: Fields, binary: bytes) -> list[bytes | NoPicture]:
    """The elements of the input. Raises FieldError."""
    parameters = tensor.fields("parameters") if "parameters" in tensor else None
    if parameters is not None and "binary_data_size" in parameters:
        size = parameters.number("binary_data_size", 0, 2**63)
        if size != len(binary):
            raise FieldError(f"binary_data_size is {size:,}, and {len(binary):,} bytes follow the JSON")
        found: list[bytes | NoPicture] = list(_elements(binary))
    else:
        values = tensor.values.get("data")
        if not isinstance(values, list):
            raise FieldError(f"inputs[0].data is {shown_value(values)}, expected a list of pictures in base64")
        flat = [one for value in values for one in (value if isinstance(value, list) else [value])]
        found = [picture_in(value) for value in flat]
    shape = tensor.values.get("shape")
    if shape not in ([len(found)], [len(found), 1]):
        raise FieldError(f"inputs[0].shape is {shown_value(shape)}, and there are {len(found):,} elements")
    return found


def _elements(binary: bytes) -> Iterator[bytes]:
    """The elements of a BYTES tensor, each behind its length. Raises FieldError."""
    place = 0
    while place < len(binary):
        if place + _LENGTH.size > len(binary):
            raise FieldError("the binary data ends within the length of an element")
        (length,) = _LENGTH.unpack_from(binary, place)
        place += _LENGTH.size
        if place + length > len(binary):
            raise FieldError(f"an element of {length:,} bytes begins {len(binary) - place:,} bytes before the end")
        yield binary[place : place + length]
        place += length


def _wanted_outputs(outputs: Any, known: Set[str], all_binary: bool) -> Iterator[tuple[str, bool]]:
    """The names of outputs, and whether each is wanted in binary. Raises FieldError."""
    if outputs is None:
        return
    if not isinstance(outputs, list):
        raise FieldError(f"outputs is {shown_value(outputs)}, expected a list")
    for number, value in enumerate(outputs):
        output = Fields(value, f"outputs[{number}]")
        name = output.text("name", "|".join(map(re.escape, sorted(known))), " or ".join(sorted(known)))
        parameters = output.fields("parameters").values if "parameters" in output else {}
        if parameters.get("classification"):
            raise FieldError(f"outputs[{number}] asks for classification, which is not supported: ask for label")
        yield name, parameters.get("binary_data", all_binary) is True


# what goes out


def _response(model: ServedModel, wanted: _Wanted, answers: list[Answer]) -> Response:
    document: dict[str, Any] = {"model_name": model.name, "model_version": str(model.version)}
    document |= {} if wanted.id is None else {"id": wanted.id}
    document["outputs"] = outputs = []
    parts = []
    for name, (datatype, shape) in _outputs(model).items():
        if name not in wanted.outputs:
            continue
        output: dict[str, Any] = {"name": name, "datatype": datatype, "shape": [len(answers), *shape]}
        values = _values(model, name, answers)
        if wanted.outputs[name]:
            parts.append(_binary(datatype, values))
            output["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            output["data"] = values
        outputs.append(output)
    if not parts:
        return json_answer(document)
    head = json.dumps(document, ensure_ascii=False).encode()
    return Response(b"".join([head, *parts]), 200, {HEADER_LENGTH: str(len(head))}, "application/octet-stream")


def _values(model: ServedModel, name: str, answers: Sequence[Answer]) -> list[Any]:
    """The elements of an output, row by row."""
    if name == "labels":
        return [*model.labels] * len(answers)
    if name == "thresholds":
        return list(model.thresholds or ()) * len(answers)
    if name == "label":
        return [answer.prediction(model).label or "" for answer in answers]
    if name == KNOWN:
        return [answer.known for answer in answers]
    if name == "error":
        return [answer.error or "" for answer in answers]
    none = [None] * len(model.labels)
    return [value for answer in answers for value in (none if answer.scores is None else answer.scores.tolist())]


def _binary(datatype: str, values: Sequence[Any]) -> bytes:
    """The elements of an output as the binary extension has them."""
    if datatype == "FP32":
        return np.array([math.nan if value is None else value for value in values], "<f4").tobytes()
    texts = (value.encode() for value in values)
    return b"".join(_LENGTH.pack(len(text)) + text for text in texts)
