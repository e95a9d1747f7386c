"""The studio's application: the page, what it shows, and what it asks for."""

import asyncio
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import parse_qs

from fastapi import APIRouter, FastAPI, Request, Response
from starlette.responses import StreamingResponse
from starlette.types import ASGIApp

from retrain.errors import RetrainError
from retrain.json_fields import FieldError, Fields, parse_json
from retrain.options import ImageOptions
from retrain.paths import display_path
from retrain.serving.admission import Admission
from retrain.serving.app import add_refusals
from retrain.serving.bodies import Limits, content_type, document_of, files_of, whole_body
from retrain.serving.problems import Problem
from retrain.serving.security import LOGIN, Gate, WithHeaders, refusal
from retrain.serving.studio.access import OwnPageOnly, StudioAccess
from retrain.serving.studio.events import EventStream
from retrain.serving.studio.page_files import POLICY, page_file, studio_page, token_page
from retrain.serving.studio.pictures import Picture
from retrain.serving.studio.requests import change_of, class_name, numbers_in, pictures_alone, save_place
from retrain.serving.studio.thumbnails import SIDES, Thumbnails
from retrain.serving.studio.workbench import Workbench

__all__ = ["Studio", "build_studio"]

Result = TypeVar("Result")

_MOST_ASKED = 2**22  # bytes of a request in JSON
_MOST_ADDED = 2**28  # bytes of pictures in one request
_MOST_FILES = 10_000  # in one request
_FOREVER = "private, max-age=31536000, immutable"  # the address changes with the content


@dataclass(frozen=True)
class Studio:
    """One studio's parts."""

    name: str  # of the folder, for people
    workbench: Workbench
    stream: EventStream
    thumbnails: Thumbnails
    access: StudioAccess
    images: ImageOptions
    admission: Admission


def build_studio(studio: Studio) -> ASGIApp:
    """The application of one studio."""
    api = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    add_refusals(api, "the page at / shows what")
    api.add_exception_handler(RetrainError, _refuse)
    api.add_exception_handler(FieldError, _refuse)
    for router in (_page_routes(studio), _reading_routes(studio), _changing_routes(studio)):
        api.include_router(router)
    return WithHeaders(Gate(OwnPageOnly(api), studio.access))


def _json(content: object) -> Response:
    """An answer in JSON, in ASCII: names of files may have what UTF-8 has no place for."""
    return Response(json.dumps(content, separators=(",", ":")), 200, None, "application/json")


async def _refuse(_: Request, error: Exception) -> Response:
    return refusal(Problem(422 if isinstance(error, FieldError) else 409, str(error)))


def _page_routes(studio: Studio) -> APIRouter:
    """The page, its own files, and the way in."""
    router = APIRouter()

    @router.get("/")
    async def page(request: Request) -> Response:
        if "token" in request.query_params:  # it leaves the address bar
            return _let_in(studio, request.query_params["token"])
        names = {"folder": studio.name, "is_read_only": studio.workbench.is_read_only}
        return _html(studio_page(names), POLICY)

    @router.get(LOGIN)
    async def ask_token(request: Request) -> Response:  # also for / without a session
        given = request.query_params.get("token")
        return _html(*token_page(is_wrong=False), 401) if given is None else _let_in(studio, given)

    @router.post(LOGIN)
    async def take_token(request: Request) -> Response:
        async with whole_body(request, Limits(_MOST_ASKED, studio.admission)) as body:
            return _let_in(studio, parse_qs(body[:8192].decode("latin-1")).get("token", [""])[0].strip())

    @router.get("/page/{name}")
    async def file(name: str) -> Response:
        found = page_file(name)
        if found is None:
            raise Problem(404, "there is no such file")
        return Response(found[0], 200, {"Cache-Control": "no-cache"}, found[1])

    return router


def _let_in(studio: Studio, given: str) -> Response:
    """Open the page to a browser that has the token."""
    if not studio.access.is_token(given):
        return _html(*token_page(is_wrong=True), 401)
    return Response(None, 303, {"Location": "/", "Set-Cookie": studio.access.session()})


def _html(page: bytes, policy: str, status: int = 200) -> Response:
    return Response(page, status, {"Content-Security-Policy": policy}, "text/html; charset=utf-8")


