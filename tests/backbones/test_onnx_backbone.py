"""ONNX networks of any form give the vectors that NumPy gives, or are refused with a reason."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.onnx_networks import CHANNELS, PLACES, SIZE, Form, make_network, pictures, places_of, save_network

from retrain.backbones import onnx_file, onnx_network
from retrain.backbones.backbone import locate_backbone
from retrain.backbones.default import choose_backbone
from retrain.backbones.onnx_facts import onnx_facts_of
from retrain.backbones.onnx_graph import ONNX_BOTTLENECK, set_batch
from retrain.backbones.onnx_network import OnnxError, OnnxNetwork
from retrain.errors import BackboneError
from retrain.events import Noted, Warned
from retrain.options import BackboneOptions, RunOptions

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")


def locate(path="network.onnx", **options):
    return locate_backbone(BackboneOptions(backbone=str(path), **options))


def vectors(form=Form(), count=3, **options):
    save_network("network.onnx", form)
    return locate(**options).network.bottlenecks(pictures(count))


def unit(pixels):
    """Pixels as a network gets them with --input-range 0..1."""
    return pixels / 255


# forms


SEQUENCE, MAP = Form(gives=("sequence",)), Form(gives=("places",))


@pytest.mark.parametrize(
    ("form", "options", "tolerance"),
    [
        (Form(), {}, 1e-6),
        (Form(layout="nhwc"), {}, 1e-6),
        (Form(batch=1), {}, 1e-6),
        (Form(side="side"), {"input_size": SIZE}, 1e-6),
        (Form(side="side", layout="nhwc"), {"input_size": SIZE, "input_layout": "nhwc"}, 1e-6),
        (Form(dtype="float16"), {}, 2e-3),
        (Form(opset=7), {}, 1e-6),
        (Form(opset=22), {}, 1e-6),
        (dataclasses.replace(Form(), names=("pictures",)), {}, 1e-6),  # one of our own names
    ],
    ids=str,
)
def test_a_vector_is_what_the_network_gives(form, options, tolerance):
    expected = places_of(unit(pictures()), form).reshape(3, -1)
    np.testing.assert_allclose(vectors(form, input_range="0..1", **options), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("opset", [17, 22])
@pytest.mark.parametrize(
    ("form", "options", "take"),
    [
        (SEQUENCE, {}, lambda places: places[:, :, 0, 0]),
        (SEQUENCE, {"pooling": "mean"}, lambda places: places.mean((2, 3))),
        (SEQUENCE, {"pooling": "none"}, lambda places: places.transpose(0, 2, 3, 1).reshape(3, -1)),
        (MAP, {}, lambda places: places.mean((2, 3))),
        (MAP, {"pooling": "none"}, lambda places: places.reshape(3, -1)),
        (dataclasses.replace(MAP, layout="nhwc"), {}, lambda places: places.mean((2, 3))),
        (dataclasses.replace(MAP, dtype="float16"), {}, lambda places: places.mean((2, 3))),
    ],
)
def test_sequences_and_maps_are_pooled(form, options, take, opset):
    form = dataclasses.replace(form, opset=opset)
    expected = take(places_of(unit(pictures()), form))
    given = vectors(form, input_range="0..1", **options)
    np.testing.assert_allclose(given, expected, rtol=0, atol=1e-6 if form.dtype == "float" else 2e-3)


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_mean_and_standard_deviation_are_of_channels(layout):
    """Of ImageNet, as nothing is said: torchvision's formula."""
    values = (unit(pictures()) - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    expected = places_of(values, Form()).reshape(3, -1)
    np.testing.assert_allclose(vectors(Form(layout=layout)), expected, rtol=0, atol=2e-6)


def test_channels_can_be_turned_round():
    options = {"input_channels": "bgr", "input_range": "0..255", "input_mean": "103.939,116.779,123.68"}
    values = pictures()[..., ::-1] - np.array([103.939, 116.779, 123.68])
    expected = places_of(values, Form()).reshape(3, -1)
    np.testing.assert_allclose(vectors(**options), expected, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_a_network_of_whole_levels_gets_them(layout):
    form = Form(dtype="uint8", layout=layout)
    expected = places_of(pictures().astype(float), form).reshape(3, -1)
    np.testing.assert_allclose(vectors(form), expected, rtol=1e-6, atol=1e-4)
    assert "scale" not in locate().description
    with pytest.raises(BackboneError, match=r"takes whole levels from 0 to 255 .uint8.: leave --input-range"):
        locate(input_std="2").network  # noqa: B018


def test_weights_may_be_inputs_as_in_old_files():
    model = make_network()
    model.ir_version = 3
    for weight in model.graph.initializer:
        model.graph.input.append(onnx.helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims))
    Path("network.onnx").write_bytes(model.SerializeToString())
    expected = places_of(unit(pictures())).reshape(3, -1)
    np.testing.assert_allclose(locate(input_range="0..1").network.bottlenecks(pictures()), expected, atol=1e-6)


def test_names_inside_of_inner_graphs_stay_what_they_mean():
    """Both branches of an If refer to what lies outside of them, and to weights of their own."""
    model, helper = make_network(), onnx.helper
    one = onnx.numpy_helper.from_array(np.array(1, np.float32), "one")
    branches = []
    for kind in ("Add", "Sub"):
        node = helper.make_node(kind, ["vector", "one"], ["inner"])
        given = helper.make_tensor_value_info("inner", 1, None)
        branches.append(helper.make_graph([node], kind, [], [given], [one]))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(True), "yes"))
    model.graph.node.append(helper.make_node("If", ["yes"], ["more"], then_branch=branches[0], else_branch=branches[1]))
    model.graph.output[0].name = "more"
    Path("network.onnx").write_bytes(model.SerializeToString())
    expected = places_of(unit(pictures())).reshape(3, -1) + 1
    np.testing.assert_allclose(locate(input_range="0..1").network.bottlenecks(pictures()), expected, atol=1e-6)


