import contextlib
import errno
import json
import os
import re

import pytest

from retrain.data.edits.edit_journal import Edit, EditJournal, Move, Step
from retrain.errors import ImageFolderError

HEAD = '{"format": "retrain edits", "version": 1}'
MOVE = '{"edit": 1, "kind": "move", "text": "Moved", "made": ["b"], "moves": [["a/1.jpg", "b/1.jpg"]]}'
DONE = '{"done": 1}'


@contextlib.contextmanager
def opened(path):
    journal = EditJournal(os.open(path, os.O_RDWR | os.O_CREAT), "photos/journal")
    with contextlib.closing(journal):
        yield journal


def edit(number, *moves):
    return Edit(number, "move", f"Edit {number}", tuple(Move(*pair) for pair in moves), ("made",))


def done(journal, name, of):
    journal.begin(Step(name, of))
    journal.end()


def test_edits_are_read_as_they_were_written(tmp_path):
    path = tmp_path / "journal"
    odd = "a/\udcff\n\"'\u00e9\u2028.jpg"  # not UTF-8; letters that end lines
    edits = [edit(number, ("a/1.jpg", "b/1.jpg"), (odd, f"b/{number}")) for number in (1, 2, 3)]
    with opened(path) as journal:
        for one in edits:
            assert journal.next_number == one.number
            done(journal, "edit", one)
        done(journal, "undo", edits[2]), done(journal, "undo", edits[1]), done(journal, "redo", edits[1])
    with opened(path) as journal:
        assert (journal.undoable, journal.redoable, journal.pending) == (edits[1], edits[2], None)
        done(journal, "edit", edit(4))
        assert journal.redoable is None
    assert path.read_bytes().isascii()
    assert all(json.loads(line) for line in path.read_bytes().splitlines())


@pytest.mark.parametrize("name", ["edit", "undo", "redo"])
def test_what_was_cut_off_is_known(tmp_path, name):
    with opened(tmp_path / "journal") as journal:
        if name != "edit":
            done(journal, "edit", edit(1))
        if name == "redo":
            done(journal, "undo", edit(1))
        journal.begin(Step(name, edit(1)))
    for _ in range(2):
        with opened(tmp_path / "journal") as journal:
            assert journal.pending == Step(name, edit(1))
    with opened(tmp_path / "journal") as journal:
        journal.end()
        assert journal.undoable == (None if name == "undo" else edit(1))
    with opened(tmp_path / "journal") as journal:
        assert journal.pending is None


def test_what_was_taken_back_leaves_no_line(tmp_path):
    path = tmp_path / "journal"
    with opened(path) as journal:
        journal.begin(Step("edit", edit(1)))
        journal.forget()
        assert (path.read_bytes(), journal.next_number) == (b"", 2)
        done(journal, "edit", edit(1))
        before = path.read_bytes()
    with opened(path) as journal:
        journal.begin(Step("undo", edit(1)))
    with opened(path) as journal:  # as when a kill came between
        journal.forget()
        assert (journal.undoable, journal.pending) == (edit(1), None)
    assert path.read_bytes() == before


