import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrain.backbones.backbone import Backbone, locate_backbone
from retrain.errors import BackboneError, UsageError
from retrain.options import DEPTH_RULES, FITS, BackboneOptions

WEIGHTS = b"what a weights file holds; nothing here loads it"


def locate(backbone: str = "inception_v3", **options) -> Backbone:
    return locate_backbone(BackboneOptions(backbone=backbone, **options))


def make_saved_model(folder: Path) -> Path:
    """What a SavedModel folder looks like to whoever does not load it."""
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables" / "variables.index").write_bytes(b"index")
    (folder / "variables" / "variables.data-00000-of-00001").write_bytes(b"numbers")
    return folder


def make_weights(path: Path, content: bytes = WEIGHTS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.fixture(autouse=True)
def _no_backbones_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RETRAIN_BACKBONES", raising=False)


@pytest.fixture
def backbones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that RETRAIN_BACKBONES names."""
    folder = tmp_path / "backbones"
    folder.mkdir()
    monkeypatch.setenv("RETRAIN_BACKBONES", str(folder))
    return folder


def test_importing_does_not_import_tensorflow():
    code = (
        "import sys, retrain.backbones.backbone; "
        "print([m for m in ('tensorflow', 'keras', 'h5py') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# Names


def test_default_is_inception_v3_of_keras_applications():
    source = locate_backbone(BackboneOptions()).source
    assert (source.name, source.kind, source.architecture) == ("inception_v3", "keras", "inception_v3")
    assert source.input_size == 299
    assert source.location is None
    assert source.input_range is None


def test_name_carries_alpha_and_input_size():
    source = locate("mobilenet_v2_0.50_160").source
    assert (source.architecture, source.alpha, source.input_size) == ("mobilenet_v2", 0.5, 160)
    assert source.name == "mobilenet_v2_0.50_160"


@pytest.mark.parametrize("name", ["mobilenet_0.25_128", "mobilenet_v3_small_0.75_224", "mobilenet_v3_large_1.0_224"])
def test_every_mobilenet_can_carry_alpha_and_input_size(name):
    source = locate(name).source
    architecture, alpha, size = name.rsplit("_", 2)
    assert (source.architecture, source.alpha, source.input_size) == (architecture, float(alpha), int(size))


@pytest.mark.parametrize("name", ["inception_v3", "mobilenet_v2_0.50_160"])
def test_input_size_option_goes_before_the_name(name):
    assert locate(name, input_size=200).source.input_size == 200


@pytest.mark.parametrize("name", ["InceptionV3", "inceptionv3", "INCEPTION_V3"])
def test_spelling_of_a_keras_name_does_not_matter(name, tmp_path):
    weights = str(make_weights(tmp_path / "w.weights.h5"))
    other = locate(name, weights=weights)
    assert other.source.input_size == 299
    assert other.fingerprint == locate("inception_v3", weights=weights).fingerprint


@pytest.mark.parametrize("version", [1, 3, 5, 12])
def test_url_of_the_original_program_means_inception_v3(version):
    url = f"https://tfhub.dev/google/imagenet/inception_v3/feature_vector/{version}"
    assert locate(url).source == locate("inception_v3").source


def test_input_range_does_not_go_with_a_keras_name():
    with pytest.raises(
        BackboneError, match=r"--input-range is for SavedModel, Hub and ONNX backbones; resnet50 looks after"
    ):
        locate("resnet50", input_range="-1..1")


def test_input_range_is_one_of_three():
    with pytest.raises(UsageError, match=r"--input-range 0\.\.2: not one of 0\.\.1, -1\.\.1, 0\.\.255"):
        locate("folder/model", input_range="0..2")


# RETRAIN_BACKBONES


def test_saved_model_in_the_backbones_folder_is_preferred(backbones):
    folder = make_saved_model(backbones / "inception_v3")
    make_weights(backbones / "inception_v3.weights.h5")
    source = locate("inception_v3").source
    assert (source.kind, source.location, source.name) == ("saved_model", str(folder), "inception_v3")
    assert source.input_range == "0..1"


def test_saved_model_in_the_backbones_folder_need_not_have_a_keras_name(backbones):
    """The model says its input size; no default of Keras Applications may get in its way."""
    make_saved_model(backbones / "ours")
    source = locate("ours").source
    assert source.kind == "saved_model"
    assert source.input_size is None


def test_saved_model_in_the_backbones_folder_takes_an_input_range(backbones):
    make_saved_model(backbones / "ours")
    assert locate("ours", input_range="0..255").source.input_range == "0..255"


def test_saved_model_in_the_backbones_folder_has_the_fingerprint_of_its_path(backbones):
    folder = make_saved_model(backbones / "inception_v3")
    assert locate("inception_v3").fingerprint == locate(str(folder)).fingerprint


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v2_1.0_160", "mobilenet_v2_1.0_224"])
def test_weights_file_is_found_by_its_name(name, backbones):
    weights = make_weights(backbones / "mobilenet_v2_1.0_224.weights.h5")
    source = locate(name).source
    assert (source.kind, source.location) == ("keras", str(weights))
    assert source.architecture == "mobilenet_v2"


@pytest.mark.parametrize("name", ["mobilenet", "mobilenet_v2_0.50_160", "mobilenet_v3_small", "mobilenet_1.0_224"])
def test_weights_file_of_another_network_is_not_taken(name, backbones):
    make_weights(backbones / "mobilenet_v2_1.0_224.weights.h5")
    assert locate(name).source.location is None


@pytest.mark.parametrize("file", ["resnet50.weights.h5", "resnet50.h5", "resnet50.keras", "resnet50_1.0.h5"])
def test_weights_file_may_be_called(file, backbones):
    weights = make_weights(backbones / file)
    assert locate("resnet50").source.location == str(weights)


@pytest.mark.parametrize(
    "file", ["resnet50.txt", "my_resnet50.weights.h5", "resnet50.weights.h5.part", "resnet50_v2.h5"]
)
def test_file_that_is_not_called_like_weights_is_not_taken(file, backbones):
    make_weights(backbones / file)
    assert locate("resnet50").source.location is None


@pytest.mark.parametrize(("wanted", "nearest"), [(96, 96), (128, 96), (160, 192), (200, 192), (224, 224), (500, 224)])
def test_of_several_weights_files_the_nearest_in_size_is_taken(wanted, nearest, backbones):
    for size in (96, 192, 224):
        make_weights(backbones / f"mobilenet_v2_0.50_{size}.weights.h5")
    make_weights(backbones / f"mobilenet_v2_1.0_{wanted}.weights.h5")
    location = locate(f"mobilenet_v2_0.50_{wanted}").source.location
    assert location == str(backbones / f"mobilenet_v2_0.50_{nearest}.weights.h5")


def test_weights_option_goes_before_the_backbones_folder(backbones, tmp_path):
    make_weights(backbones / "resnet50.weights.h5")
    make_saved_model(backbones / "resnet50")
    mine = make_weights(tmp_path / "mine.weights.h5")
    assert locate("resnet50", weights=str(mine)).source.location == str(mine)


@pytest.mark.parametrize("kind", ["missing", "file"])
def test_backbones_folder_that_is_no_folder_is_an_error(kind, tmp_path, monkeypatch):
    if kind == "file":
        (tmp_path / "models").write_text("not a folder")
    monkeypatch.setenv("RETRAIN_BACKBONES", str(tmp_path / "models"))
    with pytest.raises(BackboneError, match=r"RETRAIN_BACKBONES names .*/models, which is not a folder"):
        locate("inception_v3")


def test_empty_backbones_folder_leaves_the_name_to_keras(backbones):
    assert locate("inception_v3").source == locate_backbone(BackboneOptions()).source
    assert locate("inception_v3").source.kind == "keras"


# --weights


def test_weights_file_that_is_missing_is_an_error(tmp_path):
    with pytest.raises(BackboneError, match=r"no such weights file: .*nowhere\.h5 \(--weights\)"):
        locate("resnet50", weights=str(tmp_path / "nowhere.h5"))


def test_weights_that_are_a_folder_are_an_error(tmp_path):
    with pytest.raises(BackboneError, match="no such weights file"):
        locate("resnet50", weights=str(tmp_path))


def test_weights_do_not_go_with_a_url():
    with pytest.raises(BackboneError, match=r"--weights goes with the name of a network, not with a URL \(https://"):
        locate("https://example.org/model/1", weights="w.h5")


def test_weights_do_not_go_with_a_saved_model(tmp_path):
    folder = make_saved_model(tmp_path / "model")
    with pytest.raises(BackboneError, match="--weights goes with the name of a network, not with a SavedModel folder"):
        locate(str(folder), weights="w.h5")


# URLs and folders


def test_url_is_left_to_tensorflow_hub():
    url = "https://tfhub.dev/google/imagenet/mobilenet_v2_100_224/feature_vector/5"
    source = locate(url).source
    assert (source.kind, source.location, source.input_range) == ("hub", url, "0..1")
    assert source.name == "google_imagenet_mobilenet_v2_100_224_feature_vector_5"
    assert source.input_size is None


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://localhost:8080/models/ours.tar.gz", "models_ours"),
        (
            "https://www.kaggle.com/models/google/resnet-v2/x/y/1?tf-hub-format=compressed",
            "models_google_resnet-v2_x_y_1",
        ),
        ("gs://bucket/a b/c", "a_b_c"),
        ("https://host/", "backbone"),
    ],
)
def test_url_gives_a_short_name(url, name):
    assert locate(url).name == name


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200))
def test_name_of_a_url_is_fit_for_a_visible_folder(path):
    name = locate("https://host/" + path).name
    assert 1 <= len(name) <= 60
    assert not name.startswith((".", "-"))
    assert all(letter.isalnum() or letter in "_.-" for letter in name)


def test_folder_of_a_saved_model(tmp_path):
    folder = make_saved_model(tmp_path / "my model")
    source = locate(str(folder)).source
    assert (source.kind, source.location, source.name) == ("saved_model", str(folder), "my_model")
    assert source.input_size is None


def test_folder_may_be_named_without_a_slash(tmp_path):
    make_saved_model(tmp_path / "ours")
    assert locate("ours").source.kind == "saved_model"


def test_folder_that_is_the_current_one_has_its_real_name(tmp_path, monkeypatch):
    monkeypatch.chdir(make_saved_model(tmp_path / "ours"))
    assert locate("." + os.sep).name == "ours"


def test_options_reach_the_saved_model(tmp_path):
    folder = make_saved_model(tmp_path / "model")
    source = locate(str(folder), input_size=64, input_range="-1..1").source
    assert (source.input_size, source.input_range) == (64, "-1..1")


@pytest.mark.parametrize("kind", ["missing", "empty"])
def test_folder_without_a_saved_model_is_an_error(kind, tmp_path):
    if kind == "empty":
        (tmp_path / "model").mkdir()
    with pytest.raises(BackboneError, match=r"no SavedModel in .*/model: expected a folder with saved_model\.pb"):
        locate(str(tmp_path / "model"))


# Fingerprints


def test_fingerprint_of_the_same_weights_in_two_places_is_the_same(tmp_path):
    first = make_weights(tmp_path / "a" / "one.weights.h5")
    second = make_weights(tmp_path / "b" / "two.h5")
    assert locate(weights=str(first)).fingerprint == locate(weights=str(second)).fingerprint


def test_fingerprint_of_a_weights_file_in_the_backbones_folder_is_that_of_the_option(backbones, tmp_path):
    make_weights(backbones / "resnet50.weights.h5")
    mine = make_weights(tmp_path / "mine.h5")
    assert locate("resnet50").fingerprint == locate("resnet50", weights=str(mine)).fingerprint


def test_fingerprint_of_a_copied_saved_model_is_the_same(tmp_path):
    folder = make_saved_model(tmp_path / "model")
    shutil.copytree(folder, tmp_path / "elsewhere" / "renamed")
    copy = locate(str(tmp_path / "elsewhere" / "renamed"))
    assert copy.fingerprint == locate(str(folder)).fingerprint
    assert copy.name == "renamed"


def test_fingerprint_is_a_sha_256():
    """A golden value: where it changes, every cache that users have is worth nothing any more."""
    weights = make_weights(Path("w.weights.h5"))
    fingerprint = locate("mobilenet_v2", weights=str(weights)).fingerprint
    assert fingerprint == "c70feffe2afd56561ee706aabeb903776ca4ccfbca14a8f3a8673f7dc19eae8b"


def test_fingerprint_changes_with_one_byte_of_the_weights(tmp_path):
    weights = make_weights(tmp_path / "w.h5")
    before = locate(weights=str(weights)).fingerprint
    make_weights(weights, WEIGHTS[:-1] + b"!")
    assert locate(weights=str(weights)).fingerprint != before


@pytest.mark.parametrize("file", ["saved_model.pb", "variables/variables.data-00000-of-00001"])
def test_fingerprint_changes_with_one_byte_of_a_saved_model(file, tmp_path):
    folder = make_saved_model(tmp_path / "model")
    before = locate(str(folder)).fingerprint
    content = (folder / file).read_bytes()
    (folder / file).write_bytes(bytes([content[0] ^ 1]) + content[1:])
    assert locate(str(folder)).fingerprint != before


def test_fingerprint_changes_where_two_files_of_a_saved_model_are_swapped(tmp_path):
    folder = make_saved_model(tmp_path / "model")
    before = locate(str(folder)).fingerprint
    index, data = folder / "variables" / "variables.index", folder / "variables" / "variables.data-00000-of-00001"
    kept = index.read_bytes()
    index.write_bytes(data.read_bytes())
    data.write_bytes(kept)
    assert locate(str(folder)).fingerprint != before


def test_fingerprint_leaves_out_tensorflows_own_fingerprint(tmp_path):
    folder = make_saved_model(tmp_path / "model")
    before = locate(str(folder)).fingerprint
    (folder / "fingerprint.pb").write_bytes(b"a note about the other files")
    assert locate(str(folder)).fingerprint == before


def test_fingerprint_takes_in_linked_folders(tmp_path):
    """Download caches keep the files elsewhere and link them."""
    folder = make_saved_model(tmp_path / "model")
    before = locate(str(folder)).fingerprint
    (folder / "variables").rename(tmp_path / "blobs")
    (folder / "variables").symlink_to(tmp_path / "blobs", target_is_directory=True)
    assert locate(str(folder)).fingerprint == before


def test_fingerprints_of_input_sizes_differ(tmp_path):
    weights = str(make_weights(tmp_path / "w.h5"))
    sizes = [None, 160, 192]
    assert len({locate("resnet50", weights=weights, input_size=size).fingerprint for size in sizes}) == len(sizes)


def test_a_fit_is_part_of_the_fingerprint_unless_it_is_the_default(tmp_path):
    weights = str(make_weights(tmp_path / "w.h5"))
    named = [locate("resnet50", weights=weights, fit=fit) for fit in FITS]
    deep = [locate("resnet50", weights=weights, depth=depth) for depth in DEPTH_RULES]
    place = str(make_saved_model(tmp_path / "model"))
    folder = [locate(place, fit=fit) for fit in FITS]
    for squash, *others in (named, folder, deep):
        assert not {"fit", "depth"} & {*squash.description}
        assert len({squash.fingerprint, *(other.fingerprint for other in others)}) == 3
    assert named[0].fingerprint == locate("resnet50", weights=weights).fingerprint


def test_fingerprints_of_input_ranges_differ(tmp_path):
    folder = str(make_saved_model(tmp_path / "model"))
    ranges = ["0..1", "-1..1", "0..255"]
    assert len({locate(folder, input_range=each).fingerprint for each in ranges}) == len(ranges)
    assert locate(folder).fingerprint == locate(folder, input_range="0..1").fingerprint


def test_fingerprints_of_architectures_differ(tmp_path):
    weights = str(make_weights(tmp_path / "w.h5"))
    names = ["resnet50", "resnet50_v2", "mobilenet_v2", "mobilenet_v2_0.50_224"]
    assert len({locate(name, weights=weights).fingerprint for name in names}) == len(names)


def test_fingerprint_of_a_size_in_the_name_is_that_of_the_option(tmp_path):
    weights = str(make_weights(tmp_path / "w.h5"))
    named = locate("mobilenet_v2_1.0_160", weights=weights)
    assert named.fingerprint == locate("mobilenet_v2", weights=weights, input_size=160).fingerprint


def test_weights_that_went_away_are_an_error(tmp_path):
    weights = make_weights(tmp_path / "w.h5")
    backbone = locate(weights=str(weights))
    weights.unlink()
    with pytest.raises(BackboneError, match=r"w\.h5"):
        _ = backbone.fingerprint


def test_saved_model_that_went_away_is_an_error(tmp_path):
    folder = make_saved_model(tmp_path / "model")
    backbone = locate(str(folder))
    shutil.rmtree(folder)
    with pytest.raises(BackboneError, match="model"):
        _ = backbone.fingerprint
