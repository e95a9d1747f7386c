import numpy as np
import pytest

from retrain.data import read_source
from retrain.data.folds import assign_folds
from retrain.data.label_sets import label_sets_of, united, with_several_labels
from retrain.data.split import assign_sets
from retrain.errors import ImageFolderError
from retrain.options import SplitOptions


def keys_of(*contents):
    return np.array([[content] * 32 for content in contents], np.uint8)


def read(root, heard=None):
    return read_source(root, emit=(heard or []).append, multi_label=True)


@pytest.fixture
def garden(tmp_path):
    """Two pictures in two folders: b.png is in both."""
    for name in ("leaf/a.png", "leaf/b.png", "rose/b.png", "rose/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name[-5:].encode())
    return read(tmp_path)


def test_files_of_one_content_are_a_picture_with_all_labels(garden):
    heard = []
    folder, kept = united(garden, np.arange(4), keys_of(1, 2, 2, 3), heard.append)
    assert kept.tolist() == [0, 1, 3]
    assert [(s.path, s.classes, s.names, s.class_name) for s in (folder.samples[n] for n in kept)] == [
        ("leaf/a.png", (0,), ("leaf",), "leaf"),
        ("leaf/b.png", (0, 1), ("leaf", "rose"), "leaf|rose"),
        ("rose/c.png", (1,), ("rose",), "rose"),
    ]
    assert [event.message for event in heard] == ["1 picture has labels of several files with the same content"]
    assert folder.counts() == [2, 3]
    sets = label_sets_of([folder.samples[n] for n in kept], 2)
    assert sets.numbers.tolist() == [0, 1, 2]
    assert sets.members.tolist() == [[True, False], [True, True], [False, True]]


def test_unreadable_files_give_no_label(garden):
    folder, kept = united(garden, np.array([0, 1, 3]), keys_of(1, 2, 3), lambda event: None)
    assert kept.tolist() == [0, 1, 2]
    assert folder.samples[1].classes == (0,)


def test_a_picture_of_two_sets_stays_in_both_with_the_same_labels(tmp_path):
    for name in ("train/leaf/a.png", "train/rose/b.png", "test/rose/a.png", "test/leaf/c.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    folder = read(tmp_path)
    paths = [sample.path for sample in folder.samples]
    contents = keys_of(*(ord(path[-5]) for path in paths))
    folder, kept = united(folder, np.arange(4), contents, lambda event: None)
    assert len(kept) == 4
    assert {s.path: s.names for s in folder.samples if s.path.endswith("a.png")} == {
        "train/leaf/a.png": ("leaf", "rose"),
        "test/rose/a.png": ("leaf", "rose"),
    }


def test_a_class_whose_name_looks_like_several_is_refused(tmp_path):
    (tmp_path / "a|b").mkdir()
    (tmp_path / "a|b" / "1.png").write_bytes(b"")
    assert read_source(tmp_path).class_names == ("a|b",)
    with pytest.raises(ImageFolderError, match=r"1 label has a \| in it: a\|b; use another character"):
        read(tmp_path)


def test_pictures_without_labels_are_split_and_folded_too(tmp_path):
    lines = ["path,label", *(f"{n}.png,{'|'.join('abc'[: n % 4])}" for n in range(40))]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    for number in range(40):
        (tmp_path / f"{number}.png").write_bytes(b"")
    folder = read(tmp_path / "list.csv")
    keys = np.random.default_rng(0).integers(0, 256, (40, 32)).astype(np.uint8)
    sets = assign_sets(folder.samples, keys, SplitOptions())
    for name in ("train", "validation", "test"):  # each label is in each set, as each class is without --multi-label
        own = [s.classes for s, set_ in zip(folder.samples, sets, strict=True) if set_ == name]
        assert {label for labels in own for label in labels} == {0, 1, 2}
    folds = assign_folds(folder.samples, keys, 5, 0)
    for label in range(3):
        own = [fold for fold, s in zip(folds.tolist(), folder.samples, strict=True) if label in s.classes]
        assert np.ptp(np.bincount(own, minlength=5)) <= 2
    bare = [fold for fold, s in zip(folds.tolist(), folder.samples, strict=True) if not s.classes]
    assert np.ptp(np.bincount(bare, minlength=5)) <= 3
    with pytest.raises(ImageFolderError, match=r"fewer than 15 different pictures in class c \(10\)"):
        assign_folds(folder.samples, keys, 15, 0)


def test_labels_that_are_there_already_stay(garden):
    assert with_several_labels(garden) is garden
