import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from support.pictures import TINY_SIZE, draw_picture, resized_by_predict

from retrain._tensorflow import tf
from retrain.data.picture_form import PictureForm
from retrain.errors import ExportError
from retrain.events import ignore
from retrain.export import tflite_format
from retrain.export.formats import FORMATS
from retrain.export.labels_inside import labels_in
from retrain.export.stored_model import StoredModel
from retrain.model import Classifier

pytestmark = pytest.mark.network

# how far scores may be from those of `retrain predict`
FARTHEST = {"tflite": 1e-6, "tflite-float16": 0.01, "tflite-dynamic": 0.05, "tflite-int8": 0.05}


@pytest.fixture(scope="module")
def stored(trained):
    folder, _ = trained
    pictures = [str(path) for path in sorted(folder.glob("pictures/**/*.png"))]
    return StoredModel(str(folder / "model"), training_pictures=pictures)


@pytest.fixture(scope="module")
def classifier(stored):
    return Classifier(stored.model_dir)


@pytest.fixture(scope="module")
def written(stored, tmp_path_factory):
    """Gives the folder of a form; each is written once."""
    folders = {}

    def write(name):
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp(name)
            FORMATS[name].write(stored, folders[name], ignore)
        return folders[name]

    return write


def pictures_of(*size):
    return np.stack([np.asarray(draw_picture(number, number % 3).resize(size[::-1])) for number in range(6)])


def small(pictures):
    return np.stack([resized_by_predict(picture, TINY_SIZE, TINY_SIZE) for picture in pictures])


@pytest.mark.parametrize("name", FARTHEST)
def test_pictures_of_any_size_get_the_scores_of_predict_singly_and_together(name, written, classifier):
    runtime = FORMATS[name].load(written(name))
    assert runtime.labels == classifier.labels
    for pictures in (pictures_of(40, 60), pictures_of(60, 20), pictures_of(TINY_SIZE, TINY_SIZE), pictures_of(9, 7)):
        expected = classifier.scores(small(pictures))
        together = runtime.answers("picture", pictures)
        np.testing.assert_allclose(together, expected, atol=FARTHEST[name])
        singly = np.concatenate([runtime.answers("picture", picture[np.newaxis]) for picture in pictures])
        np.testing.assert_allclose(singly, together, atol=1e-6)
        np.testing.assert_array_equal(runtime.answers("pixels", small(pictures)), together)


@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_pictures_are_fitted_as_predict_does_it(fit):
    form = PictureForm(12, 16, fit)
    interpreter = Interpreter(model_content=tflite_format._converted(tflite_format._resizing(form), {}))
    [taken], [given] = interpreter.get_input_details(), interpreter.get_output_details()
    for pictures in (pictures_of(40, 60), pictures_of(60, 20), pictures_of(9, 30)):
        interpreter.resize_tensor_input(taken["index"], pictures.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(taken["index"], pictures)
        interpreter.invoke()
        expected = [resized_by_predict(picture, *form.size, fit) for picture in pictures]
        np.testing.assert_array_equal(interpreter.get_tensor(given["index"]), expected)


@pytest.mark.parametrize("name", FARTHEST)
def test_inputs_and_outputs_have_names_and_whole_sizes(name, written, classifier):
    interpreter = Interpreter(str(written(name) / "model.tflite"))
    assert interpreter.get_signature_list() == {
        "serving_default": {"inputs": ["pixels"], "outputs": ["final_result"]},
        "resize": {"inputs": ["picture"], "outputs": ["pixels"]},
    }
    [taken], [given] = interpreter.get_input_details(), interpreter.get_output_details()
    # LiteRT.js refuses a size that is left open
    assert taken["shape"].tolist() == taken["shape_signature"].tolist() == [1, TINY_SIZE, TINY_SIZE, 3]
    assert given["shape"].tolist() == given["shape_signature"].tolist() == [1, 3]
    assert (taken["dtype"], given["dtype"]) == (np.uint8, np.uint8 if name == "tflite-int8" else np.float32)
    assert labels_in(written(name) / "model.tflite") == classifier.labels


def test_int8_takes_pixels_as_they_are_and_gives_256ths(written):
    [taken] = Interpreter(str(written("tflite-int8") / "model.tflite")).get_input_details()
    [given] = Interpreter(str(written("tflite-int8") / "model.tflite")).get_output_details()
    scale, zero = taken["quantization"]
    assert (255 * scale, zero) == (pytest.approx(1.0), 127)  # the network subtracts 0.5
    assert given["quantization"] == (pytest.approx(1 / 256), 0)
    tensors = Interpreter(str(written("tflite-int8") / "model.tflite")).get_tensor_details()
    assert not any(tensor["dtype"] == np.float32 for tensor in tensors)


def test_int8_tells_how_it_goes_on(stored, tmp_path):
    heard = []
    FORMATS["tflite-int8"].write(stored, tmp_path, heard.append)
    assert [event.done for event in heard if event.what == "quantising tflite-int8"] == [*range(1, 91)]


def test_int8_needs_pictures(stored, tmp_path):
    with pytest.raises(ExportError, match="quantising needs some of the pictures that the model was trained on"):
        FORMATS["tflite-int8"].write(StoredModel(stored.model_dir), tmp_path, ignore)


def test_an_operation_that_litert_lacks_is_named():
    function = tf.function(tf.math.bessel_i0, input_signature=[tf.TensorSpec([2], tf.float32)])
    with pytest.raises(ExportError, match=r"can't be converted for LiteRT: LiteRT lacks its operation BesselI0$"):
        tflite_format._converted(function.get_concrete_function(), {})
