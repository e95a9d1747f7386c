"""What tests share: a tiny backbone, small image folders, and the way to the shared folder of test data."""

import gc
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from support.command import retrain
from support.pictures import REPOSITORY, TINY_LENGTH, TINY_SIZE, MakeFolder, draw_picture
from support.remembered import trace_anew, trace_once

from retrain import _tensorflow


def pytest_configure() -> None:
    """Processes of tests run this copy of the package, and heed Ctrl-C though the tests run in the background.

    TensorFlow starts as it does for the command line, which the tests run in their own process.
    """
    gc.set_threshold(10_000)  # looking for garbage among all that TensorFlow and Keras have took an eighth of the time
    _tensorflow.prepare_process()
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs a network is marked `network`; `make check` has tests of the commands on one trained model alone.

    Files that take long come first: at the end, one process would be busy with them while the others wait.
    """
    for item in items:
        if item.get_closest_marker("real"):
            item.add_marker(pytest.mark.slow)
        needs_network = not {"tiny_backbone", "small_backbone"}.isdisjoint(item.fixturenames)
        is_of_one_model = item.path.parent.name == "cli" and "tiny_backbone" not in item._fixtureinfo.argnames
        if needs_network and not is_of_one_model:
            item.add_marker(pytest.mark.network)
    marks = ("real", "slow")
    items.sort(key=lambda item: next((n for n, mark in enumerate(marks) if item.get_closest_marker(mark)), len(marks)))


@pytest.fixture(autouse=True)
def _own_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test starts in an empty folder of its own, without what tf2onnx and OpenVINO add to the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)


@pytest.fixture(autouse=True)
def _traced_once(session_folder: Path) -> None:
    trace_once(session_folder / "traced")


@pytest.fixture(scope="session")
def session_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of this session share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture
def traced_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this test every network is traced for export, as in a process of its own."""
    trace_anew(monkeypatch)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The shared folder of test data; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("RETRAIN_TEST_DATA", REPOSITORY.parent / "shared")).resolve()
    if not folder.is_dir():
        pytest.skip(f"no shared folder of test data in {folder} (RETRAIN_TEST_DATA)")
    return folder


@pytest.fixture(scope="session")
def reference_flowers(test_data: Path):
    """The bottlenecks that the original program computed of 500 flowers, and their labels' names."""
    import h5py

    from retrain.cache.vectors import LabelledBottlenecks

    with h5py.File(test_data / "reference" / "flowers.h5") as file:
        vectors = file["bottleneck"][:]
        folders = [path.decode().split("/")[0] for path in file["path"][:]]
    names = tuple(sorted(set(folders)))
    return LabelledBottlenecks(vectors, np.array([names.index(folder) for folder in folders], np.int32)), names


@pytest.fixture(scope="session")
def tiny_backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel in TensorFlow Hub's form: 16 x 16 pictures to 24 numbers, in microseconds."""
    from retrain._tensorflow import tf

    rng = np.random.default_rng(7)
    module = tf.Module()
    module.kernel = tf.Variable(rng.normal(0, 0.5, (4 * 4 * 3, TINY_LENGTH)).astype(np.float32))
    module.variables_list = [module.kernel]

    def call(inputs, training=False):
        blocks = tf.nn.avg_pool2d(inputs - 0.5, 4, 4, "VALID")
        return tf.nn.relu(tf.matmul(tf.reshape(blocks, [-1, 4 * 4 * 3]), module.kernel) + 0.3)

    spec = tf.TensorSpec([None, TINY_SIZE, TINY_SIZE, 3], tf.float32, name="inputs")
    module.__call__ = tf.function(call, input_signature=[spec, tf.TensorSpec([], tf.bool, name="training")])
    serve = tf.function(lambda inputs: {"default": call(inputs)}, input_signature=[spec])
    folder = tmp_path_factory.mktemp("backbones") / "tiny"
    tf.saved_model.save(module, str(folder), signatures={"serving_default": serve})
    return folder


@pytest.fixture
def make_folder(tmp_path: Path) -> MakeFolder:
    """Makes an image folder: make_folder({"cat": 30, "dog": 30}), a PNG per picture."""

    def make(classes: dict[str, int], name: str = "pictures", suffix: str = "png") -> Path:
        root = tmp_path / name
        for label, (folder, count) in enumerate(classes.items()):
            (root / folder).mkdir(parents=True)
            for number in range(count):
                draw_picture(number, label).save(root / folder / f"{folder.rpartition('/')[2]}_{number:03}.{suffix}")
        return root

    return make


@pytest.fixture(scope="session")
def trained(tiny_backbone, tmp_path_factory):
    """A folder with pictures/, cache/ and model/, made by `retrain train`; and what that printed."""
    folder = tmp_path_factory.mktemp("trained")
    for label, name in enumerate(["cat", "dog", "owl"]):
        (folder / "pictures" / name / "deep").mkdir(parents=True)
        for number in range(30):
            place = folder / "pictures" / name / ("deep" if number % 3 else "")
            draw_picture(number, label).save(place / f"{name}{number}.png")
    (folder / "pictures" / "cat" / "notes.txt").write_text("no picture")
    done = retrain("train", "pictures", "--backbone", tiny_backbone, "--steps", 200, cwd=folder, check=0)
    return folder, done


@pytest.fixture(scope="session")
def rejecting(tiny_backbone, tmp_path_factory):
    """A folder like `trained`, whose model tells pictures of no class; pictures/_none_ has some. And what was said."""
    folder = tmp_path_factory.mktemp("rejecting")
    for label, name in enumerate(["cat", "dog", "owl", "_none_"]):
        (folder / "pictures" / name).mkdir(parents=True)
        for number in range(30):
            draw_picture(number, label).save(folder / "pictures" / name / f"{name}{number}.png")
    options = ["--backbone", tiny_backbone, "--steps", 200, "--validation-percentage", 30]
    done = retrain("train", "pictures", *options, "--reject", 0.9, cwd=folder, check=0)
    return folder, done


@pytest.fixture(scope="session")
def many_labels(trained, tiny_backbone, tmp_path_factory):
    """A folder model/ whose pictures can have several labels, with the pictures and the cache of `trained`."""
    from support.many_labels import with_thresholds

    return with_thresholds(trained[0], tiny_backbone, tmp_path_factory.mktemp("many") / "model")
