"""Pages that stand alone: one style sheet and one script, both inside, and texts that a browser only shows.

A page obeys a Content-Security-Policy of its own: it runs the one script and the style sheet whose digests it names.
Every text goes through `_shown` and is escaped.
"""

import base64
import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from retrain.paths import display_path
from retrain.text import counted, ratio, shown

__all__ = ["PageKind"]

_FILES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class PageKind:
    """Pages of one kind: what they look like, what runs in them, and what they may ask for."""

    folder: Path  # of the templates, style sheets and scripts; the report's are found, too
    styles: tuple[str, ...]  # files
    script: str  # a file
    allows: str  # what the policy allows beside its own style and script
    forms: str = "'none'"  # where forms may lead

    def render(self, template: str, names: Mapping[str, Any]) -> bytes:
        """The page, in UTF-8."""
        style, script, policy = self._own
        own = {"style": Markup(style), "script": Markup(script), "policy": policy}
        return self.environment.get_template(template).render(own | dict(names)).encode()

    @property
    def style(self) -> str:
        """The style sheets, one after the other."""
        return self._own[0]

    @property
    def policy(self) -> str:
        """The Content-Security-Policy of the pages."""
        return self._own[2]

    @functools.cached_property
    def _own(self) -> tuple[str, str, str]:
        style = "".join(self._read(name) for name in self.styles)
        script = self._read(self.script)
        policy = (
            f"default-src 'none'; {self.allows}; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
            f"base-uri 'none'; form-action {self.forms}"
        )
        return style, script, policy

    def _read(self, name: str) -> str:
        place = self.folder / name
        return (place if place.exists() else _FILES / name).read_text("utf-8")

    @functools.cached_property
    def environment(self) -> jinja2.Environment:
        """What renders the templates."""
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader([self.folder, _FILES]),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            finalize=_shown,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters |= {
            "counted": counted,
            "name": lambda text: Markup("<bdi>{}</bdi>").format(_shown(text)),
            "path": lambda text: Markup('<bdi dir="ltr">{}</bdi>').format(_shown(text)),
            "number": "{:,}".format,
            "percent": ratio,
        }
        return environment


def _digest(text: str) -> str:
    """What a Content-Security-Policy calls a text."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _shown(value: Any) -> Any:
    r"""What stands on the page for a value: texts with what a browser would obey instead of showing as \xNN.

    That is line breaks, control characters, and those that turn the direction of what follows.
    """
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    try:
        return display_path(value)
    except UnicodeEncodeError:  # half a character, from JSON
        return shown(value)
