import pytest

from retrain.errors import MissingPackageError
from retrain.export import formats
from retrain.export.export_format import Facts
from retrain.options import EXPORT_FORMATS


def test_the_command_line_names_all_formats_in_their_order():
    assert tuple(formats.FORMATS) == EXPORT_FORMATS


def test_a_missing_package_is_one_line_that_says_what_to_install(monkeypatch):
    class Format:
        facts = Facts("strange", "it", "nothing", "nothing", ("strange_package", "json"), "onnx")

    monkeypatch.setitem(formats.FORMATS, "strange", Format())
    with pytest.raises(MissingPackageError, match=r"needs strange_package, not installed.*'retrain\[onnx\]'$"):
        formats.check_installed("strange")
