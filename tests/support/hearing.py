"""What a run tells, kept by a test: give the library one of these as `emit`."""

from collections.abc import Callable
from typing import Any

from retrain.backbones.sources.listener import Listener
from retrain.events import Emit, Event, Noted, Warned

__all__ = ["Heard", "hearing", "notes_to", "warnings_to"]


def hearing(kind: type[Event], tell: Callable[[Any], Any]) -> Emit:
    """Calls `tell` with events of a kind."""
    return lambda event: tell(event) if isinstance(event, kind) else None


def warnings_to(tell: Callable[[str], Any]) -> Emit:
    """Calls `tell` with the text of warnings."""
    return hearing(Warned, lambda event: tell(event.message))


def notes_to(tell: Callable[[str], Any]) -> Emit:
    """Calls `tell` with the text of notes."""
    return hearing(Noted, lambda event: tell(event.message))


class Heard(Listener):
    """Keeps what downloads tell: waits and warnings."""

    def __init__(self):
        self.waits, self.warnings = [], []

    def wait(self, text):
        self.waits.append(text)

    def warn(self, text):
        self.warnings.append(text)
