"""Read JSON documents from others: every field is checked when it is read, and an error names it."""

import json
import math
import re
from collections.abc import Sequence
from typing import Any

__all__ = ["FieldError", "Fields", "parse_json", "shown_value"]

_SHOWN = 60  # characters of a wrong value


class FieldError(ValueError):
    """A field is missing or wrong; the message says which, what was found and what was expected."""


def parse_json(data: bytes) -> Any:
    """The content of a JSON document in UTF-8. Raises FieldError."""
    try:
        return json.loads(data.decode("utf-8"))
    except RecursionError:
        raise FieldError("not JSON that can be read: too many levels") from None
    except ValueError as error:
        raise FieldError(f"not JSON in UTF-8: {error}") from error


class Fields:
    """The fields of an object in a JSON document.

    Args:
        value: what the document has there.
        path: where that is, such as "backbone.graph"; empty for the whole document.
    Raises FieldError if it is not an object. The methods raise it for a field that is missing or wrong.
    """

    def __init__(self, value: Any, path: str = "") -> None:
        self._path = path
        if not isinstance(value, dict):
            raise FieldError(f"{path or 'the document'} is {shown_value(value)}, expected an object")
        self._values: dict[str, Any] = value

    def __contains__(self, name: str) -> bool:
        return self._values.get(name) is not None

    @property
    def values(self) -> dict[str, Any]:
        """All fields as they are."""
        return self._values

    def fields(self, name: str) -> "Fields":
        """An object."""
        return Fields(self._get(name, "an object"), self._where(name))

    def number(self, name: str, low: int, high: int) -> int:
        """A whole number from low to high."""
        wanted = f"a whole number from {low} to {high}"
        value = self._get(name, wanted)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self._wrong(name, value, wanted)
        return value

    def truth(self, name: str, default: bool) -> bool:
        """True or false; the default if it is missing or null."""
        value = default if self._values.get(name) is None else self._values[name]
        if not isinstance(value, bool):
            raise self._wrong(name, value, "true or false")
        return value

    def reals(self, name: str, count: int) -> tuple[float, ...]:
        """So many finite numbers; a single one in the document stands for all of them."""
        wanted = f"a number, or a list of {count} numbers"
        value = self._get(name, wanted)
        values = value if isinstance(value, list) else [value] * count
        if len(values) != count or not all(map(_is_finite, values)):
            raise self._wrong(name, value, wanted)
        return tuple(map(float, values))

    def text(self, name: str, pattern: str, wanted: str) -> str:
        """A text that matches a regular expression as a whole; wanted: what that means."""
        value = self._get(name, wanted)
        if not _is_text(value) or not re.fullmatch(pattern, value):
            raise self._wrong(name, value, wanted)
        return str(value)

    def choice(self, name: str, known: Sequence[str]) -> str:
        """One of some words; the first of them if it is missing."""
        value = self._values.get(name, known[0])
        if value not in known:
            raise self._wrong(name, value, f"one of {', '.join(known)}")
        return str(value)

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of different texts, at least one; each on one line and not empty."""
        wanted = "a list of different names"
        values = self._get(name, wanted)
        if not isinstance(values, list) or not values:
            raise self._wrong(name, values, wanted)
        for number, value in enumerate(values):
            if not _is_text(value) or not value or "\n" in value or "\0" in value:
                raise self._wrong(f"{name}[{number}]", value, "a name")
        if len(set(values)) < len(values):
            twice = next(value for value in values if values.count(value) > 1)
            raise FieldError(f"{self._where(name)} has {shown_value(twice)} twice, expected {wanted}")
        return tuple(values)

    def _get(self, name: str, wanted: str) -> Any:
        if name not in self._values:
            raise FieldError(f"{self._where(name)} is missing, expected {wanted}")
        return self._values[name]

    def _where(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name

    def _wrong(self, name: str, value: Any, wanted: str) -> FieldError:
        return FieldError(f"{self._where(name)} is {shown_value(value)}, expected {wanted}")


def _is_finite(value: Any) -> bool:
    """Whether it is a number that a float can hold."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(float(value))
    except OverflowError:  # JSON has whole numbers of any length
        return False


def _is_text(value: Any) -> bool:
    """Whether it is a text that UTF-8 can hold; JSON can have halves of characters."""
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)


def shown_value(value: Any) -> str:
    """A wrong value for a message, shortened."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    text = json.dumps(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
