"""Pass one with a backbone that counts its pictures."""

import os
import shutil
import signal
import threading
import time

import numpy as np
import pytest
from PIL import Image
from support.extraction import CountingBackbone, run
from support.hearing import hearing
from support.pictures import draw_picture

from retrain.cache import writer as segment_writer
from retrain.data import decoding as images
from retrain.data.image_folder import read_image_folder
from retrain.errors import BackboneError, CacheError, ImageFolderError
from retrain.events import Extracted, ignore
from retrain.extraction import part as extraction_module
from retrain.extraction.pass_one import extract_bottlenecks, open_cache
from retrain.options import ExtractionOptions, RunOptions


def extract(root, backbone, emit=ignore):
    """One pass with a given backbone, which may fail."""
    cache = open_cache(backbone, ExtractionOptions())
    folder = read_image_folder(root)
    extract_bottlenecks(folder, backbone, cache, RunOptions(), emit)


class InterruptedBackbone(CountingBackbone):
    """Ctrl-C comes after 64 pictures."""

    def bottlenecks(self, pixels):
        if self.count >= 64:
            raise KeyboardInterrupt
        return super().bottlenecks(pixels)


@pytest.fixture(autouse=True)
def _trust_fresh_files(monkeypatch):
    """Change times can't be set, so that the files of a test are always fresh."""
    monkeypatch.setattr("retrain.cache.picture_index._SETTLED_NS", -1)


def test_every_picture_goes_through_once(make_folder):
    root = make_folder({"cat": 40, "dog": 33})
    result, backbone, vectors = run(root)
    assert backbone.count == result.extracted == 73
    assert result.cached == 0
    assert vectors.shape == (73, 8)
    again, backbone, same = run(root)
    assert (backbone.count, again.extracted, again.cached) == (0, 0, 73)
    assert not backbone.loaded
    assert np.array_equal(vectors, same)


def test_a_run_with_nothing_to_do_reads_no_picture(make_folder, monkeypatch):
    root = make_folder({"cat": 5, "dog": 5})
    run(root)

    monkeypatch.setattr(extraction_module, "signed_bytes", lambda *_: pytest.fail("a picture was read"))
    result, _, _ = run(root)
    assert result.cached == 10


def test_rehash_reads_every_picture_and_extracts_none(make_folder, monkeypatch):
    root = make_folder({"cat": 5, "dog": 5})
    run(root)
    read = []
    read_picture = extraction_module.signed_bytes
    monkeypatch.setattr(
        extraction_module, "signed_bytes", lambda path, most: read.append(path) or read_picture(path, most)
    )
    _, backbone, _ = run(root, rehash=True)
    assert len([path for path in read if path.suffix == ".png"]) == 10
    assert backbone.count == 0


def test_renaming_moving_and_copying_extract_nothing(make_folder, tmp_path):
    root = make_folder({"cat": 10, "dog": 10})
    run(root)
    (root / "cat").rename(root / "Katze")
    (root / "dog" / "dog_000.png").rename(root / "Katze" / "moved.jpeg")
    shutil.copytree(root, tmp_path / "elsewhere")
    for folder in (root, tmp_path / "elsewhere"):
        result, backbone, _ = run(folder)
        assert backbone.count == 0
        assert result.cached == 20


def test_an_edit_is_one_extraction_and_gives_the_new_vector(make_folder):
    root = make_folder({"cat": 10, "dog": 10})
    _, _, before = run(root)
    edited = root / "cat" / "cat_003.png"
    draw_picture(999, 2).save(edited)
    result, backbone, after = run(root)
    assert backbone.count == 1
    changed = (before != after).any(axis=1)
    assert changed.sum() == 1
    assert result.keys[3].tobytes() != b""
    assert changed[3]


def test_an_edit_that_keeps_size_and_modification_time_is_seen(make_folder):
    root = make_folder({"cat": 5, "dog": 5}, suffix="bmp")
    run(root)
    path = root / "cat" / "cat_001.bmp"
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 0xFF
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    _, backbone, _ = run(root)
    assert backbone.count == 1


def test_only_new_pictures_are_extracted_and_removed_ones_stay_cached(make_folder):
    root = make_folder({"cat": 250, "dog": 250})
    run(root)
    for number in range(20):
        draw_picture(5000 + number, 1).save(root / "dog" / f"new_{number}.png")
    _, backbone, _ = run(root)
    assert backbone.count == 20
    kept = [path.read_bytes() for path in sorted((root / "cat").iterdir())[:3]]
    for path in sorted((root / "cat").iterdir())[:3]:
        path.unlink()
    run(root)
    for number, content in enumerate(kept):
        (root / "dog" / f"back_{number}.png").write_bytes(content)
    _, backbone, _ = run(root)
    assert backbone.count == 0


