"""What the cache is told that is not so: wrong notes, names that lead elsewhere, errors that pass, full disks."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.faults import READING, WRITING, every_call

from retrain.backbones.kept_exports import KeptExports
from retrain.cache import claims
from retrain.cache import maintenance as cache_maintenance
from retrain.cache.picture_index import PictureIndex
from retrain.cache.segments import Rows, segment_image
from retrain.cache.store import BottleneckCache
from retrain.cache.vectors import CachedVectors, load_vectors
from retrain.cli import main as cli
from retrain.errors import CacheError

FINGERPRINT = "0123456789abcdef" * 4
DESCRIPTION = {"weights": "w", "size": [16, 16]}


@pytest.fixture(autouse=True)
def _no_flushing(monkeypatch):
    """Waiting for the disk proves nothing here."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def rows(start: int, count: int, length: int = 6) -> Rows:
    rng = np.random.default_rng(start)
    keys = np.frombuffer(b"".join((start + i).to_bytes(4, "little") * 8 for i in range(count)), np.uint8)
    return Rows(keys.reshape(-1, 32), np.zeros(count, np.uint32), rng.normal(size=(count, length)).astype(np.float32))


PARTS = [rows(start, 5) for start in range(0, 20, 5)]
KEYS = np.concatenate([part.keys for part in PARTS])
VECTORS = np.concatenate([part.vectors for part in PARTS])


def open_cache(folder: str | Path = "cache") -> BottleneckCache:
    return BottleneckCache(folder, "tiny", FINGERPRINT, DESCRIPTION)


@pytest.fixture
def folder() -> Path:
    """The folder of a cache of four segments."""
    cache = open_cache()
    for part in PARTS:
        cache.add(part)
    return cache.folder


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.endswith(".tmp")}


def assert_all_there(folder: str | Path = "cache") -> None:
    cache = open_cache(folder)
    assert np.array_equal(cache.read(cache.find(KEYS)), VECTORS)
    assert not list(cache.folder.glob("*.corrupt"))


