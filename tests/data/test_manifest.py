"""Manifests give what folders give, and tell what is wrong with their lines."""

import csv
import json
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.hearing import warnings_to

from retrain.data.image_folder import read_image_folder
from retrain.data.manifest import read_manifest
from retrain.data.manifest_formats import SUFFIXES
from retrain.errors import ManifestError
from retrain.options import Manifest


@pytest.fixture
def pictures(tmp_path):
    """Files a0 to a3 and b0 to b3 of a folder for each letter; none is a picture."""
    for name in ("a", "b"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(4):
            (tmp_path / "pictures" / name / f"{name}{number}.jpg").write_bytes(b"x")
    return tmp_path / "pictures"


def listed(root, lines, header="path,label"):
    """A manifest in the pictures' folder."""
    path = root / "labels.csv"
    path.write_text("\n".join([header, *lines, ""]), "utf-8")
    return Manifest(path)


def refused(manifest):
    with pytest.raises(ManifestError) as caught:
        read_manifest(manifest)
    return str(caught.value)


def test_a_folder_and_the_manifest_made_of_it_give_the_same(tmp_path):
    names = ["dog/é.jpg", "dog/deep/er/x, y.jpg", "cat/two\nlines.jpg", "cat/z.jpg", "cat.2/a;.jpg"]
    for name in names:
        (tmp_path / "pictures" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pictures" / name).write_bytes(b"x")
    folder = read_image_folder(tmp_path / "pictures")
    with open(tmp_path / "labels.csv", "w", newline="") as file:
        csv.writer(file).writerows([["label", "path"], *([name.split("/")[0], name] for name in names)])
    made = read_manifest(Manifest(tmp_path / "labels.csv", tmp_path / "pictures"))
    assert (made.class_names, made.samples, made.root) == (folder.class_names, folder.samples, folder.root)
    assert made.spelling == folder.spelling
    assert (made.manifest.path, made.source) == (str(tmp_path / "labels.csv"),) * 2
    assert folder.manifest is None


def test_paths_that_name_one_file_are_one_and_files_elsewhere_stay_where_they_are(pictures, tmp_path):
    (tmp_path / "other.jpg").write_bytes(b"x")
    lines = [
        "./a/a0.jpg,a",
        f"{pictures}/a/a0.jpg,a",
        "b/../a//a1.jpg,a",
        "../other.jpg,b",
        f"{tmp_path}/./other.jpg,b",
    ]
    warnings = []
    found = read_manifest(listed(pictures, lines), warnings_to(warnings.append))
    paths = [sample.path for sample in found.samples]
    assert paths == ["../other.jpg", f"{tmp_path}/other.jpg", "a/a0.jpg", "a/a1.jpg"]
    assert all((found.root / path).is_file() for path in paths)
    assert warnings == [f"{pictures}/labels.csv lists 1 picture again, with the same label, which count once: line 3"]


def test_labels_are_trimmed_and_in_one_unicode_form(pictures):
    found = read_manifest(listed(pictures, ["a/a0.jpg, caf\u00e9", "a/a1.jpg,cafe\u0301 ", "b/b0.jpg,b"]))
    assert found.class_names == ("b", "caf\u00e9")


def test_sets_have_the_names_that_folders_may_have(pictures):
    names = ["train", "Training", "val", "dev", "TEST"]
    paths = sorted(str(path.relative_to(pictures)) for path in pictures.rglob("*.jpg"))
    lines = [f"{path},x,{name}" for path, name in zip(paths, names, strict=False)]
    found = read_manifest(listed(pictures, lines, "path,label,split"))
    assert [sample.subset for sample in found.samples] == ["train", "train", "validation", "validation", "test"]
    assert found.has_subsets


def test_groups_are_kept_and_empty_ones_are_none(pictures):
    found = read_manifest(listed(pictures, ["a/a0.jpg,a, p1 ", "a/a1.jpg,a,"], "path,label,group"))
    assert [sample.group for sample in found.samples] == ["p1", None]


def test_files_that_are_missing_or_no_files_are_left_out_with_their_lines(pictures):
    warnings = []
    lines = ["a/a0.jpg,a", "a/none.jpg,a", "b,b", r"b\b1.jpg,b", f"{'x' * 300},b"]
    found = read_manifest(listed(pictures, lines), warnings_to(warnings.append))
    problems = {sample.path: sample.problem for sample in found.samples}
    assert problems == {
        "a/a0.jpg": None,
        "a/none.jpg": "can't be read: no such file (line 3 of labels.csv)",
        "b": "a folder, not a file (line 4 of labels.csv)",
        r"b\b1.jpg": "can't be read: no such file, is \\ meant as /? (line 5 of labels.csv)",
        "x" * 300: "can't be read: File name too long (line 6 of labels.csv)",
    }
    assert len(warnings) == 1
    assert warnings[0].startswith(f"left out 4 pictures of {pictures}/labels.csv: a/none.jpg: can't be read: no such")


def test_if_no_file_is_there_the_root_is_wrong(pictures, tmp_path):
    message = refused(Manifest(listed(pictures, ["a/a0.jpg,a", "b/b0.jpg,b"]).path, tmp_path))
    assert "none of the 2 pictures in" in message
    assert message.endswith("(line 2 of labels.csv): give the folder that the paths are relative to as --image-root")
    assert "no such folder; give the pictures' folder" in refused(Manifest(pictures / "labels.csv", tmp_path / "no"))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (",x,train,", "no path"),
        ("http://host/a.jpg,x,train,", "'http://host/a.jpg' is a URL: download the pictures first"),
        ("a/a1.jpg, ,train,", "no label"),
        ("a/a1.jpg,x|y,train,", "label 'x|y': | is for several labels, and a picture has one"),
        ('a/a1.jpg,"x\ny",train,', r"label 'x\ny' has a line break, which labels.txt can't hold"),
        ("a/a1.jpg,x,tain,", "unknown set 'tain': give train, validation or test"),
        ("a/a1.jpg,x,,", "no set, and others have one"),
        ("a/a1.jpg,x,test,g", "group 'g' is in set test, and in train in line 2: a group belongs to one"),
        ("a/../a/a0.jpg,y,train,g", "'a/a0.jpg' has another label in line 2: keep one"),
        ("a/a0.jpg,x,test,g", "'a/a0.jpg' has another set in line 2: keep one"),
        ("a/a0.jpg,x,train,h", "'a/a0.jpg' has another group in line 2: keep one"),
    ],
)
def test_a_line_that_can_t_be_used_is_told(pictures, line, problem):
    manifest = listed(pictures, ["a/a0.jpg,x,train,g", line], "path,label,set,group")
    assert f"labels.csv has 1 problem: line 3: {problem}" in refused(manifest)


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        ({"path": 3, "label": "x"}, "path is 3, expected text"),
        ({"path": "a\0", "label": "x"}, "path 'a\\x00' has a NUL or half a character"),
        ({"path": "a", "label": "\ud800"}, "label '\\ud800' has a NUL or half a character"),
        ({"path": "a", "label": 1.5}, "label is 1.5, expected text"),
        ({"path": "a", "label": True}, "label is True, expected text"),
        ({"path": "a", "label": ["x", "y"]}, "label is ['x', 'y']: a picture has one label, a text"),
        ({"path": "a", "label": "x", "set": {}}, "set is {}, expected text"),
        ({"label": "x"}, "no path"),
    ],
)
def test_a_value_of_another_kind_is_told(tmp_path, item, problem):
    (tmp_path / "labels.json").write_text(json.dumps([{"path": "b", "label": 1}, item]))
    assert f"has 1 problem: entry 2: {problem}" in refused(Manifest(tmp_path / "labels.json"))


