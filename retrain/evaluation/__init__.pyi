from .fold_statistics import FoldStatistics, summarize_folds
from .metrics import Metrics, Outcomes, PictureResult, different, mean_figures, outcomes_of, summarize

__all__ = [
    "FoldStatistics",
    "Metrics",
    "Outcomes",
    "PictureResult",
    "different",
    "mean_figures",
    "outcomes_of",
    "summarize",
    "summarize_folds",
]
