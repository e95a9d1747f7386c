"""Command-line options made from option classes, and a parser that helps with typing errors."""

import argparse
import dataclasses
import difflib
import logging
import os
import re
import types
import typing
from collections.abc import Sequence
from typing import Any, NoReturn, TypeVar

from retrain.text import shown

__all__ = ["EXIT_ERROR", "EXIT_USAGE", "Parser", "add_options", "log_to_stderr", "options_from"]

EXIT_ERROR, EXIT_USAGE = 1, 2

Options = TypeVar("Options")


# Metavars of arguments that are paths; one with URL in it is a path or a URL.
_PATH = re.compile(r"(DIR|FILE|PICTURE)\b")
_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


class Parser(argparse.ArgumentParser):
    """A parser that takes no abbreviations and suggests what a misspelt option may have meant.

    Arguments that are paths, as their metavars say, have ~ expanded: shells don't do it in --option=~/folder.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs, allow_abbrev=False)

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse; then look at paths."""
        parsed, rest = super().parse_known_args(args, namespace)
        for action in self._actions:
            if _PATH.search(str(action.metavar or "")):
                value = getattr(parsed, action.dest, None)
                if isinstance(value, str):
                    setattr(parsed, action.dest, self._path(value, action))
                elif isinstance(value, list):
                    setattr(parsed, action.dest, [self._path(word, action) for word in value])
        return parsed, rest

    def _path(self, text: str, action: argparse.Action) -> str:
        """A path as it was meant; a URL where none can be used ends the program."""
        if _URL.match(text) and "URL" not in str(action.metavar) and not os.path.lexists(text):
            name = action.option_strings[-1] if action.option_strings else action.metavar
            self.error(f"{name} {text} is a URL: download what it names first, and give its path on this machine")
        return os.path.expanduser(text)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong on stderr, in one line, and exit with EXIT_USAGE."""
        if message.startswith("unrecognized arguments: "):
            known = sorted(option_strings(self))
            for word in message.split()[2:]:
                near = difflib.get_close_matches(word.split("=")[0], known, 1)
                if word.startswith("-") and near:
                    message += f" (did you mean {near[0]}?)"
        self.exit(EXIT_USAGE, f"retrain: error: {shown(message)}; see {self.prog} --help\n")


def option_strings(parser: argparse.ArgumentParser) -> set[str]:
    """All options of a parser and of its commands."""
    found: set[str] = set()
    for action in parser._actions:
        found.update(action.option_strings)
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                found |= option_strings(command)
    return found


def add_options(parser: argparse.ArgumentParser, options: type, title: str) -> None:
    """Add an option for every field of an option class."""
    group = parser.add_argument_group(title)
    for field in dataclasses.fields(options):
        if "help" in field.metadata:
            _add_option(group, field)


def _add_option(group: Any, field: dataclasses.Field[Any]) -> None:
    flag, text = "--" + field.name.replace("_", "-"), field.metadata["help"].replace("%", "%%")
    if field.type is bool:
        group.add_argument(flag, action="store_true", help=text)
        return
    kind: Any = field.type
    if isinstance(kind, types.UnionType):
        kind = next(t for t in typing.get_args(kind) if t is not types.NoneType)
    if field.default is not None and "default" not in text:
        text += f" (default: {field.default})"
    group.add_argument(
        flag,
        type=kind,
        default=field.default,
        choices=field.metadata["choices"],
        metavar=None if field.metadata["choices"] else field.metadata["metavar"],
        help=text,
    )


class _Shown(logging.Formatter):
    """Lines of which a terminal obeys nothing."""

    def format(self, record: logging.LogRecord) -> str:
        return shown(super().format(record), keep="\n")


def log_to_stderr(level: int, form: str) -> None:
    """Send what is logged, from a level on, to stderr, in a form such as "%(message)s"."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Shown(form))
    logging.basicConfig(level=level, handlers=[handler])


def options_from(options: type[Options], args: argparse.Namespace) -> Options:
    """The option class, filled from what was parsed. Raises UsageError."""
    names = {field.name for field in dataclasses.fields(options) if "help" in field.metadata}  # type: ignore[arg-type]
    return options(**{name: getattr(args, name) for name in names if hasattr(args, name)})
