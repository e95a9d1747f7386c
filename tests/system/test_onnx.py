"""Every command with an ONNX network as the backbone, in a process that can't import TensorFlow and in this one."""

import dataclasses
import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.command import one_line_error, retrain
from support.onnx_networks import SIZE, Form, save_network
from support.pictures import draw_picture
from support.refused import REFUSE_TENSORFLOW
from support.rejections import some_rejection

from retrain.data.decoding import decode_image
from retrain.data.picture_form import PictureForm
from retrain.errors import ExportError, ModelFolderError, OutputError
from retrain.export.onnx_classifier import OnnxClassifier, export_source
from retrain.export.onnx_format import onnx_model
from retrain.export.openvino_format import OpenVinoFormat
from retrain.export.stored_model import StoredModel
from retrain.files import digest_of_file
from retrain.model.classifier import Classifier
from retrain.model.head import read_head
from retrain.model.onnx_file import onnx_backbone_part, onnx_head_arrays
from retrain.model.onnx_scorer import OnnxScorer
from retrain.model.rejection import Limit

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

pytestmark = pytest.mark.network

REFUSE = (
    REFUSE_TENSORFLOW
    + """
from retrain.cli import main
codes = []
for line in sys.stdin.read().splitlines():
    sys.argv = ["retrain", *line.split()]
    codes.append(main.main())
sys.exit(max(codes))
"""
)

TRAIN = "train pictures --backbone network.onnx --input-range 0..1 --steps 200"

EVERYTHING = f"""\
{TRAIN}
{TRAIN} --model-dir again --optimizer lbfgs --calibrate --tune --tune-seconds 1 --augment 1 --flip --report full
predict model pictures/cat/cat1.png --wrong
evaluate model pictures
report model
crossval pictures --backbone network.onnx --input-range 0..1 --folds 3 --steps 50
compare model again
extract pictures --backbone network.onnx --pooling none
cache info
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with network.onnx, pictures/, cache/, model/ and again/, made without TensorFlow."""
    folder = tmp_path_factory.mktemp("onnx")
    save_network(folder / "network.onnx")
    for label, name in enumerate(["cat", "dog", "owl"]):
        (folder / "pictures" / name).mkdir(parents=True)
        for number in range(30):
            draw_picture(number, label).save(folder / "pictures" / name / f"{name}{number}.png")
    command = [sys.executable, "-c", REFUSE]
    done = subprocess.run(command, input=EVERYTHING, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder, done


@pytest.fixture
def here(trained):
    """A copy in the test's own folder."""
    shutil.copytree(trained[0], ".", dirs_exist_ok=True)


def test_all_commands_work_without_tensorflow(trained):
    folder, done = trained
    assert "Test accuracy 100.0%" in done.stdout
    assert "Model: model/ (classifier.onnx, labels.txt, metrics.json" in done.stdout
    run = json.loads((folder / "model" / "run.json").read_text())
    assert run["backbone"]["name"] == "network"
    assert (run["backbone"]["height"], run["backbone"]["bottleneck_size"]) == (SIZE, 96)
    assert run["sha256"]["classifier.onnx"] == digest_of_file(folder / "model" / "classifier.onnx")
    assert {"onnx", "onnxruntime"} <= set(run["versions"])
    absent = {"graph.pb", "classifier.tflite", "saved_model"}
    assert not absent & {path.name for path in (folder / "model").iterdir()}


def test_the_cache_of_training_serves_the_model(trained):
    """evaluate and report go by the backbone's name and fingerprint, since the file holds that graph."""
    names = sorted(path.name.rpartition("-")[0] for path in (trained[0] / "cache").glob("*-*"))
    assert names == ["network", "network", "network_augmented"]


def test_of_another_backbone_the_model_has_vectors_of_its_own(here):
    """What run.json claims is not believed: here the cache knows that backbone by another graph."""
    for artifact in Path("cache").glob("*/onnx.export"):
        artifact.unlink()
    done = retrain("evaluate", "model", "pictures", "--json", check=0)
    assert json.loads(done.stdout)["accuracy"] == 1.0
    assert len([*Path("cache").glob("network_onnx-*")]) == 1


def test_classifier_onnx_gives_the_scores_of_predict(trained):
    folder = trained[0]
    session = onnxruntime.InferenceSession(folder / "again" / "classifier.onnx", providers=["CPUExecutionProvider"])
    [taken], given = session.get_inputs(), session.get_outputs()
    assert (taken.name, taken.type, taken.shape) == ("pictures", "tensor(uint8)", ["n", SIZE, SIZE, 3])
    assert [(one.name, one.shape) for one in given] == [("final_result", ["n", 3]), ("bottleneck", ["n", 96])]
    classifier = Classifier(folder / "again")
    assert json.loads(session.get_modelmeta().custom_metadata_map["labels"]) == list(classifier.labels)
    paths = sorted((folder / "pictures").glob("*/*"))[::7]
    pixels = np.stack([decode_image(path.read_bytes(), PictureForm(SIZE, SIZE)) for path in paths])
    expected = [[found.scores[label] for label in classifier.labels] for found in classifier.predict(paths)]
    together = session.run(["final_result"], {"pictures": pixels})[0]
    alone = [session.run(["final_result"], {"pictures": pixels[[number]]})[0][0] for number in range(len(pixels))]
    np.testing.assert_allclose(together, expected, atol=1e-6)
    np.testing.assert_allclose(alone, expected, atol=1e-6)
    onnx.checker.check_model(onnx.load(folder / "again" / "classifier.onnx"), full_check=True)


def test_a_network_of_one_picture_at_once_says_so(here):
    """The claim of its file that it takes any number is not repeated."""
    model = onnx.load("network.onnx")
    model.graph.initializer[1].CopyFrom(onnx.numpy_helper.from_array(np.array([1, 6, 16], np.int64), "rows"))
    model.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("rows_first", 1, ["n", 16, 6]))
    Path("one.onnx").write_bytes(model.SerializeToString())
    retrain("train", "pictures", "--backbone", "one.onnx", "--steps", 500, "--model-dir", "one", check=0)
    found = onnx.load("one/classifier.onnx").graph.input[0].type.tensor_type.shape.dim[0]
    assert found.dim_value == 1
    assert onnx_model(StoredModel("one")).graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1
    retrain("export", "one", "--format", "onnx,openvino", check=0)
    done = retrain("predict", "one", "pictures/cat/cat1.png", "pictures/owl/owl1.png", "--json", check=0)
    assert len(json.loads(done.stdout)) == 2