def test_identical_pictures_are_extracted_once(make_folder):
    root = make_folder({"cat": 5, "dog": 5})
    for number in range(7):
        shutil.copy(root / "cat" / "cat_000.png", root / "dog" / f"copy_{number}.png")
    result, backbone, _ = run(root)
    assert backbone.count == 10
    assert result.cached == 7


def test_what_is_no_picture_is_skipped_with_its_reason_each_time(make_folder):
    root = make_folder({"cat": 5, "dog": 5})
    (root / "cat" / "LICENSE.txt").write_text("hello")
    (root / "dog" / "copy.txt").write_text("hello")
    (root / "dog" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    (root / "dog" / "gone.jpg").symlink_to("nowhere")
    for _ in range(2):
        result, _, vectors = run(root)
        assert set(result.skipped) == {"cat/LICENSE.txt", "dog/copy.txt", "dog/broken.jpg", "dog/gone.jpg"}
        assert result.skipped["dog/gone.jpg"] == "can't be read: No such file or directory"
        assert "not a picture" in result.skipped["cat/LICENSE.txt"]
        assert "damaged" in result.skipped["dog/broken.jpg"]
        assert len(vectors) == 10
        assert result.readable.sum() == 10


def test_a_file_that_cannot_be_read_is_skipped(make_folder, monkeypatch):
    root = make_folder({"cat": 5, "dog": 5})
    opened = os.open

    def refuse(path, *args, **options):
        if os.fspath(path).endswith("cat_002.png"):
            raise PermissionError(13, "Permission denied")
        return opened(path, *args, **options)

    monkeypatch.setattr(os, "open", refuse)
    result, _, _ = run(root)
    assert result.skipped == {"cat/cat_002.png": "can't be read: Permission denied"}


def test_strict_ends_at_the_first_bad_file_and_keeps_what_was_done(make_folder):
    root = make_folder({"cat": 40, "dog": 5})
    (root / "dog" / "zzz.jpg").write_bytes(b"nothing")
    with pytest.raises(ImageFolderError, match=r"dog/zzz.jpg: text, not a picture \(--strict"):
        run(root, strict=True)
    _, backbone, _ = run(root)
    assert backbone.count < 45


def test_a_damaged_segment_is_extracted_again(make_folder):
    root = make_folder({"cat": 20, "dog": 20})
    _, _, before = run(root)
    [segment] = (root.parent / "cache").glob("counting-*/segment-*.h5")
    content = bytearray(segment.read_bytes())
    content[content.index(before[7].tobytes())] ^= 1
    segment.write_bytes(content)
    result, backbone, after = run(root)
    assert backbone.count == result.extracted == 1
    assert np.array_equal(before, after)
    _, backbone, _ = run(root)
    assert backbone.count == 0


def test_an_interruption_keeps_what_was_done(make_folder):
    root = make_folder({"cat": 60, "dog": 60})
    with pytest.raises(KeyboardInterrupt):
        extract(root, InterruptedBackbone())
    result, backbone, _ = run(root)
    assert backbone.count == 120 - 64
    assert result.cached == 64


def test_a_second_interruption_loses_nothing_that_was_done(make_folder, monkeypatch):
    root = make_folder({"cat": 60, "dog": 60})
    backbone = InterruptedBackbone()

    class Pool(extraction_module.ThreadPoolExecutor):
        def shutdown(self, *args, **options):
            super().shutdown(*args, **options)
            raise KeyboardInterrupt

    monkeypatch.setattr(extraction_module, "ThreadPoolExecutor", Pool)
    with pytest.raises(KeyboardInterrupt):
        extract(root, backbone)
    assert len(open_cache(backbone, ExtractionOptions())) == 64


def test_a_backbone_that_cannot_be_loaded_is_tried_once(make_folder):
    class Broken(CountingBackbone):
        tries = 0

        @property
        def network(self):
            Broken.tries += 1
            raise BackboneError("no such network")

    root = make_folder({"cat": 30, "dog": 30})
    with pytest.raises(BackboneError, match="no such network"):
        extract(root, Broken())
    assert Broken.tries == 1


def test_a_file_of_the_backbone_that_cannot_be_read_is_no_fault_of_pictures(make_folder):
    class Broken(CountingBackbone):
        @property
        def network(self):
            raise OSError(5, "Input/output error")

    with pytest.raises(BackboneError, match=r"the backbone counting can't be loaded: .*Input/output error"):
        extract(make_folder({"cat": 3, "dog": 3}), Broken())


def test_progress_counts_only_what_is_done(make_folder):
    seen = []
    root = make_folder({"cat": 40, "dog": 40})
    extract(root, CountingBackbone(), hearing(Extracted, lambda now: seen.append((now.done, now.extracted))))
    assert seen == [(0, 0), (32, 32), (64, 64), (80, 80)]


def test_progress_counts_every_file(make_folder):
    seen = []
    root = make_folder({"cat": 40, "dog": 40})
    extract(
        root, CountingBackbone(), hearing(Extracted, lambda now: seen.append((now.done, now.extracted, now.pictures)))
    )
    assert seen[-1] == (80, 80, 80)
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)


