"""Networks in LiteRT's form: converted once, compared, kept; whatever goes wrong, TensorFlow takes over.

Real ones are in system/test_real_networks.py.
"""

import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from support.pictures import TINY_LENGTH, TINY_SIZE

from retrain.backbones import conversion
from retrain.backbones.backbone import locate_backbone
from retrain.backbones.conversion import probe_picture
from retrain.backbones.litert import LiteRTError, LiteRTNetwork
from retrain.backbones.network import FrozenGraph, Network
from retrain.backbones.precision import choose_extractor
from retrain.backbones.representative_pictures import RepresentativePictures
from retrain.data.image_folder import read_image_folder
from retrain.errors import BackboneError
from retrain.events import Noted, Warned
from retrain.options import BackboneOptions

pytestmark = pytest.mark.usefixtures("traced_anew")

ARTIFACT = "litert.export"


class Heard(list):
    """What a run told, as texts."""

    def emit(self, event):
        if isinstance(event, Noted | Warned):
            self.append(event.message)


@pytest.fixture
def root(make_folder):
    return make_folder({"cat": 4, "dog": 4})


@pytest.fixture
def choose(root, tiny_backbone):
    """choose(): the extractor of the tiny backbone, as in a run of its own, and what it tells."""

    def chosen(backbone=tiny_backbone):
        heard = Heard()
        located = locate_backbone(BackboneOptions(backbone=str(backbone)))
        pictures = RepresentativePictures(read_image_folder(root), "cache")
        return choose_extractor(located, "float32", pictures, heard.emit), heard

    return chosen


@pytest.fixture
def no_conversion(monkeypatch):
    monkeypatch.setattr(FrozenGraph, "converted", lambda self: pytest.fail("converted once more"))


def pixels(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, TINY_SIZE, TINY_SIZE, 3), np.uint8)


def artifact():
    [path] = Path("cache").glob(f"*/{ARTIFACT}")
    return path


def test_vectors_are_those_of_tensorflow(choose, tiny_backbone):
    extractor, heard = choose()
    assert isinstance(extractor.network, LiteRTNetwork)
    assert [line.partition(",")[0] for line in heard] == ["converting tiny"]
    expected = locate_backbone(BackboneOptions(backbone=str(tiny_backbone)))
    assert extractor.fingerprint == expected.fingerprint
    found = extractor.network.bottlenecks(pixels(50))
    assert found.shape == (50, TINY_LENGTH)
    np.testing.assert_allclose(found, expected.network.bottlenecks(pixels(50)), rtol=0, atol=1e-5)


def test_a_later_run_converts_nothing_and_loads_no_network(choose, monkeypatch):
    first = choose()[0].network.bottlenecks(pixels(3))
    monkeypatch.setattr("retrain.backbones.backbone.load_network", lambda source: pytest.fail("loaded"))
    extractor, heard = choose()
    np.testing.assert_array_equal(extractor.network.bottlenecks(pixels(3)), first)
    assert heard == []


def test_a_vector_depends_on_its_own_picture_alone(choose):
    network = choose()[0].network
    together = network.bottlenecks(pixels(37))
    singly = np.concatenate([network.bottlenecks(picture[np.newaxis]) for picture in pixels(37)])
    np.testing.assert_array_equal(together, singly)
    assert network.bottlenecks(pixels(0)).shape == (0, TINY_LENGTH)


def test_values_that_are_not_finite_are_an_error(choose, monkeypatch):
    network = choose()[0].network
    monkeypatch.setattr(network, "run", lambda values: np.full((len(values), TINY_LENGTH), np.inf, np.float32))
    with pytest.raises(BackboneError, match="values that are not finite: check its weights"):
        network.bottlenecks(pixels(1))


