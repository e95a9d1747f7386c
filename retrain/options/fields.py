"""What option classes are made of: fields that say what they mean, and checks of their values."""

import dataclasses
from typing import Any, ClassVar

from retrain.errors import UsageError

__all__ = ["Checked", "option"]


def option(default: Any, help: str, *, choices: tuple[str, ...] | None = None, metavar: str | None = None) -> Any:
    """A dataclass field that is also a command-line option."""
    return dataclasses.field(default=default, metadata={"help": help, "choices": choices, "metavar": metavar})


class Checked:
    """Range checks shared by the option classes: a wrong value is a UsageError that names the option."""

    # option name -> (lowest, highest) allowed, both inclusive; None: unbounded
    RANGES: ClassVar[dict[str, tuple[float | None, float | None]]] = {}

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            flag = "--" + field.name.replace("_", "-")
            choices = field.metadata.get("choices")
            if choices and value is not None and value not in choices:
                raise UsageError(f"{flag} {value}: not one of {', '.join(choices)}")
            if field.name not in self.RANGES or value is None:
                continue
            low, high = self.RANGES[field.name]
            # a comparison with NaN is false, so the range is asked for, not its opposite
            if not ((low is None or value >= low) and (high is None or value <= high)):
                wanted = f"at least {low:,}" if high is None else f"between {low:,} and {high:,}"
                raise UsageError(f"{flag} {value}: must be {wanted}")
