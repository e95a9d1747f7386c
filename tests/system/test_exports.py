"""`retrain export` and `retrain train --export`: the commands, the client code in READMEs, real networks."""

import ast
import importlib.util
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.command import SCRIPT, one_line_error, retrain
from support.exports import exports_here, run_here, tree  # noqa: F401  # a fixture
from support.pictures import draw_picture
from support.refused import WITHOUT_KERAS

from retrain import worker
from retrain.backbones import own_signal_stack
from retrain.export import onnx_format
from retrain.model import Classifier
from retrain.options import EXPORT_FORMATS

BY_RUNTIME = (
    ("graph", "saved-model", "keras"),
    ("tflite", "tflite-float16", "tflite-dynamic", "tflite-int8"),
    ("onnx",),
    ("openvino", "openvino-int8"),
)
CLIENTS_IN_THIS_PROCESS = ("graph", "saved-model", "keras", "tflite", "onnx", "openvino")  # those of float32

for package, extra in (("tf2onnx", "onnx"), ("openvino", "openvino"), ("nncf", "openvino")):
    if importlib.util.find_spec(package) is None:  # not imported: that would load their telemetry, too
        pytest.skip(f"the extra {extra} is not installed", allow_module_level=True)


@pytest.fixture(scope="module")
def exported(rejecting, tmp_path_factory):
    """A model folder with exports in all formats, of a model that tells pictures of no class."""
    folder = tmp_path_factory.mktemp("exported")
    shutil.copytree(rejecting[0] / "model", folder / "model")
    with pytest.MonkeyPatch.context() as patch:
        run_here(patch)
        done = retrain("export", "model", "--format", ",".join(EXPORT_FORMATS), "--json", cwd=folder, check=0)
    return folder / "model", json.loads(done.stdout)


@pytest.mark.network
@pytest.mark.slow
def test_every_format_is_made_and_checked(exported):
    _, document = exported
    rows = {row["format"]: row for row in document["exports"]}
    assert tuple(rows) == EXPORT_FORMATS
    assert document["failures"] == {}
    for name, row in rows.items():
        assert (exported[0].parent / row["folder"] / row["file"]).exists()
        assert row["pictures"] == 20
        is_rounded = bool(row["accuracy"])
        assert is_rounded == (name in ("tflite-float16", "tflite-dynamic", "tflite-int8", "openvino-int8"))
        assert is_rounded or row["largest_difference"] < 1e-5
        assert {found["set"] for found in row["accuracy"]} <= {"validation", "test"}
    assert Path(document["model_dir"]).name == "model"


CLIENTS = """
import json, os, sys
sys.modules["retrain"] = None
_, codes, *pictures = sys.argv
for name, code in json.loads(codes).items():
    if name == "keras":
        del sys.modules["keras"]
    os.chdir(name)
    for picture in pictures:
        sys.argv = ["client", picture]
        exec(code, {})
    os.chdir("..")
"""


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.parametrize("names", BY_RUNTIME, ids=lambda names: names[0])
def test_the_client_code_of_the_readme_runs_without_retrain(names, exported, tmp_path):
    """Formats of one runtime share a process; Keras is the last of TensorFlow's, of which the others need none."""
    model, _ = exported
    for label, kind in ((1, "known"), (3, "strange")):
        draw_picture(5, label, 300).save(tmp_path / f"{kind}.jpg", quality=95)
    pictures = [tmp_path / "known.jpg", tmp_path / "strange.jpg"]
    codes = {name: client_code(model / "exports" / name / "README.md") for name in names}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_KERAS + CLIENTS, json.dumps(codes), *pictures],
        cwd=model / "exports",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    predictions = [*Classifier(model).predict(pictures)]
    assert [found.is_unknown for found in predictions] == [False, True]
    asked = itertools.product(names, predictions)
    for line, (name, expected) in zip(done.stdout.splitlines(), asked, strict=True):
        label, score = line.split()
        # int8 rounds the distances of so small a network away
        assert label in ((expected.label, expected.likeliest) if name == "tflite-int8" else (expected.label,)), name
        # the client decodes the whole picture where predict scales a large JPEG
        assert float(score) == pytest.approx(expected.score, abs=0.05), name


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.usefixtures("exports_here")
def test_every_format_gives_the_labels_of_a_picture_that_can_have_many(many_labels, trained, capsys, monkeypatch):
    model = shutil.copytree(many_labels, Path("model").absolute())
    formats = (*CLIENTS_IN_THIS_PROCESS, "tflite-dynamic")
    options = "--json", "--max-accuracy-drop", 10
    document = json.loads(retrain("export", "model", "--format", ",".join(formats), *options, check=0).stdout)
    assert tuple(document["thresholds"]) == Classifier(model).thresholds
    for row in document["exports"]:
        assert row["accuracy"] or row["largest_difference"] < 1e-5
    [found] = Classifier(model).predict([trained[0] / "pictures" / "cat" / "cat0.png"])
    assert 0 < len(found.labels) < len(Classifier(model).labels)
    monkeypatch.setattr(sys, "argv", ["client", found.path])
    for name in CLIENTS_IN_THIS_PROCESS:
        with monkeypatch.context() as patch:
            patch.chdir(model / "exports" / name)
            with own_signal_stack():  # OpenVINO's would be gone at the next Ctrl-C
                exec(client_code(Path("README.md")), {})
            assert {*ast.literal_eval(capsys.readouterr().out)} == {*found.labels}


