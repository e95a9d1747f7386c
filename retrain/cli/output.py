"""Printing: results on stdout, warnings and logs on stderr, without control characters for the terminal."""

import json
import logging
import sys
from typing import Any

from retrain.text import shown, shown_json

__all__ = ["log_to_stderr", "print_json", "print_json_line", "print_text", "print_warning"]


def print_json(value: Any) -> None:
    """Print one JSON document."""
    print(shown_json(json.dumps(value, indent=2, ensure_ascii=False)))


def print_json_line(value: Any) -> None:
    """Print one JSON document in a line, at once, also into a pipe."""
    print(shown_json(json.dumps(value, ensure_ascii=False)), flush=True)


def print_text(text: str, flush: bool = False) -> None:
    """Print one or several lines, at once if wanted, also into a pipe."""
    print(shown(text, keep="\n"), flush=flush)


def print_warning(message: str) -> None:
    """Print a warning on stderr."""
    print(f"retrain: warning: {shown(message)}", file=sys.stderr)


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return shown(super().format(record), keep="\n")


def log_to_stderr(level: int, form: str) -> None:
    """Send logs to stderr, from a level on, in a form such as "%(message)s"."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter(form))
    logging.basicConfig(level=level, handlers=[handler])
