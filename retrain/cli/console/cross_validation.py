"""What `retrain crossval` shows."""

from collections.abc import Iterator, Sequence

from retrain.cli.console.figures import interval_text, pictures_text
from retrain.cli.console.metrics import balance_line, confused_line, scores_line
from retrain.cli.console.tables import few, rest_line, table
from retrain.cli.console.training import augmentation_lines
from retrain.evaluation import LabelFoldStatistics, LabelSpread, MultiLabelMetrics, Spread
from retrain.pipeline.crossval import CrossValidation
from retrain.text import counted, ratio

__all__ = ["describe_cross_validation"]


def describe_cross_validation(found: CrossValidation) -> str:
    """The labels in a table, and figures over all folds."""
    statistics, metrics = found.statistics, found.metrics
    pictures = pictures_text(statistics.n + metrics.copies, statistics.n)
    folds = f" over {counted(statistics.folds, 'fold')} of {pictures}"
    loss = _figure(statistics.cross_entropy, ".3f")
    if isinstance(statistics, LabelFoldStatistics):
        lines = [
            *_table(statistics.per_label, ("label", "AP"), "with the lowest average precision"),
            "",
            f"mAP {_figure(statistics.mean_average_precision, '.1%')}{folds}",
            f"Cross-entropy {loss}",
            f"F1 {statistics.micro_f1.mean:.1%} (micro), {statistics.macro_f1.mean:.1%} (macro); "
            f"exactly the right labels: {statistics.exact_match.mean:.1%}",
        ]
    else:
        lines = [
            *_table(statistics.per_class, ("class", "recall"), "with the lowest recall"),
            "",
            f"Accuracy {_figure(statistics.accuracy, '.1%')}{folds}",
            f"Cross-entropy {loss}",
        ]
    if not isinstance(metrics, MultiLabelMetrics):
        lines += [scores_line(metrics), *balance_line(metrics)]
    lines += [f"Backbone: {found.backbone}", *augmentation_lines(found.augmentation, "picture")]
    if not isinstance(metrics, MultiLabelMetrics):
        lines += confused_line(metrics)
    if found.extraction.left_out.count:
        lines.append(f"Skipped {found.extraction.left_out.told()}; all are listed with --json")
    return "\n".join(lines)


def _figure(spread: Spread, form: str) -> str:
    interval = interval_text(spread.interval, form)
    return f"{spread.mean:{form}} ({interval}), standard deviation {spread.standard_deviation:{form}}"


def _table(labels: Sequence[LabelSpread], header: tuple[str, str], which: str) -> Iterator[str]:
    kind, figure = header
    rows = [
        (one.label, str(one.n), ratio(one.mean), ratio(one.standard_deviation))
        for one in few(labels, lambda one: one.mean)
    ]
    yield from table([kind, "pictures", figure, "standard deviation"], rows)
    yield from rest_line(len(labels), which)
