"""Bodies of requests: read into memory, never onto a disk, and taken apart."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from retrain.json_fields import FieldError, Fields, parse_json
from retrain.serving.admission import Admission
from retrain.serving.problems import Problem

__all__ = ["Limits", "content_type", "document_of", "files_of", "whole_body"]

_MOST_FIELDS = 100  # of a form, beside its files
_MOST_NAME = 200  # characters of a file's name


class Limits:
    """How large bodies may be.

    Args:
        size: bytes of one.
        admission: of all together.
    """

    def __init__(self, size: int, admission: Admission) -> None:
        self.size, self.admission = size, admission


@asynccontextmanager
async def whole_body(request: Request, limits: Limits) -> AsyncIterator[bytes]:
    """The body of a request. Its room is held for as long as the block takes. Raises Problem."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise Problem(415, f"Content-Encoding: {encoding:.40} is not supported: send the body as it is")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limits.size:
        raise _too_large(limits.size)
    with limits.admission.of_body() as held:
        parts = []
        async for part in request.stream():
            if held.size + len(part) > limits.size:
                raise _too_large(limits.size)
            held.grow(len(part))
            parts.append(part)
        body = b"".join(parts)
        parts.clear()
        yield body


def _too_large(size: int) -> Problem:
    return Problem(413, f"the body is larger than {size // 2**20} MiB: send fewer or smaller pictures")


def content_type(headers: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """The type of a body, in lower case, and its parameters."""
    kind, found = parse_options_header(headers.get("content-type"))
    return kind.decode("latin-1").lower(), {
        key.decode("latin-1").lower(): value.decode("latin-1") for key, value in found.items()
    }


def document_of(body: bytes) -> Fields:
    """The JSON object that a body holds. Raises Problem."""
    if not body:
        raise Problem(400, "the body is empty: expected a JSON object")
    try:
        return Fields(parse_json(body))
    except FieldError as error:
        raise Problem(400, f"the body can't be read: {error}") from None


def files_of(body: bytes, boundary: str, most: int) -> list[tuple[str, bytes]]:
    """The files of a multipart/form-data body, each with its name. Fields that are no files are left out.

    Args:
        most: files that there may be.
    Raises Problem.
    """
    if not re.fullmatch(r"[\x20-\x7e]{1,70}", boundary):  # RFC 2046
        raise Problem(400, "the Content-Type multipart/form-data has no boundary of 1 to 70 ASCII characters")
    form = _Form(most)
    try:
        parser = MultipartParser(boundary.encode(), form.callbacks)
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise Problem(400, f"the multipart body can't be read: {error!s:.200}") from None
    if not form.has_ended:
        raise Problem(400, "the multipart body is cut short: its last boundary is missing")
    return form.files


class _Form:
    """What the parser is told to call."""

    def __init__(self, most: int) -> None:
        self.files: list[tuple[str, bytes]] = []
        self.has_ended = False
        self._most, self._parts = most, 0
        self._name: str | None = None
        self._field, self._value = bytearray(), bytearray()
        self._pieces: list[bytes] = []
        self.callbacks: Any = {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._field.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._header,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._finish,
        }

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > self._most + _MOST_FIELDS:
            raise Problem(413, f"more than {self._most + _MOST_FIELDS:,} parts in a form: send fewer at once")
        self._name = None
        self._pieces = []

    def _header(self) -> None:
        if bytes(self._field).lower() == b"content-disposition":
            _, found = parse_options_header(bytes(self._value))
            if b"filename" in found:
                self._name = found[b"filename"].decode("utf-8", "replace")[-_MOST_NAME:]
        self._field, self._value = bytearray(), bytearray()

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._name is not None:
            self._pieces.append(data[start:end])

    def _end(self) -> None:
        if self._name is None:
            return
        if len(self.files) == self._most:
            raise Problem(413, f"more than {self._most:,} files in a request: send fewer at once")
        self.files.append((self._name, b"".join(self._pieces)))

    def _finish(self) -> None:
        self.has_ended = True
