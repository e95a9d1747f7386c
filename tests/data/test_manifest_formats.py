"""What each format says of its pictures, and what is told of lines that say nothing."""

import hashlib
import json

import pytest

from retrain.data.manifest_formats import read_rows
from retrain.errors import ManifestError


@pytest.fixture
def write(tmp_path):
    """Writes a manifest: write("labels.csv", text or bytes or JSON)."""

    def write(name, content):
        if not isinstance(content, str | bytes):
            content = json.dumps(content)
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return tmp_path / name

    return write


def said(path):
    """Place -> what is said of a picture, role by role."""
    found = read_rows(path)
    assert found.problems == []
    return {row.place.text: dict(row.values) for row in found.rows}


def told(path):
    return [f"{place.text}: {text}" for place, text in sorted(read_rows(path).problems)]


BOTH = {"line 2": {"path": "a.jpg", "label": "rose"}, "line 3": {"path": "b, c.jpg", "label": "tulip"}}


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("suffix", ["csv", "TSV"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_the_first_line_tells_the_delimiter(write, delimiter, suffix, end):
    text = end.join(["path,label", "a.jpg,rose", '"b, c.jpg",tulip', ""])
    parts = text.replace("b, c", "b\0 c").replace(",", delimiter).replace("\0", ",")
    assert said(write(f"labels.{suffix}", parts)) == BOTH


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_utf8_and_what_excel_writes(write, encoding):
    assert said(write("labels.csv", "path\tlabel\nä.jpg\t花\n".encode(encoding))) == {
        "line 2": {"path": "ä.jpg", "label": "花"}
    }


@pytest.mark.parametrize(
    ("header", "roles"),
    [
        ("file_name,label", "path label"),
        ("Label,Image Path", "label path"),
        ("id,filename,class,split,group-id", "- path label set group"),
        ("image,category,subset", "path label set"),
    ],
)
def test_columns_are_found_by_their_names(write, header, roles):
    cells = [f"cell{number}" for number, _ in enumerate(roles.split())]
    (values,) = said(write("labels.csv", f"{header}\n{','.join(cells)}\n")).values()
    assert values == {role: cell for role, cell in zip(roles.split(), cells, strict=True) if role != "-"}


def test_of_two_columns_for_one_thing_the_usual_one_counts_and_a_note_says_so(write):
    found = read_rows(write("labels.csv", "path,class,label\na.jpg,rose,7\n"))
    assert found.rows[0].values == {"path": "a.jpg", "label": "7"}
    assert found.notes == ["label is taken from the column 'label', not from class"]


def test_quoted_cells_have_lines_and_quotes_and_lines_are_counted_as_in_an_editor(write):
    text = 'path,label\n\n"two\nlines.jpg","a ""rose"""\n,\nb.jpg,tulip\n'
    assert said(write("labels.csv", text)) == {
        "line 3": {"path": "two\nlines.jpg", "label": 'a "rose"'},
        "line 6": {"path": "b.jpg", "label": "tulip"},
    }


def test_ragged_rows_are_told_with_their_lines(write):
    path = write("labels.csv", 'path,label\n"a\n.jpg",rose,more\nb.jpg\nc.jpg,rose\n')
    assert told(path) == ["line 2: 3 cells, and the first line has 2", "line 4: 1 cell, and the first line has 2"]
    assert [row.place.text for row in read_rows(path).rows] == ["line 5"]


@pytest.mark.parametrize("row", ['"a.jpg,rose\nb.jpg,rose', '"a".jpg,rose', "a" * 200_000 + ",rose"])
def test_a_record_that_does_not_end_is_told_with_its_first_line(write, row):
    (problem,) = told(write("labels.csv", f"path,label\nc.jpg,rose\n{row}\n"))
    assert problem.startswith("line 3: can't be read (")


def test_json_lines(write):
    lines = [{"file_name": "a.jpg", "label": 3}, {"label": None, "file_name": "b.jpg", "split": "val"}]
    text = "\n\n".join(map(json.dumps, lines)) + "\n"
    expected = {"line 1": {"path": "a.jpg", "label": 3, "set": None}}
    assert said(write("metadata.jsonl", text)) == expected | {"line 3": {"path": "b.jpg", "label": None, "set": "val"}}


def test_json_lines_that_are_none(write):
    text = '{"path": "a", "label": "b"}\n{"path"\n[1]\n' + "[" * 100_000 + "\n" + "1" * 5000
    found = told(write("a.ndjson", text))
    assert found[:2] == [
        "line 2: not JSON: Expecting ':' delimiter",
        "line 3: [1], expected an object with path and label",
    ]
    assert [text.split(":")[0] for text in found[2:]] == ["line 4", "line 5"]


def test_a_json_list(write):
    objects = [{"path": "a.jpg", "label": "rose"}, 3]
    path = write("labels.json", objects)
    assert [(row.place.text, row.values) for row in read_rows(path).rows] == [("entry 1", objects[0])]
    assert told(path) == ["entry 2: 3, expected an object with path and label"]


def coco(**changes):
    return {
        "images": [{"id": 7, "file_name": "a.jpg"}, {"id": "x", "file_name": "b.jpg"}],
        "categories": [{"id": 1, "name": "rose"}, {"id": 2, "name": "tulip"}],
        "annotations": [
            *({"image_id": 7, "category_id": 1, "bbox": [n, 0, 1, 1]} for n in range(2)),
            {"image_id": "x", "category_id": 2},
        ],
    } | changes


def test_coco_with_one_category_for_each_picture(write):
    assert said(write("instances.json", coco())) == {
        "images[0]": {"path": "a.jpg", "label": "rose"},
        "images[1]": {"path": "b.jpg", "label": "tulip"},
    }


def test_coco_pictures_without_annotations_are_left_out_with_a_note(write):
    found = read_rows(write("instances.json", coco(annotations=[{"image_id": 7, "category_id": 1}])))
    assert [row.values["path"] for row in found.rows] == ["a.jpg"]
    assert found.notes == ["1 picture has no annotation, left out: b.jpg"]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"annotations": [{"image_id": 7, "category_id": 1}, {"image_id": 7, "category_id": 2}]},
            "images[0]: 2 categories (rose, tulip): a picture has one",
        ),
        ({"annotations": [{"image_id": 9, "category_id": 1}]}, "annotations[0]: image_id 9 is not there"),
        ({"annotations": [{"image_id": 7, "category_id": [1]}]}, "annotations[0]: category_id None is not there"),
        ({"annotations": [3]}, "annotations[0]: image_id None is not there"),
        ({"images": [{"id": 7, "file_name": "a"}] * 2, "annotations": []}, "images[1]: id 7 is there twice, first in"),
        ({"images": [{}], "annotations": []}, "images[0]: no id"),
    ],
)
def test_coco_that_is_not_sound(write, changes, problem):
    (text,) = told(write("instances.json", coco(**changes)))
    assert text.startswith(problem)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("labels.txt", "", r"labels.txt is neither a folder nor a manifest: .* ends in .csv, .tsv, .jsonl"),
        ("a.csv", "", "a.csv has no column of paths: found none; name it path in the first line"),
        ("a.csv", "path,colour\n", r"a.csv has no column of labels: found 'path', 'colour'; name it label"),
        ("a.csv", "a.jpg,rose\n", "has no column of paths: found 'a.jpg', 'rose'"),
        ("a.csv", "url,label\n", "has URLs in place of paths: download the pictures first"),
        ("a.csv", "path,Path,label\n", "has the column 'path' twice: rename one"),
        ("a.csv", b"path,label\na,b\nc,\xe9\n", "is not UTF-8: line 3 has the byte 0xe9; save it as UTF-8"),
        ("a.csv", b"path,label\na,\0\n", "is not a text: line 2 has a NUL byte"),
        ("a.csv", "path,label\n".encode("utf-16-le"), "is not a text: line 1 has a NUL byte; save it as UTF-8"),
        ("a.csv", b"\xff\xfea", "is damaged UTF-16, at byte 2: save it as UTF-8"),
        ("a.csv", b"PK\3\4", "is a spreadsheet's workbook or a ZIP archive: save it as CSV"),
        ("a.jsonl", b"\x1f\x8b", "is compressed: unpack it"),
        ("a.jsonl", '{"a": 1}\n', "has no column of paths: found 'a'"),
        ("a.json", '{"images":\n]', "is not JSON: Expecting value in line 2, column 1"),
        ("a.json", "[" * 100_000, "is not JSON that can be read"),
        ("a.json", {"images": []}, "is neither a list of objects nor COCO, which has lists of images, annotations"),
    ],
)
def test_what_is_no_manifest_is_refused(write, name, content, message):
    with pytest.raises(ManifestError, match=message):
        read_rows(write(name, content))


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(ManifestError, match=r"can't use the manifest .*a.csv: a folder, not a file"):
        read_rows(tmp_path / "a.csv")
    with pytest.raises(ManifestError, match=r"b.csv: can't be read: No such file"):
        read_rows(tmp_path / "b.csv")


def test_the_digest_is_of_the_file(write):
    path = write("labels.csv", "path,label\n")
    assert read_rows(path).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
