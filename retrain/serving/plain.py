"""The server's own protocol: the bytes of a picture, or a form with files, in; labels and scores out."""

import base64
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from retrain.serving.answers import Answer
from retrain.serving.bodies import content_type, files_of, whole_body
from retrain.serving.context import Context, json_answer, problems
from retrain.serving.models import ServedModel

__all__ = ["plain_routes"]

_PICTURES = {
    "description": "A picture's bytes, or a form with one or several files.",
    "required": True,
    "content": {
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        "image/*": {"schema": {"type": "string", "format": "binary"}},
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["picture"],
                "properties": {
                    "picture": {"type": "array", "minItems": 1, "items": {"type": "string", "format": "binary"}}
                },
            }
        },
    },
}
_PICTURE = _PICTURES | {
    "description": "A picture's bytes.",
    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
}


class PicturePrediction(BaseModel):
    """What the model says of a picture: label, score and scores, or an error; with several labels also which it has."""

    name: str | None = Field(None, description="of the file, where a form has it")
    label: str | None = Field(
        None, description="the most likely one; unknown, if the model says that it is of no class"
    )
    score: float | None = Field(None, description="of the most likely one, in [0, 1]")
    scores: dict[str, float] | None = Field(
        None, description="the most likely labels first; if a picture has one, all add up to 1"
    )
    labels: list[str] | None = Field(
        None, description="where it can have several: those that it has, most likely first"
    )
    thresholds: dict[str, float] | None = Field(None, description="of the scores: a picture has a label from there on")
    known: float | None = Field(None, description="of a model trained with --reject: at least 0.5, if it is of a class")
    distance: float | None = Field(None, description="of such a model: to the nearest class")
    error: str | None = Field(None, description="why the picture can't be read")


class PicturePredictions(BaseModel):
    """A prediction for every picture of the request, in its order."""

    model: str
    version: int = Field(description="seconds since 1970, when the model was trained")
    predictions: list[PicturePrediction]


class HeatMap(BaseModel):
    """What spoke for a label."""

    label: str
    sentence: str = Field(description="how the map was made")
    heat_map: str = Field(description="a PNG in base64, to lay over the picture, stretched to its size")


Top = Annotated[int | None, Query(ge=1, description="give only this many labels of each picture")]


def plain_routes(context: Context) -> APIRouter:
    """POST /predict and /explain, for the first model or one that is named."""
    router = APIRouter(tags=["pictures"])
    about_predict: dict[str, Any] = {
        "openapi_extra": {"requestBody": _PICTURES},
        "responses": {200: {"model": PicturePredictions}, **problems(404, 408, 413, 415, 422, 503)},
        "response_class": Response,
    }
    about_explain = about_predict | {
        "openapi_extra": {"requestBody": _PICTURE},
        "responses": {200: {"model": HeatMap}, **problems(404, 408, 413, 415, 422, 503)},
    }

    @router.post("/predict", summary="Classify pictures with the first model", **about_predict)
    async def predict(request: Request, top: Top = None) -> Response:
        return await _predict(context, context.models.get(), request, top)

    @router.post("/predict/{name}", summary="Classify pictures with a model", **about_predict)
    async def predict_by(request: Request, name: str, top: Top = None) -> Response:
        return await _predict(context, context.models.get(name), request, top)

    @router.post("/explain", summary="Show what spoke for a label, by the first model", **about_explain)
    async def explain(request: Request, label: str | None = None) -> Response:
        return await _explain(context, context.models.get(), request, label)

    @router.post("/explain/{name}", summary="Show what spoke for a label", **about_explain)
    async def explain_by(request: Request, name: str, label: str | None = None) -> Response:
        return await _explain(context, context.models.get(name), request, label)

    return router


async def _predict(context: Context, model: ServedModel, request: Request, top: int | None) -> Response:
    async with _pictures(context, request) as files:
        answers = await context.answerer.answers(model, [data for _, data in files])
    found = [_prediction(name, answer, model, top) for (name, _), answer in zip(files, answers, strict=True)]
    return json_answer({"model": model.name, "version": model.version, "predictions": found})


@asynccontextmanager
async def _pictures(context: Context, request: Request) -> AsyncIterator[Sequence[tuple[str | None, bytes]]]:
    """The names and bytes of a request's pictures. Raises Problem."""
    kind, parameters = content_type(request.headers)
    if kind == "multipart/form-data":
        boundary, most = parameters.get("boundary", ""), context.answerer.admission.max_pictures
        async with context.parsed(request, lambda body: files_of(body, boundary, most)) as files:
            yield files
    else:
        async with whole_body(request, context.limits) as body:
            yield [(None, body)] if body else []


def _prediction(name: str | None, answer: Answer, model: ServedModel, top: int | None) -> dict[str, Any]:
    named = {} if name is None else {"name": name}
    if answer.scores is None:
        return named | {"error": answer.error}
    found = answer.prediction(model)
    scores = dict(list(found.scores.items())[:top])
    shown = named | {"label": found.label, "score": found.score, "scores": scores}
    if found.known is not None:
        shown |= {"known": found.known, "distance": found.distance}
    if found.thresholds is None:
        return shown
    return shown | {"labels": found.labels, "thresholds": {label: found.thresholds[label] for label in scores}}


async def _explain(context: Context, model: ServedModel, request: Request, label: str | None) -> Response:
    async with whole_body(request, context.limits) as body:
        found, sentence, image = await context.answerer.heat_map(model, body, label)
    return json_answer({"label": found, "sentence": sentence, "heat_map": base64.b64encode(image).decode()})
