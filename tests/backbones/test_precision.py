"""Fewer bits: extractors of their own; the quantised model is made once and kept like a segment."""

import dataclasses
import errno
import fcntl
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from support.pictures import TINY_LENGTH, TINY_SIZE
from support.small_network import random_pixels, small_network

from retrain import machine
from retrain.backbones import bfloat16, precision, quantization
from retrain.backbones.backbone import locate_backbone
from retrain.backbones.precision import choose_extractor
from retrain.backbones.quantization import mean_cosine
from retrain.backbones.representative_pictures import RepresentativePictures
from retrain.cache import maintenance as cache_maintenance
from retrain.cache.artifacts import QUANTIZED_MODEL, NotedFiles
from retrain.data.image_folder import read_image_folder
from retrain.errors import BackboneError, CacheError
from retrain.events import Noted, Prepared, Warned
from retrain.extraction.pass_one import extract_bottlenecks, open_cache
from retrain.folders import staging_folder
from retrain.options import BackboneOptions, ExtractionOptions, RunOptions

needs_int8 = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("openvino", "nncf"))), reason="the extra int8 is not installed"
)


class Heard:
    """What a run told."""

    def __init__(self):
        self.notes, self.warnings, self.steps = [], [], []

    def emit(self, event):
        match event:
            case Noted(message):
                self.notes.append(message)
            case Warned(message):
                self.warnings.append(message)
            case Prepared(what, done, total):
                self.steps.append((what, done, total))


def choose(root, backbone, wanted="int8", cache="cache", heard=None):
    located = locate_backbone(BackboneOptions(backbone=str(backbone)))
    emit = (heard or Heard()).emit
    return choose_extractor(located, wanted, RepresentativePictures(read_image_folder(root), cache), emit)


def vectors_of(root, extractor, cache="cache"):
    """One pass over a folder: the vectors, and how many pictures went through the network."""
    options = ExtractionOptions(cache_dir=str(cache))
    opened = open_cache(extractor, options)
    done = extract_bottlenecks(read_image_folder(root), extractor, opened, RunOptions(extraction=options))
    return opened.read(opened.find(done.keys)), done.extracted


def model_files(cache="cache"):
    return sorted(path.relative_to(cache).as_posix() for path in Path(cache).glob("*/int8.*"))


@pytest.fixture
def root(make_folder):
    return make_folder({"cat": 30, "dog": 30})


@pytest.fixture(scope="module")
def made(tiny_backbone, tmp_path_factory):
    """A cache with a quantised model of the tiny backbone, from 60 pictures."""
    from support.pictures import draw_picture

    place = tmp_path_factory.mktemp("made")
    for label, name in enumerate(("cat", "dog")):
        (place / "pictures" / name).mkdir(parents=True)
        for number in range(30):
            draw_picture(number, label).save(place / "pictures" / name / f"{number}.png")
    heard = Heard()
    choose(place / "pictures", tiny_backbone, cache=place / "cache", heard=heard)
    return place / "cache", heard


@pytest.fixture
def cache(made, tmp_path):
    """A copy of that cache in the test's own folder."""
    return Path(shutil.copytree(made[0], tmp_path / "cache"))


# float32 and bfloat16


def test_float32_is_the_backbone_itself(root, tiny_backbone):
    extractor = choose(root, tiny_backbone, "float32")
    assert extractor.name == "tiny"
    assert extractor.description["precision"] == "float32"
    assert not Path("cache").exists()


def test_each_precision_has_a_fingerprint_of_its_own(root, tiny_backbone, cache):
    extractors = [choose(root, tiny_backbone, name) for name in ("float32", "bfloat16", "int8")]
    assert len({extractor.fingerprint for extractor in extractors}) == 3
    assert [extractor.name for extractor in extractors] == ["tiny", "tiny_bfloat16", "tiny_int8"]


CPUINFO = "processor\t: 0\nmodel name\t: Any\n{}\t: fpu sse avx2 {}\n\nprocessor\t: 1\n"


@pytest.mark.parametrize(
    ("line", "flag"),
    [("flags", "avx512_bf16"), ("flags", "amx_bf16"), ("Features", "bf16"), ("flags", ""), ("bugs", "bf16")],
)
def test_the_processors_arithmetic_is_read_from_the_kernel(monkeypatch, line, flag):
    monkeypatch.setattr(Path, "read_text", lambda self: CPUINFO.format(line, flag))
    monkeypatch.setattr(bfloat16, "arithmetic", lambda: "bfloat16")
    if flag and line != "bugs":
        bfloat16.check_device()
    else:
        with pytest.raises(BackboneError, match=r"no bfloat16 arithmetic .* use --precision float32 or int8"):
            bfloat16.check_device()


