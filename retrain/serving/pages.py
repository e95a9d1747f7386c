"""What people look at: the page for pictures, the reports, the form for the token, and the list of requests."""

import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from fastapi import APIRouter, FastAPI, Request, Response

from retrain.report import PageKind
from retrain.serving.bodies import whole_body
from retrain.serving.context import Context
from retrain.serving.models import ServedModel
from retrain.serving.problems import Problem
from retrain.serving.security import LOGIN

__all__ = ["page_routes"]

_KIND = PageKind(
    Path(__file__).parent / "templates",
    ("page.css", "serve.css"),
    "serve.js",
    "img-src 'self' blob: data:; connect-src 'self'",
    forms="'self'",
)
_MOST_LABELS = 50


def page_routes(context: Context, app: FastAPI) -> APIRouter:
    """/, /report, /api and /login."""
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    async def page(model: str | None = None) -> Response:
        shown = context.models.get(model)
        return _page("serve.html", context, {"model": shown, **_facts(shown), "models": [*context.models]})

    @router.get("/report/{name}")
    async def report(name: str) -> Response:
        if not context.shows_report:
            raise Problem(404, "reports are not shown here: start the server with --show-report")
        found = await context.answerer.aside(context.models.get(name).report)
        # the report's own policy is in it
        headers = {"Content-Security-Policy": "frame-ancestors 'none'"}
        return Response(found, 200, headers, "text/html; charset=utf-8")

    @router.get("/api")
    async def api(request: Request) -> Response:
        names = {"groups": _groups(app.openapi()), "model": context.models.get(), "url": str(request.base_url)}
        return _page("api.html", context, names)

    @router.get(LOGIN)
    async def login() -> Response:
        if not context.access.needs_token:
            return Response(None, 303, {"Location": "/"})
        return _page("login.html", context, {"is_wrong": False}, 401)

    @router.post(LOGIN)
    async def check(request: Request) -> Response:
        async with whole_body(request, context.limits) as body:
            given = parse_qs(body[:8192].decode("latin-1")).get("token", [""])[0].strip()
        if not context.access.is_token(given):
            return _page("login.html", context, {"is_wrong": True}, 401)
        return Response(None, 303, {"Location": "/", "Set-Cookie": context.access.session()})

    return router


def _page(template: str, context: Context, names: dict[str, Any], status: int = 200) -> Response:
    names = names | {"needs_token": context.access.needs_token, "shows_report": context.shows_report}
    headers = {"Content-Security-Policy": f"{_KIND.policy}; frame-ancestors 'none'"}
    return Response(_KIND.render(template, names), status, headers, "text/html; charset=utf-8")


def _facts(model: ServedModel) -> dict[str, Any]:
    """What the page says of a model."""
    return {
        "labels": model.labels[:_MOST_LABELS],
        "more_labels": max(0, len(model.labels) - _MOST_LABELS),
        "made": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(model.version)),
        "held": model.held,
        "is_multi_label": model.thresholds is not None,
        "tells_known": model.tells_known,
    }


def _groups(document: dict[str, Any]) -> list[tuple[str, list[dict[str, str]]]]:
    """The requests that the OpenAPI document lists, by protocol."""
    groups: dict[str, list[dict[str, str]]] = {}
    for path, methods in document["paths"].items():
        for method, about in methods.items():
            row = {"method": method.upper(), "path": path, "summary": about.get("summary", "")}
            groups.setdefault(about["tags"][0], []).append(row)
    return list(groups.items())
