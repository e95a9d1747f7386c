"""The main job with the real Inception v3 on real photographs; MobileNetV2 converted and fine-tuned."""

import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from support.command import retrain

from retrain.backbones.activations import activations_at
from retrain.backbones.backbone import locate_backbone
from retrain.backbones.conversion import Converter
from retrain.backbones.graph import make_trunk
from retrain.backbones.graph_cut import find_cut
from retrain.backbones.litert import LiteRTNetwork
from retrain.backbones.representative_pictures import RepresentativePictures
from retrain.cache.vectors import LabelledBottlenecks
from retrain.data.image_folder import read_image_folder
from retrain.data.picture_form import PictureForm
from retrain.options import BackboneOptions, FineTuningOptions, TrainingOptions
from retrain.training.fine_tuning import FineTuner, fine_tuning_options
from retrain.training.head_trainer import HeadTrainer
from retrain.training.parameters import initial_head


@pytest.fixture(scope="module")
def flowers(test_data, tmp_path_factory):
    """A folder with cache/ and model/ from `retrain train` on every tenth of 500 flowers, and what it printed.

    All 500 are in training/test_head_trainer.py and pipeline/test_crossval.py, which begin with their bottlenecks.
    """
    folder = tmp_path_factory.mktemp("flowers")
    env = {"RETRAIN_BACKBONES": str(test_data / "backbones")}
    pictures = folder / "pictures"
    for path in sorted((test_data / "images" / "flowers").glob("*/*.jpg"))[::10]:
        (pictures / path.parent.name).mkdir(parents=True, exist_ok=True)
        (pictures / path.parent.name / path.name).symlink_to(path)
    done = retrain("train", pictures, "--json", cwd=folder, env=env, check=0)
    return folder, pictures, json.loads(done.stdout), env


@pytest.mark.real
def test_flowers_are_told_apart(flowers):
    folder, _, run, _ = flowers
    assert run["backbone"]["name"] == "inception_v3"
    assert (run["backbone"]["height"], run["backbone"]["bottleneck_size"]) == (299, 2048)
    assert run["extraction"]["extracted"] == 50
    [note] = folder.glob("cache/inception_v3-*/litert.export")
    details = json.loads(note.read_bytes().partition(b"\n")[0])["details"]
    assert 0 < details["largest_difference"] < 1e-3  # between LiteRT's vectors and TensorFlow's
    assert run["labels"] == ["daisy", "dandelion", "roses", "sunflowers", "tulips"]
    held_out = [run["results"][name] for name in ("validation", "test")]
    right = sum(result["n"] * result["accuracy"] for result in held_out) / sum(result["n"] for result in held_out)
    assert right > 0.55  # 87.5% is the expectation for such splits, three standard errors below it 56%


@pytest.mark.real
def test_vectors_are_near_those_of_the_original_program(flowers, test_data):
    folder, pictures, _, env = flowers
    done = retrain("extract", pictures, "--output", "flowers.npz", "--json", cwd=folder, env=env, check=0)
    assert json.loads(done.stdout)["extracted"] == 0
    with np.load(folder / "flowers.npz") as file, h5py.File(test_data / "reference" / "flowers.h5") as reference:
        found = dict(zip(file["path"], file["vector"], strict=True))
        original = dict(zip(reference["path"].asstr()[:], reference["bottleneck"][:], strict=True))
    assert len(found) == 50
    cosines = [unit(vector) @ unit(original[path]) for path, vector in found.items()]
    assert np.mean(cosines) > 0.95


def unit(vector):
    return vector / np.linalg.norm(vector)


@pytest.mark.real
def test_every_client_agrees_with_predict_on_every_test_picture(flowers):
    """TensorFlow improves the network in the SavedModel alone; of a small one, in graphs too (export/test_clients)."""
    from support.sessions import as_it_is

    from retrain._tensorflow import tf

    folder, pictures, _, _ = flowers
    rows = (folder / "model" / "predictions.csv").read_text().splitlines()[1:]
    paths = [str(pictures / row.split(",")[0]) for row in rows if row.split(",")[1] == "test"]
    assert len(paths) >= 5
    answers = json.loads(retrain("predict", folder / "model", *paths, "--json", "--quiet", check=0).stdout)
    labels = (folder / "model" / "labels.txt").read_text().splitlines()
    expected = np.array([[answer["scores"][label] for label in labels] for answer in answers])
    graph_def = tf.compat.v1.GraphDef()
    graph_def.ParseFromString((folder / "model" / "graph.pb").read_bytes())
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(graph_def)
    scores = {name: [] for name in ("DecodeJpeg/contents", "DecodeJpeg", "input", "Mul", "Placeholder")}
    with tf.compat.v1.Session(graph=graph, config=as_it_is()) as session:
        for number, path in enumerate(paths):
            feeds = {"DecodeJpeg/contents": Path(path).read_bytes()}
            if number % 4 == 0:  # the other inputs lie behind the first
                image = Image.open(path).convert("RGB")
                small = np.asarray(image.resize((299, 299), Image.Resampling.BILINEAR), np.float32)[np.newaxis]
                feeds |= {
                    "DecodeJpeg": np.asarray(image),
                    "input": np.asarray(image, np.float32)[np.newaxis] / 127.5 - 1,
                    "Mul": small / 127.5 - 1,
                    "Placeholder": small / 255,
                }
            for name, value in feeds.items():
                scores[name].append(session.run("import/final_result:0", {f"import/{name}:0": value})[0])
    served = tf.saved_model.load(str(folder / "model" / "saved_model")).signatures["serving_default"]
    contents = [Path(path).read_bytes() for path in paths]
    scores["saved_model"] = served(image_bytes=tf.constant(contents))["final_result"].numpy()
    for name, got in scores.items():
        wanted = expected if len(got) == len(expected) else expected[::4]
        assert np.array_equal(np.argmax(got, axis=1), wanted.argmax(axis=1)), name
        assert np.abs(np.array(got) - wanted).max() < 0.01, name


