"""TensorBoard summaries of a training run."""

import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path

from retrain._tensorflow import tf
from retrain.errors import OutputError
from retrain.events import Evaluated
from retrain.export import reason_of
from retrain.paths import display_path

__all__ = ["write_summaries"]


def write_summaries(history: Sequence[Evaluated], folder: str | os.PathLike[str]) -> None:
    """Write the evaluations into the folders `train` and `validation`. Raises OutputError."""
    try:
        for name in ("train", "validation"):
            figures = [
                (row.step, getattr(row, f"{name}_accuracy"), getattr(row, f"{name}_cross_entropy")) for row in history
            ]
            if figures and figures[0][1] is not None:
                _write_events(figures, Path(folder, name))
    except (tf.errors.OpError, OSError) as error:
        raise OutputError(f"can't write the summaries {display_path(folder)}: {reason_of(error)}") from error


def _write_events(figures: Sequence[tuple[int, float, float]], folder: Path) -> None:
    """Write a file of events, each with step, accuracy and cross-entropy.

    TensorFlow 2's writer needs the package tensorboard. The older one writes in a thread, which ends with a traceback
    if the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    now = time.time()
    path = folder / f"events.out.tfevents.{now:.0f}.{socket.gethostname()}.{os.getpid()}"
    with tf.io.TFRecordWriter(os.fspath(path)) as file:
        file.write(tf.compat.v1.Event(wall_time=now, file_version="brain.Event:2").SerializeToString())
        for step, accuracy, cross_entropy in figures:
            event = tf.compat.v1.Event(wall_time=now, step=step)
            event.summary.value.add(tag="accuracy", simple_value=accuracy)
            event.summary.value.add(tag="cross_entropy", simple_value=cross_entropy)
            file.write(event.SerializeToString())
