"""Pictures in JSON, which has no bytes: in base64."""

import base64
import binascii
from typing import Any

from retrain.json_fields import shown_value
from retrain.serving.answers import NoPicture

__all__ = ["picture_in"]

_OTHER_ALPHABET = str.maketrans("-_", "+/", " \t\r\n=")  # of URLs; line breaks and padding say nothing


def picture_in(value: Any) -> bytes | NoPicture:
    """The bytes of a picture, from base64 or {"b64": base64}."""
    text = value.get("b64") if isinstance(value, dict) and set(value) == {"b64"} else value
    if not isinstance(text, str):
        return NoPicture(f'{shown_value(value)} is no picture: expected {{"b64": "..."}} with its bytes in base64')
    plain = text.translate(_OTHER_ALPHABET)
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        return NoPicture(f"{shown_value(text)} is not base64: {error}")