def test_a_line_that_is_cut_anywhere_did_not_happen(tmp_path):
    path = tmp_path / "journal"
    with opened(path) as journal:
        done(journal, "edit", edit(1))
        whole = path.read_bytes()
        journal.begin(Step("edit", edit(2, ("a", "b"))))
    line = path.read_bytes()[len(whole) :]
    rests = [line[:end] for end in range(len(line))]
    rests += [b"\0" * 40, line[:20] + b"\0" * (len(line) - 21) + b"\n"]  # power failed before blocks were on the disk
    for rest in rests:
        path.write_bytes(whole + rest)
        with opened(path) as journal:
            assert (journal.undoable, journal.pending) == (edit(1), None)
            done(journal, "undo", edit(1))
        with opened(path) as journal:
            assert (journal.undoable, journal.redoable) == (None, edit(1))
    for end in range(len(HEAD)):
        path.write_bytes(whole[:end])
        with opened(path) as journal:
            assert journal.next_number == 1


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["x"], "line 1: not JSON"),
        (["[1]"], "line 1: the document is [1], expected an object"),
        ([MOVE], "line 1: format is missing"),
        (['{"format": "retrain edits"}'], "line 1: version is missing"),
        ([HEAD, "{"], "line 2: not JSON"),
        ([HEAD, "{", MOVE], "line 2: not JSON"),
        ([HEAD, "\0", MOVE], "line 2: not JSON"),
        ([HEAD, "", MOVE], "line 2: not JSON"),
        ([HEAD, "{}"], "line 2: undo is missing"),
        ([HEAD, DONE], "line 2: undo is missing"),
        ([HEAD, '{"undo": 1}'], "line 2: undo is 1, which is not the edit whose turn that is"),
        ([HEAD, MOVE, MOVE], "line 3: done is missing"),
        ([HEAD, MOVE, '{"done": 2}'], "line 3: done is not 1, which was begun before"),
        ([HEAD, MOVE, DONE, '{"redo": 1}'], "line 4: redo is 1, which is not the edit whose turn"),
        ([HEAD, MOVE, DONE, '{"undo": 2}'], "line 4: undo is 2, which is not the edit whose turn"),
        ([HEAD, MOVE, DONE, MOVE], "line 4: edit is 1, expected a number above 1"),
        ([HEAD, MOVE.replace("1,", "0,", 1)], "line 2: edit is 0, expected a whole number"),
        ([HEAD, MOVE.replace('"move"', '"rm -rf"')], "line 2: kind is"),
        ([HEAD, MOVE.replace('"Moved"', '""')], "line 2: text is"),
        ([HEAD, MOVE.replace('["b"]', '"b"')], 'line 2: made is "b", expected a list'),
        ([HEAD, MOVE.replace('["b"]', "[1]")], "line 2: found 1, expected the path"),
        ([HEAD, MOVE.replace("a/1.jpg", "a\\u0000")], "line 2: found .*, expected the path"),
        ([HEAD, MOVE.replace("a/1.jpg", ".retrain-edits.jsonl")], "line 2: found .*, expected the path of"),
        ([HEAD, MOVE.replace('"a/1.jpg", ', "")], "line 2: moves has .*, expected pairs of paths"),
        ([HEAD, MOVE.replace("[[", "[").replace("]]", "]")], "line 2: moves has .*, expected pairs of paths"),
    ],
)
def test_a_changed_journal_is_told_with_its_line(tmp_path, lines, message):
    path = tmp_path / "journal"
    path.write_text("".join(f"{line}\n" for line in lines))
    before = path.read_bytes()
    pattern = re.escape(message).replace(r"\.\*", ".*")
    with pytest.raises(ImageFolderError, match=f"photos/journal, {pattern}.* move this file away"), opened(path):
        pass
    assert path.read_bytes() == before


def test_a_newer_journal_is_left_alone(tmp_path):
    (tmp_path / "journal").write_text('{"format": "retrain edits", "version": 2}\n{"anything": 1}\n')
    message = "photos/journal is of version 2, and this retrain knows version 1"
    with pytest.raises(ImageFolderError, match=message), opened(tmp_path / "journal"):
        pass


def test_a_full_disk_leaves_the_journal_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "journal"
    real, room = os.pwrite, 10

    def pwrite(handle, data, place):
        if place + len(data) > room:
            if place >= room:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(handle, data[: room - place], place)  # the disk takes what it can
        return real(handle, data, place)

    with opened(path) as journal:
        monkeypatch.setattr(os, "pwrite", pwrite)
        with pytest.raises(OSError, match="No space"):
            journal.begin(Step("edit", edit(1)))
        assert (path.read_bytes(), journal.pending, journal.next_number) == (b"", None, 1)
        room = 10_000
        journal.begin(Step("edit", edit(1)))
        room = len(path.read_bytes())
        journal.end()  # what can't be written now
        assert (journal.undoable, journal.pending) == (edit(1), None)
        with opened(path) as other:
            assert other.pending == Step("edit", edit(1))
        room = 10_000
        done(journal, "edit", edit(2))  # comes with the next line
    with opened(path) as journal:
        assert (journal.undoable, journal.next_number, journal.pending) == (edit(2), 3, None)


def test_a_line_that_could_not_be_flushed_does_not_count(tmp_path, monkeypatch):
    path = tmp_path / "journal"

    def fail(handle):
        raise OSError(errno.EIO, "Input/output error")

    with opened(path) as journal:
        with monkeypatch.context() as patched, pytest.raises(OSError, match="Input/output"):
            patched.setattr(os, "fsync", fail)
            journal.begin(Step("edit", edit(1)))
        assert path.read_bytes() == b""
        done(journal, "edit", edit(1))


def test_a_line_that_an_interruption_left_whole_does_not_count_either(tmp_path, monkeypatch):
    """Ctrl-C came while it was flushed: no file had moved, and the next line, which is shorter, takes its place."""
    path = tmp_path / "journal"

    def interrupt(handle):
        raise KeyboardInterrupt

    with opened(path) as journal:
        done(journal, "edit", edit(1))
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(os, "fsync", interrupt)
            journal.begin(Step("edit", edit(2, ("a" * 100, "b" * 100), ("c" * 100, "d" * 100))))
        done(journal, "undo", edit(1))
    with opened(path) as journal:
        assert (journal.undoable, journal.redoable, journal.pending) == (None, edit(1), None)
