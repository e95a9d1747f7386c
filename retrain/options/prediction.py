"""The options of predictions."""

import dataclasses
from typing import ClassVar

from retrain.errors import UsageError
from retrain.options.fields import Checked, option

__all__ = ["PredictionOptions"]


@dataclasses.dataclass(frozen=True)
class PredictionOptions(Checked):
    """What is shown of predictions."""

    top: int | None = option(
        None,
        "show the N most likely labels (default: 5 or, where a picture can have several, those that it has; with "
        "--json, all of them)",
        metavar="N",
        common=True,
    )
    wrong: bool = option(
        False, "show only pictures whose label differs from the name of their folder, and count them", common=True
    )

    few_shot: bool = option(
        False,
        "classify without a model: in the place of MODEL_DIR is a folder with a few pictures of each class, in "
        "sub-folders; what is shown are similarities, not probabilities",
        common=True,
    )

    explain: str | None = option(
        None,
        "also write the pictures to this folder, with red laid over what spoke for the label",
        metavar="DIR",
    )

    RANGES: ClassVar = {"top": (1, None)}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.few_shot and self.explain is not None:
            raise UsageError("--explain needs a trained model, and --few-shot trains none: leave one of them out")
