import dataclasses
import errno
import fcntl
import json
import os
import resource
import shutil

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retrain import files
from retrain.cache import folder as cache_folder
from retrain.cache import segments
from retrain.cache import store as bottleneck_cache
from retrain.cache.segments import Rows, row_checksums, segment_image
from retrain.cache.store import BottleneckCache
from retrain.errors import CacheError

FINGERPRINT = "0123456789abcdef" * 4

EXAMPLES = 1000 if os.environ.get("RETRAIN_SLOW") == "1" else 60  # of damage, at random


def rows(start, count, length=6):
    rng = np.random.default_rng(start)
    keys = np.frombuffer(b"".join((start + i).to_bytes(4, "little") * 8 for i in range(count)), np.uint8)
    return Rows(keys.reshape(-1, 32), np.zeros(count, np.uint32), rng.normal(size=(count, length)).astype(np.float32))


def open_cache(folder="cache", fingerprint=FINGERPRINT):
    return BottleneckCache(folder, "tiny", fingerprint, {"weights": "w"})


def segment_files(cache):
    return sorted(cache.folder.glob("segment-*.h5"))


def test_rows_come_back_in_any_order_and_from_another_process():
    written = [rows(0, 5), rows(5, 3)]
    cache = open_cache()
    for part in written:
        cache.add(part)
    for reader in (cache, open_cache()):
        wanted = np.concatenate([written[1].keys, written[0].keys[::-1]])
        found = reader.find(wanted)
        assert (found >= 0).all()
        expected = np.concatenate([written[1].vectors, written[0].vectors[::-1]])
        assert np.array_equal(reader.read(found), expected)
        assert len(reader) == 8
        assert reader.bottleneck_size == 6


def test_unknown_keys_are_missing():
    cache = open_cache()
    assert cache.find(rows(0, 2).keys).tolist() == [-1, -1]
    cache.add(rows(0, 2))
    assert (cache.find(rows(1, 3).keys) >= 0).tolist() == [True, False, False]
    with pytest.raises(CacheError, match="bottlenecks are missing from"):
        cache.read(cache.find(rows(1, 3).keys))


def test_copies_of_a_picture_are_rows_of_their_own():
    cache = open_cache()
    one = rows(0, 1)
    for copy in range(3):
        cache.add(Rows(one.keys, np.full(1, copy, np.uint32), one.vectors + copy))
    found = cache.find(np.repeat(one.keys, 4, axis=0), np.arange(4, dtype=np.uint32))
    assert (found >= 0).tolist() == [True, True, True, False]
    assert np.array_equal(cache.read(found[:3]), np.concatenate([one.vectors + copy for copy in range(3)]))


def test_keys_that_begin_alike_are_told_apart():
    keys = np.zeros((40, 32), np.uint8)
    keys[:, 31] = np.arange(40)
    vectors = np.arange(80, dtype=np.float32).reshape(40, 2)
    cache = open_cache()
    cache.add(Rows(keys, np.zeros(40, np.uint32), vectors))
    assert np.array_equal(cache.read(cache.find(keys[::-1])), vectors[::-1])


def test_segments_are_as_the_design_says():
    cache = open_cache()
    part = rows(0, 4)
    cache.add(part)
    [path] = segment_files(cache)
    with h5py.File(path) as file:
        assert {name: (d.shape, d.dtype.str) for name, d in file.items()} == {
            "key": ((4, 32), "|u1"),
            "copy": ((4,), "<u4"),
            "bottleneck": ((4, 6), "<f4"),
            "crc32": ((4,), "<u4"),
        }
        assert all(d.chunks is None and d.compression is None for d in file.values())
        assert np.array_equal(file["crc32"][:], row_checksums(part.keys, part.copies, part.vectors))
    assert cache.folder.name == "tiny-01234567"
    owner = json.loads((cache.folder / "extractor.json").read_text())
    assert owner["format"] == 1
    assert owner["fingerprint"] == FINGERPRINT
    assert sorted(os.listdir(cache.folder)) == ["extractor.json", path.name]


