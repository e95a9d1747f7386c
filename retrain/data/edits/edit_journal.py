"""The journal of an image folder: each edit is written down before its first file moves.

A line is a JSON object: the beginning of an edit, of taking it back or of doing it again, or the end of that. What has
a beginning and no end was cut off, or goes on. An edit that failed and was taken back leaves no line.
"""

import contextlib
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from retrain.errors import ImageFolderError
from retrain.json_fields import FieldError, Fields, parse_json, shown_value

__all__ = ["Edit", "EditJournal", "Move", "Step"]

_FORMAT, VERSION = "retrain edits", 1
_OWN = ".retrain-edit"  # what the names of the editor's own files begin with; no edit moves them
_MOST_EDITS = 2**53  # numbers that JSON readers of any kind keep


@dataclass(frozen=True)
class Move:
    """Something that got another place; both paths are relative to the image folder, with /.

    A picture; or a folder with all that is in it, if a class was renamed or removed. What lies outside of the image
    folder, in the folder of unlabelled pictures, begins with `FolderEdits.unlabelled_prefix`.
    """

    source: str
    target: str


@dataclass(frozen=True)
class Edit:
    """A change of an image folder."""

    number: int  # from 1 on
    kind: str  # "add", "move", "remove", "rename", "merge", "new_class" or "remove_class"
    text: str  # for people: "Moved 3 pictures from tulips to roses"
    moves: tuple[Move, ...]  # in the order in which they are made
    made: tuple[str, ...] = ()  # folders that it makes, those above others first


@dataclass(frozen=True)
class Step:
    """Something that is done with an edit."""

    name: str  # "edit", "undo" or "redo"
    edit: Edit

    @property
    def is_forward(self) -> bool:
        """Whether files go from sources to targets."""
        return self.name != "undo"


