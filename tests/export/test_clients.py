"""The exported forms, called as clients of each generation call them."""

import io
import itertools
import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image
from support.faults import full_after
from support.pictures import TINY_LENGTH, TINY_SIZE, draw_picture

import retrain
from retrain._tensorflow import tf
from retrain.backbones.backbone import locate_backbone
from retrain.backbones.conversion import Converter
from retrain.backbones.graph_images import decode_jpeg, decode_resized, resize
from retrain.data.decoding import decode_image
from retrain.data.picture_form import PictureForm
from retrain.errors import ModelFolderError, OutputError
from retrain.export.frozen_graph import FrozenGraph
from retrain.export.litert_model import LiteRTModel
from retrain.export.saved_model import SavedModel, reason_of
from retrain.export.source import ExportSource
from retrain.files import digest_of_file
from retrain.folders import NEW
from retrain.model.folder import list_files
from retrain.model.head import Head, Layer, read_head
from retrain.options import BackboneOptions, EvaluationOptions, ExtractionOptions, RunOptions, TrainingOptions
from retrain.pipeline.evaluate import evaluate as evaluate_folder

v1 = tf.compat.v1


@pytest.fixture(scope="module")
def trained(tiny_backbone, tmp_path_factory):
    """A model folder, and JPEGs to try it on."""
    folder = tmp_path_factory.mktemp("export")
    for label, name in enumerate(["Ärger", "b c", "花"]):
        (folder / "pictures" / name).mkdir(parents=True)
        for number in range(30):
            draw_picture(number, label, 40).save(folder / "pictures" / name / f"{number}.jpg", quality=90)
    options = RunOptions(
        backbone=BackboneOptions(backbone=str(tiny_backbone)),
        training=TrainingOptions(steps=300, learning_rate=0.1),
        evaluation=EvaluationOptions(),
    )
    before = os.getcwd()
    os.chdir(folder)
    try:
        retrain.train("pictures", "model", options)
    finally:
        os.chdir(before)
    return folder / "model", sorted((folder / "pictures").glob("*/*"))[::9]


@pytest.fixture(scope="module")
def session(trained):
    """A TensorFlow 1 session with the graph imported as the original's clients import it."""
    graph_def = v1.GraphDef()
    graph_def.ParseFromString((trained[0] / "graph.pb").read_bytes())
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(graph_def, name="")
        tf.import_graph_def(graph_def)
    session = v1.Session(graph=graph)
    yield session
    session.close()


@pytest.fixture(scope="module")
def expected(trained):
    """What `retrain predict` says: (n, 3) scores in the order of labels.txt."""
    classifier = retrain.Classifier(trained[0])
    return np.array([[p.scores[label] for label in classifier.labels] for p in classifier.predict(trained[1])])


def resized(path):
    return decode_image(path.read_bytes(), PictureForm(TINY_SIZE, TINY_SIZE)).astype(np.float32)


def check(scores, expected):
    scores = np.concatenate(scores)
    assert np.array_equal(scores.argmax(axis=1), expected.argmax(axis=1))
    assert np.abs(scores - expected).max() < 0.01


@pytest.mark.parametrize("prefix", ["", "import/"])
def test_clients_of_2016_feed_the_bytes_of_a_jpeg(session, trained, expected, prefix):
    softmax = session.graph.get_tensor_by_name(f"{prefix}final_result:0")
    feed = f"{prefix}DecodeJpeg/contents:0"
    check([session.run(softmax, {feed: path.read_bytes()}) for path in trained[1]], expected)


