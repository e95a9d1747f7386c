"""The model card: README.md of a model folder, as Hugging Face reads it (huggingface.co/docs/hub/model-cards).

It begins with YAML, which is written as JSON: every JSON text is YAML, whatever is in it.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from retrain.evaluation import AnyMetrics, MultiLabelMetrics, main_figure
from retrain.report.contents import Recipe
from retrain.text import counted, ratio, shown

__all__ = ["model_card"]

_MARKED = re.compile(r"([\\`*_{}\[\]<>()#+.!|~&-])")  # what Markdown or HTML may take for its own
_MOST_CLASSES = 50


def model_card(
    name: str,
    metrics: Mapping[str, AnyMetrics],
    recipe: Recipe,
    pictures: Mapping[str, int],
    rejection: str | None = None,
) -> bytes:
    """Write the card, in UTF-8.

    Args:
        name: of the model.
        metrics: set -> metrics.
        pictures: set -> pictures.
        rejection: what the model does with pictures of none of its classes, in words; None: it gives them a label.
    """
    shown_set = "test" if metrics["test"].n else "validation"
    found = metrics[shown_set]
    parts = [
        _front(name, found, recipe),
        f"# {_plain(name)}\n\nAn image classifier, trained with retrain: {_layer(found)} on a frozen network.",
        _intended_use(found, rejection),
        _data(pictures, recipe),
        _figures(found, shown_set),
        _limits(found, shown_set),
        _licence(recipe),
        _repeat(recipe),
    ]
    return ("\n\n".join(parts) + "\n").encode()


def _layer(metrics: AnyMetrics) -> str:
    return "a layer of sigmoids" if isinstance(metrics, MultiLabelMetrics) else "a softmax layer"


def _plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    return _MARKED.sub(r"\\\1", shown(text))


def _front(name: str, metrics: AnyMetrics, recipe: Recipe) -> str:
    known = re.fullmatch(r"[A-Za-z0-9.-]+", recipe.licence)
    front: dict[str, Any] = {
        "license": recipe.licence.lower() if known else "other",
        "library_name": "retrain",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "retrain"],
    }
    figure, value = main_figure(metrics)
    if value is not None:
        task = {"type": "image-classification"}
        data = {"name": "pictures of the training folder, held out", "type": "imagefolder"}
        figures = [{"type": figure, "value": round(value, 4)}]
        front["model-index"] = [{"name": shown(name), "results": [{"task": task, "dataset": data, "metrics": figures}]}]
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in front.items()]
    return "\n".join(["---", *lines, "---"])


def _intended_use(metrics: AnyMetrics, rejection: str | None) -> str:
    is_multi_label = isinstance(metrics, MultiLabelMetrics)
    labels = [_plain(name) for name in _names(metrics)]
    listed = ", ".join(labels[:_MOST_CLASSES])
    more = f" and {len(labels) - _MOST_CLASSES:,} more" if len(labels) > _MOST_CLASSES else ""
    what = f"It tells {counted(len(labels), 'class')} of pictures apart: {listed}{more}. " + (
        rejection or "It gives one of these labels to every picture, also to one that shows none of them."
    )
    if is_multi_label:
        what = (
            f"It knows {counted(len(labels), 'label')}: {listed}{more}. It gives a picture all of them whose scores "
            "reach their thresholds, which may be none."
        )
    return f"## Intended use\n\n{what}\n\n    retrain predict MODEL_DIR picture.jpg"


def _names(metrics: AnyMetrics) -> list[str]:
    rows = metrics.per_label if isinstance(metrics, MultiLabelMetrics) else metrics.per_class
    return [found.label for found in rows]


def _data(pictures: Mapping[str, int], recipe: Recipe) -> str:
    source = (
        "Pictures that a manifest lists" if recipe.manifest else "A folder of pictures, one sub-folder for each class"
    )
    return (
        f"## Data\n\n{source}: {pictures['train']:,} for training, "
        f"{pictures['validation']:,} for validation, {pictures['test']:,} for the test. Copies of a picture are in one "
        f"set. Network: {_plain(recipe.backbone)}."
    )


def _label_figures(metrics: MultiLabelMetrics, name: str) -> str:
    if metrics.mean_average_precision is None or metrics.mean_average_precision_interval is None:
        return "## Figures\n\nNone: no pictures with labels were held out."
    low, high = metrics.mean_average_precision_interval
    rows = [
        f"| {_plain(c.label)} | {c.n:,} | {ratio(c.average_precision)} | {ratio(c.precision)} | {ratio(c.recall)} | "
        f"{ratio(c.f1)} | {c.threshold:.3f} |"
        for c in metrics.per_label[:_MOST_CLASSES]
    ]
    return (
        f"## Figures\n\nOf {counted(metrics.n, f'{name} picture')} that differ: mean average precision "
        f"{metrics.mean_average_precision:.1%} (95% interval {low:.1%} to {high:.1%}), F1 {ratio(metrics.micro_f1)} "
        f"(micro) and {ratio(metrics.macro_f1)} (macro); {ratio(metrics.exact_match)} get exactly the right labels.\n\n"
        "| label | pictures | AP | precision | recall | F1 | threshold |\n|---|---|---|---|---|---|---|\n"
        + "\n".join(rows)
    )


def _figures(metrics: AnyMetrics, name: str) -> str:
    if isinstance(metrics, MultiLabelMetrics):
        return _label_figures(metrics, name)
    if metrics.accuracy is None or metrics.accuracy_interval is None:
        return "## Figures\n\nNone: no pictures were held out."
    low, high = metrics.accuracy_interval
    rows = [
        f"| {_plain(c.label)} | {c.n:,} | {ratio(c.precision)} | {ratio(c.recall)} | {ratio(c.f1)} |"
        for c in metrics.per_class[:_MOST_CLASSES]
    ]
    return (
        f"## Figures\n\nOf {counted(metrics.n, f'{name} picture')} that differ, {metrics.accuracy:.1%} get the right "
        f"label (95% interval {low:.1%} to {high:.1%}); cross-entropy {metrics.cross_entropy:.3f}.\n\n"
        "| class | pictures | precision | recall | F1 |\n|---|---|---|---|---|\n" + "\n".join(rows)
    )


def _limits(metrics: AnyMetrics, name: str) -> str:
    if isinstance(metrics, MultiLabelMetrics):
        worst = [f"{_plain(c.label)} (AP {ratio(c.average_precision)} of {c.n:,})" for c in metrics.worst_labels()]
    else:
        worst = [f"{_plain(found.label)} ({found.recall:.0%} of {found.n:,})" for found in metrics.worst_classes()]
    kind = "labels" if isinstance(metrics, MultiLabelMetrics) else "classes"
    known = f" Weakest {kind}: {', '.join(worst)}." if worst else ""
    return (
        f"## Limits\n\nThe figures are of {name} pictures from the same folder. Pictures of another camera, place or "
        f"season may do worse; `retrain evaluate` measures that.{known} The network was trained on pictures of others, "
        "and has their one-sidedness."
    )


def _licence(recipe: Recipe) -> str:
    return f"## Licence\n\nThe network's weights: {_plain(recipe.licence)}. The pictures: add whose they are."


def _repeat(recipe: Recipe) -> str:
    lines = "\n".join(f"    {shown(line)}" for line in (recipe.command or "(started from Python)").split("\n"))
    versions = ", ".join(f"{_plain(name)} {_plain(version)}" for name, version in recipe.versions)
    return f"## How to repeat it\n\n{lines}\n\nSeed {recipe.seed}; fingerprint `{recipe.fingerprint}`; {versions}."
