"""ONNX files and those with their weights: read whole, or refused."""

import contextlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from support.mutations import MUTATIONS, json_mutations, mutations, no_hang
from support.onnx_networks import Form, make_network, pictures, save_network

from retrain.backbones import onnx_file
from retrain.backbones.backbone import locate_backbone
from retrain.errors import BackboneError
from retrain.options import BackboneOptions

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")


def locate(path="network.onnx"):
    return locate_backbone(BackboneOptions(backbone=str(path)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"it has no network"),
        (b"GIF89a and more", "network.onnx is damaged, or is not an ONNX file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "a note of Git LFS .* with git lfs pull"),
        (make_network().SerializeToString()[:-100], "is damaged, or is not an ONNX file"),
        (make_network().SerializeToString().replace(b"kernel", b"kern\xe9l"), "a name in it is not UTF-8"),
    ],
    ids=["empty", "GIF", "LFS", "cut short", "no UTF-8"],
)
def test_what_is_no_onnx_file_is_refused(content, message):
    Path("network.onnx").write_bytes(content)
    with pytest.raises(BackboneError, match=message):
        locate().fingerprint  # noqa: B018


def test_a_file_that_cannot_be_read_or_is_too_large_is_refused(monkeypatch):
    save_network("network.onnx")
    located = locate()
    with monkeypatch.context() as patch:
        patch.setattr(onnx_file, "_MOST_BYTES", 100)
        with pytest.raises(BackboneError, match=r"network.onnx has .* GiB, more than the 2 GiB that one file can hold"):
            located.fingerprint  # noqa: B018
    Path("network.onnx").unlink()
    with pytest.raises(BackboneError, match=r"can't read the backbone network.onnx: No such file"):
        located.fingerprint  # noqa: B018


# weights in other files


def save_outside(location="weights.bin", data=None, folder=".", **entries):
    """Save the small network with its kernel in another file; the bytes of the kernel."""
    model = make_network()
    kernel = model.graph.initializer[0]
    content = kernel.raw_data
    kernel.ClearField("raw_data")
    kernel.data_location = onnx.TensorProto.EXTERNAL
    values = {"location": location} | {key: str(value) for key, value in entries.items()}
    for key, value in values.items():
        kernel.external_data.add(key=key, value=value)
    os.makedirs(folder, exist_ok=True)
    if data is not None:
        Path(folder, location).parent.mkdir(parents=True, exist_ok=True)
        Path(folder, location).write_bytes(data)
    Path(folder, "network.onnx").write_bytes(model.SerializeToString())
    return content


def expected():
    save_network("plain/network.onnx")
    return locate("plain/network.onnx").network.bottlenecks(pictures())


@pytest.mark.parametrize("offset", [None, 64])
def test_weights_may_lie_in_another_file(offset):
    entries = {} if offset is None else {"offset": offset}
    kernel = save_outside(**entries)
    save_outside(data=bytes(offset or 0) + kernel + bytes(8 if offset else 0), length=len(kernel), **entries)
    assert np.array_equal(locate().network.bottlenecks(pictures()), expected())


def test_weights_in_another_file_are_part_of_the_fingerprint():
    kernel = save_outside(data=b"")
    Path("weights.bin").write_bytes(kernel)
    before = locate().fingerprint
    Path("weights.bin").write_bytes(kernel[::-1])
    assert locate().fingerprint != before
    located = locate()
    _ = located.fingerprint
    Path("weights.bin").write_bytes(kernel)
    with pytest.raises(BackboneError, match="has changed since this run began"):
        located.network  # noqa: B018


def test_weights_of_constants_in_inner_parts_are_found():
    """A Constant node in a branch of an If, as its only weight that lies outside."""
    model, helper = make_network(), onnx.helper
    one = onnx.numpy_helper.from_array(np.full(96, 1, np.float32), "one")
    data = one.raw_data
    one.ClearField("raw_data")
    one.data_location = onnx.TensorProto.EXTERNAL
    one.external_data.add(key="location", value="one.bin")
    branches = []
    for kind in ("Add", "Sub"):
        nodes = [
            helper.make_node("Constant", [], ["one"], value=one),
            helper.make_node(kind, ["vector", "one"], ["inner"]),
        ]
        branches.append(helper.make_graph(nodes, kind, [], [helper.make_tensor_value_info("inner", 1, None)]))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(True), "yes"))
    model.graph.node.append(helper.make_node("If", ["yes"], ["more"], then_branch=branches[0], else_branch=branches[1]))
    model.graph.output[0].name = "more"
    Path("network.onnx").write_bytes(model.SerializeToString())
    Path("one.bin").write_bytes(data)
    np.testing.assert_allclose(locate().network.bottlenecks(pictures()), expected() + 1, rtol=1e-6)