def test_the_head_in_the_file_is_that_of_head_h5(here):
    head = Classifier("model").head()
    assert [layer.weights.shape for layer in head.layers] == [(96, 3)]
    shutil.copy("again/head.h5", "model/head.h5")
    run = json.loads(Path("model/run.json").read_text())
    run["sha256"]["head.h5"] = digest_of_file("model/head.h5")
    run.pop("seal", None)
    Path("model/run.json").write_text(json.dumps(run))
    with pytest.raises(ModelFolderError, match=r"head\.h5|run\.json"):
        Classifier("model").head()


def source_of(cache="cache"):
    from retrain.backbones.backbone import locate_backbone
    from retrain.backbones.conversion import Converter
    from retrain.options import BackboneOptions

    located = locate_backbone(BackboneOptions(backbone="network.onnx", input_range="0..1"))
    return export_source(located, "final_result", Converter(cache))


def test_what_was_written_is_run_before_it_counts(here):
    head, labels = read_head("model/head.h5")
    network = source_of().under(head, labels)
    OnnxClassifier().write(network, "written.onnx")
    assert digest_of_file("written.onnx") == digest_of_file("model/classifier.onnx")
    OnnxClassifier().verify(network, "written.onnx")
    model = onnx.load("written.onnx")
    for name in ("head/0/weights", "backbone/kernel"):
        broken = onnx.ModelProto()
        broken.CopyFrom(model)
        weights = next(one for one in broken.graph.initializer if one.name == name)
        weights.raw_data = weights.raw_data[::-1]
        onnx.save(broken, "broken.onnx")
        with pytest.raises(OutputError, match=r"broken\.onnx does not give the scores of the trained model"):
            OnnxClassifier().verify(network, "broken.onnx")
    Path("broken.onnx").write_bytes(b"nothing")
    with pytest.raises(OutputError, match=r"broken\.onnx can't be run: ONNX Runtime can't run this network"):
        OnnxClassifier().verify(network, "broken.onnx")


