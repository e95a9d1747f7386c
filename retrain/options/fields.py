"""What option classes are made of: fields that describe themselves, and checks of their values."""

import dataclasses
from typing import Any, ClassVar

from retrain.errors import UsageError

__all__ = ["Checked", "flag_of", "option"]


def option(
    default: Any, help: str, *, choices: tuple[str, ...] | None = None, metavar: str | None = None, common: bool = False
) -> Any:
    """A dataclass field that is also a command-line option.

    Args:
        choices: the values that it may have.
        metavar: what its value is, for the help: DIR, N.
        common: whether most people need it; --help shows these, --help-all all of them.
    """
    metadata = {"help": help, "choices": choices, "metavar": metavar, "common": common}
    return dataclasses.field(default=default, metadata=metadata)


def flag_of(name: str) -> str:
    """The command-line option of a field: --batch-size."""
    return f"--{name.replace('_', '-')}"


class Checked:
    """Checks the values of an option class. A wrong value is a UsageError that names the option."""

    # name of a field -> lowest and highest value, both included; None: no bound
    RANGES: ClassVar[dict[str, tuple[float | None, float | None]]] = {}

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value, flag = getattr(self, field.name), flag_of(field.name)
            choices = field.metadata.get("choices")
            if choices and value is not None and value not in choices:
                raise UsageError(f"{flag} {value}: not one of {', '.join(choices)}")
            if field.name not in self.RANGES or value is None:
                continue
            low, high = self.RANGES[field.name]
            # comparisons with NaN are false, so ask whether the value is in the range, not whether it is outside
            if not ((low is None or value >= low) and (high is None or value <= high)):
                wanted = f"at least {low:,}" if high is None else f"between {low:,} and {high:,}"
                raise UsageError(f"{flag} {value}: must be {wanted}")
