"""`retrain cache ...`, through the command's own entry point."""

import json
import os
import shutil
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from support.extraction import run

from retrain.cache.store import BottleneckCache
from retrain.cli import main as cli
from retrain.errors import CacheError

sys.path.insert(0, str(Path(__file__).parents[1] / "golden"))
from write_format_1 import FINGERPRINT, golden_rows


@pytest.fixture
def cache(capsys):
    """Runs `retrain cache ... --json`: its document, or with text=True what it prints."""

    def call(*args, code=0, text=False):
        assert cli.main(["cache", *map(str, args), *([] if text else ["--json"])]) == code
        printed = capsys.readouterr().out
        return printed if text else json.loads(printed)

    return call


def fail(capsys, *args):
    assert cli.main(["cache", *map(str, args)]) == 1
    return capsys.readouterr().err


def test_info_tells_rows_size_segments_and_age(make_folder, cache):
    run(make_folder({"cat": 10, "dog": 10}))
    [info] = cache("info")
    assert info["name"] == "counting"
    assert (info["rows"], info["segments"], info["bottleneck_size"], info["set_aside"]) == (20, 1, 8, 0)
    [segment] = Path("cache").glob("counting-*/segment-*.h5")
    assert info["bytes"] == segment.stat().st_size
    assert info["oldest"] == info["newest"] == segment.stat().st_mtime
    assert "20 rows of 8 numbers in 1 segment," in cache("info", text=True)


def test_a_missing_cache_is_named(capsys):
    assert "no such cache folder: nowhere; name one with --cache-dir" in fail(capsys, "info", "--cache-dir", "nowhere")


def test_verify_finds_a_flipped_bit(make_folder, cache):
    run(make_folder({"cat": 10, "dog": 10}))
    [report] = cache("verify")
    assert (report["rows"], report["sound"], report["damage"]) == (20, 20, [])
    [segment] = Path("cache").glob("counting-*/segment-*.h5")
    with h5py.File(segment) as file:
        offset = file["bottleneck"].id.get_offset() + 40
    content = bytearray(segment.read_bytes())
    content[offset] ^= 4
    segment.write_bytes(content)
    [report] = cache("verify", code=1)
    assert (report["rows"], report["sound"]) == (20, 19)
    assert segment.name in report["damage"][0]
    assert "19 of 20 rows are sound" in cache("verify", code=1, text=True)


def test_prune_drops_only_what_no_picture_needs_and_only_with_yes(make_folder, cache):
    root = make_folder({"cat": 10, "dog": 10})
    run(root)
    for number in range(7):
        (root / "cat" / f"cat_{number:03}.png").unlink()
    [report] = cache("prune", "--keep", root)
    assert (report["rows"], report["unneeded"], report["dropped"]) == (20, 7, False)
    assert "nothing dropped: give --yes to drop them" in cache("prune", "--keep", root, text=True)
    [report] = cache("prune", "--keep", root, "--yes")
    assert (report["unneeded"], report["dropped"]) == (7, True)
    [info] = cache("info")
    assert info["rows"] == 13
    _, backbone, _ = run(root)
    assert backbone.count == 0
    [report] = cache("prune", "--keep", root, "--yes")
    assert (report["unneeded"], report["dropped"]) == (0, False)


def test_prune_keeps_the_pictures_of_every_folder_named(make_folder, cache):
    one, two = make_folder({"cat": 5}, "one"), make_folder({"x": 1, "dog": 6}, "two")
    run(one)
    run(two)
    [report] = cache("prune", "--keep", one, "--keep", two)
    assert report["unneeded"] == 0
    [report] = cache("prune", "--keep", two)
    assert report["unneeded"] == 4  # the first picture of `x` is that of `cat`


def test_prune_drops_nothing_where_a_picture_cannot_be_read(make_folder, monkeypatch, capsys):
    root = make_folder({"cat": 5, "dog": 5})
    run(root)
    os.utime(root / "dog" / "dog_003.png")  # changed, so that it is read
    open_file = os.open

    def refuse(path, *args, **options):
        if str(path).endswith("dog_003.png"):
            raise PermissionError(13, "Permission denied")
        return open_file(path, *args, **options)

    monkeypatch.setattr(os, "open", refuse)
    assert "dog_003.png: Permission denied; nothing was dropped" in fail(capsys, "prune", "--keep", root, "--yes")


def test_prune_drops_nothing_where_a_folder_cannot_be_read(make_folder, monkeypatch, cache, capsys):
    root = make_folder({"cat": 5, "dog/deep": 5})
    os.mkfifo(root / "cat" / "pipe")
    run(root)
    [report] = cache("prune", "--keep", root)
    assert report["unneeded"] == 0
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    message = "dog/deep can't be read: Permission denied; nothing was dropped, since its rows may be needed"
    assert message in fail(capsys, "prune", "--keep", root, "--yes")


