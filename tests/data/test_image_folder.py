import os

import pytest

from retrain.data import folder_walk
from retrain.data.image_folder import read_image_folder
from retrain.errors import ImageFolderError
from retrain.paths import display_path


def touch(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"x")


def test_classes_are_the_sorted_sub_folders_and_files_are_found_at_any_depth(tmp_path):
    touch(tmp_path, "dog/a.jpg", "cat/deep/er/b", "cat/c.PNG", "LICENSE.txt")
    folder = read_image_folder(tmp_path)
    assert folder.class_names == ("cat", "dog")
    assert [(s.path, s.label) for s in folder.samples] == [("cat/c.PNG", 0), ("cat/deep/er/b", 0), ("dog/a.jpg", 1)]
    assert folder.counts() == [2, 1]
    assert folder.stray_files == ("LICENSE.txt",)


def test_hidden_files_and_litter_are_left_out(tmp_path):
    touch(tmp_path, "cat/a.jpg", "cat/.DS_Store", "cat/Thumbs.db", ".git/x", "@eaDir/y", "cat/.hidden/z")
    folder = read_image_folder(tmp_path)
    assert [s.path for s in folder.samples] == ["cat/a.jpg"]
    assert folder.class_names == ("cat",)


def test_an_empty_folder_is_no_class(tmp_path):
    touch(tmp_path, "cat/a.jpg")
    (tmp_path / "dog" / "inner").mkdir(parents=True)
    folder = read_image_folder(tmp_path)
    assert folder.class_names == ("cat",)
    assert folder.empty_folders == ("dog",)


def test_folders_named_like_sets_are_a_split(tmp_path):
    touch(tmp_path, "train/cat/a", "train/dog/b", "val/cat/c", "Test/dog/d")
    folder = read_image_folder(tmp_path)
    assert folder.class_names == ("cat", "dog")
    assert {s.path: s.subset for s in folder.samples} == {
        "train/cat/a": "train",
        "train/dog/b": "train",
        "val/cat/c": "validation",
        "Test/dog/d": "test",
    }
    assert folder.has_subsets


@pytest.mark.parametrize("change", [str.lower, str.upper, str.title])
@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("val", "validation"),
        ("valid", "validation"),
        ("validation", "validation"),
        ("test", "test"),
        ("testing", "test"),
    ],
)
@pytest.mark.parametrize("training", ["train", "training"])
def test_sets_may_be_spelled_in_these_ways(tmp_path, training, name, meant, change):
    touch(tmp_path, f"{change(training)}/cat/a", f"{change(training)}/dog/b", f"{change(name)}/cat/c")
    folder = read_image_folder(tmp_path)
    assert {(s.path, s.subset) for s in folder.samples} == {
        (f"{change(training)}/cat/a", "train"),
        (f"{change(training)}/dog/b", "train"),
        (f"{change(name)}/cat/c", meant),
    }
    assert {s.class_name for s in folder.samples} == {"cat", "dog"} == set(folder.class_names)


def test_two_spellings_of_one_set_are_one(tmp_path):
    touch(tmp_path, "train/cat/a", "val/cat/b", "Validation/cat/c")
    assert [s.subset for s in read_image_folder(tmp_path).samples] == ["validation", "train", "validation"]


def test_one_folder_named_like_a_set_beside_others_is_a_class(tmp_path):
    touch(tmp_path, "train/steam/a", "cat/inner/a", "steam_train/a", "train/a.jpg", "train/diesel/b")
    folder = read_image_folder(tmp_path)
    assert folder.class_names == ("cat", "steam_train", "train")
    assert not folder.has_subsets


def test_unicode_names_are_kept_as_they_are(tmp_path):
    touch(tmp_path, "Über graß/ä ö.jpg", "花/#1 花.png")
    folder = read_image_folder(tmp_path)
    assert folder.class_names == ("Über graß", "花")
    assert folder.samples[1].path == "花/#1 花.png"


def test_a_file_name_that_is_no_utf8_is_read_and_can_be_shown(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"x")
    folder = read_image_folder(tmp_path)
    assert (tmp_path / folder.samples[0].path).read_bytes() == b"x"
    assert display_path(folder.samples[0].path) == r"cat/caf\xe9.jpg"


def test_links_are_followed_and_loops_end(tmp_path):
    touch(tmp_path, "elsewhere/a.jpg", "root/cat/b.jpg")
    (tmp_path / "root" / "cat" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root" / "cat" / "loop").symlink_to(tmp_path / "root" / "cat")
    folder = read_image_folder(tmp_path / "root")
    assert [s.path for s in folder.samples] == ["cat/b.jpg", "cat/link/a.jpg"]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ImageFolderError, match=r"no such image folder: .*nowhere; give a folder with"):
        read_image_folder(tmp_path / "nowhere")


def test_a_file_is_no_folder(tmp_path):
    touch(tmp_path, "a")
    with pytest.raises(ImageFolderError, match="is a file"):
        read_image_folder(tmp_path / "a")


def test_pictures_in_the_folder_itself_are_pointed_out(tmp_path):
    touch(tmp_path, "a.jpg", "b.jpg")
    with pytest.raises(ImageFolderError, match=r"no pictures in the sub-folders of .* \(2 files lie in the folder"):
        read_image_folder(tmp_path)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(ImageFolderError, match="no pictures in the sub-folders"):
        read_image_folder(tmp_path)


def test_a_class_folder_that_is_no_utf8_is_refused(tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9")).mkdir()
    touch(tmp_path, os.fsdecode(b"caf\xe9/a.jpg"))
    with pytest.raises(ImageFolderError, match=r"caf\\xe9 has a name that is not UTF-8"):
        read_image_folder(tmp_path)


def test_a_class_folder_with_a_line_break_is_refused(tmp_path):
    touch(tmp_path, "a\nb/c.jpg")
    with pytest.raises(ImageFolderError, match="line break in its name"):
        read_image_folder(tmp_path)


def test_an_unreadable_folder_is_named(tmp_path, monkeypatch):
    touch(tmp_path, "cat/a.jpg")
    scandir = os.scandir

    def refuse(folder):
        if str(folder).endswith("cat"):
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(folder_walk.os, "scandir", refuse)
    with pytest.raises(ImageFolderError, match=r"can't read the folder .*cat: Permission denied; check"):
        read_image_folder(tmp_path)


def test_a_link_to_itself_is_a_file_that_cannot_be_read(tmp_path):
    touch(tmp_path, "cat/a.jpg")
    (tmp_path / "cat" / "loop").symlink_to("loop")
    (tmp_path / "cat" / "nowhere").symlink_to("gone")
    folder = read_image_folder(tmp_path)
    assert [s.path for s in folder.samples] == ["cat/a.jpg", "cat/loop", "cat/nowhere"]


def test_folders_named_as_none_of_it_are_no_classes(tmp_path):
    touch(tmp_path, "cat/a.jpg", "cache/pictures/x", "model/graph.pb")
    folder = read_image_folder(tmp_path, [tmp_path / "cache", f"{tmp_path}/./model/"])
    assert folder.class_names == ("cat",)