def test_missing_weights_are_named():
    save_outside()
    with pytest.raises(BackboneError, match=r"lie in weights\.bin, which is missing: put it beside the network"):
        locate().fingerprint  # noqa: B018


@pytest.mark.parametrize(
    ("location", "entries", "message"),
    [
        ("../weights.bin", {}, r"said to lie in ../weights\.bin, outside of its folder"),
        ("inner/../../weights.bin", {}, "outside of its folder"),
        ("/etc/passwd", {}, "said to lie in /etc/passwd, outside of its folder"),
        ("", {}, "said to lie in no file"),
        ("weights.bin", {"length": 10**6}, r"weights\.bin is cut short: it has 72 bytes"),
        ("weights.bin", {"offset": 10**6}, "is cut short"),
        ("weights.bin", {"offset": -4}, "is cut short"),
        ("weights.bin", {"length": -4}, "is cut short"),
        ("weights.bin", {"offset": "x"}, "invalid literal"),
    ],
)
def test_weights_in_a_wrong_place_are_refused(location, entries, message):
    kernel = save_outside()
    Path("folder").mkdir()
    for place in ("weights.bin", "folder/weights.bin"):
        Path(place).write_bytes(kernel)
    save_outside(location, folder="folder", **entries)
    with pytest.raises(BackboneError, match=f"the weights of the ONNX network folder/network.onnx can't.*{message}"):
        locate("folder/network.onnx").fingerprint  # noqa: B018


def test_a_link_out_of_the_folder_is_refused():
    kernel = save_outside(folder="folder")
    Path("secret").write_bytes(kernel)
    Path("folder/weights.bin").symlink_to("../secret")
    with pytest.raises(BackboneError, match=r"weights.bin is a link to outside of its folder"):
        locate("folder/network.onnx").fingerprint  # noqa: B018


def test_links_as_in_the_cache_of_hugging_face_are_followed():
    """snapshots/ID/network.onnx and weights.bin are links to blobs/."""
    kernel = save_outside(folder="blobs")
    Path("blobs/network.onnx").rename("blobs/11")
    Path("blobs/22").write_bytes(kernel)
    Path("snapshots/id").mkdir(parents=True)
    Path("snapshots/id/network.onnx").symlink_to("../../blobs/11")
    Path("snapshots/id/weights.bin").symlink_to("../../blobs/22")
    assert np.array_equal(locate("snapshots/id/network.onnx").network.bottlenecks(pictures()), expected())


def test_more_than_one_file_can_hold_is_refused(monkeypatch):
    save_outside(data=save_outside())
    located = locate()
    _ = located.fingerprint
    monkeypatch.setattr(onnx_file, "_MOST_BYTES", os.path.getsize("network.onnx") + 10)
    with pytest.raises(BackboneError, match=r"has .* GiB with all its weights, more than the 2 GiB"):
        located.network  # noqa: B018


def test_sparse_weights_are_kept():
    """They are constants, too, and no inputs."""
    model = make_network(Form())
    values = onnx.numpy_helper.from_array(np.array([1.5], np.float32), "more")
    indices = onnx.numpy_helper.from_array(np.array([3], np.int64))
    model.graph.sparse_initializer.append(onnx.helper.make_sparse_tensor(values, indices, [96]))
    model.graph.node.append(onnx.helper.make_node("Add", ["vector", "more"], ["sum"]))
    model.graph.output[0].name = "sum"
    Path("network.onnx").write_bytes(model.SerializeToString())
    difference = locate().network.bottlenecks(pictures()) - expected()
    np.testing.assert_allclose(difference, np.tile(np.eye(96)[3] * 1.5, (3, 1)), atol=1e-6)


# damage


def test_a_damaged_network_works_or_is_an_error_in_one_line(capfd):
    worked = 0
    for _, data in mutations(make_network(Form(gives=("sequence",))).SerializeToString()):
        Path("network.onnx").write_bytes(data)
        with contextlib.suppress(BackboneError), no_hang():
            locate().network.bottlenecks(pictures(1))
            worked += 1
    assert worked < MUTATIONS / 2
    assert capfd.readouterr() == ("", "")


def test_a_damaged_config_works_or_is_an_error_in_one_line():
    save_network("network.onnx")
    config = {"image_mean": [0.5, 0.5, 0.5], "image_std": 0.5, "size": {"height": 16, "width": 16}, "do_rescale": True}
    for _, document in json_mutations(config | {"rescale_factor": 1 / 255, "crop_size": 16, "resample": 2}):
        Path("preprocessor_config.json").write_text(json.dumps(document))
        with contextlib.suppress(BackboneError), no_hang():
            locate().network.bottlenecks(pictures(1))
