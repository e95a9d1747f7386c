"""Converters and runtimes in processes of their own: a converter leaks memory and may abort, a runtime is foreign."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrain.errors import ExportError
from retrain.events import Emit
from retrain.export.export_format import Facts, Pictures, Takes
from retrain.export.formats import FORMATS
from retrain.export.stored_model import StoredModel
from retrain.worker import Worker, WorkerError

__all__ = ["IsolatedRuntime", "TimedRuntime", "convert"]


def convert(name: str, model: StoredModel, folder: Path, emit: Emit) -> None:
    """Have a format write its file into a folder. Raises ExportError, ModelFolderError, OSError."""
    try:
        with Worker(emit) as worker:
            worker.call(_write, name, model, folder)
    except WorkerError as error:
        raise ExportError(f"the model can't be converted to the format {name}: {error}") from error


def _write(name: str, model: StoredModel, folder: Path, emit: Emit) -> None:
    FORMATS[name].write(model, folder, emit)


class TimedRuntime:
    """An export, loaded in this process, which says how long its answers take."""

    def __init__(self, name: str, folder: Path) -> None:
        began = time.perf_counter()
        self._runtime = FORMATS[name].load(folder)
        self.seconds = time.perf_counter() - began
        self.labels: Sequence[str] = tuple(self._runtime.labels)
        self.thresholds = self._runtime.thresholds
        self.inputs: Mapping[str, Takes] = dict(self._runtime.inputs)

    def answers(self, name: str, pictures: Pictures) -> tuple[NDArray[np.float32], float]:
        """Answers for some pictures in one call, and the seconds that it took."""
        began = time.perf_counter()
        answers = self._runtime.answers(name, pictures)
        return np.asarray(answers), time.perf_counter() - began


class IsolatedRuntime:
    """The same in another process, for as long as the `with` block lasts."""

    def __init__(self, facts: Facts, folder: Path, worker: Worker) -> None:
        self._facts, self._worker = facts, worker
        try:
            worker.keep(TimedRuntime, facts.name, folder)
            self.labels: Sequence[str] = worker.ask("labels")
            self.thresholds: Sequence[float] | None = worker.ask("thresholds")
            self.inputs: Mapping[str, Takes] = worker.ask("inputs")
            self.seconds: float = worker.ask("seconds")
        except WorkerError as error:
            raise ExportError(f"{facts.loaded_by} can't load the format {facts.name} as written: {error}") from error

    def answers(self, name: str, pictures: Pictures) -> tuple[NDArray[np.float32], float]:
        """Answers for some pictures in one call, and the seconds that it took. Raises ExportError if it fails."""
        try:
            answers, seconds = self._worker.ask("answers", name, pictures)
        except WorkerError as error:
            facts = self._facts
            raise ExportError(f"{facts.loaded_by} can't run the format {facts.name} as written: {error}") from error
        return answers, seconds
