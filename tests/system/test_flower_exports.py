"""Exports of a real network, on every test picture of the flowers: in Python, and in a browser by the docs' code.

Graphs and SavedModels are compared in test_real_networks.py.
"""

import base64
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from support.browser import node_modules, running_browser, served
from support.command import retrain
from support.pictures import REPOSITORY, encoded, resized_by_predict

from retrain.events import ignore
from retrain.export.formats import FORMATS
from retrain.export.stored_model import StoredModel
from retrain.model import Classifier

pytestmark = pytest.mark.real

# how far scores may be from those of `retrain predict`
TFLITE = {"tflite": 1e-6, "tflite-float16": 0.1, "tflite-dynamic": 0.1, "tflite-int8": 0.15}
FARTHEST = dict.fromkeys(("keras", "onnx", "openvino"), 1e-5) | TFLITE
IN_BROWSERS = TFLITE | {"onnx": 1e-5}


@pytest.fixture(scope="module")
def flowers(test_data, tmp_path_factory):
    """A model of MobileNetV2, at 96 pixels, and every sixth of 500 flowers, with its test and training pictures."""
    folder = tmp_path_factory.mktemp("flowers")
    for path in sorted((test_data / "images" / "flowers").glob("*/*.jpg"))[::6]:
        (folder / "pictures" / path.parent.name).mkdir(parents=True, exist_ok=True)
        (folder / "pictures" / path.parent.name / path.name).symlink_to(path)
    weights = test_data / "backbones" / "mobilenet_v2_1.0_224.weights.h5"
    backbone = ["--backbone", "mobilenet_v2", "--weights", weights, "--input-size", 96]
    retrain("train", "pictures", *backbone, "--no-report", cwd=folder, check=0)
    rows = [row.split(",") for row in (folder / "model" / "predictions.csv").read_text().splitlines()[1:]]
    paths = {name: [folder / "pictures" / row[0] for row in rows if row[1] == name] for name in ("test", "train")}
    assert len(paths["test"]) > 5
    return folder / "model", paths


@pytest.fixture(scope="module")
def pictures(flowers):
    """(height, width, 3) uint8: the test pictures as they are, and what `retrain predict` says of these pixels."""
    classifier = Classifier(flowers[0])
    size = classifier.description.height, classifier.description.width
    whole = [np.asarray(Image.open(path).convert("RGB")) for path in flowers[1]["test"]]
    small = [resized_by_predict(picture, *size) for picture in whole]
    return whole, classifier.scores(np.stack(small))


@pytest.fixture(scope="module")
def exported(flowers, tmp_path_factory):
    """Gives the folder of an export of the flowers; each is written once."""
    model_dir, paths = flowers
    model = StoredModel(str(model_dir), training_pictures=[str(path) for path in paths["train"]])
    folders = {}

    def export(name):
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp("exports") / name
            folders[name].mkdir()
            shutil.copy(model_dir / "labels.txt", folders[name])
            FORMATS[name].write(model, folders[name], ignore)
        return folders[name]

    return export


@pytest.mark.parametrize("name", FARTHEST)
def test_every_test_picture_gets_the_scores_of_predict(name, exported, pictures):
    runtime = FORMATS[name].load(exported(name))
    [first, *_] = runtime.inputs
    found = np.concatenate([runtime.answers(first, picture[np.newaxis]) for picture in pictures[0]])
    np.testing.assert_allclose(found, pictures[1], atol=FARTHEST[name])
    assert (found.argmax(axis=1) == pictures[1].argmax(axis=1)).mean() > 0.9


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A page that has the scripts of the docs, and a folder for models."""
    modules = node_modules()
    folder = tmp_path_factory.mktemp("page")
    (folder / "node_modules").symlink_to(modules)
    text = (REPOSITORY / "docs" / "exports.md").read_text("utf-8")
    for name, code in re.findall(r"```js\n// (\w+\.js)\n(.*?)```", text, re.DOTALL):
        (folder / name).write_text(code)
    imports = re.search(r"```html\n(.*?)```", text, re.DOTALL).group(1)
    (folder / "index.html").write_text(f"<!doctype html>{imports}")
    with served(folder) as address, running_browser() as browser:
        yield folder, address, browser.new_page()


CLASSIFY = """async ([script, pictures]) => {
  const {classify} = await import(script);
  const found = [];
  for (const picture of pictures) {
    const bitmap = await createImageBitmap(await (await fetch(picture)).blob());
    const canvas = new OffscreenCanvas(bitmap.width, bitmap.height).getContext('2d');
    canvas.drawImage(bitmap, 0, 0);
    found.push(await classify(canvas.getImageData(0, 0, bitmap.width, bitmap.height)));
  }
  return found;
}"""


@pytest.mark.parametrize("name", IN_BROWSERS)
def test_a_browser_gives_every_test_picture_the_scores_of_predict(name, exported, pictures, page, flowers):
    folder, address, shown = page
    for file in exported(name).iterdir():
        shutil.copy(file, folder)
    shown.goto(address)
    script = "/onnx.js" if name == "onnx" else "/litert.js"
    urls = [f"data:image/png;base64,{base64.b64encode(encoded(whole, 'PNG')).decode()}" for whole in pictures[0]]
    found = shown.evaluate(CLASSIFY, [script, urls])
    labels = (flowers[0] / "labels.txt").read_text().splitlines()
    assert all([*scores] == labels for scores in found)
    scores = np.array([[one[label] for label in labels] for one in found])
    np.testing.assert_allclose(scores, pictures[1], atol=IN_BROWSERS[name])


def test_the_script_of_the_docs_resizes_as_predict_does(page):
    _, address, shown = page
    shown.goto(address)
    for height, width in [(24, 32), (48, 64), (90, 60), (60, 90), (200, 16), (3, 50), (1, 1)]:
        picture = np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)
        found = shown.evaluate(
            "async ([pixels, ...sizes]) => [...(await import('/resize.js')).resize(pixels, ...sizes)]",
            [picture.ravel().tolist(), height, width, 24, 32],
        )
        expected = resized_by_predict(picture, 24, 32)
        np.testing.assert_array_equal(np.reshape(found, expected.shape), expected)
