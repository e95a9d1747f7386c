"""Figures of pictures that can have several labels."""

from collections.abc import Iterator

from retrain.cli.console.figures import main_line
from retrain.cli.console.tables import MOST_ROWS, few, grid_lines, rest_line, table
from retrain.evaluation import MultiLabelMetrics
from retrain.text import ratio

__all__ = ["describe_label_metrics", "label_metrics_lines"]


def describe_label_metrics(metrics: MultiLabelMetrics) -> str:
    """Totals, a line per label, and how labels were given together; of many labels, only the worst ones."""
    labels = metrics.per_label
    lines = [*label_metrics_lines("Total", metrics), ""]
    lines += table(
        ["label", "pictures", "precision", "recall", "F1", "AP", "threshold"],
        [
            (
                *(c.label, str(c.n), ratio(c.precision), ratio(c.recall), ratio(c.f1)),
                *(ratio(c.average_precision), f"{c.threshold:.3f}"),
            )
            for c in few(labels, lambda c: c.average_precision)
        ],
    )
    if len(labels) <= MOST_ROWS:
        title = "Co-occurrence (rows: label that a picture has, columns: label that it was given)"
        return "\n".join([*lines, "", *grid_lines(title, [c.label for c in labels], metrics.co_occurrence)])
    lines += rest_line(len(labels), "with the lowest average precision")
    lines += ["", "Co-occurrence of labels: with --json, or as a file with --output DIR"]
    return "\n".join(lines)


def label_metrics_lines(name: str, metrics: MultiLabelMetrics) -> Iterator[str]:
    """The main figures, and the labels that do worst."""
    figure, interval = metrics.mean_average_precision, metrics.mean_average_precision_interval
    if figure is None or interval is None:
        reason = "of them has a label" if metrics.n else "there are no such pictures"
        yield f"{name} mAP: none, because {'none ' if metrics.n else ''}{reason}"
        return
    yield main_line(f"{name} mAP", figure, interval, metrics)
    yield (
        f"F1 {ratio(metrics.micro_f1)} (micro), {ratio(metrics.macro_f1)} (macro); exactly the right labels: "
        f"{ratio(metrics.exact_match)}"
    )
    worst = metrics.worst_labels()
    if worst:
        yield "Worst labels: " + ", ".join(f"{c.label} AP {ratio(c.average_precision)} of {c.n}" for c in worst)
