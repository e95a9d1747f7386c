"""The client code in an export's README.md, run as its reader would."""

import contextlib
import io
import re
import sys

import pytest

from retrain.export.export_folder import _readme
from retrain.export.formats import FORMATS
from retrain.model import write_labels


def said_by_client(name, folder, classifier, picture):
    """What the code in the README.md of a format prints of a picture: the label and its score.

    Args:
        folder: has the export's file.
    """
    write_labels(classifier.labels, folder / "labels.txt")
    text = _readme(FORMATS[name].facts, classifier).decode()
    [code] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as out:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["client.py", str(picture)])
        exec(code, {})
    label, score = out.getvalue().split()
    return label, float(score)
