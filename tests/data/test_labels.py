import csv
import json

import pytest
from support.hearing import warnings_to

from retrain.data.inspection import inspect_folder
from retrain.data.labels import ClassNames, class_labels, expected_labels, read_labels_file
from retrain.errors import ImageFolderError, LabelsFileError
from retrain.options import LabelOptions


@pytest.fixture
def write(tmp_path):
    """Writes a labels file, and gives its path."""

    def write(text, name="labels.txt"):
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(tmp_path / name)

    return write


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("n01440764 tench", ("n01440764", "tench")),
        ("n01440764   great white shark ", ("n01440764", "great white shark")),
        ("n01440764\tgreat white shark, man-eater", ("n01440764", "great white shark, man-eater")),
        ("my folder\ta label", ("my folder", "a label")),
        ("my folder, a label, and more", ("my folder", "a label, and more")),
        ("3,C#", ("3", "C#")),
        ("Käfer 花", ("Käfer", "花")),
        ("\ufeffa b", ("a", "b")),
        ("a b\r", ("a", "b")),
        ("a\u2028b c", ("a", "b c")),  # no end of a line
    ],
)
def test_a_line_is_a_folder_and_its_label(write, line, expected):
    assert read_labels_file(write(line)) == dict([expected])


def test_the_separator_is_the_one_that_leaves_a_class_folder(write):
    path = write("n01440764 tench, Tinca tinca\nblack cat,felis\n")
    assert read_labels_file(path, ["n01440764", "black cat"]) == {
        "n01440764": "tench, Tinca tinca",
        "black cat": "felis",
    }


@pytest.mark.parametrize(
    "text",
    [
        '"n1","tench, Tinca tinca"\r\n"black cat","the ""cat"""\r\n',  # all cells quoted
        '"n1";"tench, Tinca tinca"\n"black cat";"the ""cat"""\n',
        '"n1"\t"tench, Tinca tinca"\n"black cat"\tthe "cat"\n',
        '"n1", tench, Tinca tinca\nblack cat, the "cat"\n',
        'n1,"tench, Tinca tinca",,\nblack cat,"the ""cat""",,\n',
        'n1;tench, Tinca tinca\nblack cat;the "cat"\n',
        '"n1" "tench, Tinca tinca"\n"black cat" the "cat"\n',
        'n1 tench, Tinca tinca\nblack cat the "cat"\n',
        'folder,label\n"n1","tench, Tinca tinca"\n"black cat","the ""cat"""',  # a heading is a stranger, and warned of
    ],
)
def test_tables_of_spreadsheets_and_names_with_spaces_are_understood(write, text):
    found = read_labels_file(write(text), ["n1", "black", "black cat"])
    found.pop("folder", None)
    assert found == {"n1": "tench, Tinca tinca", "black cat": 'the "cat"'}


def test_what_python_writes_as_csv_is_read_back(tmp_path):
    labels = {"a b": "c, d", 'e "f"': 'g ""h""', "i;j": "k;l", "m": "'n'", "-1": "=1+1"}
    for quoting in (csv.QUOTE_ALL, csv.QUOTE_MINIMAL):
        with open("labels.csv", "w", newline="") as file:
            csv.writer(file, quoting=quoting).writerows(labels.items())
        assert read_labels_file("labels.csv", labels) == labels


def test_comments_and_empty_lines_say_nothing(write):
    assert read_labels_file(write("# classes\n\n   \n  # more\na b\n\n")) == {"a": "b"}
    assert read_labels_file(write("")) == {}


