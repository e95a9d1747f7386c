import pytest

from retrain.data.expectations import expected_labels
from retrain.errors import ImageFolderError
from retrain.model.folder import ModelDescription


def model(labels, class_folders=None):
    return ModelDescription(tuple(labels), tuple(class_folders or labels), "", "", 1, 1, 1, {}, {})


@pytest.fixture
def touch(tmp_path):
    def touch(*paths):
        for path in paths:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes(b"x")

    return touch


def test_the_nearest_folder_of_a_class_says_what_a_picture_is(touch):
    touch("p/cat/a", "p/cat/deep/er/b", "p/cat/dog/c", "p/train/dog/d", "p/other/e", "p/f")
    assert expected_labels(["p"], model(["cat", "dog"])) == {
        "p/f": None,
        "p/cat/a": "cat",
        "p/cat/deep/er/b": "cat",
        "p/cat/dog/c": "dog",
        "p/other/e": None,
        "p/train/dog/d": "dog",
    }


def test_the_folder_that_is_given_counts_but_none_above_it(touch, tmp_path, monkeypatch):
    touch("dog/cat/x/a", "dog/x/b")
    assert expected_labels(["dog/cat"], model(["cat", "dog"])) == {"dog/cat/x/a": "cat"}
    assert expected_labels(["dog/cat/"], model(["cat", "dog"])) == {"dog/cat/x/a": "cat"}
    with pytest.raises(
        ImageFolderError,
        match=r"no picture in dog/x is in a folder that is named like a class of the model \(cat, dog\)",
    ):
        expected_labels(["dog/x"], model(["cat", "dog"]))
    with pytest.raises(ImageFolderError, match=r"model \(0, 1, .*, 9 and 30 more\): give a folder with one sub-folder"):
        expected_labels(["dog/x"], model(map(str, range(40))))
    monkeypatch.chdir(tmp_path / "dog" / "cat")
    assert expected_labels(["."], model(["cat", "dog"])) == {"./x/a": "cat"}


def test_of_a_file_that_is_given_its_own_folder_counts(touch, tmp_path, monkeypatch):
    touch("cat/a", "cat/x/b", "dog/c")
    assert expected_labels(["cat/a", "dog", "cat/x/b"], model(["cat", "dog"])) == {
        "cat/a": "cat",
        "dog/c": "dog",
        "cat/x/b": None,
    }
    monkeypatch.chdir(tmp_path / "cat")
    assert expected_labels(["a"], model(["cat", "dog"])) == {"a": "cat"}


def test_folders_may_be_named_as_in_training(touch):
    touch("p/n1/a", "p/n2/b", "q/tench/c", "q/n2/d")
    named = model(["tench", "goldfish"], ["n1", "n2"])
    assert expected_labels(["p"], named) == {"p/n1/a": "tench", "p/n2/b": "goldfish"}
    assert expected_labels(["q"], named) == {"q/n2/d": "goldfish", "q/tench/c": "tench"}


def test_names_that_are_folder_and_label_mean_the_folder_where_all_are_folders(touch):
    touch("folders/0/a", "folders/1/a", "folders/2/a", "labels/1/a", "labels/2/a", "labels/3/a")
    counted = model("123", "012")
    assert expected_labels(["folders"], counted) == {"folders/0/a": "1", "folders/1/a": "2", "folders/2/a": "3"}
    assert expected_labels(["labels"], counted) == {"labels/1/a": "1", "labels/2/a": "2", "labels/3/a": "3"}


def test_a_place_that_is_not_there_is_refused(touch):
    touch("cat/a")
    with pytest.raises(ImageFolderError, match="no such file or folder: cat/b; give pictures, or folders of them"):
        expected_labels(["cat/a", "cat/b"], model(["cat", "dog"]))


def test_no_files_are_no_error_here(tmp_path):
    (tmp_path / "empty").mkdir()
    assert expected_labels(["empty"], model(["cat", "dog"])) == {}


def test_a_name_is_the_same_in_all_unicode_forms(touch):
    """Models of earlier versions have labels as their folders were spelled, even both forms of one name."""
    both = ("caf\u00e9", "cafe\u0301")
    touch(*(f"p/{name}/a" for name in both))
    for old in both:
        assert set(expected_labels(["p"], model([old, "dog"])).values()) == {old}
    for labels in (both, both[::-1]):
        assert set(expected_labels(["p"], model(labels)).values()) == {both[0]}
    assert set(expected_labels(["p"], model(["1", "2"], [both[1], "dog"])).values()) == {"1"}
