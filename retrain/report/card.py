"""The model card: README.md of a model folder, as Hugging Face reads it (huggingface.co/docs/hub/model-cards).

It begins with YAML, which is written as JSON: every JSON text is YAML, whatever is in it.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from retrain.evaluation import Metrics
from retrain.report.contents import Recipe
from retrain.text import counted, ratio, shown

__all__ = ["model_card"]

_MARKED = re.compile(r"([\\`*_{}\[\]<>()#+.!|~&-])")  # what Markdown or HTML may take for its own
_MOST_CLASSES = 50


def model_card(name: str, metrics: Mapping[str, Metrics], recipe: Recipe, pictures: Mapping[str, int]) -> bytes:
    """Write the card, in UTF-8.

    Args:
        name: of the model.
        metrics: set -> metrics.
        pictures: set -> pictures.
    """
    shown_set = "test" if metrics["test"].n else "validation"
    found = metrics[shown_set]
    parts = [
        _front(name, found, recipe),
        f"# {_plain(name)}\n\nAn image classifier, trained with retrain: a softmax layer on a frozen network.",
        _intended_use(found),
        _data(pictures, recipe),
        _figures(found, shown_set),
        _limits(found, shown_set),
        _licence(recipe),
        _repeat(recipe),
    ]
    return ("\n\n".join(parts) + "\n").encode()


def _plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    return _MARKED.sub(r"\\\1", shown(text))


def _front(name: str, metrics: Metrics, recipe: Recipe) -> str:
    known = re.fullmatch(r"[A-Za-z0-9.-]+", recipe.licence)
    front: dict[str, Any] = {
        "license": recipe.licence.lower() if known else "other",
        "library_name": "retrain",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "retrain"],
    }
    if metrics.accuracy is not None:
        task = {"type": "image-classification"}
        data = {"name": "pictures of the training folder, held out", "type": "imagefolder"}
        figures = [{"type": "accuracy", "value": round(metrics.accuracy, 4)}]
        front["model-index"] = [{"name": shown(name), "results": [{"task": task, "dataset": data, "metrics": figures}]}]
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in front.items()]
    return "\n".join(["---", *lines, "---"])


def _intended_use(metrics: Metrics) -> str:
    labels = [_plain(found.label) for found in metrics.per_class]
    listed = ", ".join(labels[:_MOST_CLASSES])
    more = f" and {len(labels) - _MOST_CLASSES:,} more" if len(labels) > _MOST_CLASSES else ""
    return (
        f"## Intended use\n\nIt tells {counted(len(labels), 'class')} of pictures apart: {listed}{more}. It gives one "
        "of these labels to every picture, also to one that shows none of them.\n\n"
        "    retrain predict MODEL_DIR picture.jpg"
    )


def _data(pictures: Mapping[str, int], recipe: Recipe) -> str:
    return (
        f"## Data\n\nA folder of pictures, one sub-folder for each class: {pictures['train']:,} for training, "
        f"{pictures['validation']:,} for validation, {pictures['test']:,} for the test. Copies of a picture are in one "
        f"set. Network: {_plain(recipe.backbone)}."
    )


def _figures(metrics: Metrics, name: str) -> str:
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


def _limits(metrics: Metrics, name: str) -> str:
    worst = [f"{_plain(found.label)} ({found.recall:.0%} of {found.n:,})" for found in metrics.worst_classes()]
    known = f" Weakest classes: {', '.join(worst)}." if worst else ""
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
