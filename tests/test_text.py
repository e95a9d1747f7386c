"""How messages are put."""

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrain.text import counted, listed_lines, listing, pasteable, shown


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [
        (0, "picture", "0 pictures"),
        (1, "picture", "1 picture"),
        (2, "class", "2 classes"),
        (1, "class", "1 class"),
        (3, "distorted copy", "3 distorted copies"),
        (2, "try", "2 tries"),
        (2, "day", "2 days"),
        (5, "epoch", "5 epochs"),
        (2, "batch", "2 batches"),
        (12345, "file", "12,345 files"),
    ],
)
def test_nouns_go_with_their_numbers(number, noun, text):
    assert counted(number, noun) == text


def test_lists_end_after_ten():
    names = [f"class {number}" for number in range(400)]
    assert listing(names) == ", ".join(names[:10]) + " and 390 more"
    assert listing(names[:11]) == ", ".join(names[:11])  # "and 1 more" would save nothing
    assert listing(names[:3]) == "class 0, class 1, class 2"
    assert listing([]) == ""
    assert list(listed_lines(names, "with --json")) == [
        *(f"  {name}" for name in names[:10]),
        "  ... and 390 more (with --json)",
    ]
    assert list(listed_lines(names[:2], "")) == ["  class 0", "  class 1"]


def test_what_a_terminal_would_obey_is_shown_escaped():
    assert shown("a\x1b]52;c;ZXZpbA==\x07b") == r"a\x1b]52;c;ZXZpbA==\x07b"
    assert shown("\x9b2J\x7f\u2028\u202egpj.exe\udcff") == r"\x9b2J\x7f\u2028\u202egpj.exe\udcff"
    assert shown("two\nlines\tand\r") == r"two\x0alines\x09and\x0d"
    assert shown("two\nlines\tand\r", keep="\n") == "two\nlines\\x09and\\x0d"
    assert shown("Käfer 花 \\ \u200d") == "Käfer 花 \\ \u200d"
    assert listing(["a\x1b[2J"]) == r"a\x1b[2J"
    assert list(listed_lines(["a\nb"], "")) == [r"  a\x0ab"]


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("model", "model"),
        ("my model", "'my model'"),
        ("it's", "'it'\"'\"'s'"),
        ("-m", "./-m"),
        ("$HOME;rm", "'$HOME;rm'"),
        ("a\x1bb", r"$'a\x1bb'"),
        ("caf\udce9 it's", r"$'caf\xe9 it\'s'"),
    ],
)
def test_paths_can_be_pasted(path, word):
    assert pasteable(path) == word


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1, max_size=8))
def test_pasted_paths_are_the_path(path):
    assert shown(pasteable(path)) == pasteable(path)
    script = f"printf %s {pasteable(path)}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=True)
    assert done.stdout.decode() in (path, f"./{path}")