def test_a_disk_slower_than_the_backbone_only_slows_it_down(make_folder, monkeypatch):
    from retrain.cache import store as bottleneck_cache

    write = bottleneck_cache.write_whole

    def slow(path, data):
        time.sleep(0.2)
        write(path, data)

    monkeypatch.setattr(segment_writer, "SEGMENT_ROWS", 8)
    monkeypatch.setattr(CountingBackbone, "batch_size", 8)
    monkeypatch.setattr(bottleneck_cache, "write_whole", slow)
    result, backbone, _ = run(make_folder({"cat": 30, "dog": 30}))
    assert backbone.count == result.extracted == 60


def test_an_interruption_while_the_last_rows_are_written_loses_none(make_folder, monkeypatch):
    from retrain.cache import store as bottleneck_cache

    write = bottleneck_cache.write_whole
    main = threading.get_ident()

    def interrupting(path, data):
        if "segment" in str(path) and monkeypatched:
            monkeypatched.pop()
            signal.pthread_kill(main, signal.SIGINT)
            time.sleep(0.2)
        write(path, data)

    monkeypatched = [True]
    monkeypatch.setattr(segment_writer, "SEGMENT_ROWS", 40)
    monkeypatch.setattr(bottleneck_cache, "write_whole", interrupting)
    root = make_folder({"cat": 30, "dog": 30})
    backbone = CountingBackbone()
    with pytest.raises(KeyboardInterrupt):
        extract(root, backbone)
    assert len(open_cache(backbone, ExtractionOptions())) == backbone.count


def test_a_failed_write_gives_up_the_claims(make_folder, monkeypatch):
    from retrain.cache import claims
    from retrain.cache import store as bottleneck_cache

    def full(path, data):
        raise OSError(28, "No space left on device")

    closed = []
    monkeypatch.setattr(claims.Claims, "close", lambda self: closed.append(self))
    monkeypatch.setattr(bottleneck_cache, "write_whole", full)
    with pytest.raises(CacheError, match="no space left"):
        extract(make_folder({"cat": 30, "dog": 30}), CountingBackbone())
    assert closed


def test_the_backbones_threads_keep_their_priority(make_folder):
    priorities = []

    class Threaded(CountingBackbone):
        @property
        def network(self):
            thread = threading.Thread(target=lambda: priorities.append(priority()))  # inherits its maker's
            thread.start()
            thread.join()
            return super().network

    def priority():
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    extract(make_folder({"cat": 30, "dog": 30}), Threaded())
    assert priorities[0] == priority()


def test_pictures_of_one_colour_are_told_in_later_runs_too(make_folder):
    root = make_folder({"cat": 3, "dog": 3})
    Image.new("RGB", (20, 20), "teal").save(root / "dog" / "flat.png")
    for count in (7, 0):
        result, backbone, _ = run(root)
        assert backbone.count == count
        assert [read_image_folder(root).samples[number].path for number in result.one_colour] == ["dog/flat.png"]


def test_no_picture_ends_the_run_for_want_of_memory(make_folder, monkeypatch):
    root = make_folder({"cat": 3, "dog": 3})
    resized = images._resized

    def fail(image, size):
        if image.size == (30, 30):
            raise MemoryError
        return resized(image, size)

    draw_picture(9, 9, 30).save(root / "dog" / "large.png")
    monkeypatch.setattr(images, "_resized", fail)
    result, _, _ = run(root)
    assert list(result.skipped) == ["dog/large.png"]
    assert "not enough memory" in result.skipped["dog/large.png"]