# outputs


BOTH = Form(gives=("sequence", "vector"))


def test_of_several_outputs_one_can_be_chosen():
    given = vectors(BOTH, input_range="0..1", backbone_output="vector")
    np.testing.assert_allclose(given, places_of(unit(pictures())).reshape(3, -1), atol=1e-6)
    with pytest.raises(BackboneError, match=r"gives sequence float .*, vector float .*: say with --backbone-output"):
        locate().network  # noqa: B018
    with pytest.raises(
        BackboneError, match=r"has no output relo, and .*: --backbone-output can be sequence, vector, relu"
    ):
        locate(backbone_output="relo").network  # noqa: B018


def test_of_known_outputs_the_pooled_one_is_taken():
    form = dataclasses.replace(BOTH, names=("last_hidden_state", "pooler_output"))
    assert vectors(form).shape == (3, CHANNELS * PLACES**2)
    assert locate().description["output"] == "pooler_output"


@pytest.mark.parametrize("shapes", [True, False], ids=["says its shapes", "says none"])
def test_a_vector_may_come_from_inside(shapes):
    """As before the last layer of a classifier; what is behind goes, with its weights."""
    model, helper = make_network(), onnx.helper
    weights = np.random.default_rng(5).normal(size=(96, 1000)).astype("f")
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "last_layer"))
    model.graph.node.append(helper.make_node("MatMul", ["vector", "last_layer"], ["logits"]))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("logits", 1, ["n", 1000]))
    if shapes:
        model.graph.value_info.append(helper.make_tensor_value_info("vector", 1, ["n", 96]))
    Path("network.onnx").write_bytes(model.SerializeToString())
    located = locate(input_range="0..1", backbone_output="vector")
    np.testing.assert_allclose(
        located.network.bottlenecks(pictures()), places_of(unit(pictures())).reshape(3, -1), atol=1e-6
    )
    assert located.graph().ByteSize() < 4096 < weights.nbytes
    assert locate(input_range="0..1").network.bottlenecks(pictures()).shape == (3, 1000)
    assert locate(backbone_output="relu").network.length == CHANNELS
    assert locate(backbone_output="relu").plan.pooling == "mean"