def test_of_many_labels_each_has_a_score_of_its_own_and_a_threshold_in_the_metadata(here):
    head, labels = read_head("model/head.h5")
    one = source_of().under(head, labels)
    many = source_of().under(dataclasses.replace(head, thresholds=np.array([0.1, 0.5, 0.9], np.float32)), labels)
    OnnxClassifier().write(many, "many.onnx")
    OnnxClassifier().verify(many, "many.onnx")
    with pytest.raises(OutputError, match=r"many\.onnx does not give the scores of the trained model"):
        OnnxClassifier().verify(one, "many.onnx")
    session = onnxruntime.InferenceSession("many.onnx", providers=["CPUExecutionProvider"])
    found = json.loads(session.get_modelmeta().custom_metadata_map["thresholds"])
    assert tuple(found) == many.head.exact_thresholds
    pixels = np.random.default_rng(0).integers(0, 256, (4, SIZE, SIZE, 3)).astype(np.uint8)
    scores, vectors = session.run(["final_result", "bottleneck"], {"pictures": pixels})
    np.testing.assert_allclose(scores, many.head.scores(vectors), rtol=0, atol=1e-5)


def test_it_says_what_pictures_are_known(here):
    head, labels = read_head("model/head.h5")
    plain = source_of().under(head, labels)
    rejection = some_rejection(head.bottleneck_size, len(labels))
    probe = rejection.distances(plain.source.facts.probe[np.newaxis])[0]
    rejection = dataclasses.replace(rejection, limit=Limit(float(probe), 0.1))
    network = source_of().under(dataclasses.replace(head, rejection=rejection), labels)
    OnnxClassifier().write(network, "knowing.onnx")
    OnnxClassifier().verify(network, "knowing.onnx")
    session = onnxruntime.InferenceSession("knowing.onnx", providers=["CPUExecutionProvider"])
    pixels = np.random.default_rng(0).integers(0, 256, (4, SIZE, SIZE, 3)).astype(np.uint8)
    known, vectors = session.run(["known", "bottleneck"], {"pictures": pixels})
    np.testing.assert_allclose(known, rejection.known(vectors), rtol=0, atol=1e-4)
    OnnxClassifier().write(plain, "plain.onnx")
    for part in (onnx_backbone_part, onnx_head_arrays):
        assert part(Path("knowing.onnx").read_bytes(), "it") == part(Path("plain.onnx").read_bytes(), "it")
    changed = dataclasses.replace(rejection, limit=Limit(rejection.limit.threshold + 0.01, 0.1))
    with pytest.raises(OutputError, match=r"knowing\.onnx does not give the scores of the trained model"):
        OnnxClassifier().verify(source_of().under(dataclasses.replace(head, rejection=changed), labels), "knowing.onnx")


def test_a_damaged_model_is_refused(here):
    data = bytearray(Path("model/classifier.onnx").read_bytes())
    data[-20] ^= 1
    Path("model/classifier.onnx").write_bytes(data)
    done = retrain("predict", "model", "pictures/cat/cat1.png", check=1)
    one_line_error(done, "classifier.onnx is damaged", "train the model again")


@pytest.mark.parametrize("location", ["../secret", "secret"])
def test_a_model_that_names_other_files_is_refused(here, location):
    """ONNX Runtime would take them for weights, wherever they are."""
    model = onnx.load("model/classifier.onnx")
    kernel = next(one for one in model.graph.initializer if one.name == "backbone/kernel")
    Path("secret").write_bytes(kernel.raw_data)
    kernel.ClearField("raw_data")
    kernel.data_location = onnx.TensorProto.EXTERNAL
    kernel.external_data.add(key="location", value=location)
    description = Classifier("model").description
    with pytest.raises(
        ModelFolderError, match=r"c.onnx names other files as its own parts, as no model of this program"
    ):
        OnnxScorer(model.SerializeToString(), description, "c.onnx")


