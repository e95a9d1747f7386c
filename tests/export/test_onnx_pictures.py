import importlib.util
import io

import numpy as np
import pytest
from PIL import Image

from retrain.backbones import own_signal_stack
from retrain.data.decoding import decode_image
from retrain.data.picture_form import PictureForm
from retrain.export.onnx_pictures import resizing, with_resizing
from retrain.export.openvino_format import import_openvino
from retrain.options import FITS

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
if importlib.util.find_spec("openvino") is None:
    pytest.skip("the extra openvino is not installed", allow_module_level=True)

HEIGHT, WIDTH = 32, 24
# wide, tall, narrow, smaller, as large, of one pixel; columns come first in tall ones
SIZES = [(60, 90), (90, 60), (300, 40), (40, 300), (20, 15), (16, 90), (32, 24), (1, 1), (700, 500), (20, 6000)]


def pictures_of(height, width):
    return np.random.default_rng(height * width).integers(0, 256, (2, height, width, 3), np.uint8)


def by_predict(pictures, fit="squash"):
    files = []
    for picture in pictures:
        files.append(io.BytesIO())
        Image.fromarray(picture).save(files[-1], "BMP")
    return np.stack([decode_image(file.getvalue(), PictureForm(HEIGHT, WIDTH, fit)) for file in files])


@pytest.fixture(scope="module")
def runtimes():
    return {fit: runtimes_of(fit) for fit in FITS}


def runtimes_of(fit):
    model = resizing(PictureForm(HEIGHT, WIDTH, fit))
    onnx.checker.check_model(model, full_check=True)
    content = model.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    openvino = import_openvino()
    with own_signal_stack():
        compiled = openvino.Core().compile_model(openvino.Core().read_model(content), "CPU", settings)
    return {
        "onnxruntime": lambda pictures: session.run(None, {"pictures": pictures})[0],
        "openvino": lambda p: compiled(p)[0],
    }


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("size", SIZES)
def test_pixels_are_those_of_predict_bit_for_bit(size, fit, name, runtimes):
    pictures = pictures_of(*size)
    assert np.array_equal(runtimes[fit][name](pictures), by_predict(pictures, fit))


def test_a_network_behind_it_may_use_the_same_names_and_an_earlier_opset():
    network = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["": 13]>
        resizing (uint8[n, {HEIGHT}, {WIDTH}, 3] pictures) => (float[n, 3] sums)
        {{
            planes = Cast <to = 1> (pictures)
            levels = ReduceMean <axes = [1, 2], keepdims = 0> (planes)
            sums = Identity (levels)
        }}
    """)
    model = with_resizing(network, PictureForm(HEIGHT, WIDTH))
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert [one.shape for one in session.get_inputs()] == [["n", "height", "width", 3]]
    pictures = pictures_of(60, 90)
    [sums] = session.run(["sums"], {"pictures": pictures})
    np.testing.assert_allclose(sums, by_predict(pictures).mean(axis=(1, 2)), rtol=1e-6)