@pytest.mark.parametrize(
    ("layout", "dims", "axes"),
    [
        ("nchw", (None, 8, 4, 4), (2, 3)),
        ("nhwc", (None, 4, 4, 8), (1, 2)),
        ("nhwc", (None, 8, 4, 4), (2, 3)),  # turned by a converter
        ("nchw", (None, 4, 4, 8), (1, 2)),
        ("nhwc", (None, 4, 4, 4), (1, 2)),
        ("nchw", (None, 8, None, None), (2, 3)),
        ("nhwc", (None, None, None, 8), (1, 2)),
        ("nchw", (None, 16, 8), (1,)),
    ],
)
def test_the_mean_is_over_places(layout, dims, axes):
    save_network("network.onnx", Form(layout=layout))
    plan = locate().plan
    given = onnx_file.TensorType("given", "float", dims)
    assert dataclasses.replace(plan, given=given, pooling="mean").axes == axes
    assert dataclasses.replace(plan, given=given, pooling="mean").as_dict()["axes"] == list(axes)


def test_what_shapes_cannot_be_told_of_is_refused(monkeypatch):
    import onnx.shape_inference

    save_network("network.onnx")
    monkeypatch.setattr(onnx.shape_inference, "infer_shapes", lambda model: model)
    with pytest.raises(BackboneError, match="gives relu of an unknown type of any shape, expected numbers"):
        locate(backbone_output="relu").network  # noqa: B018

    def fails(_):
        raise RuntimeError("too large")

    monkeypatch.setattr(onnx.shape_inference, "infer_shapes", fails)
    with pytest.raises(BackboneError, match=r"does not say what relu is .too large.: use one of its outputs"):
        locate(backbone_output="relu").network  # noqa: B018


# one picture at a time


@pytest.mark.parametrize("form", [Form(), Form(batch=1)], ids=["any number", "one"])
def test_a_vector_does_not_depend_on_its_neighbours(form):
    together = vectors(form, 9)
    network = locate().network
    for number, picture in enumerate(pictures(9)):
        assert np.array_equal(network.bottlenecks(picture[np.newaxis])[0], together[number])
    assert np.array_equal(network.bottlenecks(pictures(9)[::-1])[::-1], together)
    assert network.bottlenecks(pictures(0)).shape == (0, together.shape[1])


@pytest.mark.parametrize(("rows", "expected"), [(0, True), (1, False)], ids=["of any number", "of one alone"])
def test_whether_a_network_takes_several_at_once_is_tried(rows, expected):
    model = make_network()
    model.graph.initializer[1].CopyFrom(onnx.numpy_helper.from_array(np.array([rows, CHANNELS, 16], np.int64), "rows"))
    model.graph.output[0].name = "rows_first"
    model.graph.output[0].type.tensor_type.shape.CopyFrom(
        onnx.helper.make_tensor_value_info("", 1, ["n", 16, CHANNELS]).type.tensor_type.shape
    )
    Path("network.onnx").write_bytes(model.SerializeToString())
    heard = []
    facts = onnx_facts_of(locate(), "cache", heard.append)
    assert facts.takes_batches is expected
    kept = onnx_facts_of(locate(), "cache", heard.append)
    assert (kept.digest, kept.takes_batches, kept.probe.tolist()) == (facts.digest, expected, facts.probe.tolist())
    [artifact] = Path("cache").glob("*/onnx.export")
    artifact.write_bytes(artifact.read_bytes()[:-9])
    assert not heard
    onnx_facts_of(locate(), "cache", heard.append)
    assert [type(event) for event in heard] == [Warned]


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(BackboneError, match="values that are not finite"):
        vectors(Form(dtype="float16"), input_std="1e-7")


# identity


