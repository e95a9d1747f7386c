"""An estimator's constructor parameters and retrain's options, which have the same names and meanings."""

import contextlib
import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from retrain.errors import RetrainError
from retrain.options.fields import flag_of

__all__ = ["options_of", "parameters_named"]

Options = TypeVar("Options")

_FLAG = re.compile(r"--[a-z0-9]+(?:-[a-z0-9]+)*")


def options_of(kind: type[Options], parameters: Mapping[str, Any]) -> Options:
    """The options of a stage that are among some parameters. Raises UsageError for a wrong value."""
    names = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in parameters.items() if name in names})


@contextlib.contextmanager
def parameters_named(parameters: Mapping[str, str]) -> Iterator[None]:
    """Name parameters in the messages of errors, where they name options of the command line.

    Args:
        parameters: name of an option -> that of the parameter.
    """
    flags = {flag_of(option): name for option, name in parameters.items()}
    try:
        yield
    except RetrainError as error:
        text = _FLAG.sub(lambda found: flags.get(found[0], found[0]), str(error))
        raise type(error)(text) from error
