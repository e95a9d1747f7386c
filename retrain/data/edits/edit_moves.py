"""The moves of an edit: made, or taken back, so that either can be begun again wherever it was cut off."""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Sequence

from retrain.data.edits.confined_files import ConfinedFiles
from retrain.data.edits.edit_journal import Move, Step
from retrain.data.edits.edit_names import folded
from retrain.errors import ImageFolderError, OutputError
from retrain.paths import display_path

__all__ = ["EditMoves", "refused_by_disk", "told_of_disk"]

_REMEDIES = {
    errno.ENOSPC: "; make room on the disk",
    errno.EDQUOT: "; make room on the disk",
    errno.EROFS: "; make the folder writable, or open it with --read-only",
    errno.EACCES: "; make the folder writable, or open it with --read-only",
    errno.EPERM: "; make the folder writable, or open it with --read-only",
}


class EditMoves:
    """What a step of an edit does to the files.

    Args:
        files: that it moves.
        step: what is done.
    """

    def __init__(self, files: ConfinedFiles, step: Step) -> None:
        self._files = files
        self._edit, self._is_forward = step.edit, step.is_forward
        marked = [(move, f".retrain-edit-{step.edit.number}-{n}") for n, move in enumerate(step.edit.moves)]
        if not step.is_forward:
            marked = [(Move(move.target, move.source), mark) for move, mark in reversed(marked)]
        self._moves = marked
        self._made = 0  # of the moves
        self._written: list[str] = []

    def check(self) -> None:
        """Check that it can be done, of an edit that was made before. Raises ImageFolderError: what is in the way."""
        what = f"can't {'do again' if self._is_forward else 'take back'}: {self._edit.text}"
        for move, _ in self._moves:
            if self._files.status(move.source) is None:
                raise ImageFolderError(
                    f"{what}, because {display_path(move.source)} is not there any more; put it back to do so"
                )
            if self._files.status(move.target) is not None and not self._is_respelling(move):
                raise ImageFolderError(
                    f"{what}, because {display_path(move.target)} is there again; move it away first"
                )
        if not self._moves and not self._is_forward:  # an empty class
            for folder in self._edit.made:
                if self._files.status(folder) is not None and self._files.names(folder):
                    raise ImageFolderError(
                        f"{what}, because {display_path(folder)} is not empty any more; empty it first"
                    )

    def write(self, contents: Sequence[bytes]) -> None:
        """Write the files that are moved then; take_back() removes them. Raises ImageFolderError, OutputError."""
        for (move, mark), content in zip(self._moves, contents, strict=False):
            with told_of_disk(f"can't write {display_path(move.source)}"):
                self._files.write(move.source, content, mark)
            self._written.append(move.source)

    def make(self) -> None:
        """Make the moves; those that are made already stay.

        Raises ImageFolderError if something is missing or in the way, and OutputError if the disk refuses.
        """
        if self._is_forward:
            self._make_folders()
        for move, mark in self._moves[self._made :]:
            self._make_one(move, mark)
            self._made += 1
        if not self._is_forward:
            self._remove_folders()
        self._sync()

    def take_back(self) -> None:
        """Take back the moves that are made.

        A picture whose place was taken meanwhile stays where it is. Raises ImageFolderError and OutputError as make().
        """
        if not self._is_forward:
            self._make_folders()
        for move, mark in reversed(self._moves[: self._made]):
            before, after = self._files.status(move.target), self._files.status(move.source)
            back = Move(move.target, move.source)
            if before is not None and (after is None or self._is_respelling(back) or self._is_same(back)):
                self._make_one(back, mark)
            self._made -= 1
        while self._written:
            self._files.discard(self._written.pop())
        if self._is_forward:
            self._remove_folders()
        self._sync()

    def tidy(self) -> None:
        """Begin with what a process that was killed has left: any of the moves may be made.

        Raises ImageFolderError if they need a folder of unlabelled pictures that is not given, or OutputError.
        """
        for move, mark in self._moves:
            for path, twin in ((move.source, move.target), (move.target, move.source)):
                if not self._files.reaches(path):
                    raise ImageFolderError(
                        f"an edit was cut off that moved {display_path(path)} ({self._edit.text}): give the folder of "
                        "unlabelled pictures that it is in with --unlabelled, so that the edit can be finished"
                    )
                with told_of_disk(f"can't look at {display_path(path)}"):
                    self._files.settle(path, twin, mark)

    def assume_made(self) -> None:
        """Let take_back() look at all moves."""
        self._made = len(self._moves)

    def _make_one(self, move: Move, mark: str) -> None:
        with told_of_disk(f"can't move {display_path(move.source)} to {display_path(move.target)}"):
            try:
                self._files.move(move.source, move.target, mark)
            except (FileExistsError, FileNotFoundError):
                self._make_the_rest(move, mark)

    def _make_the_rest(self, move: Move, mark: str) -> None:
        """Make a move that is made already, or half, or that is not possible."""
        before, after = self._files.status(move.source), self._files.status(move.target)
        if before is None and after is not None:
            return
        if before is None:
            raise ImageFolderError(f"{display_path(move.source)} is not there any more")
        if after is None:
            raise OSError(errno.EAGAIN, "its folder was changed meanwhile", move.target)
        if self._is_respelling(move):
            self._files.respell(move.source, move.target)
        elif self._is_same(move):
            self._files.drop(move.source, move.target, mark)
        else:
            raise ImageFolderError(f"{display_path(move.target)} is there already")

    def _is_same(self, move: Move) -> bool:
        return self._files.is_same(move.source, move.target)

    def _is_respelling(self, move: Move) -> bool:
        """Whether a folder gets a name that the file system takes for the one that it has."""
        before, after = self._files.status(move.source), self._files.status(move.target)
        return (
            before is not None
            and after is not None
            and stat.S_ISDIR(before.st_mode)
            and (before.st_dev, before.st_ino) == (after.st_dev, after.st_ino)
            and folded(move.source) == folded(move.target)
        )

    def _make_folders(self) -> None:
        for folder in self._edit.made:
            with told_of_disk(f"can't make the folder {display_path(folder)}"):
                self._files.make_folder(folder)

    def _remove_folders(self) -> None:
        for folder in reversed(self._edit.made):
            with contextlib.suppress(ImageFolderError):  # something else by now
                self._files.remove_empty_folder(folder)

    def _sync(self) -> None:
        paths = [path for move, _ in self._moves for path in (move.source, move.target)] + list(self._edit.made)
        for folder in {os.path.dirname(path) for path in paths}:
            with contextlib.suppress(ImageFolderError, OSError):  # it went, too
                self._files.sync(folder)


@contextlib.contextmanager
def told_of_disk(what: str) -> Iterator[None]:
    """Raise OutputError, which begins with this, for OSError."""
    try:
        yield
    except OSError as error:
        raise refused_by_disk(what, error) from error


def refused_by_disk(what: str, error: OSError) -> OutputError:
    """The error for a user."""
    return OutputError(f"{what}: {error.strerror}{_REMEDIES.get(error.errno or 0, '')}")