def test_the_fingerprint_is_made_of_what_decides_the_vector():
    save_network("network.onnx", BOTH)
    save_network("copy/of.onnx", BOTH)
    save_network("other.onnx", dataclasses.replace(BOTH, seed=1))
    plain = locate(backbone_output="sequence")
    assert locate("copy/of.onnx", backbone_output="sequence", pooling="cls", input_size=SIZE).fingerprint == (
        plain.fingerprint
    )
    others = [
        locate("other.onnx", backbone_output="sequence"),
        locate(backbone_output="vector"),
        locate(backbone_output="sequence", pooling="mean"),
        locate(backbone_output="sequence", input_range="0..255"),
        locate(backbone_output="sequence", input_mean="0.5"),
        locate(backbone_output="sequence", input_std="0.5"),
        locate(backbone_output="sequence", input_channels="bgr"),
    ]
    assert len({plain.fingerprint, *(other.fingerprint for other in others)}) == 1 + len(others)
    assert plain.name == "network"
    assert {"decoder", "precision", "cut"} <= set(plain.description)


def test_a_config_beside_the_file_is_part_of_the_fingerprint():
    save_network("network.onnx")
    before = locate().fingerprint
    Path("preprocessor_config.json").write_text(json.dumps({"image_mean": 0.5, "image_std": 0.5}))
    changed = locate().fingerprint
    assert changed != before
    assert locate(input_mean="0.5", input_std="0.5").fingerprint == changed


def test_a_file_that_changes_during_a_run_is_noticed():
    save_network("network.onnx")
    located = locate()
    _ = located.fingerprint
    save_network("network.onnx", Form(seed=1))
    with pytest.raises(BackboneError, match=r"network\.onnx has changed since this run began: run again"):
        located.network  # noqa: B018


def test_one_line_tells_how_it_is_used():
    save_network("network.onnx", SEQUENCE)
    Path("preprocessor_config.json").write_text(
        json.dumps({"image_mean": 0.5, "image_std": 0.5, "resample": 3, "crop_size": SIZE, "size": 20})
    )
    heard = []
    choose_backbone(RunOptions(BackboneOptions(backbone="network.onnx", input_channels="bgr")), heard.append)
    assert heard == [
        Noted(
            "network.onnx: pictures of 16 x 16 go in as BGR, NCHW, 0..1, mean 0.5, std 0.5 (by "
            "preprocessor_config.json); the vector is the first element of sequence; not done, the whole picture is "
            "resized bilinearly: a crop of the middle, bicubic resizing"
        )
    ]
    [remark] = locate(fit="crop").remarks
    assert remark.endswith("; not done, with --fit crop, the picture is resized bilinearly: bicubic resizing")
    save_network("network.onnx", Form(dtype="uint8"))
    assert "go in as NCHW, whole levels from 0 to 255; the vector is vector" in locate().remarks[0]


# refusals


def test_a_size_that_the_network_does_not_take_is_refused():
    save_network("network.onnx")
    with pytest.raises(BackboneError, match=r"takes pictures of 16 x 16 only, not of --input-size 32"):
        locate(input_size=32).network  # noqa: B018
    save_network("network.onnx", Form(side="side"))
    with pytest.raises(BackboneError, match="takes pictures of any size: say which with --input-size"):
        locate().network  # noqa: B018
    Path("preprocessor_config.json").write_text(json.dumps({"size": SIZE}))
    assert locate().network.height == SIZE


