"""Paths as messages, files and JSON show them."""

import os
import re

from retrain.text import shown

__all__ = ["display_path", "utf8_path"]


_URL = re.compile(r"^([a-z][a-z0-9+.-]+:)/(?=[^/])")


def display_path(path: str | os.PathLike[str]) -> str:
    """A path for messages: utf8_path(), with control characters, which a terminal would obey, as \\xNN."""
    return shown(utf8_path(path))


def utf8_path(path: str | os.PathLike[str]) -> str:
    """A path for files and JSON: bytes that are not UTF-8 become \\xNN, and s3:/bucket, as Path has it, a URL again.

    Half a character, which JSON can have and no file's name, becomes \\uNNNN.
    """
    try:
        text = os.fsencode(path).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:
        text = os.fspath(path).encode("utf-8", "backslashreplace").decode()
    return _URL.sub(r"\1//", text, 1)
