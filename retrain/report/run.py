"""What is known of a run beside its pictures: its record, its history, how to repeat it."""

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from retrain.events import EpochEnded, Evaluated
from retrain.model import UNKNOWN
from retrain.options import RunOptions, TrainingOptions
from retrain.report.contents import Effort, Recipe
from retrain.text import counted, ratio

__all__ = ["Run", "effort_of", "recipe_of", "rejection_sentence", "training_options"]


@dataclass(frozen=True)
class Run:
    """A run, as run.json and the tables beside it tell of it."""

    name: str  # of the model folder
    record: Mapping[str, Any]  # what run.json holds
    history: Sequence[Evaluated]
    fine_tuning: Sequence[EpochEnded]  # empty without fine-tuning
    skipped: Mapping[str, str]  # path -> why the file could not be used
    made: str  # when the model was made
    licence: str  # of the backbone's weights

    @property
    def best_epoch(self) -> int | None:
        """The epoch of fine-tuning whose weights were kept, if that is not the last one."""
        fine_tuning = self.record.get("fine_tuning")
        best = fine_tuning.get("best_epoch") if isinstance(fine_tuning, dict) else None
        return None if best is None else int(best)

    @property
    def temperature(self) -> float | None:
        """What the logits were divided by. None if the model is not calibrated."""
        value = self.record.get("temperature")
        return None if value is None else float(value)


def rejection_sentence(record: Mapping[str, Any]) -> str | None:
    """What a model does with pictures of none of its classes; None if it gives them a label.

    Args:
        record: what run.json holds.
    """
    found = record.get("rejection")
    if found is None:
        return None
    name = "test" if found["known"]["test"]["n"] else "validation"
    kept, strangers = found["known"][name], found["strangers"]
    sentence = (
        f"It answers {UNKNOWN} for a picture that is far from all classes: it knows {ratio(kept['known'] / kept['n'])} "
        f"of {counted(kept['n'], f'{name} picture')}"
    )
    if strangers is None:
        return f"{sentence}. How many pictures of no class it refuses was not measured."
    refused = ratio(strangers["refused"] / strangers["n"])
    return f"{sentence}, and refuses {refused} of {counted(strangers['n'], 'picture')} of no class."


def training_options(record: Mapping[str, Any]) -> TrainingOptions:
    """The options that the head was trained with. Raises UsageError if they are none that this version knows."""
    known = {field.name for field in dataclasses.fields(TrainingOptions)}
    values = {name: value for name, value in record["options"].items() if name in known}
    return TrainingOptions(**(values | {"epochs": None}))  # the steps that they came to are there, too


def effort_of(run: Run) -> Effort:
    """What it took to make the model."""
    timings, extraction = run.record["timings"], run.record["extraction"]
    return Effort(
        made=run.made,
        pass_one_seconds=timings.get("extraction_seconds"),
        pass_two_seconds=timings.get("training_seconds"),
        from_cache=int(extraction["cached"]),
        extracted=int(extraction["extracted"]),
    )


def recipe_of(run: Run) -> Recipe:
    """How to repeat a run."""
    record = run.record
    backbone, options, manifest = record["backbone"], record["options"], record.get("manifest")
    defaults = RunOptions().as_dict()
    changed = tuple(
        (name, str(value)) for name, value in options.items() if name in defaults and value != defaults[name]
    )
    return Recipe(
        command=shlex.join(record["command"]),
        seed=int(options["seed"]),
        fingerprint=backbone["fingerprint"],
        backbone=(
            f"{backbone['name']}, {backbone['height']} x {backbone['width']} pixels, "
            f"{backbone['bottleneck_size']:,} numbers per picture"
        ),
        licence=run.licence,
        image_dir=record["image_dir"],
        versions=tuple(record["versions"].items()),
        options=changed,
        manifest=(manifest["path"], manifest["sha256"]) if manifest else None,
    )
