"""The REST interface of TensorFlow Serving, version 1 (tensorflow.org/tfx/serving/api_rest).

Answers are those that TensorFlow Serving gives for the saved_model/ of the model folder, signature serving_default:
`image_bytes` in; scores under the final tensor's name, and `labels` in the order of the scores, out; so are
`thresholds` where a picture can have several labels, and `known` where the model tells pictures of no class. In one
thing it goes further: a picture that can't be read has {"error": ...} in its place, and the others get their answers.
"""

from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict

from retrain.json_fields import Fields, shown_value
from retrain.model import KNOWN
from retrain.serving.answers import Answer, NoPicture
from retrain.serving.bodies import document_of
from retrain.serving.context import Context, json_answer, problems
from retrain.serving.models import ServedModel
from retrain.serving.pictures_in_json import picture_in
from retrain.serving.problems import Problem

__all__ = ["v1_routes"]

_INPUT, _SIGNATURE = "image_bytes", "serving_default"
_B64 = {"type": "object", "required": ["b64"], "properties": {"b64": {"type": "string", "format": "byte"}}}
_PICTURES = {"type": "array", "minItems": 1, "items": _B64}
_BODY = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "description": "instances (a picture each) or inputs (all pictures under the input's name).",
                "properties": {
                    "signature_name": {"type": "string", "enum": [_SIGNATURE]},
                    "instances": _PICTURES,
                    "inputs": _PICTURES,
                },
                "oneOf": [{"required": ["instances"]}, {"required": ["inputs"]}],
            },
            "example": {"instances": [{"b64": "/9j/4AAQSkZJRg..."}]},
        }
    },
}


class Predictions(BaseModel):
    """Answers, in the order of the pictures; outputs where the request had inputs."""

    model_config = ConfigDict(extra="forbid")
    predictions: list[dict[str, Any]] | None = None
    outputs: dict[str, list[Any]] | None = None


class VersionStatus(BaseModel):
    """The state of a version."""

    version: str
    state: str
    status: dict[str, str]


class ModelStatus(BaseModel):
    """The states of a model's versions: there is one."""

    model_version_status: list[VersionStatus]


class ModelMetadata(BaseModel):
    """What goes in and comes out."""

    model_spec: dict[str, str]
    metadata: dict[str, Any]


@dataclass(frozen=True)
class _Wanted:
    """What a request asks for."""

    pictures: list[bytes | NoPicture]
    is_columnar: bool


def v1_routes(context: Context) -> APIRouter:
    """Status, metadata and prediction of a model, with and without a version."""
    router = APIRouter(prefix="/v1/models/{name}", tags=["TensorFlow Serving, version 1"])
    about_predict: dict[str, Any] = {
        "openapi_extra": {"requestBody": _BODY},
        "responses": {200: {"model": Predictions}, **problems(404, 408, 413, 415, 503)},
        "response_class": Response,
    }

    @router.post(":predict", summary="Classify pictures", **about_predict)
    async def predict(request: Request, name: str) -> Response:
        return await _predict(context, context.models.get(name), request)

    @router.post("/versions/{version}:predict", summary="Classify pictures with a version", **about_predict)
    async def predict_by(request: Request, name: str, version: str) -> Response:
        return await _predict(context, context.model(name, version), request)

    @router.get("", summary="Whether the model is there", response_model=ModelStatus, responses=problems(404))
    async def status(name: str) -> dict[str, Any]:
        return _status(context.models.get(name))

    @router.get(
        "/versions/{version}",
        summary="Whether a version is there",
        response_model=ModelStatus,
        responses=problems(404),
    )
    async def status_of(name: str, version: str) -> dict[str, Any]:
        return _status(context.model(name, version))

    @router.get(
        "/metadata", summary="What goes in and comes out", response_model=ModelMetadata, responses=problems(404)
    )
    async def metadata(name: str) -> dict[str, Any]:
        return _metadata(context.models.get(name))

    @router.get(
        "/versions/{version}/metadata",
        summary="What goes in and comes out of a version",
        response_model=ModelMetadata,
        responses=problems(404),
    )
    async def metadata_of(name: str, version: str) -> dict[str, Any]:
        return _metadata(context.model(name, version))

    return router


