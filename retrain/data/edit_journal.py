"""The journal of an image folder: what was changed in it, written before the first file moves."""

from dataclasses import dataclass

__all__ = ["Edit", "Move"]


@dataclass(frozen=True)
class Move:
    """Something that got another place; both paths are relative to the image folder, with /.

    A picture; or a folder with all that is in it, if a class was renamed or removed. What lies outside of the image
    folder, in the folder of unlabelled pictures, begins with `FolderEdits.unlabelled_prefix`.
    """

    source: str
    target: str


@dataclass(frozen=True)
class Edit:
    """A change of an image folder."""

    number: int  # from 1 on
    kind: str  # "add", "move", "remove", "rename", "merge", "new_class" or "remove_class"
    text: str  # for people: "Moved 3 pictures from tulips to roses"
    moves: tuple[Move, ...]