def test_a_file_has_no_licence_by_its_name(here):
    shutil.copy("network.onnx", "mobilenet_v2.onnx")
    retrain("train", "pictures", "--backbone", "mobilenet_v2.onnx", "--steps", 50, "--model-dir", "named", check=0)
    assert "unknown: ask whoever published them" in Path("named/README.md").read_text()


@pytest.mark.parametrize("opset", [12, 22])
def test_the_exports_onnx_and_openvino_take_pictures_of_any_size(here, opset):
    """Of whatever opset the network is; what stands in front of it has 18."""
    save_network("other.onnx", Form(opset=opset, gives=("sequence",)))
    retrain("train", "pictures", "--backbone", "other.onnx", "--steps", 50, "--model-dir", "other", check=0)
    pixels = np.stack([np.asarray(draw_picture(number, 1, 37).resize((50, 37))) for number in range(3)])
    for number, picture in enumerate(pixels):
        Image.fromarray(picture).save(f"{number}.png")
    classifier = Classifier("other")
    found = classifier.predict(["0.png", "1.png", "2.png"])
    expected = [[one.scores[label] for label in classifier.labels] for one in found]
    whole = onnx_model(StoredModel("other"))
    session = onnxruntime.InferenceSession(whole.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"pictures": pixels})[0], expected, atol=1e-6)
    if importlib.util.find_spec("openvino"):
        Path("openvino").mkdir()
        OpenVinoFormat().write(StoredModel("other"), Path("openvino"), lambda _: None)
        Path("openvino/labels.txt").write_text("\n".join(classifier.labels))
        scores = OpenVinoFormat().load(Path("openvino")).answers("pictures", pixels)
        np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_formats_of_tensorflow_say_what_is_missing(here):
    with pytest.raises(
        ExportError,
        match=r"has no graph\.pb.*: its backbone is an ONNX network, which can be exported as onnx and openvino",
    ):
        StoredModel("model").graph  # noqa: B018
    assert StoredModel("model").description.is_onnx


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            f"{TRAIN} --fine-tune-layers 2",
            "fine-tuning needs TensorFlow's graph of the backbone, and network is an ONNX",
        ),
        (f"{TRAIN} --precision bfloat16", "--precision bfloat16 is for networks that TensorFlow runs"),
        ("predict model pictures/cat/cat1.png --explain maps", "need its classifier.tflite; leave --explain out"),
        (
            "--image_dir pictures --tfhub_module network.onnx --output_graph g --output_labels l",
            "--tfhub_module network.onnx is an ONNX network, of which there is no TensorFlow graph to write",
        ),
    ],
)
def test_what_needs_tensorflows_graph_is_refused_in_one_line(here, arguments, message):
    before = sorted(Path("cache").rglob("*"))
    done = retrain(*arguments.split())
    assert done.returncode in (1, 2)
    one_line_error(done, message)
    assert sorted(Path("cache").rglob("*")) == before


def test_int8_is_made_and_run_by_openvino(here):
    pytest.importorskip("nncf", reason="the extra int8 is not installed")
    done = retrain(*f"{TRAIN} --precision int8 --model-dir int8 --json".split(), check=0)
    run = json.loads(done.stdout)
    assert run["results"]["test"]["accuracy"] == 1.0
    assert run["backbone"]["description"]["mean_cosine"] > 0.98
    assert run["backbone"]["graph"]["description"]["precision"] == "float32"
    assert json.loads(retrain("evaluate", "int8", "pictures", "--json", check=0).stdout)["accuracy"] == 1.0


def test_a_float16_network_trains_like_one_in_float32(here):
    save_network("half.onnx", Form(dtype="float16", layout="nhwc", gives=("sequence",), side="side"))
    options = ["--input-size", SIZE, "--pooling", "mean", "--steps", 500, "--input-layout", "nhwc"]
    done = retrain("train", "pictures", "--backbone", "half.onnx", *options, "--model-dir", "half", "--json", check=0)
    assert json.loads(done.stdout)["backbone"]["bottleneck_size"] == 6
    retrain("predict", "half", "pictures/cat/cat1.png", check=0)
