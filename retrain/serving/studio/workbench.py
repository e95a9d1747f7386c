"""The work behind the page: the folder is read, and a model follows, at every change; each on a thread of its own."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from retrain.data import Edit
from retrain.errors import RetrainError
from retrain.events import Event, Extracted, Reported, StageBegan, Stepped, Warned
from retrain.model import Prediction
from retrain.report import LiveReport
from retrain.serving.problems import Problem
from retrain.serving.studio.documents import FiguresDocument, figures_document
from retrain.serving.studio.events import EventStream
from retrain.serving.studio.parts import Editor, StudioParts, WorthALabel
from retrain.serving.studio.pictures import PictureTable
from retrain.text import first_line

__all__ = ["Workbench"]

_LISTING_SECONDS = 0.25  # that an edit waits until the page can be told of it; of a large folder it is told later
_PROGRESS_SECONDS = 0.1  # between two events of progress
_PARTING_SECONDS = 5.0  # until threads are left alone that don't end
_AGAIN_SECONDS = 1.0  # until files that may be incomplete are looked at again
_PROBLEM_SECONDS = 15.0  # until a folder that could not be trained is looked at again: it may be the disk, not a file
_REST = {"stage": "watching", "done": 0, "total": 0}

_log = logging.getLogger(__name__)


class Workbench:
    """Holds what the page shows, and keeps it true.

    Args:
        parts: the folder, who edits it, and who trains on it.
        stream: is told of all changes.
    """

    def __init__(self, parts: StudioParts, stream: EventStream) -> None:
        self.table = PictureTable()
        self.figures: FiguresDocument | None = None
        self._parts, self._stream = parts, stream
        self._ending, self._folder_changed, self._model_is_old = (threading.Event() for _ in range(3))
        self._asked_to_read = self._has_read = 0
        self._reading = threading.Condition()
        self._state: dict[str, Any] = {**_REST, "stage": "reading the folder", "problem": None}
        self._state_lock = threading.Lock()
        self._told = 0.0
        self._passed: frozenset[int] = frozenset()  # numbers of pictures that need no more looking at
        self._again: float | None = None  # seconds until the model looks at the folder, though nothing seems to change
        self._worth_a_label: Sequence[WorthALabel] = ()
        self._may_wait = False  # whether what the model is at can wait until it has followed the folder
        self._model = parts.model(self._hear, self._is_unwanted)
        self._editing = ThreadPoolExecutor(1, "edit")  # one edit after the other
        self._threads = [
            threading.Thread(target=self._follow, args=work, name=work[0].__name__, daemon=True)
            for work in ((self._read_folder, self._folder_changed), (self._train, self._model_is_old))
        ]

    def start(self) -> None:
        """Read the folder, and train."""
        self._folder_changed.set()
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End the threads. An edit that is on its way is waited for; training, which loses nothing, for a moment."""
        self._ending.set()
        self._folder_changed.set()
        self._model_is_old.set()
        self._editing.shutdown(wait=True, cancel_futures=True)
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(_PARTING_SECONDS)

    def look(self, seconds: float = 0.0) -> bool:
        """The folder may have changed. It is read again; wait for that for so long at most.

        Returns: whether it has been read.
        """
        with self._reading:
            self._asked_to_read = mine = self._asked_to_read + 1
            self._folder_changed.set()
            return self._reading.wait_for(lambda: self._has_read >= mine, seconds)

    # What the page asks for

    def hello(self) -> dict[str, Any]:
        """What has to be known before anything else, and from which a page tells what it has missed."""
        return {
            "instance": self.table.instance,
            "sequence": self.table.sequence,
            "figures": self.figures.version if self.figures else 0,
            "state": self._state,
            "edits": self.edits(),
            "passed": sorted(self._passed),
        }

    @property
    def is_read_only(self) -> bool:
        """Whether nothing may be changed."""
        return self._parts.editor is None

    def edits(self) -> dict[str, dict[str, Any] | None]:
        """What can be taken back, and what can be done again."""
        editor = self._parts.editor
        if editor is None:
            return {"undoable": None, "redoable": None}
        return {"undoable": _described(editor.undoable), "redoable": _described(editor.redoable)}

    def edit(self, change: Callable[[Editor], Edit | None]) -> dict[str, Any]:
        """Change the folder.

        Returns: what was done, None if there was nothing to do; what edits() says then; and the number of the change of
            the listing that has it, if it makes one.
        Raises RetrainError; Problem if nothing may be changed.
        """
        editor = self._parts.editor
        if editor is None:
            raise Problem(403, "the studio was started with --read-only: nothing can be changed here")
        try:
            done = self._editing.submit(change, editor).result()
        finally:
            is_listed = self.look(_LISTING_SECONDS)
        said = {"done": _described(done), "sequence": self.table.sequence + (not is_listed), **self.edits()}
        self._stream.publish("edits", said)
        return said

    def classify(self, picture: bytes) -> Prediction:
        """What the current model says of a picture. Raises RetrainError."""
        return self._model.classify([picture])[0]

    def save(self, model_dir: str) -> None:
        """Write the model. Raises RetrainError."""
        self._say(stage="saving the model", done=0, total=0)
        try:
            self._model.save(model_dir)
        finally:
            self._say(**_REST)

    def set_passed(self, numbers: Iterable[int], has_passed: bool) -> None:
        """Note that pictures need no more looking at, or that they do again."""
        self._passed = self._passed | {*numbers} if has_passed else self._passed - {*numbers}
        self._stream.publish("passed", sorted(self._passed))

    # Threads

    def _follow(self, work: Callable[[], None], wake: threading.Event) -> None:
        """Do some work whenever an event is set. What goes wrong is shown, and the work goes on at the next one."""
        while True:
            wake.wait(self._again if wake is self._model_is_old else None)
            wake.clear()
            if self._ending.is_set():
                return
            try:
                work()
            except RetrainError as error:
                self._say(**_REST, problem=str(error))
            except Exception as error:  # noqa: BLE001 - the page outlives what nobody foresaw, and says so
                if not self._is_unwanted():  # else it was stopped
                    _log.exception("the studio has an error")
                    self._say(**_REST, problem=f"this is an error of the studio: {first_line(error)}")

    def _read_folder(self) -> None:
        asked = self._asked_to_read
        try:
            change = self.table.replace(self._parts.read())
            if change is not None:
                self._stream.publish("listing", change)
        finally:
            with self._reading:
                self._has_read = asked
                self._reading.notify_all()
        self._model_is_old.set()

    def _train(self) -> None:
        self._may_wait = False
        self._again = _PROBLEM_SECONDS
        report = self._model.update()
        self._again = _AGAIN_SECONDS if report.waiting else _PROBLEM_SECONDS if report.problem else None
        if self.figures is None or report.version != self.figures.content["model"]:
            self._show(report)
        self._say(**_REST, problem=None)
        if not self._model_is_old.is_set():
            self._look_closer(report)

    def _look_closer(self, report: LiveReport) -> None:
        """Find out what takes longer, unless the folder changes meanwhile."""
        self._may_wait = True
        if report.problem is None and report.suspects is None:
            report = self._model.look_closer()
            self._show(report)
        before, self._worth_a_label = self._worth_a_label, self._model.worth_a_label()
        if before != self._worth_a_label:
            self._show(report)
        self._say(**_REST)
        self._model.load_network()  # for the first picture that somebody tries

    def _is_unwanted(self) -> bool:
        """Whether the model should stop what it is at."""
        return self._ending.is_set() or (self._may_wait and self._model_is_old.is_set())

    def _show(self, report: LiveReport) -> None:
        self.figures = figures_document(report, self._worth_a_label, self.table.numbers(), self.figures)
        self._stream.publish("figures", self.figures.version)

    # State

    def _hear(self, event: Event) -> None:
        """Show how far training is."""
        match event:
            case StageBegan(name):
                self._say(stage=name, done=0, total=0)
            case Extracted(pictures=total, done=done):
                self._say_often(stage="pass one", done=done, total=total)
            case Stepped(done):
                self._say_often(stage="training", done=done, total=0)
            case Reported(what, done, total):
                self._say_often(stage=what, done=done, total=total)
            case Warned(message):
                self._stream.publish("warning", message)
            case _:
                pass

    def _say_often(self, **changes: Any) -> None:
        """Change the state, but tell of it ten times a second at most."""
        if time.monotonic() - self._told >= _PROGRESS_SECONDS:
            self._told = time.monotonic()
            self._say(**changes)

    def _say(self, **changes: Any) -> None:
        with self._state_lock:
            before, self._state = self._state, self._state | changes
            if before != self._state:
                self._stream.publish("state", self._state)


def _described(edit: Edit | None) -> dict[str, Any] | None:
    return None if edit is None else {"number": edit.number, "text": edit.text}
