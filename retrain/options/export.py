"""The options of exports: `retrain export`, and `retrain train --export`."""

import dataclasses
import difflib
from collections.abc import Sequence
from typing import ClassVar

from retrain.errors import UsageError
from retrain.options.fields import Checked, option

__all__ = ["EXPORT_FORMATS", "ExportOptions", "parse_formats"]

# `export.formats` has them; here they are named for the command line, which imports nothing heavy.
EXPORT_FORMATS = (
    *("graph", "saved-model", "keras"),
    *("tflite", "tflite-float16", "tflite-dynamic", "tflite-int8"),
    *("onnx", "openvino", "openvino-int8"),
)


@dataclasses.dataclass(frozen=True)
class ExportOptions(Checked):
    """How exports are made and checked."""

    pictures: str | None = option(
        None,
        "folder of pictures to compare scores on, and accuracy if its sub-folders are named like the classes (default: "
        "the pictures that the model was trained with, test pictures first)",
        metavar="DIR",
        common=True,
    )
    max_accuracy_drop: float = option(
        1.0,
        "percentage points of accuracy that a form in fewer bits may lose against float32",
        metavar="POINTS",
        common=True,
    )

    RANGES: ClassVar = {"max_accuracy_drop": (0, 100)}


def parse_formats(text: str | Sequence[str], flag: str = "--format") -> tuple[str, ...]:
    """The names of formats in a list separated by commas, each once. Raises UsageError for an unknown one."""
    words = text.split(",") if isinstance(text, str) else text
    names = tuple(dict.fromkeys(word.strip() for word in words))
    for name in names:
        if name not in EXPORT_FORMATS:
            near = difflib.get_close_matches(name, EXPORT_FORMATS, 1)
            hint = f"did you mean {near[0]}?" if near else "retrain export --list says what there is"
            raise UsageError(f"{flag} {name!r}: not one of {', '.join(EXPORT_FORMATS)}; {hint}")
    return names
