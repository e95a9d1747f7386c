import pytest

from retrain.data.source import read_source
from retrain.errors import ImageFolderError, ManifestError, UsageError
from retrain.options import Manifest


@pytest.fixture
def place(tmp_path):
    (tmp_path / "pictures.csv" / "cat").mkdir(parents=True)
    (tmp_path / "pictures.csv" / "cat" / "a.jpg").write_bytes(b"x")
    (tmp_path / "labels.csv").write_text("path,label\ncat/a.jpg,owl\n")
    return tmp_path


def test_a_folder_is_an_image_folder_and_a_file_is_a_manifest(place):
    assert read_source(place / "pictures.csv").class_names == ("cat",)
    assert read_source(Manifest(place / "labels.csv", place / "pictures.csv")).class_names == ("owl",)
    with pytest.raises(ManifestError, match="none of the 1 picture in"):
        read_source(str(place / "labels.csv"))


def test_what_is_neither_is_refused(place):
    with pytest.raises(ImageFolderError, match=r"no such image folder: .*; give a folder .*, or a manifest"):
        read_source(place / "none")
    with pytest.raises(UsageError, match=r"--image-root is for the paths in a manifest, and .* is a folder: leave it"):
        read_source(Manifest(place / "pictures.csv", place))