def test_a_json_object_is_read_as_such(write):
    labels = {"n01440764": "tench, Tinca tinca", "a b": " Käfer "}
    assert read_labels_file(write(json.dumps(labels), "labels.JSON")) == labels | {"a b": "Käfer"}


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("a b\n\nc\n", "l.txt", r"l\.txt, line 3: expected the name of a folder and its label.* found 'c'"),
        ("a,\n", "l.txt", "line 1: expected the name of a folder and its label"),
        (", a\n", "l.txt", "line 1: expected the name of a folder and its label"),
        ("a b\nc d\na e\n", "l.txt", r"l\.txt, line 3: the folder 'a' is listed twice; leave one of the lines out"),
        (b"a b\nc \xe9\n", "l.txt", r"l\.txt, line 2: not UTF-8; save the labels file as UTF-8"),
        ('{"a": "b",\n "c": }', "l.json", r"l\.json, line 2: not JSON \("),
        ('["a", "b"]', "l.json", r"l\.json: expected a JSON object, .* found another value"),
        ('{"a": "b", "a": "c"}', "l.json", r"l\.json: the folder 'a' is listed twice"),
        ('{"a": 3}', "l.json", 'the label of the folder "a" is 3: expected a line of text'),
        ('{"a": " "}', "l.json", 'the label of the folder "a" is " ": expected'),
        ('{"a": {"b": "c"}}', "l.json", 'the label of the folder "a" is .*: expected'),
        (r'{"a": "b\nc"}', "l.json", r'the label of the folder "a" is "b\\nc": expected'),
        (r'{"a": "\ud800"}', "l.json", r'the label of the folder "a" is "\\ud800": expected'),
        (r'{"\ud800": "a"}', "l.json", r'the label of the folder "\\ud800" is "a": expected'),
    ],
)
def test_a_file_that_cannot_be_understood_is_refused_with_the_line(write, text, name, message):
    with pytest.raises(LabelsFileError, match=message):
        read_labels_file(write(text, name))


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(LabelsFileError, match="can't read the labels file nowhere: No such file"):
        read_labels_file("nowhere")
    with pytest.raises(LabelsFileError, match=r"can't read the labels file .*: Is a directory"):
        read_labels_file(str(tmp_path))


def test_classes_that_are_not_listed_keep_their_names(write):
    path = write("n1 cat\nn2 Dog\n")
    assert class_labels(["n1", "n2", "Owl"], path) == ("cat", "Dog", "Owl")
    assert class_labels(["n1", "n2", "Owl"], path, str.lower) == ("cat", "Dog", "owl")
    assert class_labels(["n1", "Owl"]) == ("n1", "Owl")


def test_names_that_are_no_class_folder_are_warned_of(write):
    warnings = []
    path = write("\n".join(f"n{i} label{i}" for i in range(9)))
    class_labels(["n1", "n8"], path, emit=warnings_to(warnings.append))
    assert warnings == [f"{path} lists names without a class folder: n0, n2, n3, n4, n5, n6, n7"]
    class_labels([f"n{i}" for i in range(9)], path, emit=warnings_to(warnings.append))
    assert len(warnings) == 1


def test_two_classes_of_one_label_are_refused(write):
    message = "the class folders 'n1' and 'n2' would get the same label 'cat': rename one, or give it another label in"
    with pytest.raises(ImageFolderError, match=message):
        class_labels(["n1", "n2"], write("n1 cat\nn2 cat"))
    with pytest.raises(ImageFolderError, match="'cat' and 'n1' would get the same label 'cat'"):
        class_labels(["cat", "n1"], write("n1 cat"))
    with pytest.raises(ImageFolderError, match=r"'Cat' and 'cat' would get the same label 'cat': rename one$"):
        class_labels(["Cat", "cat"], label_of=str.lower)


def test_inspection_shows_the_labels(write, make_folder):
    warnings = []
    root = make_folder({"n1": 3, "n2": 4})
    found = inspect_folder(root, labels=LabelOptions(write("n2 dog\nn3 owl")), emit=warnings_to(warnings.append))
    assert [(c.label, c.pictures) for c in found.classes] == [("n1", 3), ("dog", 4)]
    assert "lists names without a class folder: n3" in warnings[0]


def test_line_ends_quotes_and_stray_separators_of_other_programs(tmp_path):
    (tmp_path / "labels.csv").write_bytes(b'a tench,\rb,"goldfish, Carassius ""auratus"""\r\nc,cock\n')
    found = read_labels_file("labels.csv", ["a", "b", "c"])
    assert found == {"a": "tench,", "b": 'goldfish, Carassius "auratus"', "c": "cock"}


def names(labels, class_folders=None):
    return ClassNames(tuple(labels), tuple(class_folders or labels))