@pytest.mark.parametrize(
    ("form", "options", "message"),
    [
        (Form(batch=2), {}, r"takes pixels float \[2, 3, 16, 16\], expected pictures: \[\?, 3, height, width\]"),
        (Form(dtype="int64"), {}, r"takes pixels int64 .*, expected pictures"),
        (Form(), {"input_layout": "nhwc"}, r"takes pixels float \[\?, 3, 16, 16\], which is not --input-layout nhwc"),
        (SEQUENCE, {"input_layout": "nchw", "pooling": "mean", "backbone_output": "x"}, "has no output x, and"),
        (Form(), {"pooling": "mean"}, r"gives vectors .*: --pooling mean does not go with it, use none"),
        (MAP, {"pooling": "cls"}, r"gives a map of places .*: --pooling cls does not go with it, use mean or none"),
    ],
)
def test_what_does_not_go_together_is_refused(form, options, message):
    save_network("network.onnx", form)
    with pytest.raises(BackboneError, match=f"the ONNX network network.onnx {message}"):
        locate(**options).network  # noqa: B018


def change(edit):
    model = make_network()
    edit(model)
    Path("network.onnx").write_bytes(model.SerializeToString())


def no_picture(model):
    del model.graph.input[0].type.tensor_type.shape.dim[2:]


def two_inputs(model):
    model.graph.input.append(onnx.helper.make_tensor_value_info("input_ids", 7, ["n", "length"]))


def grey(model):
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 1


def scalar(model):
    del model.graph.output[0].type.tensor_type.shape.dim[1:]


def without_shape(model):
    model.graph.output[0].type.tensor_type.ClearField("shape")


def whole_numbers(model):
    model.graph.output[0].type.tensor_type.elem_type = 7


def sequence_type(model):
    value = onnx.helper.make_tensor_sequence_value_info("pixels", 1, None)
    model.graph.input[0].type.CopyFrom(value.type)


def unknown_type(model):
    model.graph.input[0].type.tensor_type.elem_type = 99


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (no_picture, r"takes pixels float \[\?, 3\], expected pictures"),
        (two_inputs, r"takes pixels float .*, input_ids int64 \[\?, \?\], expected pictures alone: export the part"),
        (grey, r"takes pixels float \[\?, 1, 16, 16\], expected pictures"),
        (scalar, r"gives vector float \[\?\], expected numbers \[\?, length\]"),
        (without_shape, r"gives vector float of any shape, expected"),
        (whole_numbers, r"gives vector int64 .*, expected numbers"),
        (sequence_type, r"takes pixels sequence of any shape, expected pictures"),
        (unknown_type, r"takes pixels type 99 of any shape, expected pictures"),
    ],
)
def test_what_is_no_network_from_pictures_to_vectors_is_refused(edit, message):
    change(edit)
    with pytest.raises(BackboneError, match=message):
        locate().network  # noqa: B018


def foreign_operation(model):
    model.graph.node[0].domain = "mine"
    model.opset_import.append(onnx.helper.make_opsetid("mine", 1))


def too_new(model):
    model.opset_import[0].version = 999


def no_text(model):
    model.graph.node[0].op_type = "Not\u00e9"


def wrong_shape(model):
    model.graph.initializer[0].dims[1] = 1


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (foreign_operation, "AveragePool"),
        (too_new, "999"),
        (wrong_shape, "kernel"),
        (no_text, "utf-8"),
        (lambda _: None, None),
    ],
)
def test_what_the_runtime_cannot_run_is_refused_with_its_reason(edit, reason, capfd):
    change(edit)
    data = Path("network.onnx").read_bytes()
    Path("network.onnx").write_bytes(data.replace("Not\u00e9".encode(), b"Not\xe9x"))  # no UTF-8
    if reason is None:
        assert locate().network.length
    else:
        with pytest.raises(
            BackboneError, match=rf"backbone network .network.onnx.: ONNX Runtime can't run this.*{reason}"
        ):
            locate().network  # noqa: B018
    assert capfd.readouterr() == ("", "")


def test_a_network_that_gives_no_row_for_a_picture_is_refused():
    def rows(model):
        model.graph.node[-1].attribute[0].i = 2  # flattens to (n * 6, 16)

    change(rows)
    with pytest.raises(BackboneError, match=r"of one picture it gives \[6, 16\]"):
        locate().network  # noqa: B018


