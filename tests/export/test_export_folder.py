"""Exports of the tiny network: what is broken on purpose is caught, and the model folder stays as it was."""

import errno
import json
import os
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support.command import one_line_error, retrain
from support.exports import exports_here, record_of, tree  # noqa: F401  # a fixture
from support.faults import full_after
from support.pictures import TINY_SIZE

import retrain as package
from retrain.data.picture_form import PictureForm
from retrain.errors import ExportError, OutputError
from retrain.events import Warned
from retrain.export import FORMATS, export_folder, onnx_format
from retrain.files import digest_of_file
from retrain.model.exported import files_of_exports
from retrain.model.rejection import Limit

pytest.importorskip("tf2onnx", reason="the extra onnx is not installed")
onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
from onnx import compose, helper, numpy_helper, parser  # noqa: E402

pytestmark = [pytest.mark.network, pytest.mark.usefixtures("exports_here")]


@pytest.fixture
def model(trained, tmp_path):
    """A copy of a trained model; its pictures stay where they are."""
    return shutil.copytree(trained[0] / "model", tmp_path / "model")


def broken(monkeypatch, change):
    """Have a change made to every network that is converted to ONNX, before resizing is put in front of it."""
    convert = onnx_format.onnx_network

    def converted(model):
        network = convert(model)
        change(network)
        return network

    monkeypatch.setattr(onnx_format, "onnx_network", converted)


def behind(network, *nodes):
    """Put nodes behind the scores, which they call `old`."""
    [output] = network.graph.output
    for node in network.graph.node:
        names = ["old" if name == output.name else name for name in node.output]
        del node.output[:]
        node.output.extend(names)
    network.graph.node.extend(nodes)


def test_an_export_is_a_folder_that_describes_itself(model):
    before = tree(model)
    [export] = package.export_model(model, "onnx")
    folder = Path(model, "exports", "onnx")
    assert {path.name for path in folder.iterdir()} == {"model.onnx", "labels.txt", "README.md", "export.json"}
    assert (folder / "labels.txt").read_bytes() == (model / "labels.txt").read_bytes()
    record = record_of(folder)
    names = {"model.onnx", "labels.txt", "README.md"}
    assert record["sha256"] == {name: digest_of_file(folder / name) for name in names}
    assert {*record["files"]} == names | {"export.json"}
    assert record["model"] == {"run.json": digest_of_file(model / "run.json")}
    assert record["export"] == export.as_dict()
    assert export.checked.pictures == 20
    assert export.checked.largest_difference < 1e-5
    after = tree(model)
    assert {name: after[name] for name in before} == before


def test_several_formats_go_into_a_folder_each_and_one_goes_where_it_is_told(model):
    package.export_model(model, ["onnx", "openvino"], "out")
    assert {path.name for path in Path("out").iterdir()} == {"onnx", "openvino"}
    package.export_model(model, "onnx", "one")
    assert Path("one", "model.onnx").is_file()
    assert not Path(model, "exports").exists()


def test_an_export_goes_with_its_model_and_files_of_the_user_stay(model, trained, tiny_backbone):
    package.export_model(model, ["onnx", "saved-model"])
    exports = Path(model, "exports")
    (exports / "onnx" / "own.txt").write_text("mine")
    (exports / ".onnx.0123456789abcdef.tmp").mkdir()  # of a killed export
    (exports / ".onnx.0123456789abcdef.tmp" / "model.onnx").write_text("half")
    (exports / ".onnx.lock").write_text("process 1")
    retrain("train", trained[0] / "pictures", "--backbone", tiny_backbone, "--steps", 50, check=0)
    assert [path for path in tree(exports) if Path(exports, path).is_file()] == ["onnx/own.txt"]
    assert not (exports / "saved-model").exists()  # whose assets/ is empty


