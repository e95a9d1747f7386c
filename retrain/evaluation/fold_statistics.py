"""Statistics over the folds of a cross-validation: means, and how far they can be trusted."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from retrain.evaluation.metrics import ClassMetrics, Metrics
from retrain.evaluation.multi_label import LabelMetrics, MultiLabelMetrics

__all__ = [
    "FoldStatistics",
    "LabelFoldStatistics",
    "LabelSpread",
    "Spread",
    "summarize_folds",
    "summarize_label_folds",
]


@dataclass(frozen=True)
class Spread:
    """A figure over folds."""

    mean: float
    standard_deviation: float  # of the folds, with n - 1
    interval: tuple[float, float]  # 95%, of the mean; see summarize_folds()


@dataclass(frozen=True)
class LabelSpread:
    """A figure of one label over the folds that have pictures of it. None if those folds are too few."""

    label: str
    n: int  # different pictures that have the label, in all folds
    mean: float | None  # needs one fold
    standard_deviation: float | None  # with n - 1; needs two


@dataclass(frozen=True)
class FoldStatistics:
    """The result of a cross-validation."""

    folds: int
    n: int  # different pictures tested, in all folds
    accuracy: Spread
    cross_entropy: Spread  # nats
    per_class: tuple[LabelSpread, ...]  # recall

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class LabelFoldStatistics:
    """The result of a cross-validation of pictures that may have several labels."""

    folds: int
    n: int  # different pictures tested, in all folds
    mean_average_precision: Spread
    micro_f1: Spread
    macro_f1: Spread
    exact_match: Spread
    cross_entropy: Spread  # nats
    per_label: tuple[LabelSpread, ...]  # average precision

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def summarize_label_folds(folds: Sequence[MultiLabelMetrics], training_pictures: Sequence[int]) -> LabelFoldStatistics:
    """Compute the same as `summarize_folds` of pictures that may have several labels.

    Args:
        folds: k >= 2 metrics, each of one fold's test pictures; of the same labels.
        training_pictures: (k,) how many different pictures each fold's head was trained on, > 0.
    Raises ValueError if there are fewer than two folds, or a fold has no pictures with labels.
    """
    n = sum(fold.n for fold in folds)
    ratio = n / sum(training_pictures)

    def spread(name: str, highest: float = 1.0) -> Spread:
        values = [value for value in (getattr(fold, name) for fold in folds) if value is not None]
        if len(folds) < 2 or len(values) < len(folds):
            raise ValueError(
                f"{len(folds)} folds, {len(values)} of them with labelled pictures: two or more are needed"
            )
        return _spread(values, ratio, highest)

    return LabelFoldStatistics(
        len(folds),
        n,
        spread("mean_average_precision"),
        spread("micro_f1"),
        spread("macro_f1"),
        spread("exact_match"),
        spread("cross_entropy", math.inf),
        tuple(_of_label(found, "average_precision") for found in zip(*(fold.per_label for fold in folds), strict=True)),
    )


def summarize_folds(folds: Sequence[Metrics], training_pictures: Sequence[int]) -> FoldStatistics:
    """Compute mean, standard deviation and 95% interval of the mean over folds.

    The interval is Nadeau and Bengio's corrected resampled t (Inference for the Generalization Error, Machine Learning
    52, 2003):

        mean +- t * standard deviation * sqrt(1 / k + n_test / n_train)

    t is the 97.5% quantile of Student's t with k - 1 degrees of freedom. The interval is cut off at the ends of the
    figure's range. Folds share training pictures, so their results are not independent, and the usual sqrt(1 / k) gives
    an interval that is too narrow. The correction assumes that two folds have a correlation of
    n_test / (n_test + n_train). That is an approximation: no unbiased estimate exists (Bengio and Grandvalet, JMLR 5,
    2004). If all folds have the same result, the interval has no width, however few pictures there are.

    Args:
        folds: k >= 2 metrics, each of one fold's test pictures; of the same classes.
        training_pictures: (k,) how many different pictures each fold's head was trained on, > 0.
    Raises ValueError if there are fewer than two folds, or a fold has no pictures.
    """
    accuracies = [fold.accuracy for fold in folds if fold.accuracy is not None]
    losses = [fold.cross_entropy for fold in folds if fold.cross_entropy is not None]
    if len(folds) < 2 or len(accuracies) < len(folds):
        raise ValueError(f"{len(folds)} folds, {len(accuracies)} of them with pictures: two or more are needed")
    n = sum(fold.n for fold in folds)
    ratio = n / sum(training_pictures)
    return FoldStatistics(
        len(folds),
        n,
        _spread(accuracies, ratio, 1.0),
        _spread(losses, ratio, math.inf),
        tuple(_of_label(found, "recall") for found in zip(*(fold.per_class for fold in folds), strict=True)),
    )


def _spread(values: Sequence[float], ratio: float, highest: float) -> Spread:
    """Summarize figures in [0, highest]. ratio: test pictures per training picture."""
    from scipy.special import stdtrit

    mean, deviation = statistics.fmean(values), statistics.stdev(values)
    margin = float(stdtrit(len(values) - 1, 0.975)) * deviation * math.sqrt(1 / len(values) + ratio)
    return Spread(mean, deviation, (max(0.0, mean - margin), min(highest, mean + margin)))


def _of_label(found: Sequence[ClassMetrics | LabelMetrics], name: str) -> LabelSpread:
    """Summarize a figure of one label over all folds."""
    values = [value for value in (getattr(one, name) for one in found) if value is not None]
    return LabelSpread(
        found[0].label,
        sum(one.n for one in found),
        statistics.fmean(values) if values else None,
        statistics.stdev(values) if len(values) > 1 else None,
    )
