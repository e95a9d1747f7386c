"""Change an image folder and lose nothing: every edit is written down before it begins, and can be taken back."""

import contextlib
import fcntl
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from retrain.data.edits.confined_files import ConfinedFiles
from retrain.data.edits.edit_journal import Edit, EditJournal, Step
from retrain.data.edits.edit_moves import EditMoves, refused_by_disk, told_of_disk
from retrain.data.edits.edit_plan import EditPlan, FolderClasses
from retrain.errors import ImageFolderError, OutputError, RetrainError
from retrain.events import Emit, Warned, ignore
from retrain.paths import display_path
from retrain.text import shown

__all__ = ["FolderEdits"]

_JOURNAL, _LOCK = ".retrain-edits.jsonl", ".retrain-edits.lock"
_HOLDER_BYTES = 200  # of the name of the process that has the lock, with spaces behind it


class FolderEdits:
    """The one editor of an image folder.

    Nothing is overwritten, and nothing is deleted: files get other places, and of two files with one name one gets
    another. Pictures stay in their set, and in their sub-folders of a class. Every edit is written to the journal
    `.retrain-edits.jsonl` first, and happens whole or not at all. What is removed goes to `.trash/NUMBER OF THE EDIT/`.
    Nothing is moved out of the folder, or through links; a link that is a picture moves itself.

    Methods raise ImageFolderError for what can't be done, and OutputError for what the disk refuses; then nothing has
    changed. They may be called from several threads.

    Args:
        root: the image folder.
        unlabelled: a folder of pictures without a label, beside it or in it; on another disk, pictures are copied.
        emit: told of an edit that was cut off, and of what became of it.
    Raises ImageFolderError if the folder is missing, if another process edits it, or if its journal can't be read;
    OutputError if the folder can't be written.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        unlabelled: str | os.PathLike[str] | None = None,
        emit: Emit = ignore,
    ) -> None:
        self._root, self._where, self._emit = os.path.realpath(root), display_path(root), emit
        beside = _beside(self._root, unlabelled)
        self._prefix = beside[0] if beside else None
        if self._prefix is not None and not self._prefix.startswith("../"):
            beside = None  # it is in the folder
        self._turn = threading.RLock()
        self._own: dict[str, int] = {}  # handles of the lock and the journal
        self._open: contextlib.ExitStack | None = None
        with contextlib.ExitStack() as opened:
            try:
                self._files = ConfinedFiles(self._root, beside)
            except OSError as error:
                raise ImageFolderError(
                    f"can't open the folder {display_path(error.filename or root)}: {error.strerror}; give a folder "
                    "with one sub-folder of pictures per class"
                ) from error
            opened.callback(self._files.close)
            self._lock(opened)
            self._journal = self._read_journal()
            opened.callback(self._journal.close)
            self._finish()
            self._open = opened.pop_all()

    def close(self) -> None:
        """Let others edit the folder."""
        with self._turn:
            if self._open is not None:
                self._open.close()
                self._open = None

    @property
    def unlabelled_prefix(self) -> str | None:
        """What the paths of unlabelled pictures begin with, without the / that follows: "../unlabelled"."""
        return self._prefix

    @property
    def undoable(self) -> Edit | None:
        """What undo() takes back."""
        return self._journal.undoable

    @property
    def redoable(self) -> Edit | None:
        """What redo() does again."""
        return self._journal.redoable

    def add(self, class_name: str, pictures: Sequence[tuple[str, bytes]]) -> Edit:
        """Write pictures into a class; one that does not exist is made.

        Args:
            pictures: name and content of each file. Folders in a name are left out.
        """
        with self._planning() as plan:
            edit = plan.add(class_name, [name for name, _ in pictures])
            return self._do(plan, edit, [content for _, content in pictures])

    def move(self, paths: Sequence[str], class_name: str) -> Edit:
        """Move pictures to a class; one that does not exist is made. Those that are in it already stay.

        Args:
            paths: of pictures of classes, beside the class folders, or in the folder of unlabelled pictures.
        """
        with self._planning() as plan:
            return self._do(plan, plan.move(paths, class_name))

    def remove(self, paths: Sequence[str]) -> Edit:
        """Move pictures into `.trash`.

        Args:
            paths: as for move().
        """
        with self._planning() as plan:
            return self._do(plan, plan.remove(paths))

    def new_class(self, name: str) -> Edit:
        """Make a class without pictures."""
        with self._planning() as plan:
            return self._do(plan, plan.new_class(name))

    def remove_class(self, name: str) -> Edit:
        """Move a class with all that is in its folder into `.trash`."""
        with self._planning() as plan:
            return self._do(plan, plan.remove_class(name))

    def rename_class(self, name: str, new_name: str) -> Edit:
        """Give a class another name, which no other class has."""
        with self._planning() as plan:
            return self._do(plan, plan.rename_class(name, new_name))

    def merge_classes(self, names: Sequence[str], into: str) -> Edit:
        """Move all pictures of some classes to one, which may be new or one of them; the others go."""
        with self._planning() as plan:
            return self._do(plan, plan.merge_classes(names, into))

    def undo(self) -> Edit | None:
        """Take back the last edit; None if there is none."""
        with self._settled():
            return self._repeat("undo", self._journal.undoable)

    def redo(self) -> Edit | None:
        """Do the edit again that was taken back last; None if there is none."""
        with self._settled():
            return self._repeat("redo", self._journal.redoable)

    # one edit at a time

    @contextlib.contextmanager
    def _settled(self) -> Iterator[None]:
        """Be the only thread that edits, with nothing left half-done."""
        with self._turn:
            if self._open is None:
                raise ImageFolderError(f"{self._where} is not open for editing any more; open it again")
            self._check_own()
            self._finish()
            yield

    def _check_own(self) -> None:
        """Check that no one took the files of the editor away. Raises ImageFolderError, OutputError."""
        for name, handle in self._own.items():
            with told_of_disk(f"can't read {self._where}/{name}"):
                status = self._files.status(name)
            if status is None or not os.path.samestat(status, os.fstat(handle)):
                raise ImageFolderError(
                    f"{self._where}/{name} was removed or replaced meanwhile; open the folder again to go on"
                )

    @contextlib.contextmanager
    def _planning(self) -> Iterator[EditPlan]:
        with self._settled(), told_of_disk(f"can't read {self._where}"):
            yield EditPlan(self._files, self._classes(), self._journal.next_number)

    def _classes(self) -> FolderClasses:
        try:
            return FolderClasses.read(self._root, self._prefix)
        except OSError as error:
            raise refused_by_disk(f"can't read {display_path(error.filename or self._where)}", error) from error

    def _do(self, plan: EditPlan, edit: Edit, contents: Sequence[bytes] = ()) -> Edit:
        """Make a new edit.

        Args:
            contents: of files to write first, at the sources of the moves.
        """

        def make(moves: EditMoves) -> None:
            moves.write(contents)
            moves.make()
            if not plan.classes.keeps(self._classes()):
                raise ImageFolderError("with that, other folders than now would be taken for the classes")

        self._perform(Step("edit", edit), make)
        return edit

    def _repeat(self, name: str, edit: Edit | None) -> Edit | None:
        """Take an edit back, or do it again."""
        if edit is not None:
            step = Step(name, edit)
            with told_of_disk(f"can't {name}: {edit.text}"):
                EditMoves(self._files, step).check()
            self._perform(step, EditMoves.make)
        return edit

    def _perform(self, step: Step, make: Callable[[EditMoves], None]) -> None:
        """Do something that can fail, whole or not at all."""
        try:
            self._journal.begin(step)
        except OSError as error:
            raise refused_by_disk(f"can't write {self._where}/{_JOURNAL}", error) from error
        moves = EditMoves(self._files, step)
        try:
            make(moves)
        except RetrainError as error:
            self._take_back(moves, error)
            raise type(error)(f"{error}; nothing was changed") from error
        self._journal.end()

    def _take_back(self, moves: EditMoves, because: Exception) -> None:
        """Take back what was done of the step that goes on."""
        try:
            moves.take_back()
            self._journal.forget()
        except (OSError, RetrainError) as error:
            raise OutputError(
                f"{because}; and what was moved already could not be moved back: {error}. Once that "
                "is solved, the next edit, or opening the folder again, finishes what was begun"
            ) from because

    def _finish(self) -> None:
        """Finish what was cut off, or take it back if that is impossible. Raises ImageFolderError, OutputError."""
        step = self._journal.pending
        if step is None:
            return
        moves = EditMoves(self._files, step)
        moves.tidy()
        doing = {"edit": "an edit", "undo": "taking back an edit", "redo": "doing an edit again"}[step.name]
        what = f"{doing} was cut off ({step.edit.text}), and"
        try:
            moves.make()
        except ImageFolderError as error:
            moves.assume_made()
            self._take_back(moves, error)
            self._emit(Warned(f"{what} is taken back, because {error}"))
        except OutputError as error:
            raise OutputError(f"{what} can't be finished: {error}") from error
        else:
            self._journal.end()
            self._emit(Warned(f"{what} is finished now"))

    # files of the editor itself

    def _lock(self, opened: contextlib.ExitStack) -> None:
        """Be the only one, until `opened` is closed. Raises ImageFolderError if another process is."""
        try:
            handle = self._files.open(_LOCK)
        except OSError as error:
            raise refused_by_disk(f"can't write {self._where}/{_LOCK}", error) from error
        opened.callback(os.close, handle)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(handle, _HOLDER_BYTES, 0).decode("utf-8", "replace").strip() or "another process"
            raise ImageFolderError(
                f"{self._where} is being edited by {shown(holder)}, and only one can: close that one, or use it"
            ) from None
        except OSError:  # some network disks have no locks
            pass
        opened.callback(_unlock, handle)
        self._own[_LOCK] = handle
        with contextlib.suppress(OSError):
            os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}".encode().ljust(_HOLDER_BYTES), 0)

    def _read_journal(self) -> EditJournal:
        where = f"{self._where}/{_JOURNAL}"
        try:
            handle = self._files.open(_JOURNAL)
        except OSError as error:
            raise refused_by_disk(f"can't write {where}", error) from error
        try:
            journal = EditJournal(handle, where)
        except OSError as error:
            os.close(handle)
            raise refused_by_disk(f"can't read {where}", error) from error
        except BaseException:
            os.close(handle)
            raise
        self._files.sync("")  # which may be new
        self._own[_JOURNAL] = handle
        return journal


def _beside(root: str, unlabelled: str | os.PathLike[str] | None) -> tuple[str, str] | None:
    """The folder of unlabelled pictures: its path relative to the image folder, and its real path."""
    if unlabelled is None:
        return None
    place = os.path.realpath(unlabelled)
    if not os.path.isdir(place):
        raise ImageFolderError(f"no such folder of unlabelled pictures: {display_path(unlabelled)}")
    if Path(root).is_relative_to(place):
        raise ImageFolderError(
            f"the folder of unlabelled pictures {display_path(unlabelled)} holds the folder of classes: give one "
            "beside it, or in it"
        )
    return os.path.relpath(place, root), place


def _unlock(handle: int) -> None:
    with contextlib.suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_UN)  # also for processes that this one has started
