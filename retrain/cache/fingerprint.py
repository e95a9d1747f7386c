"""The fingerprint that tells extractors, and so their bottlenecks, apart."""

import hashlib
import json
from typing import Any

__all__ = ["fingerprint_of"]


def fingerprint_of(description: dict[str, Any]) -> str:
    """SHA-256 of an extractor's description as JSON: 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()