def command(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    code = cli.main(["cache", *args])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


# names


@pytest.mark.parametrize(
    "name",
    ["../x", "../../../x/y", "/tmp/x", "a/b", "..", ".hidden", "", "a b", "a\nb", "a\0b", "\x1b]0;x\x07", "x" * 201, 7],
)
def test_a_name_that_can_be_no_folder_is_refused(name, tmp_path):
    with pytest.raises(CacheError, match="an extractor can't be called"):
        BottleneckCache(tmp_path / "a" / "cache", name, FINGERPRINT, {}).add(rows(0, 1))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("fingerprint", ["/../../x" + "0" * 56, "", "0" * 63, "0" * 64 + "\n", "A" * 64, None])
def test_a_fingerprint_that_is_none_is_refused(fingerprint, tmp_path):
    with pytest.raises(CacheError, match="expected 64 hexadecimal digits"):
        BottleneckCache(tmp_path / "a" / "cache", "tiny", fingerprint, {}).add(rows(0, 1))
    assert os.listdir(tmp_path) == []


# notes


def changed_digit(text: str, place: int) -> str:
    return text[:place] + ("1" if text[place] != "1" else "2") + text[place + 1 :]


WRONG_NOTES = {
    "a first digit": lambda note: note | {"fingerprint": changed_digit(FINGERPRINT, 0)},
    "a digit": lambda note: note | {"fingerprint": changed_digit(FINGERPRINT, 30)},
    "a last digit": lambda note: note | {"fingerprint": changed_digit(FINGERPRINT, 63)},
    "no fingerprint": lambda note: {"format": 1, "name": "tiny"},
    "another type": lambda note: note | {"fingerprint": [1], "name": {}},
    "a name that leads elsewhere": lambda note: note | {"name": "../../x", "fingerprint": ""},
    "a format of another type": lambda note: note | {"format": "x"},
    "no object": lambda note: [note],
}


@pytest.mark.parametrize("wrong", WRONG_NOTES)
def test_a_note_that_disagrees_with_its_segments_costs_no_row(wrong, folder, capsys):
    note = json.loads((folder / "extractor.json").read_text())
    (folder / "extractor.json").write_text(json.dumps(WRONG_NOTES[wrong](note)))
    before = snapshot(folder)
    for look, expected in (("info", 0), ("verify", 1)):
        code, printed, _ = command(capsys, look)
        assert code == expected
        assert "20 " in printed
        assert "extractor.json is damaged" in printed
        assert snapshot(folder) == before
    cache = open_cache()
    assert np.array_equal(cache.read(cache.find(KEYS)), VECTORS)
    assert snapshot(folder) == before
    cache.tidy_up()
    assert json.loads((folder / "extractor.json").read_text()) == note
    assert_all_there()


@pytest.mark.parametrize("wrong", WRONG_NOTES)
def test_a_wrong_note_is_written_anew_on_demand(wrong, folder, capsys):
    note = json.loads((folder / "extractor.json").read_text())
    (folder / "extractor.json").write_text(json.dumps(WRONG_NOTES[wrong](note)))
    code, printed, _ = command(capsys, "verify", "--recover")
    assert code == 0
    assert f"extractor.json is written anew: its segments are of {FINGERPRINT}" in printed
    assert json.loads((folder / "extractor.json").read_text())["fingerprint"] == FINGERPRINT
    assert command(capsys, "verify", "--recover")[1] == f"{folder}: 20 of 20 rows are sound\n"
    assert_all_there()


@pytest.mark.parametrize("command_line", [["compact"], ["prune", "--keep", "pictures", "--yes"]])
def test_a_wrong_note_misleads_no_command(command_line, folder, make_folder, capsys):
    make_folder({"cat": 1, "dog": 1})
    note = folder / "extractor.json"
    note.write_text(note.read_text().replace(FINGERPRINT, changed_digit(FINGERPRINT, 40)))
    assert command(capsys, *command_line)[0] == 0
    assert len(open_cache()) == (20 if command_line == ["compact"] else 0)
    assert not list(folder.glob("*.corrupt"))


def test_segments_that_were_set_aside_for_a_wrong_note_are_taken_back(folder, capsys):
    """As an earlier version left them: every segment renamed, and the note still wrong."""
    note = folder / "extractor.json"
    note.write_text(note.read_text().replace(FINGERPRINT, changed_digit(FINGERPRINT, 63)))
    for path in folder.glob("segment-*.h5"):
        path.rename(f"{path}.corrupt")
    broken = folder / "segment-broken.h5.corrupt"
    broken.write_bytes(b"garbage")
    code, printed, _ = command(capsys, "verify")
    assert (code, "5 damaged segments set aside earlier; --recover takes back those that are sound" in printed) == (
        1,
        True,
    )
    assert len(list(folder.glob("*.corrupt"))) == 5
    code = cli.main(["cache", "verify", "--recover", "--json"])
    [report] = json.loads(capsys.readouterr().out)
    assert (code, report["rows"], report["sound"], report["set_aside"]) == (0, 20, 20, 1)
    assert len(report["recovered"]) == 5
    broken.unlink()
    assert_all_there()


def test_what_was_set_aside_can_be_extracted_again_before_it_is_taken_back(folder):
    for path in folder.glob("segment-*.h5"):
        path.rename(f"{path}.corrupt")
    open_cache().add(PARTS[0])
    cache_maintenance.recover("cache")
    cache = open_cache()
    assert len(cache) == 25
    cache.compact()
    assert len(cache) == 20
    assert_all_there()


def test_a_segment_of_another_extractor_is_told_of_and_left_where_it_is(folder, capsys):
    stray = folder / "segment-stray.h5"
    stray.write_bytes(segment_image(rows(50, 2), "f" * 64))
    cache = open_cache()
    assert "segment-stray.h5 is not used: it belongs to another extractor (ffff" in cache.warnings[0]
    cache.compact()
    assert stray.exists()
    stray.unlink()
    assert_all_there()


def test_a_note_alone_that_fits_its_folder_is_believed(tmp_path):
    open_cache().prepare()
    note = Path("cache/tiny-01234567/extractor.json")
    note.write_text(note.read_text().replace(FINGERPRINT, changed_digit(FINGERPRINT, 63)))
    with pytest.raises(CacheError, match=r"belongs to another extractor .* or remove its extractor.json"):
        open_cache()
    note.write_text(note.read_text().replace("01234567", "11234567"))
    open_cache().prepare()
    assert json.loads(note.read_text())["fingerprint"] == FINGERPRINT


# errors that may pass


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.ETIMEDOUT])
def test_an_error_that_may_pass_says_nothing_about_a_segment(number, folder):
    before = snapshot(folder)
    messages = []
    for fault in every_call(READING, number):
        try:
            with fault.on():
                cache = open_cache()
                got = cache.read(cache.find(KEYS))
            assert np.array_equal(got, VECTORS)
        except (CacheError, OSError) as error:
            messages.append(str(error))
        assert snapshot(folder) == before
    assert len(messages) > 30
    assert all(os.strerror(number) in message for message in messages)


