"""What is wrong with a folder's pictures."""

import dataclasses

import numpy as np
import pytest
from PIL import Image
from support.judged import Shown, make_judged

from retrain.evaluation.label_errors import LabelErrors
from retrain.options import ImageOptions
from retrain.report import findings
from retrain.report.findings import Copies, copies_of
from retrain.report.thumbnails import PictureFiles


def with_copies(pictures, *pairs):
    """Files of the same content: (of, copy)."""
    keys, vectors = pictures.keys.copy(), pictures.vectors.copy()
    for number, copy in pairs:
        keys[copy], vectors[copy] = keys[number], vectors[number]
    return dataclasses.replace(pictures, keys=keys, vectors=vectors)


@pytest.fixture
def pictures():
    return make_judged()


def test_copies_within_a_class_and_across(pictures):
    twice = with_copies(pictures, (1, 3), (1, 5), (2, 40))
    copies = copies_of(twice)
    assert {*copies.exact} == {(1, 3, 5), (2, 40)}
    exact = findings.exact_copies(twice, copies, Shown())
    assert exact.total == 1
    assert exact.paths == ("class0/3.png", "class0/5.png")
    assert exact.groups[0].pictures == (1, 3, 5)
    labels = findings.two_labels(twice, copies, Shown())
    assert labels.total == 1
    assert labels.sentence.startswith("1 picture is in the folders of several classes")
    assert labels.paths == ("class0/2.png", "class1/10.png")


def test_nothing_is_found_in_a_good_folder(pictures):
    copies, shown = copies_of(pictures), Shown()
    found = [
        findings.exact_copies(pictures, copies, shown),
        findings.near_duplicates(pictures, copies, shown),
        findings.two_labels(pictures, copies, shown),
        findings.leaks(pictures, copies, shown),
        findings.unreadable({}),
        findings.small_classes(pictures),
        findings.suspects(pictures, LabelErrors(*(np.zeros(0, int) for _ in range(4))), shown),
    ]
    assert all((f.total, f.groups, f.paths, f.figure) == (0, (), (), None) for f in found)
    assert not shown
    assert all(f.sentence.startswith(("No ", "Every ")) for f in found)


def smooth(seed):
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    return Image.fromarray(small).resize((240, 180), Image.Resampling.BICUBIC)


@pytest.fixture
def on_disk(pictures, tmp_path):
    """The same pictures as files; 4 (test) is 0 (train) saved again, and 36 (of another class) is 6 made smaller."""
    vectors = pictures.vectors.copy()
    vectors[4], vectors[36] = vectors[0] + 0.01, vectors[6] + 0.01
    drawn = {number: smooth(number) for number in range(len(pictures))}
    drawn[4], drawn[36] = drawn[0], drawn[6].resize((80, 60), Image.Resampling.LANCZOS)
    for number, path in enumerate(pictures.paths):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        drawn[number].save(tmp_path / path, "JPEG", quality=30 if number == 4 else 92)
    return dataclasses.replace(pictures, vectors=vectors), PictureFiles(tmp_path, ImageOptions())


def test_near_copies_are_confirmed_on_pixels(on_disk):
    pictures, files = on_disk
    copies = copies_of(pictures, files)
    assert copies.exact == ()
    assert {*copies.near} == {(0, 4), (6, 36)}
    assert not copies.is_cut
    near = findings.near_duplicates(pictures, copies, Shown())
    assert (near.total, near.paths) == (1, ("class0/4.png",))
    assert findings.two_labels(pictures, copies, Shown()).groups[0].pictures == (6, 36)


def test_near_copies_share_a_group_with_their_exact_copies(on_disk):
    pictures, files = on_disk
    twice = with_copies(pictures, (0, 10))
    groups = copies_of(twice, files).groups
    assert groups[0].tobytes() == groups[4].tobytes() == groups[10].tobytes()
    assert len({group.tobytes() for group in groups}) == len(pictures) - 3


def test_leaks_come_with_the_accuracy_without_them(on_disk):
    pictures, files = on_disk
    leaks = findings.leaks(pictures, copies_of(pictures, files), Shown())
    assert leaks.total == 1
    assert leaks.paths == ("class0/4.png",)
    rest = [number for number in pictures.shown.tolist() if number != 4]
    assert leaks.figure.n == len(rest) == 17
    assert leaks.figure.value == pictures.is_right[rest].mean()
    assert "1 test picture looks the same as a training picture" in leaks.sentence


def test_too_many_candidates_are_said(on_disk, monkeypatch):
    pictures, files = on_disk
    monkeypatch.setattr(findings, "_MOST_DECODED", 10)
    copies = copies_of(pictures, files)
    assert copies.is_cut
    assert {*copies.near} == {(0, 4), (6, 36)}  # they stand out, so they are looked at first
    assert "likeliest of 10 pictures" in findings.near_duplicates(pictures, copies, Shown()).sentence


def test_suspects_are_told_with_both_scores(pictures):
    twice = with_copies(pictures, (31, 33))
    errors = LabelErrors(
        np.array([31, 33, 2]), np.array([0, 0, 2]), np.array([0.1, 0.1, 0.2]), np.array([0.9, 0.9, 0.7])
    )
    shown = Shown()
    found = findings.suspects(twice, errors, shown)
    assert found.total == 2  # copies are one suspect, and all of them are in the list
    assert found.paths == ("class1/1.png", "class1/3.png", "class0/2.png")
    assert found.groups[0].text == "Labelled class1 (0.10), looks like class0 (0.90)"
    assert shown == [31, 2]


def test_outliers_are_unlike_all_of_their_class(pictures):
    vectors = pictures.vectors.copy()
    vectors[44] = -vectors[40:50].mean(axis=0)
    found = findings.outliers(dataclasses.replace(pictures, vectors=vectors), Shown(), 0)
    assert found.paths[0] == "class1/14.png"
    assert found.total <= 2
    assert found.groups[0].text.startswith("In class1; likeness ")


def test_small_classes_the_smallest_first():
    found = findings.small_classes(make_judged((7, 30, 1)))
    assert [group.text for group in found.groups] == ["class2: 1 different picture", "class0: 7 different pictures"]
    assert found.sentence.startswith("2 classes have fewer than 20")
    assert found.paths == ()


def test_unreadable_files_with_their_reasons():
    found = findings.unreadable({"a/x.jpg": "cut short", "b/<b>.png": "not a picture"})
    assert found.total == 2
    assert found.paths == ("a/x.jpg", "b/<b>.png")
    assert found.groups[0].paths == ("a/x.jpg",)
    assert found.groups[0].text == "cut short"


def test_long_findings_show_some_groups_and_list_all():
    pictures = make_judged((90, 90))
    many = with_copies(pictures, *((2 * n, 2 * n + 1) for n in range(40)))
    shown = Shown()
    found = findings.exact_copies(many, copies_of(many), shown)
    assert (found.total, len(found.groups), len(found.paths)) == (40, 20, 40)
    assert len(shown) == 40


def test_labels_with_braces_are_no_format(pictures):
    odd = dataclasses.replace(pictures, names=("{count}", "{0}", "{"))
    assert findings.small_classes(odd).total == 0
    twice = with_copies(odd, (2, 40))
    assert "{count}, training" in findings.two_labels(twice, copies_of(twice), Shown()).groups[0].text


def test_the_groups_of_no_copies(pictures):
    assert copies_of(pictures) == Copies((), (), pictures.keys)