def test_the_probe_is_noise_that_never_changes():
    picture = probe_picture(5, 7)
    assert picture.shape == (5, 7, 3)
    assert picture.ravel()[:8].tolist() == [0, 158, 60, 218, 120, 23, 181, 83]
    assert np.bincount(probe_picture(299, 299).ravel() // 32).min() > 30_000  # of 268,203 in 8 parts


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[:-1],
        lambda data: data[: len(data) // 2],
        lambda data: b"",
        lambda data: b"not JSON\n" + data.partition(b"\n")[2],
        lambda data: data[:-40] + bytes([data[-40] ^ 1]) + data[-39:],
        lambda data: data.replace(b'"pictures": 4', b'"pictures": 5'),
    ],
    ids=["cut", "half", "empty", "no note", "flipped", "changed note"],
)
def test_a_damaged_artifact_is_made_again(choose, spoil):
    first = choose()[0].network.bottlenecks(pixels(3))
    sound = artifact().read_bytes()
    artifact().write_bytes(spoil(sound))
    assert artifact().read_bytes() != sound
    extractor, heard = choose()
    np.testing.assert_array_equal(extractor.network.bottlenecks(pixels(3)), first)
    assert any("is damaged: it is made again" in line for line in heard)
    assert artifact().read_bytes() == sound


def test_an_artifact_of_another_network_is_made_again(choose):
    first = choose()[0].network.bottlenecks(pixels(3))
    data = artifact().read_bytes()
    fingerprint = re.search(rb'"fingerprint": "([0-9a-f]{64})"', data)[1]
    artifact().write_bytes(data.replace(fingerprint, b"0" * 64))
    extractor, heard = choose()
    np.testing.assert_array_equal(extractor.network.bottlenecks(pixels(3)), first)
    assert heard[0].startswith("converting tiny")


def odd_backbone(folder):
    """A SavedModel with an operation that LiteRT does not know."""
    from retrain._tensorflow import tf

    module = tf.Module()
    spec = tf.TensorSpec([None, TINY_SIZE, TINY_SIZE, 3], tf.float32)
    serve = tf.function(lambda inputs: {"default": tf.linalg.svd(tf.reduce_mean(inputs, 3), compute_uv=False)}, [spec])
    tf.saved_model.save(module, str(folder), signatures={"serving_default": serve})
    return folder


def test_a_network_that_does_not_convert_stays_on_tensorflow(choose, tmp_path, monkeypatch):
    backbone = odd_backbone(tmp_path / "odd")
    extractor, heard = choose(backbone)
    assert isinstance(extractor.network, Network)
    assert extractor.network.bottlenecks(pixels(3)).shape[0] == 3
    assert heard[1].startswith("odd runs on TensorFlow: TensorFlow can't convert this network for LiteRT: ")
    assert "\n" not in heard[1]
    # it is not tried again
    monkeypatch.setattr(FrozenGraph, "converted", lambda self: pytest.fail("tried again"))
    extractor, heard = choose(backbone)
    assert isinstance(extractor.network, Network)
    assert [line[:24] for line in heard] == ["odd runs on TensorFlow: "]
    # until another version may do better
    monkeypatch.setattr(conversion, "_versions", lambda: {"ai-edge-litert": "99"})
    with pytest.raises(pytest.fail.Exception, match="tried again"):
        _ = choose(backbone)[0].network


def test_a_network_that_gives_other_vectors_stays_on_tensorflow(choose, monkeypatch):
    monkeypatch.setattr(LiteRTNetwork, "bottlenecks", lambda self, values: self.run(values) + np.float32(0.01))
    extractor, heard = choose()
    assert isinstance(extractor.network, Network)
    assert heard[1].startswith("tiny runs on TensorFlow: LiteRT gives other vectors, which differ by 0.01")


def test_vectors_of_nan_do_not_agree(choose, monkeypatch):
    monkeypatch.setattr(LiteRTNetwork, "bottlenecks", lambda self, values: self.run(values) * np.float32(np.nan))
    assert isinstance(choose()[0].network, Network)