def test_compact_makes_one_segment_of_many(make_folder, cache):
    for number in range(4):
        run(make_folder({"cat": 3 + number, "dog": 3 + number}, f"set{number}"))
    [result] = cache("compact")
    assert result["segments_before"] == 4
    assert result["segments"] == 1
    _, backbone, _ = run(Path("set3"))
    assert backbone.count == 0


def test_a_cache_that_another_process_merges_is_not_pruned(make_folder, capsys):
    import fcntl
    import os

    root = make_folder({"cat": 3, "dog": 3})
    run(root)
    next((root / "cat").iterdir()).unlink()
    [folder] = Path("cache").glob("counting-*")
    handle = os.open(folder, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    assert "another process is merging" in fail(capsys, "prune", "--keep", root, "--yes")
    os.close(handle)


def write_texts(root, module):
    """The original's files for the pictures of a folder, four numbers each."""
    for path in sorted(root.glob("*/*.png")):
        target = Path("texts") / path.parent.name / f"{path.name}{module}.txt"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(",".join(str(len(path.name) + i + 0.25) for i in range(4)))


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("", "original_unnamed"),
        ("_inception_v3", "original_inception_v3"),
        ("_https~tfhub.dev~google~imagenet~inception_v3~feature_vector~3", "original_google_imagenet_inception_v3"),
    ],
)
def test_text_files_of_every_generation_are_imported(make_folder, cache, module, name):
    root = make_folder({"cat": 4, "dog": 4})
    write_texts(root, module)
    report = cache("import", "texts", "--image-dir", root)
    assert (report["imported"], report["already_cached"], report["skipped"]) == (8, 0, {})
    assert Path(report["folders"][0]).name.startswith(name)
    report = cache("import", "texts", "--image-dir", root)
    assert (report["imported"], report["already_cached"]) == (0, 8)


def test_bad_text_files_are_reported_and_left_out(make_folder, cache):
    root = make_folder({"cat": 4, "dog": 4})
    write_texts(root, "_inception_v3")
    texts = Path("texts/cat")
    (texts / "cat_000.png_inception_v3.txt").write_text("1.0,2.0")
    (texts / "cat_001.png_inception_v3.txt").write_text("1.0,2.0,3.")
    (texts / "cat_002.png_inception_v3.txt").write_text("1.0,two,3.0,4.0")
    (texts / "cat_003.png_inception_v3.txt").write_text("1.0,nan,3.0,4.0")
    (texts / "gone.png_inception_v3.txt").write_text("1,2,3,4")
    (texts / "notes.md").write_text("hello")
    report = cache("import", "texts", "--image-dir", root)
    assert report["imported"] == 4
    reasons = {Path(path).name.split("_inc")[0]: reason for path, reason in report["skipped"].items()}
    assert set(reasons) == {"cat_000.png", "cat_001.png", "cat_002.png", "cat_003.png", "gone.png", "notes.md"}
    assert reasons["cat_000.png"] == "cut short: 2 numbers where most files have 4"
    assert "not comma-separated numbers" in reasons["cat_002.png"]
    assert "not finite" in reasons["cat_003.png"]
    assert "no picture cat/gone.png" in reasons["gone.png"]
    assert "not named like" in reasons["notes.md"]
    assert "6 files left out:\n" in cache("import", "texts", "--image-dir", root, text=True)


def test_the_original_programs_own_files_are_imported(test_data, cache):
    report = cache(
        "import", test_data / "reference" / "bottleneck-files", "--image-dir", test_data / "images" / "flowers"
    )
    assert (report["imported"], report["skipped"]) == (20, {})
    with h5py.File(test_data / "reference" / "flowers.h5") as file:
        vectors = dict(zip((path.decode() for path in file["path"][:]), file["bottleneck"][:], strict=True))
    [folder] = [Path(folder) for folder in report["folders"]]
    with h5py.File(next(folder.glob("segment-*.h5"))) as file:
        imported = file["bottleneck"][:]
    texts = (test_data / "reference" / "bottleneck-files").rglob("*.txt")
    expected = {f"{path.parent.name}/{path.name.split('_inception_v3')[0]}" for path in texts}
    for vector in imported:
        assert min(np.abs(vectors[path] - vector).max() for path in expected) < 1e-5


def test_format_1_is_read():
    golden = Path(__file__).parents[1] / "golden" / "format-1"
    shutil.copytree(golden, "golden")
    cache = BottleneckCache("golden", "golden", FINGERPRINT, {})
    rows = golden_rows()
    assert np.array_equal(cache.read(cache.find(rows.keys, rows.copies)), rows.vectors)
    assert not cache.warnings
    with pytest.raises(CacheError, match="belongs to another extractor"):
        BottleneckCache("golden", "golden", "5eed5eed" + "0" * 56, {})
