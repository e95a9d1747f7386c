"""What the routes share: the models, what answers for them, and how requests are read."""

import json
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import Request, Response
from pydantic import BaseModel

from retrain.options import ServingOptions
from retrain.serving.answers import Answerer
from retrain.serving.bodies import Limits, whole_body
from retrain.serving.metrics import Metrics
from retrain.serving.models import Models, ServedModel
from retrain.serving.problems import Problem, busy
from retrain.serving.security import Access

__all__ = ["Context", "Trouble", "json_answer", "problems"]

Parsed = TypeVar("Parsed")

_PROBLEMS = {
    400: "The request is wrong, or none of its pictures can be read.",
    401: "The token is missing or wrong.",
    403: "A page of another site made a browser send this.",
    404: "There is no such model or version.",
    408: "The body took too long to arrive.",
    413: "The body is too large, or has too many pictures.",
    415: "The body is compressed.",
    421: "The server does not go by the name in the Host header.",
    422: "A parameter is wrong.",
    503: "The server has too much to do, or is about to end: try again after Retry-After seconds.",
}


class Trouble(BaseModel):
    """Why a request has no answer."""

    error: str


def problems(*codes: int) -> dict[int | str, dict[str, Any]]:
    """Documentation of the problems that requests of a route may have, beside those that all have."""
    return {code: {"model": Trouble, "description": _PROBLEMS[code]} for code in sorted({400, 401, 403, 421, *codes})}


@dataclass(frozen=True)
class Context:
    """One server's parts."""

    models: Models
    options: ServingOptions
    access: Access
    metrics: Metrics
    answerer: Answerer
    shows_report: bool
    ending: threading.Event  # set when the server takes no more requests

    def check_ready(self) -> None:
        """Raises Problem if the server is about to end."""
        if self.ending.is_set():
            raise busy("the server is about to end")

    def model(self, name: str, version: str) -> ServedModel:
        """A model, if it is of a version. Raises Problem."""
        model = self.models.get(name)
        if version != str(model.version):
            raise Problem(404, f"the model {name} has no version {version!r:.40}: version {model.version} is served")
        return model

    @property
    def limits(self) -> Limits:
        """How large bodies may be."""
        return Limits(self.options.max_body * 2**20, self.answerer.admission)

    @asynccontextmanager
    async def parsed(self, request: Request, parse: Callable[[bytes], Parsed]) -> AsyncIterator[Parsed]:
        """What a request's body holds; room for the body is held for as long as the block takes. Raises Problem.

        Args:
            parse: is run beside the event loop.
        """
        async with whole_body(request, self.limits) as body:
            yield await self.answerer.aside(lambda: parse(body))


def json_answer(content: Any, headers: Mapping[str, str] | None = None) -> Response:
    """An answer in JSON."""
    return Response(json.dumps(content, ensure_ascii=False).encode(), 200, headers, "application/json")
