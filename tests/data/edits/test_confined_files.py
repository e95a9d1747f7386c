import contextlib
import itertools
import os

import pytest

from retrain.data.edits import confined_files
from retrain.data.edits.confined_files import ConfinedFiles, distinct_names

MARK = ".mark"


@pytest.fixture
def files(tmp_path):
    for name, content in {"a/1.jpg": "a1", "b/1.jpg": "b1"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    with contextlib.closing(ConfinedFiles(tmp_path)) as files:
        yield files


def names(folder):
    return sorted(os.listdir(folder))


def test_a_name_gets_a_number_before_its_suffix():
    assert list(itertools.islice(distinct_names("x.tar.gz"), 3)) == ["x.tar.gz", "x.tar-2.gz", "x.tar-3.gz"]
    assert next(distinct_names("x", 7)) == "x-7"
    for name in ("é" * 200 + ".jpg", "x" * 250 + ".jpg", "x." + "y" * 300, "\udcff" * 300):
        for candidate in itertools.islice(distinct_names(name), 12):
            assert 200 < len(os.fsencode(candidate)) <= 255


def test_nothing_is_replaced(files, tmp_path):
    with pytest.raises(FileExistsError):
        files.move("a/1.jpg", "b/1.jpg", MARK)
    with pytest.raises(FileExistsError):
        files.move("a", "b", MARK)
    with pytest.raises(FileExistsError):
        files.write("b/1.jpg", b"x", MARK)
    assert (tmp_path / "b/1.jpg").read_text() == "b1"


def test_a_file_that_other_programs_replaced_while_it_went_gets_its_name_back(files, tmp_path):
    """The process was killed after it had hidden what it took for the old name of b/2.jpg."""
    (tmp_path / "a/1.jpg").rename(tmp_path / "a" / f"{MARK}.old")
    files.settle("a/1.jpg", "b/2.jpg", MARK)
    assert names(tmp_path / "a") == ["1.jpg"]
    (tmp_path / "a" / f"{MARK}.old").write_text("another")
    files.settle("a/1.jpg", "b/2.jpg", MARK)
    assert names(tmp_path / "a") == ["1-2.jpg", "1.jpg"]


def test_what_has_a_twin_goes(files, tmp_path):
    os.link(tmp_path / "a/1.jpg", tmp_path / "b/2.jpg")
    (tmp_path / "a/1.jpg").rename(tmp_path / "a" / f"{MARK}.old")
    (tmp_path / "b" / MARK).write_text("half a cop")
    files.settle("a/1.jpg", "b/2.jpg", MARK)
    files.settle("b/2.jpg", "a/1.jpg", MARK)
    assert (names(tmp_path / "a"), names(tmp_path / "b")) == ([], ["1.jpg", "2.jpg"])
    files.settle("missing/1.jpg", "b/2.jpg", MARK)


def test_a_file_is_not_its_own_twin(files, tmp_path):
    """As on a file system that takes 1.jpg and 1.JPG for one name."""
    with pytest.raises(OSError, match="it was changed while it was moved"):
        files.drop("a/1.jpg", "a/1.jpg", MARK)
    assert (tmp_path / "a/1.jpg").read_text() == "a1"


@pytest.mark.parametrize(
    ("other", "is_same"),
    [
        (lambda path: os.link(path.parent / "1.jpg", path), True),
        (lambda path: path.write_text("a1"), True),
        (lambda path: path.write_text("a2"), False),
        (lambda path: path.write_text("a11"), False),
        (lambda path: path.mkdir(), False),
        (lambda path: path.symlink_to("1.jpg"), False),
        (lambda path: None, False),
    ],
)
def test_files_are_compared_by_content(files, tmp_path, other, is_same):
    other(tmp_path / "a/2.jpg")
    assert files.is_same("a/1.jpg", "a/2.jpg") == is_same


def test_links_are_compared_by_where_they_lead(files, tmp_path):
    for name, target in (("x", "1.jpg"), ("y", "1.jpg"), ("z", "2.jpg")):
        os.symlink(target, tmp_path / "a" / name)
    assert files.is_same("a/x", "a/y")
    assert not files.is_same("a/x", "a/z")


def test_a_copy_keeps_times_and_permissions(files, tmp_path, monkeypatch):
    def other_disk(*args):
        raise OSError(18, "Invalid cross-device link")

    os.utime(tmp_path / "a/1.jpg", ns=(1, 2**60))
    os.chmod(tmp_path / "a/1.jpg", 0o640)
    os.symlink("/elsewhere", tmp_path / "a/link")
    real = confined_files.rename_new
    monkeypatch.setattr(
        confined_files, "rename_new", lambda *args: real(*args) if args[0][0] == "." else other_disk(*args)
    )
    files.move("a/1.jpg", "b/new/2.jpg", MARK)
    files.move("a/link", "b/new/link", MARK)
    with pytest.raises(OSError, match="on another disk, or on a read-only layer"):
        files.move("a", "b/a", MARK)
    status = os.stat(tmp_path / "b/new/2.jpg")
    assert (status.st_mtime_ns, status.st_mode & 0o777) == (2**60, 0o640)
    assert (names(tmp_path / "a"), names(tmp_path / "b/new")) == ([], ["2.jpg", "link"])
    assert os.readlink(tmp_path / "b/new/link") == "/elsewhere"