def test_lists_of_files_that_lead_outside_are_not_followed(tmp_path):
    folder = tmp_path / "model" / "exports" / "onnx"
    folder.mkdir(parents=True)
    (folder / "export.json").write_text('{"files": ["../../head.h5", "/etc/passwd", "a/../../b", "model.onnx"]}')
    assert [*files_of_exports(tmp_path / "model")] == ["exports/onnx/model.onnx"]


def test_a_second_export_takes_the_place_of_the_first_and_keeps_files_of_the_user(model):
    package.export_model(model, "onnx")
    folder = Path(model, "exports", "onnx")
    (folder / "own.txt").write_text("mine")
    package.export_model(model, "onnx")
    assert (folder / "own.txt").read_text() == "mine"
    assert {path.name for path in Path(model, "exports").iterdir()} == {"onnx"}


# broken on purpose


def changed_weight(network):
    kernel = next(one for one in network.graph.initializer if len(one.dims) == 2)
    values = numpy_helper.to_array(kernel).copy()
    values[:, 0] *= 1.1
    kernel.CopyFrom(numpy_helper.from_array(values, kernel.name))


def one_wrong_row_in_a_batch(network):
    """Scores of the third picture are those of the first."""
    [output] = network.graph.output
    places = numpy_helper.from_array(np.array([0, 1, 0, *range(3, 100)], np.int64), "places")
    network.graph.initializer.extend([places, numpy_helper.from_array(np.array([0], np.int64), "zero")])
    behind(
        network,
        helper.make_node("Shape", ["old"], ["n"], start=0, end=1),
        helper.make_node("Slice", ["places", "zero", "n"], ["rows"]),
        helper.make_node("Gather", ["old", "rows"], [output.name], axis=0),
    )


def normalised_by_the_batch(network):
    """As batch normalisation does it in training."""
    [output] = network.graph.output
    network.graph.initializer.append(numpy_helper.from_array(np.array([0], np.int64), "axis"))
    behind(
        network,
        helper.make_node("ReduceMean", ["old", "axis"], ["mean"]),
        helper.make_node("Sub", ["old", "mean"], [output.name]),
    )


