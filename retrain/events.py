"""What a run calls as it goes on: stages, warnings, progress."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from retrain.evaluation.metrics import Metrics
from retrain.extraction.pass_one import ExtractionProgress
from retrain.model.head import Head
from retrain.options import TrainingOptions

if TYPE_CHECKING:
    from retrain.export.graph import GraphBuilder
    from retrain.training.fine_tuning import FineTuningRow
    from retrain.training.head_trainer import HistoryRow

__all__ = ["Hooks", "nothing"]


def nothing(*_: Any) -> None:
    """A hook that does nothing."""


@dataclass(frozen=True)
class Hooks:
    """What a run calls as it goes on; all are optional."""

    on_stage: Callable[[str], None] = nothing  # a stage begins
    on_warning: Callable[[str], None] = nothing  # something that the user should know
    on_note: Callable[[str], None] = nothing  # something that the user may like to know
    on_preparation: Callable[[str, int, int], None] = nothing  # what is done before pass one, how many, of how many
    on_extraction: Callable[[ExtractionProgress], None] = nothing
    on_fold: Callable[[int, int, Metrics], None] = nothing  # of a cross-validation: which, of how many, its test
    on_try: Callable[[int, int, Any], None] = nothing  # of a search: which, of how many, what came of it (tuning.Try)
    on_training: Callable[[TrainingOptions, int], None] = nothing  # begins: its options, the number of its pictures
    on_evaluation: "Callable[[HistoryRow], None]" = nothing
    on_fine_tuning: Callable[[int, int], None] = nothing  # steps that are done, of how many
    on_epoch: "Callable[[FineTuningRow], None]" = nothing  # of fine-tuning
    checkpoints: Sequence[int] = ()  # numbers of steps
    on_checkpoint: "Callable[[int, Head, GraphBuilder], None]" = nothing  # after each of these
