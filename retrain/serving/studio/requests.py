"""What the page asks to have changed: from JSON and files to calls of the editor."""

import os
from collections.abc import Callable, Sequence
from typing import Any

from retrain.data import Edit, read_header
from retrain.errors import UnreadableImageError
from retrain.json_fields import FieldError, Fields, shown_value
from retrain.options import ImageOptions
from retrain.paths import display_path
from retrain.serving.problems import Problem
from retrain.serving.studio.parts import Editor
from retrain.serving.studio.pictures import PictureTable
from retrain.text import counted

__all__ = ["Change", "change_of", "class_name", "numbers_in", "pictures_alone", "save_place"]

Change = Callable[[Editor], Edit | None]

_MOST_NAMED = 3  # files that are no pictures
_LONGEST_NAME = 255  # characters


def change_of(request: Fields, table: PictureTable) -> Change:
    """What to do with the editor. Raises Problem, FieldError."""
    kinds: dict[str, Callable[[Fields, PictureTable], Change]] = {
        "move": _move,
        "remove": _remove,
        "new_class": _new_class,
        "remove_class": _remove_class,
        "rename": _rename,
        "merge": _merge,
        "undo": _again,
        "redo": _again,
    }
    kind = request.text("kind", "|".join(kinds), f"one of {', '.join(kinds)}")
    return kinds[kind](request, table)


def _move(request: Fields, table: PictureTable) -> Change:
    paths, name = _paths(request, table), class_name(request.values.get("class"))
    return lambda editor: editor.move(paths, name)


def _remove(request: Fields, table: PictureTable) -> Change:
    paths = _paths(request, table)
    return lambda editor: editor.remove(paths)


def _new_class(request: Fields, _: PictureTable) -> Change:
    name = class_name(request.values.get("class"))
    return lambda editor: editor.new_class(name)


def _remove_class(request: Fields, _: PictureTable) -> Change:
    name = class_name(request.values.get("class"))
    return lambda editor: editor.remove_class(name)


def _rename(request: Fields, _: PictureTable) -> Change:
    name, new_name = (class_name(request.values.get(field)) for field in ("class", "to"))
    return lambda editor: editor.rename_class(name, new_name)


def _merge(request: Fields, _: PictureTable) -> Change:
    values = request.values.get("classes")
    if not isinstance(values, list) or not values:
        raise FieldError(f"classes is {shown_value(values)}, expected a list of names")
    names, into = [*map(class_name, values)], class_name(request.values.get("to"))
    return lambda editor: editor.merge_classes(names, into)


def _again(request: Fields, _: PictureTable) -> Change:
    """Take back the last edit, or do again what was taken back last."""
    number, is_undo = _edit_number(request), request.values["kind"] == "undo"

    def again(editor: Editor) -> Edit | None:
        _check_last(editor.undoable if is_undo else editor.redoable, number)
        return editor.undo() if is_undo else editor.redo()

    return again


def _edit_number(request: Fields) -> int | None:
    """The edit that a page means; None if it means the last one, whichever that is. Raises FieldError."""
    return None if request.values.get("number") is None else request.number("number", 0, 2**53)


def _check_last(last: Edit | None, number: int | None) -> None:
    """Raises Problem if another page has edited meanwhile."""
    if number is not None and (last is None or last.number != number):
        now = f"now it would be: {last.text}" if last else "there is nothing now"
        raise Problem(409, f"that can't be taken back or done again at this moment: {now}")


def _paths(request: Fields, table: PictureTable) -> list[str]:
    found = [table.get(number) for number in numbers_in(request)]
    if None in found:
        gone = found.count(None)
        raise Problem(409, f"{counted(gone, 'picture', 'is/are')} not there any more: look at what is, and try again")
    return [picture.path for picture in found if picture is not None]


def class_name(value: Any) -> str:
    """The name of a class in a request; it may have bytes that are not UTF-8, as half a character each.

    Raises FieldError.
    """
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_NAME or not _is_name(value):
        raise FieldError(
            f"{shown_value(value)} is no name of a class: expected a text of 1 to {_LONGEST_NAME} characters"
        )
    return value


def _is_name(text: str) -> bool:
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True


def numbers_in(request: Fields) -> list[int]:
    """The numbers of pictures in a request. Raises FieldError."""
    values: Any = request.values.get("pictures")
    wanted = isinstance(values, list) and values and all(type(one) is int for one in values)
    if not wanted:
        raise FieldError(f"pictures is {shown_value(values)}, expected a list of numbers")
    return list(dict.fromkeys(values))


def pictures_alone(
    files: Sequence[tuple[str, bytes]], images: ImageOptions
) -> tuple[list[tuple[str, bytes]], list[str]]:
    """The files that are pictures, and why the others are none. Raises Problem if there is no picture."""
    kept, refused = [], []
    for name, data in files:
        try:
            if len(data) > images.max_file_size * 2**20:
                raise UnreadableImageError(f"larger than --max-file-size {images.max_file_size}")
            read_header(data, images.max_pixels)
            kept.append((name, data))
        except UnreadableImageError as error:
            refused.append(f"{display_path(name)}: {error}")
    if not kept:
        why = "; ".join(refused[:_MOST_NAMED]) or "there is no file in the request"
        raise Problem(415, f"nothing was added: {why}")
    return kept, refused


def save_place(name: str) -> str:
    """A place below the current folder, for a model. Raises Problem."""
    place = os.path.normpath(name.strip())
    is_below = place != "." and place[0] not in "/~" and place.split(os.sep)[0] != ".."
    inside = os.path.join(os.path.realpath(os.curdir), "")
    if not is_below or "\0" in name or not os.path.realpath(place).startswith(inside):
        raise Problem(
            422, f"{shown_value(name)} is no place for a model: give the name of a folder below the current one"
        )
    return place