def client_code(readme):
    [code] = re.findall(r"```python\n(.*?)```", readme.read_text("utf-8"), re.DOTALL)
    return code


@pytest.mark.network
@pytest.mark.usefixtures("exports_here")
def test_training_exports_too_and_a_failing_export_costs_no_model(make_folder, tiny_backbone, monkeypatch):
    folder = make_folder({"cat": 30, "dog": 30})
    options = ["train", folder, "--backbone", tiny_backbone, "--steps", 50, "--export"]
    done = retrain(*options, "onnx", check=0)
    assert "format" in done.stdout
    assert "onnx: model/exports/onnx/model.onnx" in done.stdout
    assert json.loads(Path("model/run.json").read_text())["options"]["export"] == "onnx"

    def fail(stored):
        raise ArithmeticError("no such operation")

    monkeypatch.setattr(onnx_format, "onnx_model", fail)
    done = retrain(*options, "onnx", "--model-dir", "other")
    assert done.returncode == 1
    assert "Model: other/" in done.stdout
    one_line_error(done, "retrain export other --format onnx tries again", "no such operation")
    assert Classifier("other").labels == ("cat", "dog")
    assert not Path("other/exports").exists()


def test_an_unknown_format_is_wrong_usage_before_any_work():
    done = retrain("train", "nowhere", "--export", "onxn")
    assert done.returncode == 2
    one_line_error(done, "--export 'onxn': not one of graph,", "did you mean onnx?")
    done = retrain("export", "nowhere", "--format", "tfjs")
    assert done.returncode == 2
    one_line_error(done, "--format 'tfjs'", "retrain export --list says what there is")
    one_line_error(retrain("export", "nowhere"), "export takes a model folder and a format")
    one_line_error(retrain("export", "nowhere", "--format", "graph"), "no such model folder: nowhere")


def test_the_list_says_of_every_format_what_loads_it_and_what_it_needs(monkeypatch):
    rows = json.loads(retrain("export", "--list", "--json", check=0).stdout)
    assert tuple(row["format"] for row in rows) == EXPORT_FORMATS
    assert all(row["loaded_by"] and row["takes"] and row["file"] for row in rows)
    text = retrain("export", "--list", check=0).stdout
    assert "onnx: model.onnx, loaded by ONNX Runtime" in text
    assert "needs pip install 'retrain[onnx]'" in text


def test_pictures_that_are_gone_are_asked_for(trained, tmp_path):
    model = shutil.copytree(trained[0] / "model", tmp_path / "model")
    record = json.loads((model / "run.json").read_text())
    record["image_dir"] = "/nowhere"
    record.pop("digest")
    (model / "run.json").write_text(json.dumps(record))
    done = retrain("export", "model", "--format", "onnx")
    one_line_error(done, "no longer in /nowhere", "retrain export model --pictures DIR")
    one_line_error(retrain("export", "model", "--format", "onnx", "--pictures", "away"), "away: no such folder")
    Path("empty").mkdir()
    one_line_error(retrain("export", "model", "--format", "onnx", "--pictures", "empty"), "holds no picture")


@pytest.mark.slow
@pytest.mark.network
def test_ctrl_c_ends_the_converter_and_leaves_the_model_as_it_was(trained, tmp_path):
    model = shutil.copytree(trained[0] / "model", tmp_path / "model")
    before = tree(model)
    process = subprocess.Popen(
        [SCRIPT, "export", "model", "--format", "onnx"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr.readline() == "writing onnx ...\n"
    [child] = wait_for_children(process.pid)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in errors
    wait_for_end(child)
    assert tree(model) == before


def wait_for_end(pid):
    """Until a process has ended, though nobody may have asked how."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return
        except FileNotFoundError:
            return
        time.sleep(0.02)
    raise AssertionError(f"process {pid} goes on")


def wait_for_children(pid):
    until = time.monotonic() + 30
    while time.monotonic() < until:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("no process began")


@pytest.mark.slow
def test_a_worker_does_not_outlive_a_parent_that_is_killed():
    code = (
        "import os, signal\nfrom retrain.worker import Worker\nfrom support import worker_functions as functions\n"
        "with Worker() as worker:\n    print(worker.call(functions.pid_of), flush=True)\n    signal.pause()\n"
    )
    paths = os.pathsep.join([str(Path(worker.__file__).parents[1]), str(Path(__file__).parents[1])])
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": paths}
    )
    child = process.stdout.readline().strip()
    process.kill()
    process.communicate()
    wait_for_end(child)