@pytest.mark.parametrize("side", [40, 64, 128, 300])  # at scales of 1, 1/2, 1/4, 1/8
def test_graph_saved_model_and_predict_agree_on_large_jpegs(session, trained, tmp_path, side):
    paths = [tmp_path / f"{number}.jpg" for number in range(4)]
    for number, path in enumerate(paths):
        exif = Image.Exif()
        exif[0x0112] = [1, 3, 6, 8][number]
        draw_picture(number, number % 3, side).save(path, quality=90, exif=exif)
    classifier = retrain.Classifier(trained[0])
    expected = np.array([[p.scores[label] for label in classifier.labels] for p in classifier.predict(paths)])
    contents = [path.read_bytes() for path in paths]
    check([session.run("final_result:0", {"DecodeJpeg/contents:0": data}) for data in contents], expected)
    decoded = session.run("DecodeJpeg:0", {"DecodeJpeg/contents:0": contents[0]})
    scale = {40: 1, 64: 2, 128: 4, 300: 8}[side]
    assert decoded.shape == (-(-side // scale), -(-side // scale), 3)
    loaded = tf.saved_model.load(str(trained[0] / "saved_model"))
    answer = loaded.signatures["serving_default"](image_bytes=tf.constant(contents))
    check([answer["final_result"].numpy()], expected)


@pytest.mark.parametrize("prefix", ["", "import/"])
def test_clients_of_2016_feed_decoded_pixels(session, trained, expected, prefix):
    """As many do for pictures that are no JPEGs: (height, width, 3) uint8 at any size."""
    arrays = [np.asarray(Image.open(path).convert("RGB")) for path in trained[1]]
    check([session.run(f"{prefix}final_result:0", {f"{prefix}DecodeJpeg:0": array}) for array in arrays], expected)


@pytest.mark.parametrize("prefix", ["", "import/"])
def test_clients_of_2017_feed_pixels_between_minus_one_and_one(session, trained, expected, prefix):
    """Operations are looked up by name; `Mul` is at the size of the backbone, `input` at any."""
    output = session.graph.get_operation_by_name(f"{prefix}final_result")
    mul = session.graph.get_operation_by_name(f"{prefix}Mul")
    any_size = session.graph.get_operation_by_name(f"{prefix}input")
    batch = np.stack([resized(path) for path in trained[1]]) / 127.5 - 1
    check([session.run(output.outputs[0], {mul.outputs[0]: batch})], expected)
    scores = []
    for path in trained[1]:
        pixels = np.asarray(Image.open(path).convert("RGB"), np.float32)[np.newaxis] / 127.5 - 1
        scores.append(session.run(output.outputs[0], {any_size.outputs[0]: pixels}))
    check(scores, expected)


@pytest.mark.parametrize("prefix", ["", "import/"])
def test_clients_of_2018_feed_pixels_between_zero_and_one(session, trained, expected, prefix):
    """tensorflow/hub's label_image: --input_layer=Placeholder --output_layer=final_result."""
    operation = session.graph.get_operation_by_name(f"{prefix}Placeholder")
    assert operation.outputs[0].shape.as_list() == [None, TINY_SIZE, TINY_SIZE, 3]
    batch = np.stack([resized(path) for path in trained[1]]) / 255
    check([session.run(f"{prefix}final_result:0", {operation.outputs[0]: batch})], expected)


def test_the_graph_has_what_old_versions_of_tensorflow_know(trained):
    """Loaded by hand into TensorFlow 1.15; this keeps later operations out."""
    graph_def = v1.GraphDef()
    graph_def.ParseFromString((trained[0] / "graph.pb").read_bytes())
    assert not graph_def.library.function
    known = [
        "Abs",
        "AddV2",
        "All",
        "Any",
        "ArgMax",
        "AvgPool",
        "Cast",
        "Const",
        "DecodeJpeg",
        "DecodePng",
        "DecodeRaw",
        "Equal",
        "ExpandDims",
        "ExtractJpegShape",
        "Fill",
        "Floor",
        "GatherV2",
        "Greater",
        "GreaterEqual",
        "Identity",
        "Less",
        "LessEqual",
        "LogicalAnd",
        "MatMul",
        "Max",
        "Maximum",
        "Mean",
        "Minimum",
        "Mul",
        "NoOp",
        "Pack",
        "Placeholder",
        "PlaceholderWithDefault",
        "Range",
        "RealDiv",
        "Relu",
        "Reshape",
        "Reverse",
        "ScaleAndTranslate",
        "SelectV2",
        "Shape",
        "Size",
        "Softmax",
        "StridedSlice",
        "Sub",
        "Substr",
        "Sum",
        "Transpose",
        "ConcatV2",
        "Reverse",
        "FloorMod",
        "LogicalOr",
        "OnesLike",
        "Round",
        "SparseTensorDenseMatMul",
        "StringLength",
        "ZerosLike",
    ]
    assert {node.op for node in graph_def.node} <= set(known)


def test_labels_are_the_folder_names_in_the_order_of_the_scores(trained):
    assert (trained[0] / "labels.txt").read_text("utf-8") == "b c\nÄrger\n花\n"


def test_the_saved_model_takes_a_batch_of_picture_bytes(trained, expected):
    loaded = tf.saved_model.load(str(trained[0] / "saved_model"))
    answer = loaded.signatures["serving_default"](image_bytes=tf.constant([p.read_bytes() for p in trained[1]]))
    check([answer["final_result"].numpy()], expected)
    assert [label.decode() for label in answer["labels"].numpy()[0]] == ["b c", "Ärger", "花"]
    assert answer["labels"].shape == answer["final_result"].shape
    batch = np.stack([resized(path) for path in trained[1]]) / 255
    check([loaded.signatures["pixels"](pixels=tf.constant(batch))["final_result"].numpy()], expected)


def test_the_digest_of_every_file_is_in_run_json(trained):
    recorded = json.loads((trained[0] / "run.json").read_text())["sha256"]
    others = {*list_files(trained[0])} - {"run.json", "report.html"}
    assert recorded == {name: digest_of_file(trained[0] / name) for name in others}


@pytest.mark.slow
def test_a_hidden_layer_is_in_every_export(trained, tiny_backbone):
    """With everything on that changes a head; beside it in the cache lies what was kept for heads of one layer."""
    folder = trained[0].parent
    options = RunOptions(
        backbone=BackboneOptions(backbone=str(tiny_backbone)),
        extraction=ExtractionOptions(cache_dir=str(folder / "cache")),
        training=TrainingOptions(optimizer="adam", steps=300, learning_rate=0.01, hidden_units=8, dropout=0.1),
        evaluation=EvaluationOptions(calibrate=True),
    )
    model = retrain.train(folder / "pictures", "model", options)
    head, labels = read_head("model/head.h5")
    assert [layer.weights.shape for layer in head.layers] == [(TINY_LENGTH, 8), (8, 3)]
    pictures = {picture.path: picture for picture in model.result.pictures}
    paths = [os.path.relpath(path, folder / "pictures") for path in trained[1]]
    wanted = np.array([pictures[path].score for path in paths])
    classifier = retrain.Classifier("model")
    expected = np.array([[p.scores[label] for label in labels] for p in classifier.predict(trained[1])])
    assert expected.max(axis=1) == pytest.approx(wanted, abs=1e-4)
    loaded = tf.saved_model.load("model/saved_model")
    answer = loaded.signatures["serving_default"](image_bytes=tf.constant([p.read_bytes() for p in trained[1]]))
    check([answer["final_result"].numpy()], expected)
    evaluation = evaluate_folder(classifier, folder / "pictures", options.extraction)
    assert {p.path: p.predicted for p in evaluation.pictures} == {p.path: p.predicted for p in model.result.pictures}


@pytest.mark.slow
@pytest.mark.usefixtures("traced_anew")
def test_a_saved_model_that_cannot_be_written_is_one_clear_error(trained, tiny_backbone):
    backbone = locate_backbone(BackboneOptions(backbone=str(tiny_backbone)))
    head, labels = read_head(trained[0] / "head.h5")
    for _ in range(2):  # without a template and with one
        with pytest.raises(OutputError, match="can't write the SavedModel /proc/x"):
            SavedModel().write(
                ExportSource(backbone, "final_result", Converter("cache")).under(head, labels), "/proc/x"
            )
        SavedModel().write(
            ExportSource(backbone, "final_result", Converter("cache")).under(head, labels), "saved_model"
        )


def test_only_the_exif_segment_turns_a_picture():
    """A comment may hold anything, also what looks like EXIF."""
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encode(draw_picture(1, 2, 30), "JPEG", exif=exif)
    start = turned.index(b"Exif\0\0")
    comment = turned[start : start + 60]
    plain = encode(draw_picture(1, 2, 30), "JPEG")
    data = plain[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + plain[2:]
    assert np.abs(graph_pixels(decode_jpeg, data) - decode_image(data, PictureForm(32, 24))).max() <= 1
    assert np.abs(graph_pixels(decode_jpeg, data) - graph_pixels(decode_jpeg, plain)).max() == 0
    filled = turned[:2] + (b"\xff\xe2" + (60_000).to_bytes(2, "big") + bytes(59_998)) * 3 + turned[2:]
    assert np.abs(graph_pixels(decode_jpeg, filled) - decode_image(filled, PictureForm(32, 24))).max() <= 1
    assert np.abs(graph_pixels(decode_jpeg, filled) - graph_pixels(decode_jpeg, turned)).max() == 0


def encode(image, format, **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def graph_pixels(decode, data, size=(32, 24)):
    form = PictureForm(*size)
    pixels = decode(tf.constant(data), form)
    return pixels.numpy() if decode is decode_resized else resize(pixels[tf.newaxis], form)[0].numpy()


@pytest.mark.parametrize("orientation", range(10))
def test_the_graph_turns_pictures_as_their_exif_says(orientation):
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    exif[0x0112] = orientation
    data = encode(draw_picture(orientation, 1, 50).crop((0, 0, 50, 35)), "JPEG", exif=exif)
    assert np.abs(graph_pixels(decode_jpeg, data) - decode_image(data, PictureForm(32, 24))).max() <= 1


def test_the_graph_reads_exif_in_both_byte_orders():
    turned = []
    for order, mark in (("little", b"II*\0"), ("big", b"MM\0*")):
        numbers = [(8, 4), (1, 2), (0x0112, 2), (3, 2), (1, 4), (6, 2)]  # one entry: orientation 6
        block = b"Exif\0\0" + mark + b"".join(value.to_bytes(size, order) for value, size in numbers) + bytes(6)
        plain = encode(draw_picture(1, 2, 30), "JPEG")
        data = plain[:2] + b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block + plain[2:]
        turned.append(graph_pixels(decode_jpeg, data))
        assert np.abs(turned[-1] - decode_image(data, PictureForm(32, 24))).max() <= 1
    assert np.array_equal(*turned)
    assert np.abs(turned[0] - graph_pixels(decode_jpeg, plain)).max() > 50


KINDS = "RGB/PNG RGBA/PNG L/PNG LA/PNG 1/PNG P/PNG RGB/BMP RGB/GIF L/JPEG CMYK/JPEG RGB/WEBP"


@pytest.mark.parametrize(("mode", "format"), [kind.split("/") for kind in KINDS.split()])
def test_the_graph_reads_other_kinds_as_the_decoder_does(mode, format):
    image = draw_picture(3, 2, 40)
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    image = image.convert(mode)
    data = encode(image, format, **({"lossless": True} if format == "WEBP" else {}))
    difference = np.abs(graph_pixels(decode_resized, data) - decode_image(data, PictureForm(32, 24)))
    assert difference.max() <= 3
    assert difference.mean() < 0.6


@pytest.mark.parametrize("orientation", [1, 3, 6, 7])
@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_the_graph_turns_pngs_and_webps_too(format, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = draw_picture(orientation, 1, 50).crop((0, 0, 50, 35))
    data = encode(image, format, exif=exif, **({"lossless": True} if format == "WEBP" else {}))
    assert np.abs(graph_pixels(decode_resized, data) - decode_image(data, PictureForm(32, 24))).max() <= 1
    if format == "PNG":
        assert np.abs(graph_pixels(decode_jpeg, data) - decode_image(data, PictureForm(32, 24))).max() <= 1


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_the_graph_takes_the_same_bits_of_16(bits):
    samples = np.asarray(draw_picture(1, 2, 40).convert("L")).astype(np.uint16)
    data = encode(Image.fromarray(samples * (2**bits // 256)), "PNG")
    assert np.abs(graph_pixels(decode_jpeg, data) - decode_image(data, PictureForm(32, 24))).max() <= 1


def test_the_graph_reads_pngs_of_the_zoo_as_the_decoder_does(test_data):
    """Bit depths of 1 to 16, interlaced or not, palettes, transparency."""
    for path in sorted((test_data / "images" / "zoo" / "pngsuite").glob("[bt][agp][sn]?[0-9]*.png")):
        data = path.read_bytes()
        assert np.abs(graph_pixels(decode_resized, data) - decode_image(data, PictureForm(32, 24))).mean() < 2, (
            path.name
        )


def test_real_photographs_resize_alike(test_data):
    for path in sorted((test_data / "images" / "flowers" / "roses").iterdir())[:5]:
        data = path.read_bytes()
        difference = np.abs(graph_pixels(decode_jpeg, data, (299, 299)) - decode_image(data, PictureForm(299, 299)))
        assert difference.max() <= 2
        assert (difference > 0).mean() < 0.05


def test_a_model_without_its_network_is_an_error(trained, tmp_path):
    shutil.copytree(trained[0], tmp_path / "model")
    (tmp_path / "model" / "classifier.tflite").unlink()
    (tmp_path / "model" / "graph.pb").unlink()
    with pytest.raises(ModelFolderError, match=r"can't read .*graph.pb: No such file"):
        retrain.Classifier(tmp_path / "model")


def test_a_model_whose_files_are_being_put_in_place_is_read_whole(trained, tmp_path):
    """As after a kill in a mounted folder: the new content is complete, around it are parts of both."""
    folder = tmp_path / "mounted"
    shutil.copytree(trained[0], folder / NEW)
    (folder / "labels.txt").write_text("of\nanother\n")
    classifier = retrain.Classifier(folder)
    assert classifier.labels == retrain.Classifier(trained[0]).labels
    assert classifier.folder == folder / NEW


@pytest.mark.slow
@pytest.mark.usefixtures("traced_anew")
def test_a_full_disk_is_told_in_the_words_of_the_system(trained, tiny_backbone):
    backbone = locate_backbone(BackboneOptions(backbone=str(tiny_backbone)))
    head, labels = read_head(trained[0] / "head.h5")
    for _ in range(2):  # without a template and with one
        source = ExportSource(backbone, "final_result", Converter("cache"))
        _ = source.trunk
        with full_after(1000), pytest.raises(OutputError) as caught:
            SavedModel().write(source.under(head, labels), "out")
        assert str(caught.value) == "can't write the SavedModel out: File too large"
        SavedModel().write(
            ExportSource(backbone, "final_result", Converter("cache")).under(head, labels), "saved_model"
        )


def test_a_reason_that_the_system_does_not_know_is_the_first_line():
    assert reason_of(RuntimeError("cat; No space left on device [Op:SaveV2]")) == "No space left on device"
    assert reason_of(RuntimeError("no such op\n\nmore")) == "no such op"


@pytest.fixture(params=[(TINY_LENGTH, 3), (TINY_LENGTH, 8, 3)], ids=["one layer", "two layers"])
def network(request, tiny_backbone):
    backbone = locate_backbone(BackboneOptions(backbone=str(tiny_backbone)))
    return ExportSource(backbone, "scores", Converter("cache")).under(head_of(request.param, 0), ["a", "b", "ü"])


def head_of(widths, seed):
    rng = np.random.default_rng(seed)
    pairs = itertools.pairwise(widths)
    return Head(
        tuple(Layer(rng.normal(0, 1, pair).astype("f"), rng.normal(0, 1, pair[1]).astype("f")) for pair in pairs)
    )


@pytest.mark.parametrize("exporter", [FrozenGraph(), LiteRTModel()])
def test_what_every_training_writes_is_verified_by_reading_it_again(network, exporter):
    exporter.write(network, "it")
    exporter.verify(network, "it")
    widths = [network.head.bottleneck_size, *(layer.biases.size for layer in network.head.layers)]
    with pytest.raises(OutputError, match="does not give the scores of the trained model: train it again"):
        exporter.verify(network.source.under(head_of(widths, 1), network.labels), "it")
    other = network.source.with_weights({key: -array for key, array in network.trunk.arrays().items()})
    with pytest.raises(OutputError, match="does not give the scores of the trained model: train it again"):
        exporter.verify(other.under(network.head, network.labels), "it")


def test_a_damaged_graph_is_no_sound_export(network):
    with open("graph.pb", "wb") as file:
        file.writelines([bytes(network.trunk.graph), b"damaged"])
    with pytest.raises(OutputError, match=r"graph\.pb does not give the scores"):
        FrozenGraph().verify(network, "graph.pb")