def test_a_model_that_takes_no_pictures_is_refused():
    with pytest.raises(OnnxError, match=r"it takes pixels tensor.float. .*, expected pictures"):
        OnnxNetwork(make_network().SerializeToString(), ("vector",))


def test_a_network_whose_file_says_too_much_fails_in_one_line():
    save_network("network.onnx", Form(batch=1))
    model = locate().graph()
    network = OnnxNetwork(model.SerializeToString())
    with pytest.raises(OnnxError, match="ONNX Runtime can't run this network: Got invalid dimensions"):
        network.together(pictures(2))
    set_batch(model, None)
    assert OnnxNetwork(model.SerializeToString(), (ONNX_BOTTLENECK,)).together(pictures(2)).shape[0] == 2


# options, packages, devices


def test_files_are_found_by_their_suffix(monkeypatch):
    save_network("weights/mine.onnx")
    assert locate("weights/mine.onnx").source.kind == "onnx"
    monkeypatch.setenv("RETRAIN_BACKBONES", "weights")
    assert locate("mine").source.location == os.path.join("weights", "mine.onnx")
    with pytest.raises(BackboneError, match=r"no such ONNX file: none\.onnx"):
        locate("none.onnx")
    with pytest.raises(BackboneError, match=r"--weights goes with the name of a network, not with an ONNX file"):
        locate("weights/mine.onnx", weights="w")


@pytest.mark.parametrize("backbone", ["resnet50", "https://example.org/x.tar.gz", "folder/model"])
def test_options_of_onnx_networks_are_for_those(backbone):
    with pytest.raises(BackboneError, match=f"--pooling is for ONNX backbones, and {backbone} is none: leave it out"):
        locate(backbone, pooling="cls")


def test_a_url_of_an_onnx_file_is_told_to_be_downloaded():
    with pytest.raises(
        BackboneError, match=r"https://example.org/a.onnx .*: download the ONNX file, and give its path"
    ):
        locate("https://example.org/a.onnx")


@pytest.mark.parametrize("name", ["onnx", "onnxruntime"])
def test_missing_packages_say_how_to_get_them(name, monkeypatch):
    save_network("network.onnx")
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(BackboneError, match=r"needs the packages onnx and onnxruntime .*: pip install 'retrain.onnx.'"):
        locate().network  # noqa: B018


@pytest.mark.parametrize("works", [True, False])
def test_a_gpu_is_used_where_the_runtime_has_one_that_works(works, monkeypatch):
    import onnxruntime

    save_network("network.onnx")
    model, asked = locate().openvino_form()[1], []
    session = onnxruntime.InferenceSession

    def make(*args, providers, enable_fallback):
        asked.append([*providers])
        if len(providers) > 1 and not works:
            raise RuntimeError("CUDA failure 35")
        return session(*args, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "InferenceSession", make)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [name for name, _ in onnx_network._DEVICES])
    assert OnnxNetwork(model).length
    both = [("CUDAExecutionProvider", {"use_tf32": "0"}), ("CPUExecutionProvider", {})]
    assert asked == ([both] if works else [both, both[1:]])


def test_nothing_of_it_imports_tensorflow():
    save_network("network.onnx")
    code = (
        "import sys; from retrain.backbones.backbone import locate_backbone; from retrain.options import *; "
        "located = locate_backbone(BackboneOptions(backbone='network.onnx')); "
        "print([m for m in ('onnx', 'onnxruntime') if m in sys.modules]); located.network; "
        "print([m for m in ('tensorflow', 'keras') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n[]\n"


def test_there_is_no_tensorflow_graph_of_it():
    save_network("network.onnx")
    with pytest.raises(BackboneError, match="the backbone network is an ONNX network: there is no TensorFlow graph"):
        locate().tensorflow_network  # noqa: B018


def test_names_for_messages_are_few():
    tensors = tuple(onnx_file.TensorType(f"t{number}", "float", (1,)) for number in range(9))
    assert onnx_file.named(tensors).endswith("t4 float [1] and 4 more")
    assert onnx_file.named(()) == "nothing"