class EditJournal:
    """The journal in an open file. Only one process may have it open.

    Args:
        handle: of the file, which may be empty; open to read and to write. It is closed with the journal.
        where: the file, for messages.
    Raises ImageFolderError if it can't be understood, OSError if it can't be read.
    """

    def __init__(self, handle: int, where: str) -> None:
        self._handle = handle
        self._undoable: list[Edit] = []
        self._redoable: list[Edit] = []
        self.pending: Step | None = None  # that was begun and not ended
        self._begins = 0  # where its line does
        self._length = 0  # of what counts in the file
        self._owed = b""  # lines that could not be written yet
        self._last = 0  # number of an edit
        self._read(where)

    @property
    def undoable(self) -> Edit | None:
        """The last edit that is in force."""
        return self._undoable[-1] if self._undoable else None

    @property
    def redoable(self) -> Edit | None:
        """The edit that was taken back last, if none was made since."""
        return self._redoable[-1] if self._redoable else None

    @property
    def next_number(self) -> int:
        """The number of the next edit."""
        return self._last + 1

    def begin(self, step: Step) -> None:
        """Write down what is about to be done, and flush it to disk. Raises OSError; the journal is as it was then."""
        entry: dict[str, Any] = {step.name: step.edit.number, "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
        if step.name == "edit":
            moves = [[move.source, move.target] for move in step.edit.moves]
            entry |= {"kind": step.edit.kind, "text": step.edit.text, "made": list(step.edit.made), "moves": moves}
        begins = self._length + len(self._owed)
        self._append(_line(entry))
        self._begins, self.pending = begins, step

    def end(self) -> None:
        """Write down that what was begun is done. If the disk is full, that is written with the next line."""
        if self.pending is None:
            return
        step, self.pending = self.pending, None
        self._owed += _line({"done": step.edit.number})
        self._count(step)
        with contextlib.suppress(OSError):  # whoever reads the journal finds all files moved, and then that it is done
            self._append(b"")

    def forget(self) -> None:
        """Take what was begun out of the journal, because it was taken back. Raises OSError."""
        os.ftruncate(self._handle, self._begins)
        os.fsync(self._handle)
        if self.pending is not None:
            self._last = max(self._last, self.pending.edit.number)  # hidden files that it could not remove have it
        self._length, self.pending = self._begins, None

    def close(self) -> None:
        """Close the file."""
        os.close(self._handle)

    def _append(self, line: bytes) -> None:
        data = self._owed + line
        if not self._length:
            data = _line({"format": _FORMAT, "version": VERSION}) + data
        try:
            if os.fstat(self._handle).st_size > self._length:  # what is there beyond was cut off
                os.ftruncate(self._handle, self._length)
            done = 0
            while done < len(data):
                done += os.pwrite(self._handle, data[done:], self._length + done)
            os.fsync(self._handle)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._handle, self._length)
            raise
        self._length, self._owed = self._length + len(data), b""

    def _count(self, step: Step) -> None:
        if step.name == "edit":
            self._last = step.edit.number
            self._undoable.append(step.edit)
            self._redoable.clear()
        elif step.name == "undo":
            self._redoable.append(self._undoable.pop())
        else:
            self._undoable.append(self._redoable.pop())

    def _read(self, where: str) -> None:
        data = bytearray()
        while block := os.pread(self._handle, 2**24, len(data)):
            data += block
        lines = bytes(data).split(b"\n")
        lines.pop()  # what a cut left of a last line
        for number, line in enumerate(lines, 1):
            try:
                self._take(line, where, is_first=number == 1)
            except FieldError as error:
                if number == len(lines) and b"\0" in line:  # a block that had not reached the disk when power failed
                    return
                raise ImageFolderError(
                    f"{where}, line {number}: {error}; it was changed or is damaged. To begin a new journal, move this "
                    "file away: the pictures stay where they are, and what it lists can't be taken back"
                ) from error
            self._length += len(line) + 1

    def _take(self, line: bytes, where: str, is_first: bool) -> None:
        """Take a line as what happened. Raises FieldError."""
        fields = Fields(parse_json(line))
        if is_first:
            _check_head(fields, where)
        elif self.pending is not None:
            if fields.number("done", 1, _MOST_EDITS) != self.pending.edit.number:
                raise FieldError(f"done is not {self.pending.edit.number}, which was begun before")
            step, self.pending = self.pending, None
            self._count(step)
        elif "edit" in fields:
            edit = _edit_of(fields)
            if edit.number <= self._last:
                raise FieldError(f"edit is {edit.number}, expected a number above {self._last}")
            self._begins, self.pending = self._length, Step("edit", edit)
        else:
            name = "redo" if "redo" in fields else "undo"
            number, edits = fields.number(name, 1, _MOST_EDITS), self._redoable if name == "redo" else self._undoable
            if not edits or edits[-1].number != number:
                raise FieldError(f"{name} is {number}, which is not the edit whose turn that is")
            self._begins, self.pending = self._length, Step(name, edits[-1])


def _line(entry: dict[str, Any]) -> bytes:
    """A line of the journal. It is ASCII: names that are not UTF-8 become escapes, which Python reads back."""
    return json.dumps(entry).encode() + b"\n"


def _check_head(fields: Fields, where: str) -> None:
    fields.text("format", _FORMAT, repr(_FORMAT))
    version = fields.number("version", 1, _MOST_EDITS)
    if version > VERSION:
        raise ImageFolderError(
            f"{where} is of version {version}, and this retrain knows version {VERSION}: use the newer one that wrote "
            "it. Or move this file away: the pictures stay where they are, and what it lists can't be taken back"
        )


def _edit_of(fields: Fields) -> Edit:
    return Edit(
        fields.number("edit", 1, _MOST_EDITS),
        fields.text("kind", "[a-z_]+", "the kind of an edit"),
        fields.text("text", "(?s).+", "a text"),
        tuple(Move(*pair) for pair in _listed(fields, "moves", _pair)),
        tuple(_listed(fields, "made", _path)),
    )


def _listed(fields: Fields, name: str, read: Callable[[Any], Any]) -> Sequence[Any]:
    values = fields.values.get(name)
    if not isinstance(values, list):
        raise FieldError(f"{name} is {shown_value(values)}, expected a list")
    return [read(value) for value in values]


def _pair(value: Any) -> list[str]:
    if not isinstance(value, list) or len(value) != 2:
        raise FieldError(f"moves has {shown_value(value)}, expected pairs of paths")
    return list(map(_path, value))


def _path(value: Any) -> str:
    if not isinstance(value, str) or not value or "\0" in value or f"/{_OWN}" in f"/{value}":
        raise FieldError(f"found {shown_value(value)}, expected the path of a picture or a folder")
    return value
