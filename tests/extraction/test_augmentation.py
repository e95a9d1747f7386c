"""Distorted copies on their way through cache and training."""

import dataclasses
import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from support.extraction import CountingBackbone
from support.hearing import hearing, warnings_to
from support.pictures import TINY_SIZE

from retrain.backbones.backbone import Backbone, locate_backbone
from retrain.backbones.precision import low_precision
from retrain.cache import vectors
from retrain.cache import writer as segment_writer
from retrain.cache.maintenance import extractors
from retrain.cache.picture_index import PictureIndex
from retrain.cache.segments import Rows
from retrain.cache.store import BottleneckCache
from retrain.cache.vectors import CachedVectors, JoinedVectors, LabelledBottlenecks
from retrain.cache.writer import SegmentWriter
from retrain.cli import main as cli
from retrain.data.image_folder import read_image_folder
from retrain.errors import ImageFolderError
from retrain.events import Extracted, ignore
from retrain.extraction import augmentation
from retrain.extraction.augmentation import DistortedExtractor
from retrain.extraction.dataset import load_dataset
from retrain.extraction.pass_one import extract_bottlenecks, open_cache
from retrain.options import (
    AugmentationOptions,
    BackboneOptions,
    CrossValidationOptions,
    ExtractionOptions,
    RunOptions,
    SplitOptions,
    TrainingOptions,
)
from retrain.pipeline.crossval import cross_validate
from retrain.pipeline.train import train, train_model
from retrain.training.head_trainer import HeadTrainer

SOME = AugmentationOptions(augment=5, flip=True, rotate=20, crop=10, brightness=30)
NONE = np.zeros(0, np.int64)


@pytest.fixture(autouse=True)
def _trust_fresh_files(monkeypatch):
    """Change times can't be set, so that the files of a test are always fresh."""
    monkeypatch.setattr("retrain.cache.picture_index._SETTLED_NS", -1)


def extract(root, options=SOME, backbone=None, numbers=None, emit=ignore, **settings):
    """One pass over the copies of a folder's pictures: the result, the backbone, the cache."""
    backbone = backbone or CountingBackbone()
    extractor = DistortedExtractor(backbone, options)
    settings = ExtractionOptions(**settings)
    cache = open_cache(extractor, settings)
    folder = read_image_folder(root)
    folder = folder if numbers is None else folder.part(numbers)
    return extract_bottlenecks(folder, extractor, cache, RunOptions(extraction=settings), emit), backbone, cache


def rows_of(result, cache, count=5):
    keys = result.keys[result.readable].repeat(count, axis=0)
    found = cache.find(keys, np.tile(np.arange(1, count + 1, dtype=np.uint32), result.readable.sum()))
    assert (found >= 0).all()
    return cache.read(found)


def train_options(tiny_backbone, augment=SOME, **split):
    return RunOptions(
        backbone=BackboneOptions(backbone=str(tiny_backbone), input_size=TINY_SIZE),
        augmentation=augment,
        split=SplitOptions(**split),
        training=TrainingOptions(steps=30),
    )


def augmented(cache_dir="cache"):
    return [cache for cache in extractors(cache_dir) if cache.name.endswith("_augmented")]


# pass one


def test_every_copy_goes_through_once(make_folder):
    root = make_folder({"cat": 20, "dog": 13})
    result, backbone, cache = extract(root)
    assert backbone.count == result.extracted == 33 * 5
    assert result.cached == 0
    first = rows_of(result, cache)
    assert len(np.unique(first, axis=0)) > 33 * 4  # flipped copies alone may be alike
    again, backbone, cache = extract(root)
    assert (backbone.count, again.extracted, again.cached, backbone.loaded) == (0, 0, 33 * 5, False)
    assert np.array_equal(rows_of(again, cache), first)


def test_more_copies_later_add_only_the_new_ones(make_folder):
    root = make_folder({"cat": 10, "dog": 10})
    few, backbone, cache = extract(root, dataclasses.replace(SOME, augment=2))
    before = rows_of(few, cache, 2).reshape(20, 2, -1)
    seen = []
    more, backbone, cache = extract(
        root, emit=hearing(Extracted, lambda p: seen.append((p.done, p.pictures, p.counts_copies)))
    )
    assert backbone.count == more.extracted == 60
    assert np.array_equal(rows_of(more, cache).reshape(20, 5, -1)[:, :2], before)
    assert (seen[0], seen[-1]) == ((40, 100, True), (100, 100, True))
    _, backbone, _ = extract(root, dataclasses.replace(SOME, augment=3))
    assert backbone.count == 0