@pytest.fixture
def touch(tmp_path):
    def touch(*paths):
        for path in paths:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes(b"x")

    return touch


def test_the_nearest_folder_of_a_class_says_what_a_picture_is(touch):
    touch("p/cat/a", "p/cat/deep/er/b", "p/cat/dog/c", "p/train/dog/d", "p/other/e", "p/f")
    assert expected_labels(["p"], names(["cat", "dog"])) == {
        "p/f": None,
        "p/cat/a": "cat",
        "p/cat/deep/er/b": "cat",
        "p/cat/dog/c": "dog",
        "p/other/e": None,
        "p/train/dog/d": "dog",
    }


def test_the_folder_that_is_given_counts_but_none_above_it(touch, tmp_path, monkeypatch):
    touch("dog/cat/x/a", "dog/x/b")
    assert expected_labels(["dog/cat"], names(["cat", "dog"])) == {"dog/cat/x/a": "cat"}
    assert expected_labels(["dog/cat/"], names(["cat", "dog"])) == {"dog/cat/x/a": "cat"}
    with pytest.raises(
        ImageFolderError,
        match=r"no picture in dog/x is in a folder that is named like a class of the model \(cat, dog\)",
    ):
        expected_labels(["dog/x"], names(["cat", "dog"]))
    with pytest.raises(ImageFolderError, match=r"model \(0, 1, .*, 9 and 30 more\): give a folder with one sub-folder"):
        expected_labels(["dog/x"], names(map(str, range(40))))
    monkeypatch.chdir(tmp_path / "dog" / "cat")
    assert expected_labels(["."], names(["cat", "dog"])) == {"./x/a": "cat"}


def test_of_a_file_that_is_given_its_own_folder_counts(touch, tmp_path, monkeypatch):
    touch("cat/a", "cat/x/b", "dog/c")
    assert expected_labels(["cat/a", "dog", "cat/x/b"], names(["cat", "dog"])) == {
        "cat/a": "cat",
        "dog/c": "dog",
        "cat/x/b": None,
    }
    monkeypatch.chdir(tmp_path / "cat")
    assert expected_labels(["a"], names(["cat", "dog"])) == {"a": "cat"}


def test_folders_may_be_named_as_in_training(touch):
    touch("p/n1/a", "p/n2/b", "q/tench/c", "q/n2/d")
    named = names(["tench", "goldfish"], ["n1", "n2"])
    assert expected_labels(["p"], named) == {"p/n1/a": "tench", "p/n2/b": "goldfish"}
    assert expected_labels(["q"], named) == {"q/n2/d": "goldfish", "q/tench/c": "tench"}


def test_names_that_are_folder_and_label_mean_the_folder_where_all_are_folders(touch):
    touch("folders/0/a", "folders/1/a", "folders/2/a", "labels/1/a", "labels/2/a", "labels/3/a")
    counted = names("123", "012")
    assert expected_labels(["folders"], counted) == {"folders/0/a": "1", "folders/1/a": "2", "folders/2/a": "3"}
    assert expected_labels(["labels"], counted) == {"labels/1/a": "1", "labels/2/a": "2", "labels/3/a": "3"}


def test_a_place_that_is_not_there_is_refused(touch):
    touch("cat/a")
    with pytest.raises(ImageFolderError, match="no such file or folder: cat/b; give pictures, or folders of them"):
        expected_labels(["cat/a", "cat/b"], names(["cat", "dog"]))


def test_no_files_are_no_error_here(tmp_path):
    (tmp_path / "empty").mkdir()
    assert expected_labels(["empty"], names(["cat", "dog"])) == {}


def test_a_name_is_the_same_in_all_unicode_forms(touch):
    """Models of earlier versions have labels as their folders were spelled, even both forms of one name."""
    both = ("caf\u00e9", "cafe\u0301")
    touch(*(f"p/{name}/a" for name in both))
    for old in both:
        assert set(expected_labels(["p"], names([old, "dog"])).values()) == {old}
    for labels in (both, both[::-1]):
        assert set(expected_labels(["p"], names(labels)).values()) == {both[0]}
    assert set(expected_labels(["p"], names(["1", "2"], [both[1], "dog"])).values()) == {"1"}