@pytest.mark.slow
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_crashes_or_gives_a_wrong_vector(data, tmp_path):
    """Flip bytes, cut off, or overwrite; every row is then right or missing, and can be written again."""
    folder = tmp_path / "cache"
    shutil.rmtree(folder, ignore_errors=True)
    cache = open_cache(folder)
    parts = [rows(0, 4), rows(4, 4)]
    for part in parts:
        cache.add(part)
    victim = segment_files(cache)[0]
    content = bytearray(victim.read_bytes())
    kind = data.draw(st.sampled_from(["flip", "cut", "garbage", "zeros"]))
    place = data.draw(st.integers(0, len(content) - 1))
    if kind == "flip":
        content[place] ^= data.draw(st.integers(1, 255))
    elif kind == "cut":
        del content[place:]
    elif kind == "garbage":
        length = data.draw(st.integers(1, 64))
        content[place : place + length] = data.draw(st.binary(min_size=length, max_size=length))
    else:
        content[place : place + 512] = bytes(len(content[place : place + 512]))
    victim.write_bytes(content)

    keys, vectors = (np.concatenate([getattr(p, name) for p in parts]) for name in ("keys", "vectors"))
    cache = open_cache(folder)
    found = cache.find(keys)
    sound = found >= 0
    assert np.array_equal(cache.read(found[sound]), vectors[sound])
    assert sound.sum() >= 4
    if not sound.all():
        assert victim.name in " ".join(cache.warnings)
        missing = ~sound
        cache.add(Rows(keys[missing], np.zeros(missing.sum(), np.uint32), vectors[missing]))
        cache.compact()
        for reader in (cache, open_cache(folder)):
            assert np.array_equal(reader.read(reader.find(keys)), vectors)
        assert not open_cache(folder).warnings


@pytest.mark.parametrize("dataset", ["key", "copy", "bottleneck", "crc32"])
def test_a_damaged_row_is_reported_and_missing_whatever_part_is_hit(dataset):
    cache = open_cache()
    part = rows(0, 10)
    cache.add(part)
    [path] = segment_files(cache)
    with h5py.File(path) as file:
        offset = file[dataset].id.get_offset() + 3 * file[dataset].dtype.itemsize * int(
            np.prod(file[dataset].shape[1:])
        )
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)
    cache = open_cache()
    found = cache.find(part.keys)
    assert (found >= 0).tolist() == [number != 3 for number in range(10)]
    assert len(cache.warnings) == 1
    assert "1 damaged row in" in cache.warnings[0]
    assert path.name in cache.warnings[0]


def test_of_two_rows_with_one_key_the_sound_one_is_found():
    cache = open_cache()
    part = rows(0, 3)
    cache.add(part)
    [first] = segment_files(cache)
    content = first.read_bytes()
    first.write_bytes(content.replace(part.vectors[1].tobytes(), bytes(24)))
    cache.add(part)
    cache = open_cache()
    assert np.array_equal(cache.read(cache.find(part.keys)), part.vectors)


def test_a_segment_that_cannot_be_opened_is_set_aside_and_kept():
    cache = open_cache()
    cache.add(rows(0, 2))
    [path] = segment_files(cache)
    path.write_bytes(b"garbage")
    cache = open_cache()
    assert cache.find(rows(0, 2).keys).tolist() == [-1, -1]
    assert path.read_bytes() == b"garbage"  # who only reads changes nothing
    cache.add(rows(2, 2))
    assert path.with_name(path.name + ".corrupt").read_bytes() == b"garbage"
    assert "set aside" in cache.warnings[0]


def test_a_segment_of_another_extractor_is_not_used():
    cache = open_cache()
    cache.add(rows(0, 2))
    stray = cache.folder / "segment-stray.h5"
    stray.write_bytes(segment_image(rows(2, 2), "f" * 64))
    cache = open_cache()
    assert (cache.find(rows(0, 4).keys) >= 0).tolist() == [True, True, False, False]
    assert "it belongs to another extractor" in cache.warnings[0]