def test_a_gpu_computes_in_float16_and_has_bottlenecks_of_its_own(root, tiny_backbone, monkeypatch):
    fingerprints = set()
    for arithmetic in ("bfloat16", "float16"):
        monkeypatch.setattr(bfloat16, "arithmetic", lambda arithmetic=arithmetic: arithmetic)
        fingerprints.add(choose(root, tiny_backbone, "bfloat16").fingerprint)
    assert len(fingerprints) == 2
    with pytest.raises(BackboneError, match="there is a GPU, but TensorFlow can't use it"):
        _ = choose(root, tiny_backbone, "bfloat16").network


def test_bfloat16_that_is_silently_float32_is_refused(root, tiny_backbone, monkeypatch):
    monkeypatch.setattr(bfloat16, "check_device", lambda: None)
    monkeypatch.setattr("retrain._tensorflow.compute_in_16_bits", lambda config, on_gpu: None)
    with pytest.raises(BackboneError, match="computes the backbone in float32 although"):
        _ = choose(root, tiny_backbone, "bfloat16").network


@pytest.mark.skipif(not bfloat16._FLAGS & machine.processor_flags(), reason="this processor has no bfloat16")
def test_bfloat16_is_near_float32():
    exactly = small_network()
    try:
        network = bfloat16.Bfloat16Network(exactly)
    except BackboneError as error:  # a build of TensorFlow that leaves the graph as it is
        pytest.skip(str(error))
    pixels = random_pixels(4)
    exact, got = exactly.bottlenecks(pixels), network.bottlenecks(pixels)
    assert got.dtype == np.float32
    assert not np.array_equal(exact, got)
    assert mean_cosine(exact, got) > 0.95


def test_cached_bfloat16_bottlenecks_need_no_such_processor(root, tiny_backbone, monkeypatch):
    def missing():
        raise BackboneError("no bfloat16")

    class Network:
        height = width = TINY_SIZE
        batch_size = 8

        def bottlenecks(self, pixels):
            return np.ones((len(pixels), 3), np.float32)

    extractor = choose(root, tiny_backbone, "bfloat16")
    vectors_of(root, dataclasses.replace(extractor, load=Network))
    monkeypatch.setattr(bfloat16, "check_device", missing)
    _, extracted = vectors_of(root, choose(root, tiny_backbone, "bfloat16"))
    assert extracted == 0


# int8


@needs_int8
def test_int8_is_near_float32(root, tiny_backbone, cache):
    exact, _ = vectors_of(root, choose(root, tiny_backbone, "float32"))
    got, extracted = vectors_of(root, choose(root, tiny_backbone))
    assert extracted == 60
    assert got.shape == exact.shape == (60, TINY_LENGTH)
    assert mean_cosine(exact, got) > 0.99
    assert not np.array_equal(exact, got)


@needs_int8
def test_making_a_model_is_reported(made):
    cache, heard = made
    assert not heard.warnings
    assert heard.notes[0].startswith("few pictures to quantise the backbone with: 60, where 100 are better")
    wanted = r"int8 model made from 43 pictures; mean cosine to float32 on 17 others: (0\.99\d\d|1\.0000)"
    assert re.fullmatch(wanted, heard.notes[1])
    assert ("choosing pictures", 60, 60) in heard.steps
    assert ("quantising", 43, 43) in heard.steps
    [note] = [json.loads(path.read_text()) for path in cache.glob("*/extractor.json")]
    assert note["mean_cosine"] > 0.99
    assert note["calibration_pictures"] == 43
    assert sorted(path.name for path in cache.iterdir()) == [f"tiny_int8-{note['fingerprint'][:8]}"]


@needs_int8
def test_the_model_is_made_once_and_other_pictures_change_nothing(root, tiny_backbone, cache, make_folder, monkeypatch):
    def never(*_):
        raise AssertionError("made again")

    monkeypatch.setattr(quantization, "quantize", never)
    before, _ = vectors_of(root, choose(root, tiny_backbone))
    more = make_folder({"cat": 45, "bird": 2}, "more")
    assert choose(more, tiny_backbone).fingerprint == choose(root, tiny_backbone).fingerprint
    after, extracted = vectors_of(root, choose(root, tiny_backbone))
    assert extracted == 0
    assert np.array_equal(before, after)