def test_of_many_problems_the_first_ten_are_told_in_their_order(pictures):
    lines = [",x" if number % 2 else "a,b,c" for number in range(25)]
    message = refused(listed(pictures, lines))
    assert "has 25 problems: line 2: 3 cells" in message
    assert [int(part.split(":")[0]) for part in message.split("line ")[1:] if part[0].isdigit()] == [*range(2, 12)]
    assert message.endswith("; and 15 more")


def test_a_manifest_without_pictures_is_refused(pictures):
    assert "lists no pictures: add a line for each" in refused(listed(pictures, []))


WORDS = [
    *("path", "label", "set", "group", "file_name", "image_id", "category_id", "images", "annotations", "categories"),
    *("id", "a/a0.jpg", "b", "train", "null", "true", "1", "1e999", "http://", "..", "/", "\\", "|", ",", ";", ":"),
    *("{", "}", "[", "]", '"', "é", "\ud800", "\ufeff", "\u2028", " ", "\t", "\n", "\r", "\0"),
]
SCRAPS = st.one_of(
    st.binary(max_size=200),
    st.lists(st.sampled_from(WORDS), max_size=60).map(lambda parts: "".join(parts).encode("utf-8", "surrogatepass")),
)


@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=SCRAPS, beginning=st.sampled_from([b"", b"path,label\n", b'{"path":"a/a0.jpg","label":', b'[{"path":']))
def test_whatever_is_in_the_file_it_is_read_or_refused(pictures, suffix, data, beginning):
    path = pictures / f"labels{suffix}"
    path.write_bytes(beginning + data)
    try:
        found = read_manifest(Manifest(path))
    except ManifestError:
        pass
    else:
        assert found.samples
        assert all(name and "\n" not in name for name in found.class_names)
        assert {sample.class_name for sample in found.samples} == set(found.class_names)
        assert len({sample.path for sample in found.samples}) == len(found.samples)
        assert all(os.fsencode(sample.path) for sample in found.samples)


