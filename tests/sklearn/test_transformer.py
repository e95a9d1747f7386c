"""The transformer: what it takes, what it keeps, what it says; in pipelines and searches."""

import dataclasses
import inspect
import io
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.extraction import CountingBackbone
from support.pictures import draw_picture

pytest.importorskip("sklearn", reason="scikit-learn is not installed: pip install 'retrain[sklearn]'")

from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks

from retrain.errors import BackboneError, UnreadableImageError, UsageError
from retrain.extraction.pass_one import open_cache
from retrain.options import BackboneOptions, ExtractionOptions, ImageOptions
from retrain.sklearn import BottleneckTransformer, RetrainClassifier, transformer


@pytest.fixture
def backbone(monkeypatch):
    """A network that counts its pictures, in place of any other."""
    counting = CountingBackbone()

    def choose(options, emit):
        name = options.backbone.backbone or "counting"
        return None, dataclasses.replace(options, backbone=dataclasses.replace(options.backbone, backbone=name))

    monkeypatch.setattr(transformer, "choose_backbone", choose)
    monkeypatch.setattr(transformer, "choose_extractor_for", lambda *_: counting)
    return counting


@pytest.fixture
def paths(make_folder):
    """12 pictures, six of each class."""
    folder = make_folder({"cat": 6, "dog": 6})
    return [os.fspath(path) for path in sorted(folder.rglob("*.png"))]


LABELS = ["cat"] * 6 + ["dog"] * 6


def pixels_of(path):
    return np.array(Image.open(path).convert("RGB"))


def test_parameters_are_the_options_of_the_network_and_of_pictures():
    own = {name: p.default for name, p in inspect.signature(BottleneckTransformer).parameters.items()}
    assert own.pop("cache_dir") == "cache"
    options = [*dataclasses.fields(BackboneOptions), *dataclasses.fields(ImageOptions)]
    assert own == {"picture_fit" if field.name == "fit" else field.name: field.default for field in options}


@pytest.mark.parametrize(
    "check",
    [
        estimator_checks.check_estimator_cloneable,
        estimator_checks.check_estimator_tags_renamed,
        estimator_checks.check_valid_tag_types,
        estimator_checks.check_estimator_repr,
        estimator_checks.check_no_attributes_set_in_init,
        estimator_checks.check_do_not_raise_errors_in_init_or_set_params,
        estimator_checks.check_mixin_order,
        estimator_checks.check_parameters_default_constructible,
        estimator_checks.check_get_params_invariance,
    ],
    ids=lambda check: check.__name__,
)
def test_scikit_learn_s_checks(check):
    """Those that need no X: all others fit on an array of numbers, and pictures are none."""
    check("BottleneckTransformer", BottleneckTransformer())


def test_paths_bytes_and_pixels_of_a_picture_give_its_vector(backbone, paths):
    vectors = BottleneckTransformer().fit_transform(paths)
    assert (vectors.shape, vectors.dtype) == ((12, 8), np.float32)
    assert backbone.count == 12
    fitted = BottleneckTransformer().fit([Path(path) for path in paths])
    assert np.array_equal(fitted.transform([Path(path).read_bytes() for path in paths]), vectors)
    assert backbone.count == 12  # paths and bytes share the cache
    pixels = [pixels_of(path) for path in paths]
    assert np.array_equal(fitted.transform(pixels), vectors)
    assert np.array_equal(fitted.transform(np.stack(pixels)), vectors)
    assert backbone.count == 24  # as a PPM file, which is another file
    ppm = io.BytesIO()
    Image.fromarray(pixels[0]).save(ppm, "ppm")
    assert np.array_equal(fitted.transform([ppm.getvalue()]), vectors[:1])
    assert backbone.count == 24


def test_the_cache_is_that_of_the_commands(backbone, paths):
    BottleneckTransformer(cache_dir=Path("elsewhere")).fit(paths[:3])
    assert len(open_cache(backbone, ExtractionOptions(cache_dir="elsewhere"))) == 3


def test_columns_and_mixtures_are_taken(backbone, paths):
    pandas = pytest.importorskip("pandas")
    fitted = BottleneckTransformer().fit(paths)
    expected = fitted.transform(paths)
    frame = pandas.DataFrame({"path": paths, "year": range(12)})
    for form in (frame["path"], frame[["path"]], np.array(paths), np.array(paths)[:, None], tuple(paths), iter(paths)):
        assert np.array_equal(fitted.transform(form), expected)
    mixture = np.array([*paths[:2], Path(paths[2]).read_bytes(), Path(paths[3])], object)
    assert np.array_equal(fitted.transform(mixture), expected[:4])
    both = make_column_transformer((BottleneckTransformer(), "path"), remainder="passthrough")
    both.set_output(transform="pandas")
    table = both.fit_transform(frame)
    assert [*table.columns][-2:] == ["bottlenecktransformer__bottlenecktransformer7", "remainder__year"]


