import pytest

from retrain.json_fields import FieldError, Fields, parse_json

DOCUMENT = {"a": {"n": 3, "t": "x", "l": ["b", "c"]}, "none": None}


def test_fields_are_read_as_they_are():
    inner = Fields(DOCUMENT).fields("a")
    assert inner.number("n", 1, 3) == 3
    assert inner.text("t", "[a-z]", "a letter") == "x"
    assert inner.texts("l") == ("b", "c")
    assert "a" in Fields(DOCUMENT)
    assert "none" not in Fields(DOCUMENT)


@pytest.mark.parametrize("value", [0, 4, True, 3.0, "3", None, [3], float("nan")])
def test_a_number_is_whole_and_in_its_range(value):
    with pytest.raises(FieldError, match=r"^a\.n is .*, expected a whole number from 1 to 3$"):
        Fields({"n": value}, "a").number("n", 1, 3)


@pytest.mark.parametrize("value", ["", "xy", "x\n", 1, None, ["x"], "\ud800"])
def test_a_text_matches_as_a_whole(value):
    with pytest.raises(FieldError, match=r"^t is .*, expected a letter$"):
        Fields({"t": value}).text("t", "[a-z]", "a letter")


@pytest.mark.parametrize(
    ("value", "match"),
    [
        ([], r"l is \[\], expected a list"),
        ("abc", 'l is "abc", expected a list'),
        (["a", 1], r"l\[1\] is 1, expected a name"),
        (["a", ""], r"l\[1\] is \"\", expected a name"),
        (["a\nb"], r"l\[0\] is \"a\\nb\", expected a name"),
        (["\udc00"], r"l\[0\] is \"\\udc00\", expected a name"),
        (["a", "b", "a"], r"l has \"a\" twice"),
    ],
)
def test_a_list_has_different_names(value, match):
    with pytest.raises(FieldError, match=match):
        Fields({"l": value}).texts("l")


def test_what_is_missing_or_no_object_is_named():
    with pytest.raises(FieldError, match=r"a\.x is missing, expected an object"):
        Fields(DOCUMENT).fields("a").fields("x")
    with pytest.raises(FieldError, match=r"a\.n is 3, expected an object"):
        Fields(DOCUMENT).fields("a").fields("n")
    with pytest.raises(FieldError, match=r"the document is \[1\], expected an object"):
        Fields([1])


def test_a_long_value_is_cut():
    with pytest.raises(FieldError, match=r"n is \"x{59}\.\.\., expected"):
        Fields({"n": "x" * 1000}).number("n", 0, 1)


@pytest.mark.parametrize(
    ("data", "match"),
    [(b"{", "not JSON"), (b"\xff", "not JSON in UTF-8"), (b"[" * 100_000, "too many levels"), (b"", "not JSON")],
)
def test_what_is_no_json_is_an_error(data, match):
    with pytest.raises(FieldError, match=match):
        parse_json(data)
