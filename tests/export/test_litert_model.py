"""classifier.tflite: the backbone's own file behind a new graph, as any runtime of LiteRT loads it."""

import dataclasses
import itertools

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from support.pictures import TINY_LENGTH, TINY_SIZE
from support.rejections import some_rejection

from retrain._tensorflow import convert, tf
from retrain.backbones import Converter, LiteRTNetwork
from retrain.backbones.backbone import locate_backbone
from retrain.errors import ModelFolderError, OutputError
from retrain.export import litert_model
from retrain.export.litert_model import LiteRTModel
from retrain.export.source import ExportSource
from retrain.export.template import apply_layers
from retrain.model.head import Head, Layer, array_identity
from retrain.model.litert_file import backbone_part, head_arrays
from retrain.model.rejection import Limit
from retrain.options import BackboneOptions

PIXELS = np.random.default_rng(1).random((5, TINY_SIZE, TINY_SIZE, 3), np.float32)


@pytest.fixture(scope="module")
def source(tiny_backbone, tmp_path_factory):
    backbone = locate_backbone(BackboneOptions(backbone=str(tiny_backbone)))
    return ExportSource(backbone, "Scores_1", Converter(tmp_path_factory.mktemp("cache")))


@pytest.fixture(params=[(TINY_LENGTH, 3), (TINY_LENGTH, 8, 1000), (TINY_LENGTH, 1)], ids=str)
def network(request, source):
    rng = np.random.default_rng(0)
    layers = [
        Layer(rng.normal(size=pair).astype("f"), rng.normal(size=pair[1]).astype("f"))
        for pair in itertools.pairwise(request.param)
    ]
    return source.under(Head(tuple(layers)), [str(number) for number in range(request.param[-1])])


def scores_of(model, pixels=PIXELS):
    return Interpreter(model_content=model).get_signature_runner("serving_default")(pixels=pixels)["Scores_1"]


def written(network):
    LiteRTModel().write(network, "classifier.tflite")
    with open("classifier.tflite", "rb") as file:
        return file.read()


def test_it_gives_what_tensorflow_s_own_conversion_gives(network):
    frozen = network.source.backbone.network.frozen_graph

    def whole(pixels):
        [vectors] = tf.graph_util.import_graph_def(
            frozen.graph_def, {frozen.start: pixels}, return_elements=[frozen.end]
        )
        return tf.nn.softmax(apply_layers(vectors, network.head.layers))

    function = tf.function(whole, [tf.TensorSpec([None, TINY_SIZE, TINY_SIZE, 3], tf.float32)], autograph=False)
    theirs = Interpreter(model_content=convert(function.get_concrete_function()))
    theirs.resize_tensor_input(theirs.get_input_details()[0]["index"], PIXELS.shape)
    theirs.allocate_tensors()
    theirs.set_tensor(theirs.get_input_details()[0]["index"], PIXELS)
    theirs.invoke()
    expected = theirs.get_tensor(theirs.get_output_details()[0]["index"])
    np.testing.assert_allclose(scores_of(written(network)), expected, rtol=0, atol=1e-6)


def of_many_labels(network):
    size = len(network.labels)
    head = dataclasses.replace(network.head, thresholds=np.full(size, 0.5, np.float32))
    return network.source.under(head, network.labels)


def test_each_of_many_labels_has_a_score_of_its_own(network):
    many, pixels = of_many_labels(network), (PIXELS * 255).astype(np.uint8)
    logits = network.head.logits(LiteRTNetwork(bytes(network.converted.model)).run(pixels))
    scores = scores_of(written(many), pixels / np.float32(255))
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-logits.astype(float))), rtol=0, atol=1e-5)
    LiteRTModel().verify(many, "classifier.tflite")


def test_another_activation_is_found(network):
    many = of_many_labels(network)
    for right, wrong in ((network, many), (many, network)):
        written(wrong)
        with pytest.raises(OutputError, match="does not give the scores of the trained model"):
            LiteRTModel().verify(right, "classifier.tflite")