def test_a_newer_format_is_refused_by_name(monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(segments, "_FORMATS", {np.dtype(np.float32): 3})
        patched.setattr(cache_folder, "FORMAT", 2)
        cache = open_cache()
        cache.add(rows(0, 2))
    message = "is of format 2, this program knows up to 1: use a newer version of retrain"
    with pytest.raises(CacheError, match=message):
        open_cache()
    (cache.folder / "extractor.json").unlink()
    with pytest.raises(CacheError, match="is of format 3, this program knows up to 2: use a newer version of retrain"):
        open_cache()


def test_activations_are_kept_in_float16_and_merged_so():
    cache = open_cache()
    wanted = [dataclasses.replace(part, vectors=part.vectors.astype(np.float16)) for part in (rows(0, 3), rows(3, 3))]
    for part in wanted:
        cache.add(part)
    with pytest.raises(CacheError, match=r"bottlenecks of length 6 \(float32\) for a cache of length 6 \(float16\)"):
        cache.add(rows(6, 2))
    cache.compact()
    cache = open_cache()
    found = cache.read(cache.find(rows(0, 6).keys))
    assert (found.dtype, cache.dtype, len(cache.segment_paths())) == (np.float16, np.float16, 1)
    assert np.array_equal(found, np.concatenate([part.vectors for part in wanted]))
    data = bytearray(cache.segment_paths()[0].read_bytes())
    place = data.index(wanted[0].vectors[1].tobytes())
    data[place] ^= 1
    cache.segment_paths()[0].write_bytes(data)
    assert (open_cache().find(rows(0, 6).keys) >= 0).tolist() == [True, False, True, True, True, True]


def test_a_folder_of_another_fingerprint_is_refused():
    open_cache().add(rows(0, 2))
    other = FINGERPRINT[:8] + "f" * 56
    with pytest.raises(CacheError, match="belongs to another extractor"):
        open_cache(fingerprint=other)


def test_vectors_of_another_length_are_refused():
    cache = open_cache()
    cache.add(rows(0, 2, length=6))
    with pytest.raises(CacheError, match=r"bottlenecks of length 7 \(float32\) for a cache of length 6 \(float32\)"):
        cache.add(rows(2, 2, length=7))


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "no space left for the bottleneck cache"),
        (errno.EFBIG, "no space left for the bottleneck cache"),
        (errno.EACCES, "can't write the bottleneck cache in .*check its permissions"),
        (errno.EROFS, "can't write the bottleneck cache"),
    ],
)
def test_a_write_that_fails_says_why_and_keeps_what_was_there(monkeypatch, number, message):
    cache = open_cache()
    cache.add(rows(0, 2))
    before = sorted(os.listdir(cache.folder))

    def fail(handle):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched, pytest.raises(CacheError, match=message):
        patched.setattr(files.os, "fsync", fail)
        cache.add(rows(2, 2))
    assert sorted(os.listdir(cache.folder)) == before
    assert (open_cache().find(rows(0, 4).keys) >= 0).tolist() == [True, True, False, False]


def test_small_segments_are_merged_and_repeated_rows_dropped():
    cache = open_cache()
    for start in range(0, 20, 2):
        cache.add(rows(start, 3))  # the third is the first of the next
    cache.compact()
    assert len(segment_files(cache)) == 1
    assert len(cache) == 21
    for reader in (cache, open_cache()):
        assert (reader.find(rows(0, 21).keys) >= 0).all()


def test_two_writers_see_each_others_rows():
    first, second = open_cache(), open_cache()
    first.add(rows(0, 2))
    second.add(rows(2, 2))
    assert (first.find(rows(0, 4).keys) >= 0).tolist() == [True, True, False, False]
    first.refresh()
    assert (first.find(rows(0, 4).keys) >= 0).all()
    assert (second.find(rows(0, 4).keys) >= 0).all()