def test_without_the_package_tensorflow_runs_it(choose, monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    extractor, heard = choose()
    assert isinstance(extractor.network, Network)
    [line] = heard
    assert line.startswith("the package ai-edge-litert can't be imported (")
    assert line.endswith("pip install ai-edge-litert; until then tiny runs on TensorFlow, which starts slowly")
    assert not [*Path(".").glob(f"cache/*/{ARTIFACT}")]  # with the package it will work


def test_a_runtime_that_can_not_load_it_gives_way_to_tensorflow(choose, monkeypatch):
    _ = choose()[0].network

    def fail(model):
        raise LiteRTError("LiteRT can't run this network: no such kernel")

    monkeypatch.setattr(conversion, "LiteRTNetwork", fail)
    extractor, heard = choose()
    assert isinstance(extractor.network, Network)
    assert heard == ["LiteRT can't run this network: no such kernel; tiny runs on TensorFlow"]


def test_a_file_that_is_no_model_is_an_error():
    with pytest.raises(LiteRTError, match="LiteRT can't run this network: "):
        LiteRTNetwork(b"no model" * 100)


@pytest.mark.parametrize("shape", [[None, 16, 16], [None, 16, 16, 1]])
def test_a_model_that_takes_no_pictures_is_an_error(shape):
    from retrain._tensorflow import convert, tf

    function = tf.function(lambda values: tf.reduce_mean(values, 1), [tf.TensorSpec(shape, tf.float32)])
    model = convert(function.get_concrete_function())
    with pytest.raises(
        LiteRTError, match=r"it takes float32 \[1, 16, 16.*\], expected float32 \[1, height, width, 3\]"
    ):
        LiteRTNetwork(model)


def test_on_a_gpu_tensorflow_runs_it(choose, no_conversion, monkeypatch):
    monkeypatch.setattr(conversion, "has_gpu", lambda: True)
    extractor, heard = choose()
    assert isinstance(extractor.network, Network)
    assert heard == []


def test_a_cache_that_can_not_be_written_converts_each_time(choose, monkeypatch):
    Path("cache").write_text("a file")
    extractor, _ = choose()
    assert extractor.network.bottlenecks(pixels(3)).shape == (3, TINY_LENGTH)


def test_of_two_processes_one_converts(choose, monkeypatch):
    converted, begun, may_end = FrozenGraph.converted, threading.Event(), threading.Event()
    calls = []

    def slowly(graph):
        calls.append(graph)
        begun.set()
        assert may_end.wait(60)
        return converted(graph)

    monkeypatch.setattr(FrozenGraph, "converted", slowly)
    extractors = [choose() for _ in range(2)]
    networks = {}
    threads = [
        threading.Thread(target=lambda number=number: networks.update({number: extractors[number][0].load()}))
        for number in range(2)
    ]
    threads[0].start()
    assert begun.wait(60)
    threads[1].start()
    while not extractors[1][1]:
        time.sleep(0.01)
    assert extractors[1][1] == ["waiting for another process that converts a network for this cache"]
    may_end.set()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    vectors = [network.bottlenecks(pixels(3)) for network in networks.values()]
    np.testing.assert_array_equal(*vectors)


KILLED = """
import sys, time
from retrain import _tensorflow
_tensorflow.prepare_process()
from retrain.backbones.network import FrozenGraph
converted = FrozenGraph.converted
def slowly(graph):
    print("converting", flush=True)
    return converted(graph)
FrozenGraph.converted = slowly
from retrain import files
replace = files.os.replace
def late(*names, **places):
    if "litert" in str(names[1]):
        print("writing", flush=True)
        time.sleep(60)
    replace(*names, **places)
files.os.replace = late
from retrain.data.picture_form import PictureForm
import retrain
retrain.extract(sys.argv[1], retrain.RunOptions(backbone=retrain.BackboneOptions(backbone=sys.argv[2])))
"""


@pytest.mark.slow
def test_a_kill_while_it_converts_loses_nothing(choose, root, tiny_backbone):
    process = subprocess.Popen([sys.executable, "-c", KILLED, root, tiny_backbone], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "converting\n"
    assert process.stdout.readline() == "writing\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    extractor, heard = choose()
    assert extractor.network.bottlenecks(pixels(3)).shape == (3, TINY_LENGTH)
    assert heard[0].startswith("converting tiny")
    assert artifact().exists()
