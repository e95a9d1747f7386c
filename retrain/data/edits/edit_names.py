"""Names that others give to classes and pictures: which ones a folder of pictures can have."""

import os
import re
import unicodedata

from retrain.data.folder_layout import composed, set_of
from retrain.data.folder_walk import is_litter
from retrain.errors import ImageFolderError
from retrain.text import shown

__all__ = ["check_new_class", "folded", "picture_name"]

_LONGEST_NAME = 255  # bytes, on all common file systems

_UNSHOWABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_NAMELESS = "picture"


def check_new_class(name: str) -> str:
    """The name of the folder of a new class: the name in Unicode's composed form.

    Raises ImageFolderError if it can't be the name of a class.
    """
    name = composed(name)
    problem = _problem(name)
    if problem:
        raise ImageFolderError(f"a class can't be named {shown(repr(name))}: {problem}; give another name")
    return name


def _problem(name: str) -> str | None:
    if not name.strip():
        return "the name is empty"
    if name != name.strip():
        return "it begins or ends with a space"
    if "/" in name:
        return "a folder's name has no /"
    if _UNSHOWABLE.search(name):
        return "it has characters that can't be shown, or line breaks, which labels.txt can't hold"
    if name.startswith("."):
        return "names that begin with a dot are hidden"
    if is_litter(name):
        return "systems and file managers use that name for their own files, so folders of this name are left out"
    if set_of(name):
        return "folders with such a name hold the pictures of a set"
    if len(name.encode()) > _LONGEST_NAME:
        return f"it has more than {_LONGEST_NAME} bytes"
    return None


def picture_name(name: str) -> str:
    """A file's name for a picture that a program sends; folders in it, and what can't be shown, are left out."""
    base = _UNSHOWABLE.sub("_", os.path.basename(name.replace("\\", "/"))).strip()
    if base.startswith("."):  # hidden
        base = f"{_NAMELESS}.{base.lstrip('.')}".rstrip(".")
    return f"{_NAMELESS}-{base}" if base and is_litter(base) else base or _NAMELESS


def folded(name: str) -> str:
    """What is the same for names that some file systems take for one: in another case or Unicode form."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
