from .comparison import mcnemar_p_value
from .fold_statistics import (
    FoldStatistics,
    LabelFoldStatistics,
    LabelSpread,
    Spread,
    summarize_folds,
    summarize_label_folds,
)
from .label_errors import LabelErrors, WrongLabel, find_label_errors, find_wrong_labels
from .labelling import LabellingOrder, labelling_order
from .likeness import normalised
from .metrics import (
    Metrics,
    Outcomes,
    PictureResult,
    different,
    expected_calibration_error,
    is_imbalanced,
    outcomes_of,
    wilson_interval,
)
from .multi_label import (
    LabelMetrics,
    LabelOutcomes,
    MultiLabelMetrics,
    best_thresholds,
    logistic,
    precision_recall,
)
from .reliability import answers_above, score_bins
from .strangers import auroc
from .summary import AnyMetrics, AnyOutcomes, joined, main_figure, mean_figures, summarize

__all__ = [
    "AnyMetrics",
    "AnyOutcomes",
    "FoldStatistics",
    "LabelErrors",
    "LabelFoldStatistics",
    "LabelMetrics",
    "LabelOutcomes",
    "LabelSpread",
    "LabellingOrder",
    "Metrics",
    "MultiLabelMetrics",
    "Outcomes",
    "PictureResult",
    "Spread",
    "WrongLabel",
    "answers_above",
    "auroc",
    "best_thresholds",
    "different",
    "expected_calibration_error",
    "find_label_errors",
    "find_wrong_labels",
    "is_imbalanced",
    "joined",
    "labelling_order",
    "logistic",
    "main_figure",
    "mcnemar_p_value",
    "mean_figures",
    "normalised",
    "outcomes_of",
    "precision_recall",
    "score_bins",
    "summarize",
    "summarize_folds",
    "summarize_label_folds",
    "wilson_interval",
]
