"""Paths as messages, files and JSON show them."""

import os

from retrain.text import shown

__all__ = ["display_path", "utf8_path"]


def display_path(path: str | os.PathLike[str]) -> str:
    """A path for messages: utf8_path(), with control characters, which a terminal would obey, as \\xNN."""
    return shown(utf8_path(path))


def utf8_path(path: str | os.PathLike[str]) -> str:
    """A path for files and JSON: unchanged, except that bytes that are not UTF-8 become \\xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
