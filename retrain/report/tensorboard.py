"""TensorBoard summaries of a training run."""

import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from retrain.errors import OutputError
from retrain.events import Evaluated
from retrain.files import write_whole
from retrain.paths import display_path
from retrain.tensorflow_formats import Event, masked_crc32c

__all__ = ["write_summaries"]


def write_summaries(history: Sequence[Evaluated], folder: str | os.PathLike[str], measure: str = "accuracy") -> None:
    """Write the evaluations into the folders `train` and `validation`.

    Args:
        measure: what accuracies are.
    Raises OutputError.
    """
    try:
        for name in ("train", "validation"):
            figures = [
                (row.step, getattr(row, f"{name}_accuracy"), getattr(row, f"{name}_cross_entropy")) for row in history
            ]
            if figures and figures[0][1] is not None:
                _write_events(figures, Path(folder, name), measure)
    except OSError as error:
        raise OutputError(f"can't write the summaries {display_path(folder)}: {error.strerror or error}") from error


def _write_events(figures: Sequence[tuple[int, float, float]], folder: Path, measure: str) -> None:
    """Write a file of events, each with step, accuracy and cross-entropy."""
    folder.mkdir(parents=True, exist_ok=True)
    now = time.time()
    events = [Event(wall_time=now, file_version="brain.Event:2")]
    for step, accuracy, cross_entropy in figures:
        event = Event(wall_time=now, step=step)
        event.summary.value.add(tag=measure, simple_value=accuracy)
        event.summary.value.add(tag="cross_entropy", simple_value=cross_entropy)
        events.append(event)
    name = f"events.out.tfevents.{now:.0f}.{socket.gethostname()}.{os.getpid()}"
    write_whole(folder / name, *map(_record, events))


def _record(event: Any) -> bytes:
    """An event as a file has it: length, data, and a checksum of each (tensorflow.org/tutorials/load_data/tfrecord)."""
    data = event.SerializeToString()
    length = len(data).to_bytes(8, "little")
    return b"".join([length, _checksum(length), data, _checksum(data)])


def _checksum(data: bytes) -> bytes:
    return masked_crc32c(data).to_bytes(4, "little")
