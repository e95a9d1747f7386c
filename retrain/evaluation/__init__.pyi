from .comparison import mcnemar_p_value
from .fold_statistics import FoldStatistics, summarize_folds
from .label_errors import LabelErrors, find_label_errors
from .labelling import LabellingOrder, labelling_order
from .likeness import normalised
from .metrics import (
    Metrics,
    Outcomes,
    PictureResult,
    different,
    expected_calibration_error,
    is_imbalanced,
    mean_figures,
    outcomes_of,
    summarize,
    wilson_interval,
)
from .reliability import answers_above, score_bins

__all__ = [
    "FoldStatistics",
    "LabelErrors",
    "LabellingOrder",
    "Metrics",
    "Outcomes",
    "PictureResult",
    "answers_above",
    "different",
    "expected_calibration_error",
    "find_label_errors",
    "is_imbalanced",
    "labelling_order",
    "mcnemar_p_value",
    "mean_figures",
    "normalised",
    "outcomes_of",
    "score_bins",
    "summarize",
    "summarize_folds",
    "wilson_interval",
]