def several(tmp_path, text, suffix="csv", pictures="abc"):
    """The labels of each picture of a manifest that may give several."""
    for name in pictures:
        (tmp_path / f"{name}.png").write_bytes(b"")
    (tmp_path / f"list.{suffix}").write_text(text)
    found = read_manifest(Manifest(tmp_path / f"list.{suffix}"), multi_label=True)
    return {sample.path: sample.names for sample in found.samples}


def test_a_picture_may_have_several_labels_or_none(tmp_path):
    text = "path,label\na.png, rose | leaf \nb.png,\nc.png,leaf\n"
    assert several(tmp_path, text) == {"a.png": ("leaf", "rose"), "b.png": (), "c.png": ("leaf",)}


def test_labels_may_be_on_several_lines_or_a_list(tmp_path):
    text = "path,label\na.png,rose\na.png,leaf\nb.png,leaf|leaf\nc.png,leaf\n"
    assert several(tmp_path, text) == {"a.png": ("leaf", "rose"), "b.png": ("leaf",), "c.png": ("leaf",)}
    text = '{"path": "a.png", "labels": ["rose", "leaf"]}\n{"path": "b.png", "labels": []}\n'
    assert several(tmp_path, text, "jsonl") == {"a.png": ("leaf", "rose"), "b.png": ()}


def test_a_manifest_without_any_label_is_refused(tmp_path):
    with pytest.raises(ManifestError, match=r"no picture in manifest .*list\.csv has a label: add some"):
        several(tmp_path, "path,label\na.png,\n")
    with pytest.raises(ManifestError, match=r"label is \['x'\], expected text"):
        several(tmp_path, '{"path": "a.png", "label": [["x"]]}\n', "jsonl")
    with pytest.raises(ManifestError, match=r"'a\.png' has another set in line 2: keep one"):
        several(tmp_path, "path,label,set\na.png,x,train\na.png,y,test\n")


def test_coco_s_categories_are_labels(tmp_path):
    document = {
        "images": [{"id": number, "file_name": f"{name}.png"} for number, name in enumerate("abc")],
        "annotations": [{"image_id": image, "category_id": kind} for image, kind in ((0, 7), (0, 8), (0, 7), (2, 8))],
        "categories": [{"id": 7, "name": "rose"}, {"id": 8, "name": "leaf"}],
    }
    found = several(tmp_path, json.dumps(document), "json")
    assert found == {"a.png": ("leaf", "rose"), "b.png": (), "c.png": ("leaf",)}