@pytest.mark.real
def test_evaluate_uses_the_cache_of_training(flowers):
    folder, pictures, run, _ = flowers
    done = retrain("evaluate", "model", pictures, "--json", "--quiet", cwd=folder, check=0)
    figures = json.loads(done.stdout)
    assert figures["n"] == 50
    assert figures["accuracy"] == pytest.approx(
        sum(result["n"] * result["accuracy"] for result in run["results"].values()) / 50
    )
    assert len(os.listdir(folder / "cache")) == 2  # the extractor's folder, and pictures/


@pytest.fixture(scope="module")
def mobilenet(test_data):
    """The backbone, and a few pictures of ten animals, (n, 160, 160, 3), with their labels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RETRAIN_BACKBONES", str(test_data / "backbones"))
        backbone = locate_backbone(BackboneOptions("mobilenet_v2_1.0_160"))
    folder = read_image_folder(test_data / "images" / "animals10")
    folder = folder.part(range(0, len(folder.samples), 10))
    pictures = RepresentativePictures(folder, "cache")
    labels = np.array([sample.label for sample in folder.samples], np.int32)
    return backbone, pictures, pictures.first(PictureForm(160, 160), len(labels)), labels


@pytest.mark.real
def test_mobilenet_tells_pictures_apart_on_both_runtimes(mobilenet):
    backbone, pictures, pixels, labels = mobilenet
    network = backbone.network
    assert (network.height, network.width, network.bottleneck_size) == (160, 160, 1280)
    vectors = network.bottlenecks(pixels)
    assert vectors.shape == (len(labels), 1280)
    assert (vectors >= 0).all()
    directions = np.array([unit(vector) for vector in vectors])
    likeness, is_same = directions @ directions.T, labels[:, np.newaxis] == labels
    others = ~np.eye(len(labels), dtype=bool)
    assert likeness[is_same & others].mean() > likeness[~is_same].mean() + 0.05
    converted = Converter("cache", pictures=pictures).network(backbone, lambda: network.frozen_graph)
    assert isinstance(converted, LiteRTNetwork)
    assert 0 < np.abs(converted.bottlenecks(pixels) - vectors).max() < 1e-3


@pytest.mark.real
def test_mobilenet_fine_tuned_from_the_cache_goes_where_the_whole_network_goes(mobilenet):
    """An epoch from layer 130 on, and the same batches through all of Keras's network, frozen below."""
    from support.fine_tuning import far, keras_epochs

    backbone, _, pixels, labels = mobilenet
    network = backbone.network
    trunk = make_trunk(network)
    fine = FineTuningOptions(fine_tune_from="130", fine_tune_epochs=1, fine_tune_batch_size=8)
    cut = find_cut(trunk, fine)
    assert (cut.shape, cut.layers[0], len(cut.layers)) == ((5, 5, 160), "block_14_project", 16)
    below = activations_at(cut, backbone, trunk, Converter("cache")).network
    train = np.arange(len(labels))
    options = fine_tuning_options(TrainingOptions(learning_rate=0.01), fine, len(train))
    head = initial_head(1280, 10, 0)
    found = []
    for activations in (below._network.bottlenecks(pixels).reshape(len(pixels), -1), below.bottlenecks(pixels)):
        tuner = FineTuner(trunk, cut, LabelledBottlenecks(activations, labels), 10)
        tuned = tuner.train(head, train, np.zeros(0, np.int64), options)
        found.append([tuned.head.layers[0].weights, tuned.head.layers[0].biases, *tuned.weights.values()])

    model = network._owner
    layers = [layer for layer in model.layers if layer.name in cut.layers]
    trained = [v for layer in layers for v in layer.variables if "moving" not in v.name]
    before = [head.layers[0].weights, head.layers[0].biases, *(v.numpy() for v in trained)]
    wanted = keras_epochs(lambda x: model(x * 2.0 - 1.0, training=False), trained, head, pixels, labels, options, train)
    exact, rounded = (far(weights, wanted, before) for weights in found)
    assert exact < 1e-4
    assert rounded < 5e-3  # float16 keeps 11 bits of each activation


@pytest.mark.real
def test_mobilenet_as_onnx_gives_the_vectors_and_so_heads_of_tensorflow(mobilenet):
    """Of a file that takes pixels as networks of PyTorch do; test_onnx_backbone has small ones in either order."""
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    tf2onnx = pytest.importorskip("tf2onnx", reason="the package tf2onnx is not installed")
    backbone, _, pixels, labels = mobilenet
    graph = backbone.network.frozen_graph
    model, _ = tf2onnx.convert.from_graph_def(
        graph.graph_def, input_names=[graph.start], output_names=[graph.end], opset=17, inputs_as_nchw=[graph.start]
    )
    Path("network.onnx").write_bytes(model.SerializeToString())
    located = locate_backbone(BackboneOptions("network.onnx", input_range="0..1"))
    found = [located.network.bottlenecks(pixels), backbone.network.bottlenecks(pixels)]
    assert np.abs(found[0] - found[1]).max() < 1e-3
    said = []
    for vectors in found:
        trainer = HeadTrainer(LabelledBottlenecks(vectors, labels), 10)
        options = TrainingOptions(optimizer="lbfgs", l2=0.01, steps=100)
        trained = trainer.train(np.arange(0, len(labels), 2), np.array([], np.int64), options)
        said.append(trained.head.logits(vectors[1::2]).argmax(axis=1))
    assert np.array_equal(*said)
    assert (said[0] == labels[1::2]).mean() > 1.5 / 10  # more than guessing
