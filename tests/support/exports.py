"""Exports whose converter and runtime run in the test's process, so that tests can patch them."""

import json
from pathlib import Path

import pytest

from retrain.worker import WorkerError


class Here:
    """A `Worker` that is no process."""

    def __init__(self, emit=lambda event: None):
        self._emit = emit

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def call(self, function, *args):
        return _told(function, *args, self._emit)

    def keep(self, function, *args):
        self._kept = _told(function, *args)

    def ask(self, name, *args):
        found = getattr(self._kept, name)
        return _told(found, *args) if callable(found) else found


def _told(function, *args):
    from retrain.errors import RetrainError

    try:
        return function(*args)
    except (RetrainError, OSError, MemoryError):
        raise
    except Exception as error:
        raise WorkerError(f"{type(error).__name__}: {error}") from error


def run_here(patch):
    """Have converters and runtimes run in this process."""
    for module in ("isolated", "export_folder"):
        patch.setattr(f"retrain.export.{module}.Worker", Here)


@pytest.fixture
def exports_here(monkeypatch):
    """Converters and runtimes run here."""
    run_here(monkeypatch)


def tree(folder):
    """Path -> content of all files below a folder, hidden ones and empty folders included."""
    folder = Path(folder)
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def record_of(folder):
    return json.loads(Path(folder, "export.json").read_text("utf-8"))