def test_it_goes_through_pipelines_searches_and_cross_validation(backbone, paths):
    pipeline = make_pipeline(BottleneckTransformer(), RetrainClassifier(optimizer="lbfgs"))
    search = GridSearchCV(pipeline, {"retrainclassifier__l2": [0.1, 0.001]}, cv=3).fit(paths, LABELS)
    assert search.score(paths, LABELS) == 1
    assert [*cross_val_predict(clone(pipeline), paths, LABELS, cv=3)] == LABELS
    assert backbone.count == 12  # in all


def test_a_fitted_one_is_pickled_without_its_network(backbone, paths, monkeypatch):
    fitted = BottleneckTransformer().fit(paths)
    vectors = fitted.transform(paths)
    packed = pickle.dumps(fitted)
    assert b"CountingBackbone" not in packed
    again = pickle.loads(packed)
    assert np.array_equal(again.transform(paths), vectors)
    assert (again.backbone_, again.fingerprint_) == ("counting", "c0" * 32)


def test_another_network_under_the_same_name_is_refused(backbone, paths, monkeypatch):
    packed = pickle.dumps(BottleneckTransformer().fit(paths))
    monkeypatch.setattr(CountingBackbone, "fingerprint", "d0" * 32)
    with pytest.raises(BackboneError, match="backbone counting is not the one that this transformer was fitted with"):
        pickle.loads(packed).transform(paths)


def test_pictures_that_can_not_be_read_are_all_named_and_the_others_kept(backbone, paths):
    Path("broken.png").write_bytes(b"no picture")
    bad = [*paths[:3], "broken.png", b"nothing", "missing.jpg"]
    with pytest.raises(UnreadableImageError) as raised:
        BottleneckTransformer().fit(bad)
    here = os.getcwd()
    assert str(raised.value).startswith(f"3 of 6 pictures can't be read: {here}/broken.png (")
    assert ", picture 4 (" in str(raised.value)
    assert f"{here}/missing.jpg (can't be read: No such file or directory); leave them out" in str(raised.value)
    BottleneckTransformer().fit(paths[:3])
    assert backbone.count == 3


@pytest.mark.parametrize(
    ("pictures", "error", "said"),
    [
        ("a.jpg", TypeError, "X is a single str: give a list of pictures"),
        (b"GIF89a", TypeError, "X is a single bytes"),
        ([], ValueError, "X has no pictures"),
        (np.zeros((5, 5, 3), np.uint8), ValueError, r"shape \(5, 5, 3\), a single picture"),
        (np.array([b"ab", b"c"]), TypeError, "fixed-length bytes, which cuts pictures short"),
    ],
)
def test_what_is_no_list_of_pictures_is_refused(pictures, error, said):
    with pytest.raises(error, match=said):
        BottleneckTransformer().fit(pictures)


def test_parameters_are_named_in_messages():
    with pytest.raises(UsageError, match=r"^input_size 0: must be between"):
        BottleneckTransformer(input_size=0).fit(["a.jpg"])
    with pytest.raises(NotFittedError):
        BottleneckTransformer().transform(["a.jpg"])


def test_damage_in_the_cache_is_a_warning_and_extracted_again(backbone, paths):
    vectors = BottleneckTransformer().fit_transform(paths)
    [segment] = Path("cache").rglob("segment-*.h5")
    content = bytearray(segment.read_bytes())
    place = content.find(vectors[5].tobytes())
    content[place] ^= 0xFF
    segment.write_bytes(content)
    with pytest.warns(UserWarning, match="1 damaged row"):
        again = BottleneckTransformer().fit_transform(paths)
    assert np.array_equal(again, vectors)
    assert backbone.count == 13


def test_a_real_network_gives_what_the_command_extracts(tiny_backbone, trained):
    """The cache of the command has all vectors already."""
    folder, _ = trained
    shutil.copytree(folder / "cache", "cache")
    before = sorted(Path("cache").rglob("segment-*.h5"))
    paths = sorted((folder / "pictures").rglob("*.png"))
    fitted = BottleneckTransformer(tiny_backbone).fit(paths)
    assert fitted.transform(paths[:5]).shape == (5, 24)
    assert sorted(Path("cache").rglob("segment-*.h5")) == before
    again = pickle.loads(pickle.dumps(fitted))
    new = io.BytesIO()
    draw_picture(1000, 1).save(new, "png")
    assert np.array_equal(again.transform([new.getvalue()]), fitted.transform([new.getvalue()]))


def test_an_onnx_network_is_a_backbone_like_any_other():
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    from support.onnx_networks import Form, pictures, places_of, save_network

    save_network("network.onnx", Form(gives=("sequence",)))
    transformer = BottleneckTransformer("network.onnx", input_mean="0.5", input_std="0.25", pooling="mean")
    values = (pictures() / 255 - 0.5) / 0.25
    expected = places_of(values, Form()).mean((2, 3))
    np.testing.assert_allclose(transformer.fit_transform(pictures()), expected, rtol=0, atol=1e-5)