def test_it_says_what_pictures_are_known(source):
    rng = np.random.default_rng(0)
    layer = Layer(rng.normal(size=(TINY_LENGTH, 3)).astype("f"), rng.normal(size=3).astype("f"))
    plain = source.under(Head((layer,)), ["a", "b", "c"])
    vectors = source.converted.probe[np.newaxis]
    rejection = some_rejection(TINY_LENGTH, 3)
    rejection = dataclasses.replace(rejection, limit=Limit(float(rejection.distances(vectors)[0]), 0.1))
    network = dataclasses.replace(plain, head=Head((layer,), rejection=rejection))
    model = written(network)
    LiteRTModel().verify(network, "classifier.tflite")
    run = Interpreter(model_content=model).get_signature_runner("serving_default")
    together = run(pixels=PIXELS)
    assert together["known"].shape == (len(PIXELS), 1)
    assert ((together["known"] > 0) & (together["known"] < 1)).all()
    np.testing.assert_allclose(together["Scores_1"], scores_of(written(plain)), rtol=0, atol=1e-6)
    singly = [run(pixels=picture[np.newaxis])["known"] for picture in PIXELS]
    np.testing.assert_allclose(together["known"], np.concatenate(singly), rtol=0, atol=1e-5)
    changed = dataclasses.replace(rejection, offsets=rejection.offsets + np.float32(0.01))
    for wrong in (None, changed, dataclasses.replace(rejection, limit=Limit(0.0, 0.1))):
        with pytest.raises(OutputError, match="does not give the scores of the trained model"):
            written(dataclasses.replace(network, head=Head((layer,), rejection=wrong)))
            LiteRTModel().verify(network, "classifier.tflite")


def test_singly_and_in_batches_it_gives_the_same(network):
    model = written(network)
    singly = [scores_of(model, picture[np.newaxis]) for picture in PIXELS]
    np.testing.assert_allclose(scores_of(model), np.concatenate(singly), rtol=0, atol=1e-6)


def test_inputs_and_outputs_have_names(network):
    interpreter = Interpreter(model_content=written(network))
    assert interpreter.get_signature_list() == {"serving_default": {"inputs": ["pixels"], "outputs": ["Scores_1"]}}
    [taken], [given] = interpreter.get_input_details(), interpreter.get_output_details()
    assert (taken["name"], taken["shape_signature"].tolist()) == ("pixels", [-1, TINY_SIZE, TINY_SIZE, 3])
    assert (given["name"], given["shape_signature"].tolist()) == ("Scores_1", [-1, len(network.labels)])


def test_buffers_lie_where_a_processor_can_read_numbers(network):
    model = schema.Model.GetRootAs(written(network))
    places = []
    start = len(written(network)) - len(network.converted.model)
    for number in range(model.BuffersLength()):
        table = model.Buffers(number)._tab
        if table.Offset(4):
            places.append(table.Vector(table.Offset(4)))
    own = [place for place in places if place < start]
    assert [place % 16 for place in own] == [0] * len(own)
    assert len(own) < len(places)
    # TensorFlow itself sees to four bytes
    assert [place % 4 for place in places] == [0] * len(places)


def test_what_is_in_it_can_be_told(network):
    model = written(network)
    assert backbone_part(model, "it") == bytes(network.converted.model)
    arrays = {array_identity(array) for layer in network.head.layers for array in (layer.weights, layer.biases)}
    assert head_arrays(model, "it") == arrays


@pytest.mark.parametrize("model", [b"", b"no model", bytes(4000)])
def test_a_foreign_file_is_an_error(model, source):
    with pytest.raises(ModelFolderError, match=r"it is not a model of this program, or is damaged: train the model"):
        backbone_part(model, "it")
    with pytest.raises(ModelFolderError, match=r"it is not a model of this program, or is damaged: train the model"):
        backbone_part(bytes(source.converted.model), "it")  # a model of LiteRT, but of no head
    with open("it", "wb") as file:
        file.write(model)
    head = Head((Layer(np.zeros((TINY_LENGTH, 2), np.float32), np.zeros(2, np.float32)),))
    with pytest.raises(OutputError, match="it can't be run: LiteRT can't run this network"):
        LiteRTModel().verify(source.under(head), "it")


def test_more_than_such_a_file_can_hold_is_an_error(network, monkeypatch):
    monkeypatch.setattr(litert_model, "_MOST_BYTES", 1000)
    with pytest.raises(OutputError, match=r"has \d+ bytes, more than such a file can hold \(1000\): use a smaller"):
        written(network)


def test_a_network_that_litert_can_not_run_has_none(source, monkeypatch):
    monkeypatch.setitem(source.__dict__, "converted", None)
    with pytest.raises(OutputError, match="LiteRT can't run this network, so there is no LiteRT model of it"):
        written(source.under(Head(())))