def test_an_error_while_looking_is_one_line_and_changes_nothing(capsys):
    cache = open_cache()
    for part in PARTS[:2]:
        cache.add(part)
    folder = cache.folder
    before = snapshot(folder)
    lines = set()
    for look in ("info", "verify"):
        for fault in every_call(("preadv", "scandir"), errno.EIO):
            with fault.on():
                code, _, printed = command(capsys, look)
            assert code == int(fault.happened)
            assert printed.count("\n") == code
            assert snapshot(folder) == before
            lines.add(printed.partition("segment-")[0])
    assert "retrain: error: can't read cache/tiny-01234567/" in lines


def test_a_damaged_segment_is_set_aside_only_while_it_is_damaged(folder):
    [path, *_] = sorted(folder.glob("segment-*.h5"))
    sound = path.read_bytes()
    path.write_bytes(sound[:100])
    cache = open_cache()
    assert "damaged segment" in cache.warnings[0]
    path.write_bytes(sound)  # from a backup
    cache.add(rows(30, 1))
    assert_all_there()


def test_a_picture_index_that_cannot_be_read_now_is_not_written_over(tmp_path):
    entry = ((1, 1, 1, 1), b"k" * 32)
    index = PictureIndex("cache", tmp_path)
    index.enter("a", *entry, 10**18)
    index.save(None)

    def fail(path):
        raise OSError(errno.EIO, "Input/output error")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Path, "read_bytes", fail)
        index = PictureIndex("cache", tmp_path)
    assert index.warning.endswith(".npz (Input/output error): every picture is read")
    index.enter("b", *entry, 10**18)
    index.save(None)
    assert PictureIndex("cache", tmp_path).key("a", entry[0]) == entry[1]


def test_a_claim_that_cannot_be_given_up_does_no_harm(tmp_path, monkeypatch):
    mine = claims.Claims(tmp_path)
    assert mine.take(bytes(32))

    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(claims.fcntl, "lockf", fail)
    mine.release([bytes(32)])
    mine.close()


# disks that are full or can't be written


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_no_write_that_fails_loses_a_row(number, folder):
    shutil.move("cache", "untouched")
    works = {
        "compact": lambda cache: cache.compact(),
        "prune": lambda cache: cache.prune(KEYS[:13]),
        "add": lambda cache: cache.add(rows(30, 3)),
        "tidy up": lambda cache: cache.tidy_up(),
    }
    for name, work in works.items():
        messages = []
        for fault in every_call(WRITING, number):
            shutil.rmtree("cache", ignore_errors=True)
            shutil.copytree("untouched", "cache")
            cache = open_cache()
            try:
                with fault.on():
                    work(cache)
            except CacheError as error:
                messages.append(str(error))
            else:
                assert name != "compact" or len(open_cache().segment_paths()) == 1
            cache = open_cache()
            assert np.array_equal(cache.read(cache.find(KEYS[:13])), VECTORS[:13])
            assert name == "prune" or (cache.find(KEYS) >= 0).all()
            assert not cache.warnings
            assert not list(cache.folder.glob("*.corrupt"))
        assert len(messages) >= 3 or name == "tidy up"
        assert all(os.strerror(number) in message for message in messages)