def _reading_routes(studio: Studio) -> APIRouter:
    """What the page shows."""
    router = APIRouter()
    workbench = studio.workbench

    @router.get("/listing")
    async def listing() -> Response:
        return _json(await asyncio.to_thread(workbench.table.listing))

    @router.get("/figures")
    async def figures() -> Response:
        if workbench.figures is None:
            raise Problem(404, "there are no figures yet")
        return _json(workbench.figures.content)

    @router.get("/events")
    async def events() -> Response:
        return StreamingResponse(studio.stream.listen(workbench.hello), media_type="text/event-stream")

    @router.get("/{kind}/{number}/{version}")
    async def picture(request: Request, kind: str, number: int, version: str) -> Response:
        found = workbench.table.get(number)
        if found is None or kind not in SIDES:
            raise Problem(404, "there is no such picture any more")
        return await _jpeg(studio, found, kind, version, request.headers.get("if-none-match"))

    @router.get("/about/{number}")
    async def about(number: int) -> Response:
        found = workbench.table.get(number)
        if found is None:
            raise Problem(404, "there is no such picture any more")
        return _json({"path": display_path(found.path), "bytes": found.signature[-1]})

    return router


async def _jpeg(studio: Studio, picture: Picture, kind: str, version: str, known: str | None) -> Response:
    """A small form of a picture. What a browser has already is not sent again."""
    tag = f'"{picture.version}-{kind}"'
    headers = {"ETag": tag, "Cache-Control": _FOREVER if version == picture.version else "no-cache"}
    if known == tag:
        return Response(None, 304, headers)
    return Response(await studio.thumbnails.get(picture, kind), 200, headers, "image/jpeg")


def _changing_routes(studio: Studio) -> APIRouter:
    """What the page asks to have done."""
    router = APIRouter()
    workbench = studio.workbench

    @router.post("/edits")
    async def edit(request: Request) -> Response:
        change = await _asked(studio, request, lambda fields: change_of(fields, workbench.table))
        return _json(await asyncio.to_thread(workbench.edit, change))

    @router.post("/pictures")
    async def add(request: Request) -> Response:
        name = class_name(parse_json(request.query_params.get("class", "").encode()))  # which has any name
        if workbench.is_read_only:  # before the pictures are read
            await asyncio.to_thread(workbench.edit, lambda editor: None)
        kind, parameters = content_type(request.headers)
        if kind != "multipart/form-data":
            raise Problem(415, "expected multipart/form-data with files")
        async with whole_body(request, Limits(_MOST_ADDED, studio.admission)) as body:
            boundary = parameters.get("boundary", "")
            files = await asyncio.to_thread(files_of, body, boundary, _MOST_FILES)
            kept, refused = await asyncio.to_thread(pictures_alone, files, studio.images)
            said = await asyncio.to_thread(workbench.edit, lambda editor: editor.add(name, kept))
        return _json(said | {"refused": refused})

    @router.post("/classify")
    async def classify(request: Request) -> Response:
        async with whole_body(request, Limits(studio.images.max_file_size * 2**20, studio.admission)) as body:
            found = await asyncio.to_thread(workbench.classify, body)
        if found.error is not None:
            raise Problem(415, found.error)
        return _json({"label": found.label, "scores": [*found.scores.items()][:10]})

    @router.post("/save")
    async def save(request: Request) -> Response:
        place = await _asked(studio, request, lambda fields: save_place(fields.text("name", ".+", "a name")))
        await asyncio.to_thread(workbench.save, place)
        return _json({"place": display_path(os.path.join(os.getcwd(), place))})

    @router.post("/passed")
    async def passed(request: Request) -> Response:
        numbers, is_so = await _asked(studio, request, lambda f: (numbers_in(f), f.truth("passed", True)))
        workbench.set_passed(numbers, is_so)
        return _json({})

    return router


async def _asked(studio: Studio, request: Request, read: Callable[[Fields], Result]) -> Result:
    """What a request in JSON asks for. Raises Problem, FieldError."""
    async with whole_body(request, Limits(_MOST_ASKED, studio.admission)) as body:
        return read(document_of(body))