def test_other_distortions_and_seeds_have_folders_of_their_own(make_folder):
    root = make_folder({"cat": 3, "dog": 3})
    folders = {
        extract(root, dataclasses.replace(SOME, **changes))[2].folder
        for changes in ({}, {"augment_seed": 1}, {"rotate": 21}, {"flip": False}, {"zoom": 1})
    }
    assert len(folders) == 5
    assert all(folder.name.startswith("counting_augmented-") for folder in folders)


def test_how_many_copies_says_nothing_about_each():
    one, other = (DistortedExtractor(CountingBackbone(), dataclasses.replace(SOME, augment=n)) for n in (3, 30))
    assert one.fingerprint == other.fingerprint
    assert one.description == {
        "weights": "none",
        "distortions": {"flip": True, "rotate": 20, "crop": 10, "brightness": 30},
        "augment_seed": 0,
        "distortions_version": 1,
    }


def test_a_backbone_in_fewer_bits_can_be_augmented(tiny_backbone):
    options = BackboneOptions(backbone=str(tiny_backbone), input_size=TINY_SIZE)
    backbone = locate_backbone(options)
    low = low_precision(backbone, "bfloat16", {}, lambda: "the network")
    extractor = DistortedExtractor(low, SOME)
    assert extractor.name == "tiny_bfloat16_augmented"
    assert extractor.description["precision"] == "bfloat16"
    assert extractor.network == "the network"
    assert len({extractor.fingerprint, low.fingerprint, DistortedExtractor(backbone, SOME).fingerprint}) == 3


class Interrupted(CountingBackbone):
    """Ctrl-C comes after 64 copies."""

    def bottlenecks(self, pixels):
        if self.count >= 64:
            raise KeyboardInterrupt
        return super().bottlenecks(pixels)


def test_an_interruption_keeps_every_copy_that_was_done(make_folder):
    root = make_folder({"cat": 10, "dog": 10})
    expected, _, cache = extract(root, cache_dir="untouched")
    expected = rows_of(expected, cache)
    backbone = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        extract(root, backbone=backbone)
    assert backbone.count == 64  # no whole number of pictures
    result, backbone, cache = extract(root)
    assert backbone.count == 100 - 64
    assert np.array_equal(rows_of(result, cache), expected)


def test_a_picture_is_claimed_until_its_last_copy_is_written(monkeypatch):
    monkeypatch.setattr(segment_writer, "SEGMENT_ROWS", 2)
    released = []

    class Claims:
        def release(self, keys):
            released.append(sorted(key[0] for key in keys))

    def rows(*numbers):
        keys = np.zeros((len(numbers), 32), np.uint8)
        keys[:, 0] = numbers
        return Rows(keys, np.arange(len(numbers), dtype=np.uint32), np.zeros((len(numbers), 4), np.float32))

    writer = SegmentWriter(BottleneckCache("cache", "tiny", "ab" * 32, {}), Claims(), threading.Lock())
    writer.append(rows(1, 2), under_way=rows(2).keys.tobytes())
    writer.append(rows(2, 3))
    writer.close()
    assert released == [[1], [2, 3]]


