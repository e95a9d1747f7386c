"""A process that can't import TensorFlow exports what one with TensorFlow exports, from what that kept in the cache."""

import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.pictures import draw_picture
from support.refused import REFUSE_TENSORFLOW, refusing
from support.sessions import as_it_is

from retrain._tensorflow import tf
from retrain.files import digest_of_file
from retrain.model.head import Head, Layer, write_head

# also run in this process; what it needs is imported where TensorFlow is refused
EXPORT = """
from retrain.backbones import Backbone
from retrain.backbones.backbone import locate_backbone
from retrain.events import Evaluated
from retrain.backbones import Converter
from retrain.export import ExportSource, FrozenGraph, SavedModel
from retrain.model.head import read_head
from retrain.options import BackboneOptions
from retrain.report import write_summaries

def export(place, backbone, final_tensor_name):
    told = []
    located, converter = locate_backbone(BackboneOptions(**backbone)), Converter("cache", told.append)
    source = ExportSource(located, final_tensor_name, converter)
    source.prepare()
    head, labels = read_head("head.h5")
    network = source.under(head, labels)
    FrozenGraph().write(network, f"{place}/graph.pb")
    FrozenGraph().verify(network, f"{place}/graph.pb")
    SavedModel().write(network, f"{place}/saved_model")
    history = [Evaluated(step, step / 100, 0.1, 0.0, 0.2) for step in range(0, 100, 10)]
    write_summaries(history, f"{place}/logs")
    assert not told
"""

RUN = """
export(*json.loads(sys.argv[1]))
[most] = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM:")]
print(int(most) // 1024)
"""


def export_both(backbone, widths, name="final_result"):
    """Export with TensorFlow into `with`, then without it into `without`; the most memory that took, in MiB."""
    rng = np.random.default_rng(0)
    layers = [
        Layer(rng.normal(size=pair).astype("f"), rng.normal(size=pair[1]).astype("f"))
        for pair in itertools.pairwise(widths)
    ]
    write_head(Head(tuple(layers)), [f"ä 花 {number}" for number in range(widths[-1])], "head.h5")
    for place in ("with", "without"):
        Path(place).mkdir()
    here = {}
    exec(EXPORT, here)
    here["export"]("with", backbone, name)
    arguments = json.dumps(["without", backbone, name])
    code = REFUSE_TENSORFLOW + EXPORT + RUN
    done = subprocess.run([sys.executable, "-c", code, arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def check_equal():
    """What was written is the same."""
    written = [files_of(place) for place in ("with", "without")]
    assert written[0] == written[1]
    assert len(written[0]) == 5


def check_loaded(name):
    """TensorFlow loads it."""
    loaded = tf.saved_model.load("without/saved_model")
    pixels = np.random.default_rng(0).random((2, *loaded.from_pixels.input_signature[0].shape[1:]), np.float32)
    answer = loaded.signatures["pixels"](pixels=tf.constant(pixels))
    with tf.Graph().as_default():
        tf.graph_util.import_graph_def(tf.compat.v1.GraphDef.FromString(Path("without/graph.pb").read_bytes()), name="")
        with tf.compat.v1.Session(config=as_it_is()) as session:
            scores = session.run(f"{name}:0", {"Placeholder:0": pixels})
    np.testing.assert_allclose(answer[name].numpy(), scores, atol=1e-5)
    assert answer["labels"].numpy()[1, -1].decode() == f"ä 花 {scores.shape[1] - 1}"
    for part in ("train", "validation"):
        [path] = Path("without/logs", part).iterdir()
        events = [*tf.compat.v1.train.summary_iterator(str(path))]
        assert [event.step for event in events[1:]] == [*range(0, 100, 10)]


def files_of(place):
    paths = [path for path in Path(place).rglob("*") if path.is_file() and "logs" not in path.parts]
    return {str(path.relative_to(place)): digest_of_file(path) for path in paths}


@pytest.mark.parametrize(("widths", "name"), [((24, 8, 1000), "Scores_1"), ((24, 1), "final_result")], ids=str)
def test_a_tiny_network(tiny_backbone, widths, name):
    export_both({"backbone": str(tiny_backbone)}, widths, name)
    check_equal()
    check_loaded(name)


@pytest.mark.real
def test_inception_v3_in_little_memory(test_data, monkeypatch):
    """The files have 90 MB each; none is held in memory."""
    monkeypatch.setenv("RETRAIN_BACKBONES", str(test_data / "backbones"))
    most = export_both({"backbone": "inception_v3"}, (2048, 5))
    assert most < 150
    check_equal()


@pytest.fixture(scope="module")
def without_tensorflow():
    """A process without TensorFlow that runs commands."""
    with refusing() as run:
        yield run


@pytest.mark.parametrize(
    "arguments",
    [
        "train pictures --backbone {backbone} --model-dir again --optimizer lbfgs --calibrate --tune --tune-seconds 1",
        "crossval pictures --backbone {backbone} --folds 3",
        "extract pictures --backbone {backbone}",
        "evaluate model pictures",
        "predict model pictures --wrong",
        "train pictures --backbone {backbone} --model-dir again --optimizer adam --steps 100 --patience 50 --plots "
        "--report full --projector",
        "report model --image-dir pictures",
        "compare model model --html page.html",
        "inspect pictures",
        "cache info",
        "cache verify",
        "backbones",
        "--image_dir pictures --tfhub_module {backbone} --output_graph out/graph.pb --output_labels out/labels.txt "
        "--bottleneck_dir cache --summaries_dir logs --how_many_training_steps 50",
    ],
)
def test_a_command_that_meets_no_new_network_imports_none(trained, tiny_backbone, without_tensorflow, arguments):
    """The cache has the bottlenecks, the converted network, and what exports need."""
    folder, _ = trained
    for name in ("pictures", "cache", "model"):
        shutil.copytree(folder / name, name)
    done = without_tensorflow(*arguments.format(backbone=tiny_backbone).split())
    assert done.returncode == 0, done.stderr
    if arguments.startswith("train"):
        assert (Path("again") / "classifier.tflite").exists()


def test_new_pictures_are_extracted_without_it(trained, tiny_backbone, without_tensorflow):
    folder, _ = trained
    for name in ("pictures", "cache", "model"):
        shutil.copytree(folder / name, name)
    draw_picture(99, 0).save("pictures/cat/new.png")
    for arguments in (
        "evaluate model pictures --json",
        f"train pictures --backbone {tiny_backbone} --augment 2 --flip --json",
    ):
        done = without_tensorflow(*arguments.split())
        assert done.returncode == 0, done.stderr


def test_where_tensorflow_is_refused_a_new_network_fails(without_tensorflow, make_folder, tiny_backbone):
    make_folder({"cat": 4, "dog": 4})
    done = without_tensorflow("extract", "pictures", "--backbone", tiny_backbone)
    assert "AssertionError: tensorflow is imported" in done.stderr
