"""Figures of how good a model is."""

from collections.abc import Iterator, Sequence

from retrain.cli.console.figures import main_line
from retrain.cli.console.label_metrics import describe_label_metrics, label_metrics_lines
from retrain.cli.console.tables import MOST_ROWS, few, grid_lines, rest_line, table
from retrain.evaluation import AnyMetrics, Metrics, MultiLabelMetrics, PictureResult
from retrain.paths import display_path
from retrain.text import MOST_NAMED, counted, ratio

__all__ = [
    "balance_line",
    "confused_line",
    "describe_metrics",
    "describe_misclassified",
    "metrics_lines",
    "scores_line",
]


def describe_metrics(metrics: AnyMetrics) -> str:
    """Totals, a line per class, and the confusion matrix; of many classes, only the worst ones."""
    if isinstance(metrics, MultiLabelMetrics):
        return describe_label_metrics(metrics)
    lines = [*metrics_lines("Total", metrics), ""]
    lines += table(
        ["class", "pictures", "precision", "recall", "F1"],
        [
            (c.label, str(c.n), ratio(c.precision), ratio(c.recall), ratio(c.f1))
            for c in few(metrics.per_class, lambda c: c.recall)
        ],
    )
    if len(metrics.per_class) <= MOST_ROWS:
        return "\n".join([*lines, "", *_matrix_lines(metrics)])
    lines += rest_line(len(metrics.per_class), "with the lowest recall")
    confused = metrics.most_confused(MOST_NAMED)
    if confused:
        lines += ["", "Most confused:"]
        lines += [f"  {true} taken for {given} ({counted(n, 'time')})" for true, given, n in confused]
    lines += ["", "The whole confusion matrix: with --json, or as a file with --output DIR"]
    return "\n".join(lines)


def metrics_lines(name: str, metrics: AnyMetrics, is_imbalanced: bool = False) -> Iterator[str]:
    """The main figures, and the classes that do worst.

    Args:
        is_imbalanced: whether there are other pictures of which this is known.
    """
    if isinstance(metrics, MultiLabelMetrics):
        yield from label_metrics_lines(name, metrics)
        return
    if metrics.accuracy is None or metrics.accuracy_interval is None:
        yield f"{name} accuracy: none, because there are no such pictures"
        return
    yield main_line(f"{name} accuracy", metrics.accuracy, metrics.accuracy_interval, metrics)
    yield scores_line(metrics)
    yield from balance_line(metrics, is_imbalanced)
    worst = metrics.worst_classes()
    if worst:
        yield "Worst classes: " + ", ".join(f"{c.label} {c.recall:.1%} of {c.n}" for c in worst)
    yield from confused_line(metrics)


def balance_line(metrics: Metrics, is_imbalanced: bool = False) -> Iterator[str]:
    """Figures that count every class the same, if some have far more pictures than others."""
    if (is_imbalanced or metrics.is_imbalanced) and metrics.balanced_accuracy is not None:
        yield (
            f"Every class counted the same: accuracy {metrics.balanced_accuracy:.1%} (balanced), "
            f"F1 {ratio(metrics.macro_f1)} (macro)"
        )


def confused_line(metrics: Metrics) -> Iterator[str]:
    """The two classes that are mixed up most often, if any are."""
    for true, given, pictures in metrics.most_confused():
        yield f"Most confused: {true} taken for {given} ({counted(pictures, 'time')})"


def scores_line(metrics: Metrics) -> str:
    """Calibration error, and top-k accuracy if it means something: for k of at most a quarter of the classes."""
    telling = [k for k in metrics.top_k_accuracy if 4 * int(k) <= len(metrics.per_class)]
    top = f"Top {telling[-1]}: {metrics.top_k_accuracy[telling[-1]]:.1%}, calibration" if telling else "Calibration"
    return f"{top} error {metrics.expected_calibration_error:.1%}"


def _matrix_lines(metrics: Metrics) -> Iterator[str]:
    title = "Confusion matrix (rows: true class, columns: given label)"
    return grid_lines(title, [found.label for found in metrics.per_class], metrics.confusion_matrix)


def describe_misclassified(pictures: Sequence[PictureResult]) -> str:
    """A line for each picture with a wrong label."""
    if not pictures:
        return "No misclassified test pictures"
    lines = [f"{counted(len(pictures), 'misclassified test picture')}:"]
    none = "no label"  # of pictures that may have several
    lines += [
        f"  {display_path(p.path)}: {p.predicted or none} ({p.score:.1%}), is {p.label or none}" for p in pictures
    ]
    return "\n".join(lines)
