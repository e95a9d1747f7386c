"""The work behind the page: the folder is read and a model follows at every change, each on a thread of its own."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from retrain.errors import RetrainError
from retrain.events import Event, Extracted, Noted, StageBegan, Stepped, Warned
from retrain.serving.studio.documents import FiguresDocument, figures_document
from retrain.serving.studio.events import EventStream
from retrain.serving.studio.parts import Change, Editor, Parts
from retrain.serving.studio.pictures import PictureTable
from retrain.text import first_line

__all__ = ["Workbench"]

Result = TypeVar("Result")

_PROGRESS_SECONDS = 0.1  # between two events of progress


class Workbench:
    """Holds what the page shows, and keeps it true.

    Args:
        parts: the folder, who edits it, and who trains on it.
        stream: is told of all changes.
    """

    def __init__(self, parts: Parts, stream: EventStream) -> None:
        self.parts, self.table = parts, PictureTable()
        self._stream = stream
        self._ending, self._folder_changed, self._model_is_old = (threading.Event() for _ in range(3))
        self._state: dict[str, Any] = {"stage": "reading the folder", "done": 0, "total": 0, "problem": None}
        self._state_lock = threading.Lock()
        self._told = 0.0
        self.figures: FiguresDocument | None = None
        self._history: list[tuple[int, float | None]] = []
        self._passed: set[int] = set()  # numbers of pictures that need no more looking at
        self._model = parts.model(self._hear, self._ending.is_set)
        self._editing = ThreadPoolExecutor(1, "edit")  # one edit after the other
        self._threads = [
            threading.Thread(target=work, name=name, daemon=True)
            for work, name in ((self._follow_folder, "folder"), (self._follow_model, "model"))
        ]

    def start(self) -> None:
        """Read the folder, and train."""
        self._folder_changed.set()
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End the threads, and wait for what they are at."""
        self._ending.set()
        self._folder_changed.set()
        self._model_is_old.set()
        self._editing.shutdown(wait=True, cancel_futures=True)
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def look(self) -> None:
        """The folder has changed."""
        self._folder_changed.set()

    # What the page asks for

    def hello(self) -> dict[str, Any]:
        """What has to be known before anything else, and from which a page tells what it has missed."""
        return {
            "sequence": self.table.sequence,
            "figures": self.figures.version if self.figures else 0,
            "state": self._state,
            "edits": self.edits(),
            "passed": sorted(self._passed),
        }

    def edits(self) -> dict[str, Any]:
        """What can be taken back, and done again."""
        editor = self.parts.editor
        texts = (None, None) if editor is None else (editor.undoable, editor.redoable)
        return dict(zip(("undoable", "redoable"), (text and text.text for text in texts), strict=True))

    def classify(self, picture: bytes) -> Any:
        """What the current model says of a picture. Raises RetrainError."""
        return self._model.classify([picture])[0]

    def edit(self, change: Callable[[Editor], Change | None]) -> str | None:
        """Change the folder. Returns what was done; None if there was nothing to do. Raises RetrainError."""
        editor = self.parts.editor
        if editor is None:
            raise ReadOnlyError("the studio was started with --read-only: nothing can be changed here")
        try:
            done = self._editing.submit(change, editor).result()
        finally:
            self.look()
        self._stream.publish("edits", {"text": done and done.text} | self.edits())
        return done and done.text

    def save(self, model_dir: str) -> None:
        """Write the model. Raises RetrainError."""
        self._say(stage="saving the model")
        try:
            self._model.save(model_dir)
        finally:
            self._say(stage="watching", done=0, total=0)

    def set_passed(self, numbers: Sequence[int], has_passed: bool) -> None:
        """Note that pictures need no more looking at, or that they do again."""
        self._passed = self._passed | {*numbers} if has_passed else self._passed - {*numbers}
        self._stream.publish("passed", sorted(self._passed))

    # Threads

    def _follow_folder(self) -> None:
        while self._wait(self._folder_changed):
            try:
                change = self.table.replace(self.parts.read())
            except RetrainError as error:
                self._say(problem=str(error))
                continue
            if change is not None:
                self._stream.publish("listing", change)
            self._model_is_old.set()

    def _follow_model(self) -> None:
        while self._wait(self._model_is_old):
            start = time.monotonic()
            try:
                report = self._model.update()
            except RetrainError as error:
                self._say(stage="watching", problem=str(error))
                continue
            except Exception as error:
                self._say(stage="watching", problem=f"training failed: {first_line(error)}")
                raise
            self._take(report, time.monotonic() - start)

    def _take(self, report: Any, seconds: float) -> None:
        """Show what came out of training."""
        accuracy = report.headline.accuracy if report.headline else None
        if not self._history or self._history[-1][0] != report.version:
            self._history.append((report.version, accuracy))
        self.figures = figures_document(report, self.table.numbers(), self._history, seconds)
        self._say(stage="watching", done=0, total=0, problem=None)
        self._stream.publish("figures", {"version": self.figures.version})

    def _wait(self, event: threading.Event) -> bool:
        """Wait for an event, and whether to go on."""
        event.wait()
        event.clear()
        return not self._ending.is_set()

    # State

    def _hear(self, event: Event) -> None:
        """Show an event of training."""
        match event:
            case StageBegan(name):
                self._say(stage=name, done=0, total=0)
            case Extracted(pictures=total, done=done):
                self._say(often=True, stage="pass one", done=done, total=total)
            case Stepped(done):
                self._say(often=True, stage="training", done=done, total=0)
            case Warned(message):
                self._stream.publish("warning", {"text": message})
            case Noted():
                pass

    def _say(self, often: bool = False, **changes: Any) -> None:
        """Change the state. Changes that come often are told ten times a second."""
        with self._state_lock:
            self._state = self._state | changes
            now = time.monotonic()
            if often and now - self._told < _PROGRESS_SECONDS and self._state["done"] < self._state["total"]:
                return
            self._told = now
            self._stream.publish("state", self._state)


class ReadOnlyError(RetrainError):
    """Nothing can be changed."""