def test_what_is_no_picture_is_skipped_or_with_strict_an_error(make_folder):
    root = make_folder({"cat": 3, "dog": 3})
    (root / "cat" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    result, backbone, _ = extract(root)
    assert set(result.skipped) == {"cat/broken.jpg"}
    assert backbone.count == 30
    with pytest.raises(ImageFolderError, match=r"cat/broken.jpg: damaged JPEG"):
        extract(root, strict=True, cache_dir="other")


def test_a_run_over_a_part_of_a_folder_forgets_no_file_of_the_rest(make_folder):
    root = make_folder({"cat": 4, "dog": 4})
    extract(root)
    extract(root, dataclasses.replace(SOME, augment_seed=1), numbers=[0, 5])
    index = PictureIndex("cache", root)
    assert len(index._entries) == 8


# training


def test_only_training_pictures_have_copies_and_a_second_run_computes_nothing(make_folder, tiny_backbone, monkeypatch):
    root = make_folder({"cat": 40, "dog": 40})
    options = train_options(tiny_backbone)
    model = train(root, "model", options)
    record = json.loads(Path("model/run.json").read_text())
    training = {picture.key for picture in model.result.pictures if picture.set == "train"}
    assert record["augmentation"]["copies"] == 5
    assert record["augmentation"]["rows"] == record["augmentation"]["extracted"] == 5 * len(training)
    assert (record["options"]["augment"], record["options"]["rotate"]) == (5, 20)
    [cache] = augmented()
    assert {key.tobytes().hex() for segment in cache._segments for key in segment.keys} == training

    def refuse(backbone):
        raise AssertionError("the network was loaded")

    monkeypatch.setattr(Backbone, "network", property(refuse))
    again = train(root, "model", options)
    assert again.result.augmentation.extracted == 0
    assert np.array_equal(again.trained.head.layers[0].weights, model.trained.head.layers[0].weights)
    plain = train(root, "plain", dataclasses.replace(options, augmentation=AugmentationOptions()))
    assert json.loads(Path("plain/run.json").read_text())["augmentation"] is None
    assert not np.array_equal(plain.trained.head.layers[0].weights, model.trained.head.layers[0].weights)


def test_another_split_extracts_only_the_copies_that_are_missing(make_folder, tiny_backbone):
    root = make_folder({"cat": 40, "dog": 40})
    first = train_model(root, train_options(tiny_backbone)).result
    larger = train_model(root, train_options(tiny_backbone, test_percentage=0)).result
    added = larger.split["train"] - first.split["train"]
    assert larger.augmentation.extracted == 5 * added > 0
    assert len(augmented()) == 1


def test_many_copies_are_made_some_at_a_time_and_are_the_same(make_folder, tiny_backbone, monkeypatch):
    root = make_folder({"cat": 20, "dog": 20})
    whole = train_model(root, train_options(tiny_backbone)).trained.head.layers[0].weights
    shutil.rmtree("cache")
    monkeypatch.setattr(augmentation, "_AT_ONCE", 2)
    seen = []
    emit = hearing(Extracted, lambda p: seen.append((p.done, p.pictures)) if p.counts_copies else None)
    model = train_model(root, train_options(tiny_backbone), emit)
    assert model.trained.head.layers[0].weights == pytest.approx(whole, abs=1e-5)  # other batches, other rounding
    assert model.result.augmentation.extracted == model.result.augmentation.rows == seen[-1][0] == seen[-1][1]
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_copies_that_are_missing_are_warned_of(make_folder, tiny_backbone, monkeypatch):
    root = make_folder({"cat": 20, "dog": 20})
    said = []
    inner = augmentation.extract

    def first_goes(folder, *args):
        (root / folder.samples[0].path).unlink()
        return inner(folder, *args)

    monkeypatch.setattr(augmentation, "extract", first_goes)
    result = train_model(root, train_options(tiny_backbone), warnings_to(said.append)).result
    assert result.augmentation.rows == 5 * (result.split["train"] - 1)
    assert any("5 of" in text and "distorted copies are missing" in text for text in said)

    monkeypatch.setattr(augmentation, "extract", lambda folder, *args: inner(folder.part([]), *args))
    none = train_options(tiny_backbone, dataclasses.replace(SOME, augment_seed=9))
    assert train_model(root, none).result.augmentation.rows == 0


def test_prune_keeps_the_copies_of_kept_pictures_and_info_shows_them(make_folder, tiny_backbone, capsys):
    root = make_folder({"cat": 20, "dog": 20})
    result = train_model(root, train_options(tiny_backbone)).result
    gone = [picture for picture in result.pictures if picture.set == "train"][:3]
    for picture in gone:
        (root / picture.path).unlink()
    assert cli.main(["cache", "prune", "--keep", str(root), "--yes", "--json"]) == 0
    reports = {Path(report["folder"]).name.split("-")[0]: report for report in json.loads(capsys.readouterr().out)}
    assert reports["tiny_augmented"]["unneeded"] == 15
    assert len(augmented()[0]) == 5 * (result.split["train"] - 3)
    assert cli.main(["cache", "info", "--json"]) == 0
    assert "tiny_augmented" in {entry["name"] for entry in json.loads(capsys.readouterr().out)}


def test_no_copy_of_a_tested_picture_is_trained_on(make_folder, tiny_backbone, monkeypatch):
    root = make_folder({"cat": 20, "dog": 20})
    for number in range(4):  # the same pictures under other names
        shutil.copy(root / "cat" / f"cat_{number:03}.png", root / "cat" / f"again_{number}.png")
    trained_on = []
    descend = HeadTrainer._descend

    def spy(self, start, task, products):
        trained_on.append((self.data, task.train))
        return descend(self, start, task, products)

    monkeypatch.setattr(HeadTrainer, "_descend", spy)
    found = cross_validate(root, CrossValidationOptions(4), train_options(tiny_backbone))
    assert found.augmentation.rows == 44 * 5
    assert found.as_dict()["augmentation"]["copies"] == 5
    keys = load_dataset(
        read_image_folder(root),
        locate_backbone(train_options(tiny_backbone).backbone),
        RunOptions(),
        ignore,
    ).hex_keys()
    tested_in_all = 0
    for data, rows in trained_on:
        pictures = np.unique(data.origins[rows])
        tested = np.setdiff1d(np.arange(44), pictures)
        tested_in_all += len(tested)
        assert len(rows) == 6 * len(pictures)
        assert not {keys[n] for n in pictures} & {keys[n] for n in tested}
        assert np.array_equal(data.labels[rows], data.labels[data.origins[rows]])
    assert tested_in_all == 44


def joined(data):
    """The same with two copies of each picture, brighter and darker."""
    n = len(data)
    origins = np.tile(np.arange(n, dtype=np.int32), 3)
    values = np.concatenate([data.vectors, data.vectors * 1.1, data.vectors * 0.9]).astype(np.float32)
    return LabelledBottlenecks(values, data.labels[origins], origins)


def blobs(n=60):
    rng = np.random.default_rng(0)
    labels = np.arange(n, dtype=np.int32) % 3
    return LabelledBottlenecks((np.eye(3, 8)[labels] + rng.normal(0, 0.4, (n, 8))).astype(np.float32), labels)


def test_the_rows_of_pictures_are_themselves_and_their_copies():
    data = joined(blobs(6))
    assert data.with_copies(np.array([4, 1])).tolist() == [4, 1, 7, 10, 13, 16]
    assert blobs(6).with_copies(np.array([4, 1])).tolist() == [4, 1]


def test_the_default_penalty_counts_pictures():
    data = joined(blobs())
    numbers = np.arange(30)
    options = TrainingOptions(optimizer="lbfgs")
    got = HeadTrainer(data, 3).train(numbers, NONE, options).head.layers[0].weights
    explicit = dataclasses.replace(options, l2=1 / 30)
    assert np.array_equal(got, HeadTrainer(data, 3).train(numbers, NONE, explicit).head.layers[0].weights)


@pytest.mark.parametrize("optimizer", ["gradient-descent", "lbfgs"])
def test_copies_from_files_train_as_those_in_memory(optimizer):
    data = joined(blobs())
    n = 60
    parts = []
    for name, values in (("plain", data.vectors[:n]), ("augmented", data.vectors[n:])):
        cache = BottleneckCache("cache", name, name[0].encode().hex() * 32, {})
        keys = np.random.default_rng(5).integers(0, 256, (len(values), 32), np.uint8)
        cache.add(Rows(keys, np.zeros(len(keys), np.uint32), values))
        parts.append(CachedVectors(cache, cache.find(keys)))
    lazy = vectors.load_vectors(parts, 0)
    assert isinstance(lazy, JoinedVectors)
    assert lazy.shape == data.vectors.shape
    whole = vectors.load_vectors(parts)
    assert np.array_equal(whole, data.vectors)
    assert np.array_equal(lazy[[170, 3, 61, 3]], data.vectors[[170, 3, 61, 3]])
    assert np.array_equal(lazy[50:70], data.vectors[50:70])
    options = TrainingOptions(optimizer=optimizer, steps=40)
    numbers, held_out = np.arange(40), np.arange(40, 60)
    heads = [
        HeadTrainer(dataclasses.replace(data, vectors=source), 3)
        .train(numbers, held_out, dataclasses.replace(options, batch_size=None if optimizer == "lbfgs" else 20))
        .head
        for source in (whole, lazy)
    ]
    assert heads[0].layers[0].weights == pytest.approx(heads[1].layers[0].weights, abs=2e-5)


def test_the_summary_and_the_progress_tell_of_copies(make_folder, tiny_backbone, capsys):
    root = make_folder({"cat": 20, "dog": 20})
    command = ["train", str(root), "--backbone", str(tiny_backbone), "--steps", "5", "--augment", "2", "--flip"]
    assert cli.main(command) == 0
    output = capsys.readouterr()
    assert "Distorted copies: 2 of each training picture, " in output.out
    assert "distorted copies: 0 of " in output.err
    assert cli.main([*command[:-1]]) == 2
    assert "--augment 2 makes copies" in capsys.readouterr().err


def test_interrupted_while_it_makes_copies_it_says_so(make_folder, tiny_backbone, monkeypatch, capsys):
    root = make_folder({"cat": 20, "dog": 20})
    count = []

    def stop(self, event):
        if isinstance(event, Extracted):
            self.extraction = event
            if event.counts_copies and event.extracted:
                count.append(event.done)
                raise KeyboardInterrupt

    monkeypatch.setattr("retrain.cli.progress.Progress.show", stop)
    command = ["train", str(root), "--backbone", str(tiny_backbone), "--augment", "9", "--flip"]
    assert cli.main(command) == 130
    assert f"interrupted after {count[0]} of" in (said := capsys.readouterr().err)
    assert "distorted copies; what is done is kept" in said
    assert len(augmented()[0]) >= count[0]
