"""`compare`: several models on the test pictures that they share."""

import csv
import dataclasses
import io
import itertools
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retrain.errors import ModelFolderError, OutputError, UsageError
from retrain.evaluation import mcnemar_p_value, wilson_interval
from retrain.files import write_whole
from retrain.model import read_model_tables
from retrain.paths import display_path, utf8_path
from retrain.report import Absent, ComparedRun, Comparison, Figure, Pair, render_comparison
from retrain.text import counted

__all__ = ["compare", "write_comparison"]

_LEVEL = 0.05  # p-values below it count as a difference


@dataclass(frozen=True)
class _Run:
    """What a model folder tells of its test."""

    name: str
    record: Mapping[str, Any]
    made: str
    answers: Mapping[str, tuple[str, str]]  # SHA-256 of a test picture -> its label, and what the model gave it


def compare(model_dirs: Sequence[str | os.PathLike[str]]) -> Comparison:
    """Compare models on the test pictures that all of them were tested on, and none was trained on.

    Args:
        model_dirs: two or more.
    Raises UsageError for fewer, ModelFolderError if one is no model folder or they share no test picture.
    """
    if len(model_dirs) < 2:
        raise UsageError("compare takes two model folders or more: give another one")
    runs = [_read(folder) for folder in model_dirs]
    shared = set.intersection(*({*run.answers} for run in runs))
    same = sorted(key for key in shared if len({run.answers[key][0] for run in runs}) == 1)
    if not same:
        raise ModelFolderError(
            f"{' and '.join(display_path(folder) for folder in model_dirs)} share no test picture with the same label: "
            "train them on the same folder of pictures"
        )
    notes = []
    if len(shared) > len(same):
        notes.append(
            f"{counted(len(shared) - len(same), 'test picture', 'has/have')} another label in one of the runs: left "
            "out."
        )
    sizes = {len(run.answers) for run in runs}
    if sizes != {len(same)}:
        notes.append(
            f"The models share {counted(len(same), 'test picture')}; what each was tested on beside does not count "
            "here."
        )
    if any("exact_match" in run.record["results"]["test"] for run in runs):
        notes.append(
            "Pictures may have several labels: accuracy is the share of those that got exactly the right ones."
        )
    right = [[run.answers[key][0] == run.answers[key][1] for key in same] for run in runs]
    return Comparison(
        n=len(same),
        runs=tuple(_compared(run, marks) for run, marks in zip(runs, right, strict=True)),
        pairs=tuple(_pair(runs, right, one, other) for one, other in itertools.combinations(range(len(runs)), 2)),
        notes=tuple(notes),
    )


def _read(folder: str | os.PathLike[str]) -> _Run:
    """Raises ModelFolderError."""
    record, predictions, made = read_model_tables(folder)
    try:
        rows = list(csv.DictReader(io.StringIO(predictions, newline=""), strict=True))
        answers = {row["key"]: (row["label"], row["predicted"]) for row in rows if row["set"] == "test"}
        trained = {row["key"] for row in rows if row["set"] == "train"}
        _ = record["backbone"]["name"], record["results"]["test"]
    except (KeyError, TypeError, csv.Error) as error:
        raise ModelFolderError(
            f"{display_path(folder)} has no table of predictions ({error}): train it again"
        ) from error
    own = {key: answer for key, answer in answers.items() if key not in trained}
    return _Run(os.fspath(folder), record, time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(made)), own)


def _compared(run: _Run, right: Sequence[bool]) -> ComparedRun:
    own = [label == given for label, given in run.answers.values()]
    return ComparedRun(
        name=run.name,
        made=run.made,
        backbone=run.record["backbone"]["name"],
        accuracy=_figure(right),
        cross_entropy=run.record["results"]["test"].get("cross_entropy"),
        own=_figure(own) if own else Absent("It was tested on no picture."),
    )


def _figure(right: Sequence[bool]) -> Figure:
    count, n = sum(right), len(right)
    return Figure(count / n, wilson_interval(count, n), n)


def _pair(runs: Sequence[_Run], right: Sequence[Sequence[bool]], one: int, other: int) -> Pair:
    only = [
        sum(mine and not theirs for mine, theirs in zip(right[a], right[b], strict=True))
        for a, b in ((one, other), (other, one))
    ]
    p_value = mcnemar_p_value(only[0], only[1])
    first, second = (display_path(runs[number].name) for number in (one, other))
    if p_value < _LEVEL:
        better, worse = (first, second) if only[0] > only[1] else (second, first)
        sentence = (
            f"{better} is better than {worse}: if they were equally good, so uneven a result would come in "
            f"{p_value:.2%} of comparisons."
        )
    else:
        sentence = f"No difference between {first} and {second} can be told on {counted(len(right[0]), 'picture')}."
    return Pair(one, other, only[0], only[1], p_value, sentence)


def write_comparison(comparison: Comparison, path: str | os.PathLike[str]) -> None:
    """Write a comparison as HTML. Raises OutputError."""
    try:
        write_whole(Path(path), render_comparison(comparison))
    except OSError as error:
        raise OutputError(f"can't write {display_path(path)}: {error.strerror}; give another --html") from error


def comparison_as_dict(comparison: Comparison) -> dict[str, Any]:
    """For JSON."""
    found = dataclasses.asdict(comparison)
    return found | {"runs": [run | {"name": utf8_path(run["name"])} for run in found["runs"]]}
