"""What a run tells, kept by a test: give the library one of these as `emit`."""

from collections.abc import Callable
from typing import Any

from retrain.events import Emit, Event, Noted, Warned

__all__ = ["hearing", "notes_to", "warnings_to"]


def hearing(kind: type[Event], tell: Callable[[Any], Any]) -> Emit:
    """Calls `tell` with events of a kind."""
    return lambda event: tell(event) if isinstance(event, kind) else None


def warnings_to(tell: Callable[[str], Any]) -> Emit:
    """Calls `tell` with the text of warnings."""
    return hearing(Warned, lambda event: tell(event.message))


def notes_to(tell: Callable[[str], Any]) -> Emit:
    """Calls `tell` with the text of notes."""
    return hearing(Noted, lambda event: tell(event.message))