def test_compacting_and_pruning_on_a_cache_that_cannot_be_written_are_errors(folder, make_folder, monkeypatch, capsys):
    make_folder({"cat": 1, "dog": 1})
    before = snapshot(folder)

    def full(path, *data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("retrain.cache.store.write_whole", full)
    open_cache().tidy_up()  # what a run does at its end
    code, printed, message = command(capsys, "compact")
    assert (code, printed, message.count("\n")) == (1, "", 1)
    assert "no space left for the bottleneck cache in cache/tiny-01234567" in message
    assert snapshot(folder) == before


def test_a_segment_that_reads_back_wrong_is_removed(folder, monkeypatch):
    monkeypatch.setattr(
        "retrain.cache.store.segment_image", lambda rows, fingerprint: segment_image(rows, fingerprint)[:-30]
    )
    before = snapshot(folder)
    with pytest.raises(CacheError, match="reads back wrong: check the disk; no row is lost"):
        open_cache().compact()
    assert snapshot(folder) == before


# rows that change after they were checked


def change_row(folder: Path, vector: np.ndarray) -> None:
    """Flip a bit of a row, where it lies."""
    for path in folder.glob("segment-*.h5"):
        content = path.read_bytes()
        place = content.find(vector.tobytes())
        if place >= 0:
            with open(path, "r+b") as file:
                file.seek(place)
                file.write(bytes([content[place] ^ 1]))
            return
    raise AssertionError("no such row")


@pytest.mark.parametrize("max_memory", [0, None], ids=["from files", "in memory"])
def test_a_row_that_was_changed_after_it_was_checked_is_not_drawn(max_memory, folder):
    cache = open_cache()
    part = CachedVectors(cache, cache.find(KEYS))
    change_row(folder, VECTORS[7])
    with pytest.raises(CacheError, match=r"was changed on the disk while in use, 1 of 20 rows .* run again"):
        load_vectors([part], max_memory)[np.arange(20)]
    assert np.array_equal(part[np.arange(7)], VECTORS[:7])
    found = open_cache().find(KEYS)
    assert np.flatnonzero(found < 0).tolist() == [7]


def test_a_file_that_is_cut_short_or_fails_while_it_is_drawn_from_is_an_error(folder):
    cache = open_cache()
    found = cache.find(KEYS)
    for fault in every_call(("preadv",), errno.EIO):
        with fault.on():
            if fault._at <= 20:
                with pytest.raises(CacheError, match="Input/output error; run again; if it stays so, check the disk"):
                    cache.read(found)
            else:
                cache.read(found)
    for path in folder.glob("segment-*.h5"):
        os.truncate(path, 100)
    with pytest.raises(CacheError, match="was cut short while in use: run again"):
        cache.read(found)


# what is kept for exports


class FakeBackbone:
    name = "tiny"
    fingerprint = FINGERPRINT
    description = DESCRIPTION


@pytest.fixture
def exports() -> KeptExports:
    return KeptExports(FakeBackbone(), "cache")


def test_a_kept_export_that_cannot_be_written_is_no_error(exports):
    exports.keep("graph", {"a": 1}, [b"first"])
    for number in (errno.ENOSPC, errno.EIO, errno.EROFS):
        for fault in every_call(WRITING, number):
            with fault.on():
                exports.keep("graph", {"a": 1}, [b"second"])
            assert bytes(exports.find("graph")[1]) in (b"first", b"second")
            assert not exports.warnings


@pytest.mark.parametrize("find", [KeptExports.find, KeptExports.find_file])
def test_a_kept_export_that_cannot_be_read_is_told_of(exports, find):
    exports.keep("graph", {"a": 1}, [b"first"])
    told = ["cache/tiny-01234567/graph.export can't be read (Input/output error): it is made again"]
    for fault in every_call(("open", "pread"), errno.EIO):
        with fault.on():
            found = find(exports, "graph")
        assert (exports.warnings == told) == (found is None) == fault.happened
        exports.warnings.clear()


def test_a_process_killed_while_it_keeps_an_export_leaves_the_old_one(exports):
    exports.keep("graph", {"a": 1}, [b"first"])
    code = f"""
import os, signal
from retrain.cache import Artifacts
os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)
Artifacts("cache", "tiny", {FINGERPRINT!r}, {{}}, {exports._origin!r}).keep("graph", {{"a": 1}}, [b"second"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert bytes(exports.find("graph")[1]) == b"first"
    [left] = Path("cache/tiny-01234567").glob(".*.tmp")
    os.utime(left, (0, 0))
    exports.keep("graph", {"a": 1}, [b"third"])
    assert bytes(exports.find_file("graph")[1]) == b"third"
    assert not left.exists()
    assert not exports.warnings