FAULTS = {
    "changed weight": (changed_weight, "by 0.*: of .*png"),
    "one wrong row": (one_wrong_row_in_a_batch, r"number 3 of 20 in a batch"),
    "batch normalisation": (normalised_by_the_batch, "scores that differ from those of retrain predict"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_file_that_differs_is_removed_and_an_older_one_stays(name, model, monkeypatch):
    package.export_model(model, "onnx")
    before = tree(model)
    change, message = FAULTS[name]
    broken(monkeypatch, change)
    with pytest.raises(ExportError, match=message):
        package.export_model(model, "onnx")
    assert tree(model) == before


def test_swapped_labels_are_found(model, monkeypatch):
    convert = onnx_format.onnx_model

    def swapped(stored):
        made = convert(stored)
        made.metadata_props[0].value = '["dog", "cat", "owl"]'
        return made

    monkeypatch.setattr(onnx_format, "onnx_model", swapped)
    with pytest.raises(
        ExportError, match="other labels than the model, or in another order: dog, cat, owl, expected cat"
    ):
        package.export_model(model, "onnx")
    assert not Path(model, "exports", "onnx").exists()


@pytest.fixture
def model_of_many(many_labels, tmp_path):
    """A copy of a model whose pictures can have several labels."""
    return shutil.copytree(many_labels, tmp_path / "model")


def test_an_export_of_many_labels_has_their_thresholds(model_of_many):
    [export] = package.export_model(model_of_many, "onnx")
    assert export.checked.largest_difference < 1e-5
    folder = Path(model_of_many, "exports", "onnx")
    assert (folder / "thresholds.txt").read_bytes() == (model_of_many / "thresholds.txt").read_bytes()
    assert {"thresholds.txt", "labels.txt"} < {*record_of(folder)["files"]}
    assert "thresholds" in (folder / "README.md").read_text("utf-8")


def softmax(network):
    """In place of the logistic function."""
    [node] = [node for node in network.graph.node if node.op_type == "Sigmoid"]
    node.op_type = "Softmax"


def test_another_activation_is_found(model_of_many, monkeypatch):
    broken(monkeypatch, softmax)
    with pytest.raises(ExportError, match="scores that differ from those of retrain predict"):
        package.export_model(model_of_many, "onnx")
    assert not Path(model_of_many, "exports", "onnx").exists()


def test_swapped_thresholds_are_found(model_of_many, monkeypatch):
    convert = onnx_format.onnx_model

    def swapped(stored):
        made = convert(stored)
        [entry] = [entry for entry in made.metadata_props if entry.key == "thresholds"]
        entry.value = json.dumps(json.loads(entry.value)[::-1])
        return made

    monkeypatch.setattr(onnx_format, "onnx_model", swapped)
    with pytest.raises(
        ExportError, match=r"onnx has other thresholds than the model: 0\.2, 0\.985, 0\.15, expected 0\.15"
    ):
        package.export_model(model_of_many, "onnx")
    assert not Path(model_of_many, "exports", "onnx").exists()


RESIZING = {
    "none": "small = Slice (pictures, zero, size, axes)",
    "nearest": 'small = Resize <mode = "nearest"> (pictures, , , sizes)',
    "not antialiased": 'small = Resize <mode = "linear"> (pictures, , , sizes)',
}


@pytest.mark.parametrize("name", RESIZING)
def test_another_resizing_is_found(name, model, monkeypatch):
    def with_resizing(network, form):
        front = parser.parse_model(f"""
            <ir_version: 8, opset_import: ["": 18]>
            front (uint8[n, h, w, 3] pictures) => (uint8[n, {form.height}, {form.width}, 3] small)
            {{
                zero = Constant <value = int64[2] {{0, 0}}> ()
                axes = Constant <value = int64[2] {{1, 2}}> ()
                size = Constant <value = int64[2] {{{form.height}, {form.width}}}> ()
                colours = Constant <value = int64[1] {{3}}> ()
                count = Shape <start = 0, end = 1> (pictures)
                sizes = Concat <axis = 0> (count, size, colours)
                {RESIZING[name]}
            }}
        """)
        front = compose.add_prefix(front, "front/", rename_inputs=False)
        return compose.merge_models(front, network, [("front/small", network.graph.input[0].name)])

    monkeypatch.setattr(onnx_format, "with_resizing", with_resizing)
    with pytest.raises(ExportError, match="scores that differ from those of retrain predict"):
        package.export_model(model, "onnx")


def test_a_form_in_fewer_bits_that_is_wrong_too_often_is_removed(model, monkeypatch):
    monkeypatch.setattr(onnx_format.OnnxFormat, "facts", rounded(onnx_format.OnnxFormat.facts))
    heard = []
    package.export_model(model, "onnx", emit=heard.append)
    warned = [event.message for event in heard if isinstance(event, Warned)]
    assert [text.partition(" ")[2] for text in warned] == ["pictures are too few to tell a loss of 1 points of onnx"]
    broken(monkeypatch, turned_scores)
    with pytest.raises(ExportError, match=r"loses 100.0 points of accuracy, and 1 are allowed \(validation: 0.0%, in"):
        package.export_model(model, "onnx")


def rounded(facts):
    import dataclasses

    return dataclasses.replace(facts, is_rounded=True)


def turned_scores(network):
    [output] = network.graph.output
    network.graph.initializer.append(numpy_helper.from_array(np.array([1, 2, 0], np.int64), "turned"))
    behind(network, helper.make_node("Gather", ["old", "turned"], [output.name], axis=1))


@pytest.mark.parametrize("name", FORMATS)
def test_the_readme_tells_of_thresholds_where_there_are_some(name):
    description = SimpleNamespace(
        height=3,
        width=4,
        form=PictureForm(3, 4),
        labels=("a", "b"),
        final_tensor_name="scores",
        thresholds=None,
        limit=None,
    )
    one = export_folder._readme(FORMATS[name].facts, SimpleNamespace(description=description)).decode()
    description.thresholds = (0.25, 0.5)
    many = export_folder._readme(FORMATS[name].facts, SimpleNamespace(description=description)).decode()
    description.thresholds, description.limit = None, Limit(0.5, 0.1)
    knowing = export_folder._readme(FORMATS[name].facts, SimpleNamespace(description=description)).decode()
    assert "known" not in one + many
    assert "It also gives `known`" in knowing
    assert 'if known >= 0.5 else "unknown"' in knowing
    assert "thresholds" not in one
    assert "A picture can have several of these labels" in many
    for text in (one, many, knowing):
        assert not set(text) & {"$"}
        [code] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
        compile(code, name, "exec")


# what goes wrong on the way


def test_a_full_disk_leaves_the_model_as_it_was(model):
    before = tree(model)
    with (
        full_after(5000),
        pytest.raises(OutputError, match=r"can't write the export .*what was there before is intact"),
    ):
        package.export_model(model, "onnx")
    assert tree(model) == before


def test_an_interruption_leaves_the_model_as_it_was(model):
    before = tree(model)

    def interrupt(event):
        if getattr(event, "done", 0) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        package.export_model(model, "onnx", emit=interrupt)
    after = tree(model)
    assert after.pop("exports", None) is None
    assert after == before


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_told_before_any_work(model):
    os.chmod(model, 0o500)
    with pytest.raises(OutputError, match="check its permissions"):
        package.export_model(model, "onnx")


def test_a_place_with_other_things_is_refused_before_any_work(model, monkeypatch):
    monkeypatch.setattr(export_folder, "convert", None)
    Path("other").mkdir()
    Path("other", "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"other holds other things \(thesis\.txt\) and no export"):
        package.export_model(model, "onnx", "other")
    with pytest.raises(OutputError, match=r"thesis\.txt is a file: give a folder as --output"):
        package.export_model(model, "onnx", "other/thesis.txt")


def test_a_model_that_was_replaced_meanwhile_gets_no_export(model, monkeypatch, trained, tiny_backbone):
    check = export_folder.check_export

    def checked_while_training_goes_on(*args):
        retrain("train", trained[0] / "pictures", "--backbone", tiny_backbone, "--steps", 60, check=0)
        return check(*args)

    monkeypatch.setattr(export_folder, "check_export", checked_while_training_goes_on)
    with pytest.raises(ExportError, match="was replaced while it was exported: run the command again"):
        package.export_model(model, "onnx")
    assert not Path(model, "exports", "onnx").exists()


def test_a_converter_that_fails_is_one_line(model, monkeypatch):
    def fail(stored):
        raise ArithmeticError("no such operation: Foo\nmore")

    monkeypatch.setattr(onnx_format, "onnx_model", fail)
    done = retrain("export", model, "--format", "onnx")
    assert done.returncode == 1
    one_line_error(done, "can't be converted to the format onnx", "no such operation: Foo")


def test_an_export_that_its_runtime_cannot_load_is_one_line(model, monkeypatch):
    monkeypatch.setattr(onnx_format, "onnx_model", lambda stored: onnx.ModelProto())
    with pytest.raises(ExportError, match="ONNX Runtime can't load the format onnx as written: "):
        package.export_model(model, "onnx")


def test_errno_of_no_space_gives_the_remedy():
    error = OSError(errno.ENOSPC, "No space left on device")
    assert "; make room or give" in export_folder._not_written("model", error)


def test_the_tiny_network_is_as_these_tests_assume(model):
    network = onnx_format.onnx_network(export_folder.StoredModel(str(model)))
    assert [dim.dim_value for dim in network.graph.input[0].type.tensor_type.shape.dim][1:] == [TINY_SIZE] * 2 + [3]
