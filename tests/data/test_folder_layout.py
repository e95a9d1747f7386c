"""Which folders are classes: wrapping folders, sets, copies, and what nobody can tell."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.hearing import warnings_to

from retrain.data.folder_layout import composed
from retrain.data.image_folder import read_image_folder
from retrain.errors import ImageFolderError

COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


def touch(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"x")


def read(root, **options):
    """The folder, and what was said."""
    said = []
    return read_image_folder(root, emit=warnings_to(said.append), **options), said


def places(folder):
    return {sample.path: (sample.class_name, sample.subset) for sample in folder.samples}


def test_a_wrapping_folder_is_descended_into_and_that_is_said(tmp_path):
    touch(tmp_path, "LICENSE.txt", "flower_photos/LICENSE.txt", "flower_photos/daisy/a.jpg", "flower_photos/rose/b.jpg")
    folder, said = read(tmp_path)
    assert folder.class_names == ("daisy", "rose")
    assert places(folder) == {
        "flower_photos/daisy/a.jpg": ("daisy", None),
        "flower_photos/rose/b.jpg": ("rose", None),
    }
    assert folder.stray_files == ("LICENSE.txt", "flower_photos/LICENSE.txt")
    assert said == [f"taking the classes from {tmp_path}/flower_photos, the only folder there"]


def test_several_wrapping_folders_are_descended_into(tmp_path):
    touch(tmp_path, "archive/chest/chest/train/a/1", "archive/chest/chest/val/a/2", "archive/chest/chest/train/b/3")
    folder, said = read(tmp_path / "archive")
    assert folder.class_names == ("a", "b")
    assert {sample.subset for sample in folder.samples} == {"train", "validation"}
    assert len(said) == 1


@pytest.mark.parametrize(
    "paths",
    [
        ["cat/a.jpg", "cat/deep/b.jpg", "cat/er/c.jpg"],  # pictures of its own: a class
        ["cat/deep/b.jpg"],  # one folder is none to choose from
    ],
)
def test_one_class_with_folders_in_it_is_a_class(tmp_path, paths):
    touch(tmp_path, *paths)
    folder, said = read(tmp_path)
    assert folder.class_names == ("cat",)
    assert said == []


def test_a_class_that_is_known_is_no_wrapping_folder(tmp_path):
    touch(tmp_path, "cat/deep/b.jpg", "cat/er/c.jpg")
    assert read(tmp_path)[0].class_names == ("deep", "er")
    assert read(tmp_path, known=["cat"])[0].class_names == ("cat",)
    touch(tmp_path / "w", "wrap/cat/a")
    assert read(tmp_path / "w", known=["cat"])[0].class_names == ("cat",)


@pytest.mark.parametrize(
    ("training", "test"),
    [
        ("training_set/training_set", "test_set/test_set"),
        ("Training", "Test Data"),
        ("trainset", "testset"),
        ("TRAIN_IMAGES", "TEST_IMAGES"),
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("asl_alphabet-train", "asl_alphabet-test"),
        ("train/images", "test/images"),
    ],
)
def test_sets_may_be_spelled_and_wrapped_in_many_ways(tmp_path, training, test):
    touch(tmp_path, f"{training}/cat/a", f"{training}/dog/b", f"{test}/cat/c", f"{test}/dog/d")
    folder, _ = read(tmp_path)
    assert places(folder) == {
        f"{training}/cat/a": ("cat", "train"),
        f"{training}/dog/b": ("dog", "train"),
        f"{test}/cat/c": ("cat", "test"),
        f"{test}/dog/d": ("dog", "test"),
    }


@pytest.mark.parametrize("name", ["val", "Valid", "validation_set", "dev", "DevSet"])
def test_validation_sets_have_many_names(tmp_path, name):
    touch(tmp_path, "train/cat/a", f"{name}/cat/b")
    assert [s.subset for s in read(tmp_path)[0].samples if s.path.startswith(name)] == ["validation"]


def test_a_set_of_one_class_keeps_its_class(tmp_path):
    """It is named like one of the training set, so that what it holds are no classes."""
    touch(tmp_path, "train/cat/a", "train/dog/b", "test/cat/one/c", "test/cat/two/d")
    folder, _ = read(tmp_path)
    assert folder.class_names == ("cat", "dog")


def test_pictures_of_a_test_set_without_classes_are_in_none(tmp_path):
    touch(tmp_path, "train/cat/a", "train/dog/b", "test/test/1.jpg", "test/test/2.jpg")
    folder, said = read(tmp_path)
    assert folder.class_names == ("cat", "dog")
    assert said == [
        "2 pictures lie beside the class folders, in no class, and will not be used: test/test/1.jpg, test/test/2.jpg"
    ]


def test_a_copy_beside_the_sets_is_left_out(tmp_path):
    for start in ("", "chest_xray/"):
        touch(tmp_path, *(f"{start}{name}/{label}/1.jpg" for name in ("train", "test", "val") for label in ("a", "b")))
    touch(tmp_path, "__MACOSX/chest_xray/._1.jpg", "chest_xray/.DS_Store")
    folder, said = read(tmp_path)
    assert folder.class_names == ("a", "b")
    assert len(folder.samples) == 6
    assert folder.has_subsets
    assert said == [
        f"{tmp_path}/chest_xray holds files of the same names as the folders beside it: left out, as a copy of them"
    ]
    touch(tmp_path, "chest_xray/train/a/2.jpg")
    with pytest.raises(ImageFolderError, match=r"can't tell what .*/chest_xray is: .* \(test, train, val\), but their"):
        read(tmp_path)


def test_a_copy_beside_the_classes_is_left_out(tmp_path):
    touch(tmp_path, "flowers/rose/1", "flowers/daisy/2", "rose/1", "daisy/2")
    folder, said = read(tmp_path)
    assert folder.class_names == ("daisy", "rose")
    assert len(said) == 1


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (
            ["train/a/1", "val/a/1", "notes/1"],
            "train, val are named like sets, but notes lies beside them; .* move the other away",
        ),
        (
            ["validation/a/1", "test/a/1"],
            "test, validation are named like sets, but a training set or a second set is missing",
        ),
        (
            ["train/a/1", "training/a/1"],
            "train, training are named like sets, but a training set or a second set is missing",
        ),
        (["train/a/1", "train/b/1", "extra/1"], "train is named like a set, but extra lies beside it"),
        (["seg_train/a/1", "seg_test/b/1", "seg_pred/1"], "seg_test, seg_train are named like sets, but seg_pred"),
    ],
)
def test_what_may_be_sets_or_classes_is_refused(tmp_path, paths, message):
    touch(tmp_path, *paths)
    with pytest.raises(ImageFolderError, match=f"can't tell sets from classes in .*: {message}"):
        read(tmp_path)
    names = [path.split("/")[0] for path in paths]
    assert read(tmp_path, known=names)[0].class_names == tuple(sorted({*names}))


def test_two_unicode_forms_of_a_name_are_one_class(tmp_path):
    touch(tmp_path, f"{COMPOSED}/a", f"{DECOMPOSED}/b", "dog/c")
    folder, said = read(tmp_path)
    assert folder.class_names == (COMPOSED, "dog")
    assert folder.counts() == [2, 1]
    assert {(tmp_path / sample.path).read_bytes() for sample in folder.samples} == {b"x"}
    assert {sample.class_name for sample in folder.samples} == {COMPOSED, "dog"}
    assert said == [
        f"2 folders in {tmp_path} are named {COMPOSED}, in different Unicode forms: they are treated as one class"
    ]


def test_sets_may_use_other_unicode_forms(tmp_path):
    touch(tmp_path, f"train/{COMPOSED}/a", "train/dog/b", f"test/{DECOMPOSED}/c")
    folder, said = read(tmp_path)
    assert folder.class_names == (COMPOSED, "dog")
    assert said == []


@pytest.mark.slow
@given(st.text())
def test_composed_names_are_one_for_all_forms(name):
    forms = {unicodedata.normalize(form, name) for form in ("NFC", "NFD")} | {name}
    assert len({composed(form) for form in forms}) == 1
    assert composed(composed(name)) == composed(name)