async def _predict(context: Context, model: ServedModel, request: Request) -> Response:
    async with context.parsed(request, lambda body: _wanted(document_of(body))) as wanted:
        answers = await context.answerer.answers(model, wanted.pictures)
    return json_answer(_columns(model, answers) if wanted.is_columnar else _rows(model, answers))


def _wanted(document: Fields) -> _Wanted:
    """Raises Problem."""
    signature = document.values.get("signature_name", _SIGNATURE)
    if signature not in (_SIGNATURE, ""):
        raise Problem(400, f"signature_name is {shown_value(signature)}: only {_SIGNATURE} is served")
    if ("instances" in document.values) == ("inputs" in document.values):
        raise Problem(400, 'expected "instances" or "inputs": one of them')
    is_columnar = "inputs" in document.values
    values = document.values["inputs" if is_columnar else "instances"]
    if is_columnar and isinstance(values, dict) and set(values) == {_INPUT}:
        values = values[_INPUT]
    if not isinstance(values, list):
        where = "inputs" if is_columnar else "instances"
        raise Problem(400, f'{where} is {shown_value(values)}, expected a list of {{"b64": "..."}}')
    return _Wanted([_picture(value) for value in values], is_columnar)


def _picture(value: Any) -> bytes | NoPicture:
    """A picture, which may go by the input's name."""
    is_named = isinstance(value, dict) and set(value) == {_INPUT}
    value = value[_INPUT] if is_named else value
    if isinstance(value, str):  # TensorFlow Serving would take it for the picture's bytes
        return NoPicture(f'{shown_value(value)} is a text: expected {{"b64": "..."}}')
    return picture_in(value)


def _rows(model: ServedModel, answers: list[Answer]) -> dict[str, Any]:
    constants = _constants(model)
    return {
        "predictions": [
            {"error": answer.error}
            if answer.scores is None
            else {model.scores_name: answer.scores.tolist()} | constants | _known(answer)
            for answer in answers
        ]
    }


def _columns(model: ServedModel, answers: list[Answer]) -> dict[str, Any]:
    outputs: dict[str, list[Any]] = {
        model.scores_name: [None if answer.scores is None else answer.scores.tolist() for answer in answers]
    }
    for name, values in _constants(model).items():
        outputs[name] = [None if answer.scores is None else values for answer in answers]
    if model.tells_known:
        outputs[KNOWN] = [None if answer.known is None else [answer.known] for answer in answers]
    if any(answer.error is not None for answer in answers):
        outputs["error"] = [answer.error for answer in answers]
    return {"outputs": outputs}


def _known(answer: Answer) -> dict[str, list[float]]:
    return {} if answer.known is None else {KNOWN: [answer.known]}


def _constants(model: ServedModel) -> dict[str, list[Any]]:
    """Outputs that are the same for every picture, each in the order of the scores."""
    labels: dict[str, list[Any]] = {"labels": list(model.labels)}
    return labels if model.thresholds is None else labels | {"thresholds": list(model.thresholds)}


def _status(model: ServedModel) -> dict[str, Any]:
    status = {"error_code": "OK", "error_message": ""}
    return {"model_version_status": [{"version": str(model.version), "state": "AVAILABLE", "status": status}]}


def _metadata(model: ServedModel) -> dict[str, Any]:
    types = {model.scores_name: "DT_FLOAT", "labels": "DT_STRING"}
    if model.thresholds is not None:
        types["thresholds"] = "DT_FLOAT"
    if model.tells_known:
        types[KNOWN] = "DT_FLOAT"
    signature = {
        "inputs": {_INPUT: _tensor("DT_STRING", "serving_default_image_bytes:0", -1)},
        "outputs": {
            name: _tensor(dtype, f"StatefulPartitionedCall:{number}", -1, 1 if name == KNOWN else len(model.labels))
            for number, (name, dtype) in enumerate(types.items())
        },
        "method_name": "tensorflow/serving/predict",
        "defaults": {},
    }
    return {
        "model_spec": {"name": model.name, "signature_name": "", "version": str(model.version)},
        "metadata": {"signature_def": {"signature_def": {_SIGNATURE: signature}}},
    }


def _tensor(dtype: str, name: str, *sizes: int) -> dict[str, Any]:
    dim = [{"size": str(size), "name": ""} for size in sizes]
    return {"dtype": dtype, "tensor_shape": {"dim": dim, "unknown_rank": False}, "name": name}