def test_a_reader_keeps_its_vectors_while_another_process_merges():
    writer = open_cache()
    for start in range(10):
        writer.add(rows(start, 1))
    reader = open_cache()
    found = reader.find(rows(0, 10).keys)
    writer.compact()
    expected = np.concatenate([rows(start, 1).vectors for start in range(10)])
    assert np.array_equal(reader.read(found), expected)
    reader.refresh()
    assert np.array_equal(reader.read(reader.find(rows(0, 10).keys)), expected)


def test_a_read_only_cache_can_be_read(monkeypatch):
    cache = open_cache()
    cache.add(rows(0, 2))

    def refuse(*args, **kwargs):
        raise PermissionError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "replace", refuse)
    monkeypatch.setattr(os, "mkdir", refuse)
    reader = open_cache()
    reader.tidy_up()
    assert np.array_equal(reader.read(reader.find(rows(0, 2).keys)), rows(0, 2).vectors)


def test_a_damaged_owner_file_does_no_harm():
    cache = open_cache()
    cache.add(rows(0, 2))
    (cache.folder / "extractor.json").write_text("{")
    assert (open_cache().find(rows(0, 2).keys) >= 0).all()


def test_too_many_open_files_set_no_segment_aside():
    cache = open_cache()
    for start in range(30):
        cache.add(rows(start, 1))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 5, limits[1]))
    try:
        with pytest.raises(CacheError, match="Too many open files; run again"):
            open_cache()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert not list(cache.folder.glob("*.corrupt"))
    assert len(open_cache()) == 30


def test_segments_do_not_pile_up_during_a_run():
    cache = open_cache()
    for start in range(200):
        cache.add(rows(start, 1))
    assert len(segment_files(cache)) < 70
    assert (open_cache().find(rows(0, 200).keys) >= 0).all()


def test_a_cache_opened_while_another_process_merges_has_all_rows(monkeypatch):
    writer = open_cache()
    for start in range(10):
        writer.add(rows(start, 1))
    opened = BottleneckCache._open
    merged = []

    def open_after_merging(self, path):
        if not merged:
            merged.append(1)
            writer.compact()
        return opened(self, path)

    monkeypatch.setattr(BottleneckCache, "_open", open_after_merging)
    assert (open_cache().find(rows(0, 10).keys) >= 0).all()


def test_a_merge_that_fails_half_way_leaves_every_row_once(monkeypatch):
    monkeypatch.setattr(bottleneck_cache, "_MERGED_BYTES", 30 * 24)
    cache = open_cache()
    for start in range(0, 60, 6):
        cache.add(rows(start, 6))
    write, written = bottleneck_cache.write_whole, []

    def fail_later(path, data):
        written.append(path)
        if len(written) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, data)

    with monkeypatch.context() as patched:
        patched.setattr(bottleneck_cache, "write_whole", fail_later)
        with pytest.raises(CacheError, match="no space left for the bottleneck cache"):
            cache.compact()
    assert len(written) == 2
    cache = open_cache()
    assert len(cache) == 60
    assert (cache.find(rows(0, 60).keys) >= 0).all()


def test_the_folder_of_an_extractor_is_found_under_another_name_of_it():
    open_cache().add(rows(0, 3))
    other = BottleneckCache("cache", "another_name", FINGERPRINT, {})
    assert (other.find(rows(0, 3).keys) >= 0).all()
    assert os.listdir("cache") == ["tiny-01234567"]


def test_two_processes_never_merge_at_once():
    cache = open_cache()
    for start in range(10):
        cache.add(rows(start, 1))
    handle = os.open(cache.folder, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(CacheError, match="another process is merging"):
        cache.compact()
    cache.tidy_up()
    assert len(segment_files(cache)) == 10
    os.close(handle)
    cache.compact()
    assert len(segment_files(cache)) == 1
