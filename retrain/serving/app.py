"""The application: all routes, behind the gate."""

from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

import retrain
from retrain.serving.context import Context, problems
from retrain.serving.lifetime import Lifetime
from retrain.serving.metrics import CONTENT_TYPE
from retrain.serving.models import ServedModel
from retrain.serving.pages import page_routes
from retrain.serving.plain import plain_routes
from retrain.serving.problems import Problem
from retrain.serving.rest_v1 import v1_routes
from retrain.serving.rest_v2 import v2_routes
from retrain.serving.security import Gate, WithHeaders, refusal

__all__ = ["add_refusals", "build_app"]

_DESCRIPTION = """\
Image classifiers that `retrain train` made. Three protocols give the same answers: the server's own (bytes or a form),
TensorFlow Serving's version 1, and the Open Inference Protocol version 2. An error is {"error": "..."} in all of them.
"""


class Health(BaseModel):
    """The server answers."""

    status: str


class ModelDocument(BaseModel):
    """What a model is."""

    name: str
    version: int
    labels: list[str]
    thresholds: list[float] | None
    tells_known: bool
    backbone: str
    height: int
    width: int
    measured_on: str | None
    pictures: int | None
    accuracy: float | None
    accuracy_interval: tuple[float, float] | None


class ModelsDocument(BaseModel):
    """The models that are served; the first one is what a request gets that names none."""

    models: list[ModelDocument]


def build_app(context: Context) -> ASGIApp:
    """The application of one server."""
    api = FastAPI(
        title="retrain",
        version=retrain.__version__,
        description=_DESCRIPTION,
        docs_url=None,  # these pages load scripts from elsewhere; /api is ours
        redoc_url=None,
        redirect_slashes=False,
    )
    add_refusals(api)
    _add_own_routes(api, context)
    for router in (plain_routes(context), v1_routes(context), v2_routes(context), page_routes(context, api)):
        api.include_router(router)
    _complete_document(api, context)
    return WithHeaders(Lifetime(Gate(api, context.access), context.options.timeout, context.metrics))


def add_refusals(api: FastAPI, hint: str = "/api lists what") -> None:
    """Make all errors of an application {"error": ...}.

    Args:
        hint: where to look for what there is.
    """

    async def refuse(request: Request, error: Exception) -> Response:
        return _refused(request, error, hint)

    for kind in (Problem, HTTPException, RequestValidationError, Exception):
        api.add_exception_handler(kind, refuse)


def _refused(request: Request, error: Exception, hint: str) -> Response:
    """The answer to a request that can't be served."""
    match error:
        case Problem():
            return refusal(error)
        case RequestValidationError():
            found = error.errors()[0]
            return refusal(Problem(422, f"{'.'.join(map(str, found['loc'][1:]))}: {found['msg']}"))
        case HTTPException(status_code=404):
            return refusal(Problem(404, f"there is nothing at {request.url.path:.200}: {hint} there is"))
        case HTTPException(status_code=405):
            why = f"{request.method:.20} is not possible here: {hint} is"
            return refusal(Problem(405, why, error.headers))
        case _:
            return refusal(Problem(500, "the server has an error: its log says which"))


def _add_own_routes(api: FastAPI, context: Context) -> None:
    @api.get(
        "/healthz",
        tags=["server"],
        summary="Whether the server answers",
        response_model=Health,
        responses=problems(503),
    )
    async def health() -> dict[str, Any]:
        context.check_ready()
        return {"status": "ok"}

    @api.get(
        "/metrics",
        tags=["server"],
        summary="Counters, as Prometheus reads them",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **problems()},
    )
    async def metrics() -> Response:
        versions = {model.name: model.version for model in context.models}
        return Response(context.metrics.text(context.answerer.admission.pictures, versions), 200, None, CONTENT_TYPE)

    @api.get("/models", tags=["server"], summary="What is served", response_model=ModelsDocument, responses=problems())
    async def models() -> dict[str, Any]:
        return {"models": [_described(model) for model in context.models]}


def _described(model: ServedModel) -> dict[str, Any]:
    held = model.held
    return {
        "name": model.name,
        "version": model.version,
        "labels": model.labels,
        "thresholds": model.thresholds,
        "tells_known": model.tells_known,
        "backbone": model.backbone,
        "height": model.input_size[0],
        "width": model.input_size[1],
        "measured_on": held and held.set,
        "pictures": held and held.pictures,
        "accuracy": held and held.accuracy,
        "accuracy_interval": held and held.interval,
    }


def _complete_document(api: FastAPI, context: Context) -> None:
    """Say in the OpenAPI document what FastAPI can't know: the names of the models, and that requests need a token."""
    make = api.openapi
    names = [model.name for model in context.models]

    def openapi() -> dict[str, Any]:
        document = make()
        operations = [operation for path in document["paths"].values() for operation in path.values()]
        for parameter in (one for operation in operations for one in operation.get("parameters", [])):
            if parameter["in"] == "path" and parameter["name"] == "name":
                parameter["schema"]["enum"] = names
        if context.access.needs_token:
            document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            document["security"] = [{"token": []}]
        return document

    api.openapi = openapi  # type: ignore[method-assign]
