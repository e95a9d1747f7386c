"""A folder of 400 classes: every message that names classes names ten, and says how many more there are."""

import re

import numpy as np
import pytest
from support.hearing import warnings_to

from retrain.data.folds import assign_folds
from retrain.data.image_folder import read_image_folder
from retrain.data.labels import ClassNames, class_labels, expected_labels
from retrain.data.split import check_counts
from retrain.errors import ImageFolderError
from retrain.events import ignore
from retrain.options import CrossValidationOptions, RunOptions, SplitOptions
from retrain.pipeline.checks import check_sets, check_training
from retrain.pipeline.crossval import cross_validate
from retrain.pipeline.training_data import read_classes

NAMES = [f"class {number:03}" for number in range(400)]
TEN = ", ".join(NAMES[:10])
TWO_EACH = ", ".join(f"{name} (2)" for name in NAMES[:10])


def folder_of(root, names, files=2):
    for name in names:
        (root / name).mkdir(parents=True)
        for number in range(files):
            (root / name / f"{number}.png").write_bytes(name.encode() + bytes([number]))
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return folder_of(tmp_path_factory.mktemp("many") / "pictures", NAMES)


def refused(call, *args):
    with pytest.raises(ImageFolderError) as caught:
        call(*args)
    return str(caught.value)


def warned(call, *args):
    warnings = []
    call(*args, warnings_to(warnings.append))
    return warnings


def test_too_few_pictures(root):
    folder = read_image_folder(root)
    counts = dict(zip(NAMES, folder.counts(), strict=True))
    keys = np.arange(800 * 32, dtype=np.uint32).astype(np.uint8).reshape(800, 32)
    for message in (
        refused(read_classes, root, RunOptions(), ignore),
        refused(check_counts, counts, SplitOptions(test_per_class=5)),
        refused(assign_folds, folder.samples, keys, 3, 0),
    ):
        assert f"in class {TWO_EACH} and 390 more" in message
        assert len(message) < 500


def test_few_pictures_and_empty_folders_are_one_warning_each(tmp_path):
    root = folder_of(tmp_path / "p", NAMES[:30], files=3)
    for number in range(25):
        (root / f"empty {number}").mkdir()
    few, empty = warned(read_classes, root, RunOptions())
    assert few.endswith("class 009 (3) and 20 more: results may be poor, add more")
    assert empty.startswith("25 folders hold no files and make no class: empty 0, ")
    assert empty.endswith(" and 15 more")


def test_folds(root):
    message = refused(cross_validate, root, CrossValidationOptions(folds=4), RunOptions())
    assert "is more than there are pictures (2 of class 000, " in message or "in class class 000 (2)" in message
    assert " and 390 more" in message


def test_sets_and_classes(tmp_path):
    labels = {
        "train": np.array([399] * 3, np.int32),
        "validation": np.zeros(1, np.int32),
        "test": np.zeros(1, np.int32),
    }
    message = refused(check_sets, NAMES, labels, False, RunOptions(), ignore)
    assert message.startswith(f"no training pictures of class {TEN} and 389 more: ")
    labels = {name: np.arange(400 if name == "train" else 1, dtype=np.int32) for name in labels}
    for warning, start in zip(
        warned(check_sets, NAMES, labels, False, RunOptions()),
        ("no validation pictures of class class 001, ", "no test pictures of class class 001, "),
        strict=True,
    ):
        assert warning.startswith(start)
        assert warning.endswith(" and 389 more")
    options = RunOptions(split=SplitOptions(test_per_class=2))
    (warning,) = (w for w in warned(check_sets, NAMES, labels, False, options) if "per-class" in w)
    assert "class 000 (1), class 001 (0), " in warning
    assert " and 390 more: " in warning
    root = folder_of(tmp_path / "p", ["train", "val", *NAMES[:20]])
    assert f"train, val are named like sets, but {TEN} and 10 more lie beside them" in refused(read_image_folder, root)
    root = folder_of(tmp_path / "q", ["train/x", *(f"val/{name}" for name in NAMES[:20])])
    assert f"of class {TEN} and 10 more in" in refused(check_training, read_image_folder(root), RunOptions())


def test_labels(root, tmp_path):
    (tmp_path / "labels.txt").write_text("".join(f"{name}\tother\n" for name in NAMES))
    warnings = []
    class_labels(["x"], "labels.txt", emit=warnings_to(warnings.append))
    assert warnings == [f"labels.txt lists names without a class folder: {TEN} and 390 more"]
    message = refused(class_labels, NAMES, "labels.txt")
    assert re.match("the class folders 'class 000', .* and 390 more would get the same label 'other'", message)
    names = ClassNames(("a", *NAMES), ("a", *NAMES))
    (tmp_path / "p" / "x").mkdir(parents=True)
    (tmp_path / "p" / "x" / "y").write_bytes(b"")
    assert "a, class 000, " in refused(expected_labels, ["p"], names)
    assert " and 391 more" in refused(expected_labels, ["p"], names)
