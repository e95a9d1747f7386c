import errno
import fcntl
import os
import pickle
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrain import files
from retrain.files import FilePart, blocks, write_whole


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "a.txt"
    write_whole(path, b"one")
    write_whole(path, b"two")
    assert path.read_bytes() == b"two"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_a_file_gets_the_permissions_of_any_new_file_and_the_umask_is_never_set(tmp_path, monkeypatch, mask):
    """Other threads would make files with the wrong one meanwhile."""
    before = os.umask(mask)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(os, "umask", lambda _: pytest.fail("the umask is the whole process's"))
            write_whole(tmp_path / "a", b"")
        assert (tmp_path / "a").stat().st_mode & 0o777 == 0o666 & ~mask
    finally:
        os.umask(before)


def test_a_name_of_the_greatest_length_can_be_written(tmp_path):
    name = "ä" * 127
    write_whole(tmp_path / name, b"one")
    assert os.listdir(tmp_path) == [name]


def test_devices_and_pipes_are_written_to_and_not_replaced(tmp_path):
    """`--output_labels /dev/null` must not make a file of it."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_whole(pipe, b"one", b"two")
    assert os.read(reader, 100) == b"onetwo"
    os.close(reader)
    assert pipe.is_fifo()
    assert os.listdir(tmp_path) == ["pipe"]


def test_a_file_that_is_a_mount_of_its_own_is_written_to(tmp_path, monkeypatch):
    """As with `docker run -v FILE:FILE`."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"longer than the new one")

    def busy(source, target):
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    monkeypatch.setattr(files.os, "replace", busy)
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_whether_a_file_can_be_written_is_tried_without_changing_anything(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")
    files.check_writable(path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.txt"]
    files.check_writable("/dev/null")
    (tmp_path / "loop").symlink_to("loop")
    for place in (tmp_path, "/proc/x", tmp_path / "missing" / "x", tmp_path / "loop" / "x"):
        with pytest.raises(OSError):  # noqa: PT011
            files.check_writable(place)


@pytest.mark.parametrize("failing", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, failing, error):
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")

    def fail(*args):
        raise error

    monkeypatch.setattr(files.os, failing, fail)
    with pytest.raises(type(error)):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_abandoned_temporary_files_go_and_those_being_written_stay(tmp_path):
    (tmp_path / ".dead.x.tmp").write_bytes(b"half")
    (tmp_path / ".fresh.x.tmp").write_bytes(b"half")
    (tmp_path / "other.tmp").write_bytes(b"not ours")
    old = time.time() - 3600
    with (tmp_path / ".busy.x.tmp").open("wb") as busy:
        fcntl.flock(busy.fileno(), fcntl.LOCK_EX)
        for name in (".dead.x.tmp", ".busy.x.tmp", "other.tmp"):
            os.utime(tmp_path / name, (old, old))
        files.remove_abandoned(tmp_path)
        assert sorted(os.listdir(tmp_path)) == [".busy.x.tmp", ".fresh.x.tmp", "other.tmp"]


def test_abandoned_files_of_one_name_go_alone(tmp_path):
    names = [f".{name}.{'0a' * 8}.tmp" for name in ("v[1].npz", "v1.npz", "x.v[1].npz")] + [".v[1].npz.mine.tmp"]
    for name in names:
        (tmp_path / name).write_bytes(b"half")
        os.utime(tmp_path / name, (0, 0))
    files.remove_abandoned(tmp_path, "v[1].npz")
    assert sorted(os.listdir(tmp_path)) == sorted(names[1:])


BYTES = bytes(range(256)) * 3


@given(st.lists(st.tuples(st.integers(-9, 900), st.integers(-9, 900)), max_size=3))
def test_a_part_of_a_file_is_cut_like_bytes(tmp_path_factory, cuts):
    path = tmp_path_factory.getbasetemp() / "part"
    path.write_bytes(BYTES)
    part, expected = FilePart(path), BYTES
    for start, stop in cuts:
        part, expected = part[start:stop], expected[start:stop]
    assert (len(part), bytes(part)) == (len(expected), expected)


def test_a_part_of_a_file_is_read_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_BLOCK_BYTES", 100)
    (tmp_path / "a").write_bytes(BYTES)
    part = FilePart(tmp_path / "a")[5:]
    assert [len(block) for block in blocks(part)] == [100] * 7 + [63]
    assert b"".join(blocks(part)) == BYTES[5:]
    assert [*blocks(BYTES)] == [BYTES]


def test_a_file_is_put_together_of_bytes_and_parts_of_files(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_BLOCK_BYTES", 100)
    (tmp_path / "a").write_bytes(BYTES)
    part = FilePart(tmp_path / "a")
    write_whole(tmp_path / "b", b"one", part[3:500], memoryview(b"two"), part[:0], part[700:])
    assert (tmp_path / "b").read_bytes() == b"one" + BYTES[3:500] + b"two" + BYTES[700:]


def test_a_part_belongs_to_the_file_that_was_opened(tmp_path):
    path = tmp_path / "a"
    write_whole(path, b"first")
    part = FilePart(path)[1:]
    write_whole(path, b"second")
    assert bytes(part) == b"irst"
    path.unlink()
    assert bytes(part[:2]) == b"ir"


def test_a_file_that_was_cut_short_is_an_error_and_leaves_no_copy(tmp_path):
    (tmp_path / "a").write_bytes(BYTES)
    part = FilePart(tmp_path / "a")
    os.truncate(tmp_path / "a", 100)
    with pytest.raises(OSError, match="it was cut short while it was read"):
        write_whole(tmp_path / "b", part)
    assert os.listdir(tmp_path) == ["a"]


def test_a_file_is_closed_with_its_last_part(tmp_path):
    (tmp_path / "a").write_bytes(BYTES)
    before = os.listdir("/proc/self/fd")
    whole = FilePart(tmp_path / "a")
    part = whole[1:]
    del whole
    assert len(os.listdir("/proc/self/fd")) == len(before) + 1
    del part
    assert os.listdir("/proc/self/fd") == before


def test_a_part_of_a_file_can_be_sent_to_another_process(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    sent = pickle.loads(pickle.dumps(FilePart(path)[2:7]))
    path.unlink()
    assert bytes(sent) == b"23456"
