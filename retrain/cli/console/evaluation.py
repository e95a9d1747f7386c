"""What `retrain evaluate` shows."""

import os
from collections.abc import Iterator

from retrain.cli.console.metrics import describe_metrics, metrics_lines
from retrain.cli.console.training import stranger_lines
from retrain.evaluation import MultiLabelMetrics
from retrain.paths import display_path
from retrain.pipeline.results import FolderEvaluation, Refused
from retrain.text import counted, ratio

__all__ = ["describe_evaluation"]


def describe_evaluation(evaluation: FolderEvaluation, output: str | None = None) -> str:
    """What `retrain evaluate` shows: all pictures, and apart from them those that the model was not trained on.

    Args:
        output: the folder that its files went to, if any.
    """
    metrics, held_out = evaluation.metrics, evaluation.held_out
    lines = [describe_metrics(metrics)]
    if held_out.n < metrics.n:
        lines.append("")
        trained_on = metrics.n - held_out.n
        lines.append(f"The model was trained on {trained_on:,} of {counted(metrics.n, 'picture')}.")
        lines += metrics_lines("Without them:" if trained_on > 1 else "Without it:", held_out)
    if evaluation.rejection:
        lines += ["", *_refused_lines(evaluation.rejection)]
    if evaluation.extraction.left_out.count:
        all_in = f"in {display_path(os.path.join(output, 'skipped.csv'))}" if output else "listed with --json"
        lines += ["", f"Skipped {evaluation.extraction.left_out.told()}; all are {all_in}"]
    if output:
        is_multi_label = isinstance(metrics, MultiLabelMetrics)
        matrix = "co_occurrence.csv" if is_multi_label else "confusion_matrix.csv"
        files = f"evaluation.json, {matrix}, predictions.csv, skipped.csv"
        lines.append(f"Files: {display_path(os.path.join(output, ''))} ({files})")
    return "\n".join(lines)


def _refused_lines(found: Refused) -> Iterator[str]:
    """What a model takes for pictures of none of its classes; the figures above count them like all others."""
    held_out = ""
    if 0 < found.held_out_n < found.n:
        share = ratio(found.held_out_refused / found.held_out_n)
        held_out = f"; {share} of {found.held_out_n:,} that it was not trained on"
    yield f"Unknown to the model: {ratio(found.refused / found.n)} of {counted(found.n, 'picture')}{held_out}"
    yield from stranger_lines(found.strangers)