@needs_int8
@pytest.mark.parametrize("damage", ["flip", "cut", "missing half"])
def test_a_damaged_model_is_set_aside_and_made_again(root, tiny_backbone, cache, damage):
    old = choose(root, tiny_backbone)
    vectors_of(root, old)
    [folder] = cache.glob("tiny_int8-*")
    numbers = folder / "int8.bin"
    if damage == "flip":
        data = bytearray(numbers.read_bytes())
        data[len(data) // 2] ^= 1
        numbers.write_bytes(data)
    elif damage == "cut":
        os.truncate(folder / "int8.xml", 1000)
    else:
        numbers.unlink()
    heard = Heard()
    new = choose(root, tiny_backbone, heard=heard)
    assert new.fingerprint != old.fingerprint
    assert "is damaged, and set aside as *.corrupt" in heard.warnings[0]
    assert (folder / "int8.xml.corrupt").exists()
    assert len(model_files()) == 2 + len(list(folder.glob("int8.*.corrupt")))
    # the old rows are sound, and may be looked at under their own fingerprint
    assert len(open_cache(old, ExtractionOptions())) == 60
    assert choose(root, tiny_backbone, heard=heard).fingerprint == new.fingerprint
    assert len(heard.warnings) == 1


@needs_int8
def test_a_note_that_disagrees_sets_no_model_aside(root, tiny_backbone, cache):
    old = choose(root, tiny_backbone)
    vectors_of(root, old)
    [folder] = cache.glob("tiny_int8-*")
    sound = json.loads((folder / "extractor.json").read_text())
    last = "1" if sound["fingerprint"][-1] != "1" else "2"
    (folder / "extractor.json").write_text(json.dumps(sound | {"fingerprint": sound["fingerprint"][:-1] + last}))
    heard = Heard()
    again = choose(root, tiny_backbone, heard=heard)
    assert (again.fingerprint, heard.warnings) == (old.fingerprint, [])
    assert vectors_of(root, again)[1] == 0
    assert json.loads((folder / "extractor.json").read_text()) == sound
    before = model_files()
    (folder / "extractor.json").write_text(json.dumps(sound | {"mean_cosine": 1.0}))
    assert choose(root, tiny_backbone, heard=heard).fingerprint != old.fingerprint
    assert (
        "extractor.json is damaged, it does not fit its fingerprint: the model there is not used" in heard.warnings[0]
    )
    assert set(before) <= set(model_files())


@needs_int8
def test_a_model_that_was_set_aside_is_taken_back_if_it_is_sound(root, tiny_backbone, cache):
    old = choose(root, tiny_backbone)
    [folder] = cache.glob("tiny_int8-*")
    before = model_files()
    for name in QUANTIZED_MODEL.names:
        (folder / name).rename(folder / f"{name}.corrupt")
    [lines] = cache_maintenance.recover("cache").values()
    assert "the quantised model" in lines[0]
    assert model_files() == before
    assert choose(root, tiny_backbone).fingerprint == old.fingerprint


@needs_int8
def test_of_two_models_the_older_is_everyones(root, tiny_backbone, cache, monkeypatch):
    first = choose(root, tiny_backbone)
    monkeypatch.setattr(precision, "_find_model", lambda *_: None)  # as if both had begun where locks don't work
    second = choose(root, tiny_backbone)
    monkeypatch.undo()
    monkeypatch.chdir(cache.parent)
    assert second.fingerprint != first.fingerprint
    assert len(model_files()) == 4
    assert choose(root, tiny_backbone).fingerprint == first.fingerprint


@needs_int8
def test_a_second_process_waits_for_the_first_ones_model(root, tiny_backbone, made):
    Path("cache").mkdir()
    handle = os.open("cache", os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    heard, chosen = Heard(), []
    thread = threading.Thread(target=lambda: chosen.append(choose(root, tiny_backbone, heard=heard)))
    thread.start()
    while not heard.notes and thread.is_alive():
        time.sleep(0.01)
    assert "waiting for another process" in heard.notes[0]
    [model] = made[0].glob("tiny_int8-*")
    shutil.copytree(model, Path("cache", model.name))
    os.close(handle)
    thread.join(60)
    assert len(model_files()) == 2
    assert chosen[0].fingerprint[:8] == model.name[-8:]


@needs_int8
def test_a_model_in_the_making_is_nobodys(root, tiny_backbone, cache):
    first = choose(root, tiny_backbone)
    with staging_folder(cache / "tiny_int8") as staging:
        [model] = cache.glob("tiny_int8-*")
        shutil.copytree(model, staging, dirs_exist_ok=True)
        shutil.rmtree(model)
        assert choose(root, tiny_backbone).fingerprint != first.fingerprint


@needs_int8
def test_a_model_that_cannot_be_read_just_now_is_not_set_aside(root, tiny_backbone, cache, monkeypatch):
    def busy(*_):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr(NotedFiles, "digest", busy)
        with pytest.raises(CacheError, match=r"can't read .*int8\.xml: Too many open files; run again"):
            choose(root, tiny_backbone)
    assert len(model_files()) == 2


@needs_int8
def test_a_full_disk_is_no_fault_of_the_backbone(root, tiny_backbone, monkeypatch, traced_anew):
    import openvino

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(openvino, "save_model", full)
    with pytest.raises(CacheError, match="no space left for the bottleneck cache"):
        choose(root, tiny_backbone)
    assert os.listdir("cache") == []


@needs_int8
def test_a_damaged_note_is_reported(root, tiny_backbone, cache):
    [note] = cache.glob("*/extractor.json")
    note.write_text("{")
    heard = Heard()
    choose(root, tiny_backbone, heard=heard)
    assert "extractor.json is damaged: the model there is not used" in heard.warnings[0]


@needs_int8
def test_few_pictures_are_enough_and_fewer_are_refused(make_folder, tiny_backbone):
    heard = Heard()
    choose(make_folder({"cat": 10, "dog": 10}), tiny_backbone, heard=heard)
    assert heard.notes[0].startswith("few pictures to quantise the backbone with: 20")
    few = make_folder({"cat": 10, "dog": 9}, "few")
    (few / "dog" / "no picture.png").write_bytes(b"not one")
    shutil.copy(few / "dog" / "dog_000.png", few / "dog" / "again.png")
    with pytest.raises(BackboneError, match=r"19 readable pictures that differ .* too few .* at least 20"):
        choose(few, tiny_backbone, cache="other")
    assert os.listdir("other") == []


@pytest.mark.slow
@needs_int8
@pytest.mark.parametrize(("cosine", "what"), [(0.95, "warning"), (0.5, "error")])
def test_a_model_far_from_float32(root, tiny_backbone, monkeypatch, cosine, what):
    monkeypatch.setattr(quantization, "mean_cosine", lambda *_: cosine)
    heard = Heard()
    if what == "error":
        with pytest.raises(BackboneError, match=r"loses too much in int8.* 0.5000 .expected 0.9 at least"):
            choose(root, tiny_backbone, heard=heard)
        assert os.listdir("cache") == []
    else:
        choose(root, tiny_backbone, heard=heard)
        assert "mean cosine to float32 on 17 others: 0.9500 (expected 0.98 at least)" in heard.warnings[0]
        assert "check the accuracy" in heard.warnings[0]


@needs_int8
def test_an_interruption_leaves_nothing(root, tiny_backbone, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(precision, "_judge", interrupted)
    with pytest.raises(KeyboardInterrupt):
        choose(root, tiny_backbone)
    assert os.listdir("cache") == []


@needs_int8
def test_what_a_killed_run_left_goes(root, tiny_backbone, cache):
    with staging_folder(cache / "tiny_int8") as staging:
        left = staging.with_name(".tiny_int8.killed.tmp")
        left.mkdir()
        (left / "int8.bin").write_bytes(b"half")
        shutil.rmtree(next(cache.glob("tiny_int8-*")))
        choose(root, tiny_backbone)
        assert not left.exists()
        assert staging.exists()  # another process's, at work


def test_a_cache_that_cannot_be_written_is_known_before_the_work(root, tiny_backbone, monkeypatch):
    monkeypatch.setattr(quantization, "check_installed", lambda: None)
    Path("cache").write_text("a file")
    with pytest.raises(CacheError, match="can't write the bottleneck cache"):
        choose(root, tiny_backbone)


def test_missing_packages_say_how_to_get_them(root, tiny_backbone, monkeypatch):
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(BackboneError, match=r"needs the packages openvino and nncf .*: pip install 'retrain\[int8\]'"):
        choose(root, tiny_backbone)


@needs_int8
def test_cached_int8_bottlenecks_need_no_packages(root, tiny_backbone, cache, monkeypatch):
    vectors_of(root, choose(root, tiny_backbone))
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert vectors_of(root, choose(root, tiny_backbone))[1] == 0


@needs_int8
def test_a_backbone_that_cannot_be_converted_is_refused(root, tiny_backbone, monkeypatch, traced_anew):
    import openvino

    def fails(*_):
        raise RuntimeError("Check 'x' failed at y.cpp:3:\nNo conversion rule for Strange")

    monkeypatch.setattr(openvino, "convert_model", fails)
    with pytest.raises(BackboneError, match=r"can't be converted to int8 .No conversion rule for Strange.: use"):
        choose(root, tiny_backbone)


OF_ITS_OWN = """
import os, signal, sys, threading, time
from pathlib import Path
from retrain.backbones.quantization import QuantizedNetwork, check_installed
check_installed()
print("openvino_telemetry.main" in sys.modules)
networks = [QuantizedNetwork(Path(sys.argv[1]))]
freeing = threading.Thread(target=networks.clear)
freeing.start()
freeing.join()
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(5)
except KeyboardInterrupt:
    print("interrupted")
"""


@needs_int8
def test_no_telemetry_is_loaded_and_an_interruption_after_the_network_went_is_no_crash(made):
    [model] = made[0].glob("tiny_int8-*")
    done = subprocess.run([sys.executable, "-c", OF_ITS_OWN, str(model)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "False\ninterrupted\n"), done.stderr


def test_mean_cosine_of_rows():
    vectors = np.array([[1, 0], [3, 4], [0, 0], [0, 0]], np.float32)
    others = np.array([[2, 0], [4, -3], [0, 0], [1, 0]], np.float32)
    assert mean_cosine(vectors, others) == pytest.approx((1 + 0 + 1 + 0) / 4)


@needs_int8
def test_a_model_trained_in_int8_is_served_in_float32(root, tiny_backbone, cache):
    from retrain.model.classifier import Classifier
    from retrain.options import RunOptions, TrainingOptions
    from retrain.pipeline.evaluate import evaluate as evaluate_folder
    from retrain.pipeline.train import train

    options = RunOptions(
        BackboneOptions(backbone=str(tiny_backbone), precision="int8"), training=TrainingOptions(steps=200)
    )
    train(root, "model", options)
    run = json.loads(Path("model/run.json").read_text())
    exact, int8 = choose(root, tiny_backbone, "float32"), choose(root, tiny_backbone)
    assert run["backbone"]["fingerprint"] == int8.fingerprint
    assert run["backbone"]["description"] == int8.description
    assert run["backbone"]["graph"] == {"fingerprint": exact.fingerprint, "description": exact.description}
    evaluated = evaluate_folder(Classifier("model"), root)  # with the graph's own float32 bottlenecks
    assert evaluated.extraction.extracted == 60
    assert evaluated.metrics.accuracy == 1.0
    assert vectors_of(root, exact)[1] == 0


@needs_int8
@pytest.mark.real
def test_int8_of_a_real_network_on_photographs(test_data, tmp_path):
    """MobileNetV2 is exported in int8 in system/test_flower_exports.py."""
    from support.command import retrain

    pictures = tmp_path / "pictures"
    for source in sorted((test_data / "images" / "flowers").glob("*/*.jpg"))[::16]:
        (pictures / source.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(source, pictures / source.parent.name)
    env = {"RETRAIN_BACKBONES": str(test_data / "backbones"), "HOME": str(tmp_path / "home")}
    (tmp_path / "home").mkdir()
    args = ["extract", pictures, "--backbone", "efficientnet_lite0", "--input-size", "96", "--precision"]
    done = retrain(*args, "int8", "--json", env=env, check=0)
    assert json.loads(done.stdout)["extracted"] == 32
    assert re.search(r"int8 model made from 23 pictures; mean cosine to float32 on 9 others: 0\.9\d+", done.stderr)
    assert "WARNING" not in done.stderr
    assert not (tmp_path / "home" / "intel").exists()  # where the telemetry of OpenVINO keeps what it counts
    again = retrain(*args, "int8", "--json", "--quiet", env=env, check=0)
    assert json.loads(again.stdout)["cached"] == 32
    assert not again.stderr
