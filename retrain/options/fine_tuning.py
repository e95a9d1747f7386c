"""The options of fine-tuning."""

import dataclasses
from typing import ClassVar

from retrain.errors import UsageError
from retrain.options.fields import Checked, flag_of, option

__all__ = ["FineTuningOptions"]


@dataclasses.dataclass(frozen=True)
class FineTuningOptions(Checked):
    """Training the top layers of the backbone together with the head."""

    fine_tune_from: str | None = option(
        None,
        "once the head is trained, also train the backbone from this layer up: its name, or its index in Keras (130: "
        "model.layers[130:])",
        metavar="LAYER|INDEX",
    )
    fine_tune_layers: int | None = option(
        None,
        "once the head is trained, also train the last N layers of the backbone that have weights",
        metavar="N",
        common=True,
    )
    fine_tune_epochs: int = option(10, "passes over the training pictures during fine-tuning", metavar="N")
    fine_tune_batch_size: int = option(32, "pictures in a batch during fine-tuning", metavar="N")
    fine_tune_learning_rate: float | None = option(
        None, "learning rate of fine-tuning (default: a tenth of the head's)", metavar="RATE"
    )
    max_cache_size: float = option(
        20.0, "stop before fine-tuning if its cached activations would take more than this", metavar="GIB"
    )

    RANGES: ClassVar = {
        "fine_tune_layers": (1, 10_000),
        "fine_tune_epochs": (1, 100_000),
        "fine_tune_batch_size": (1, 100_000),
        "fine_tune_learning_rate": (1e-12, 1e6),
        "max_cache_size": (0, None),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fine_tune_from is not None and self.fine_tune_layers is not None:
            raise UsageError("--fine-tune-from and --fine-tune-layers both say which layers to train: give one of them")
        if not self.is_wanted:
            for field in dataclasses.fields(self):
                if getattr(self, field.name) != field.default:
                    raise UsageError(
                        f"{flag_of(field.name)} is for fine-tuning: say which layers to train, with --fine-tune-from "
                        "or --fine-tune-layers"
                    )

    @property
    def is_wanted(self) -> bool:
        """Whether the backbone should be trained, too."""
        return self.fine_tune_from is not None or self.fine_tune_layers is not None
