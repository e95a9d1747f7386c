"""The page's own files: one document, one style sheet, and modules of JavaScript. Nothing comes from elsewhere."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from retrain.report import PageKind

__all__ = ["POLICY", "page_file", "studio_page", "token_page"]

_FOLDER = Path(__file__).parent / "page"
_KIND = PageKind(_FOLDER, ("page.css", "studio.css"), "token.js", "img-src data:", forms="'self'")
_TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8"}

POLICY = (
    "default-src 'none'; img-src 'self' blob: data:; connect-src 'self'; style-src 'self'; script-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def studio_page(names: Mapping[str, Any]) -> bytes:
    """The page, in UTF-8."""
    return _KIND.environment.get_template("studio.html").render(names).encode()


def token_page(is_wrong: bool) -> tuple[bytes, str]:
    """The page that asks for the token, and its policy."""
    return _KIND.render("token.html", {"is_wrong": is_wrong}), f"{_KIND.policy}; frame-ancestors 'none'"


@functools.cache
def page_file(name: str) -> tuple[bytes, str] | None:
    """A file of the page and its type; None if there is none."""
    if name == "studio.css":
        return _KIND.style.encode(), _TYPES[".css"]
    place = next((path for path in _FOLDER.glob("*.js") if path.name == name), None)
    return None if place is None else (place.read_bytes(), _TYPES[".js"])
