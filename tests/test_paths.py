import os

import pytest

from retrain.paths import display_path, utf8_path


@pytest.mark.parametrize(
    ("path", "in_files", "for_people"),
    [
        ("a/caf\u00e9.jpg", "a/caf\u00e9.jpg", "a/caf\u00e9.jpg"),
        (os.fsdecode(b"caf\xe9"), "caf\\xe9", "caf\\xe9"),
        ("a\n\x1b[2J", "a\n\x1b[2J", "a\\x0a\\x1b[2J"),
        ("\ud800/\udce9", "\\ud800/\\udce9", "\\ud800/\\udce9"),  # no file has such a name, but JSON may
    ],
)
def test_any_path_can_be_shown(path, in_files, for_people):
    assert utf8_path(path) == in_files
    assert display_path(path) == for_people
