"""Move pictures out of an image folder, in a way that can be undone."""

import errno
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from retrain.errors import OutputError, UsageError
from retrain.files import write_whole
from retrain.json_fields import FieldError, parse_json
from retrain.paths import display_path
from retrain.text import counted, pasteable

__all__ = ["Moves", "move", "plan_moves", "undo"]


@dataclass(frozen=True)
class Moves:
    """Files to be moved: pairs of absolute paths, from where to where."""

    pairs: tuple[tuple[str, str], ...]
    folder: str  # that they go to, and the list of what was moved with them

    @property
    def list_path(self) -> str:
        """The list that undoes them."""
        return os.path.join(self.folder, time.strftime("moved-%Y%m%d-%H%M%S.json", time.gmtime()))


def plan_moves(paths: Sequence[str], image_dir: str | os.PathLike[str], folder: str | os.PathLike[str]) -> Moves:
    """Say what would be moved where, and check that it can be done. Changes nothing.

    Args:
        paths: relative to the image folder; they are the same below `folder`.
    Raises UsageError if the folder lies among the pictures, or a picture outside of the image folder; OutputError if a
    file there has the name of one.
    """
    root, target = os.path.realpath(image_dir), os.path.realpath(folder)
    if Path(target).is_relative_to(root):
        raise UsageError(
            f"--move-suspects {display_path(folder)} lies in the folder of pictures, where the next training would "
            "find them again: give a folder elsewhere"
        )
    outside = next((path for path in paths if os.path.isabs(path) or path.split("/")[0] == ".."), None)
    if outside is not None:
        raise UsageError(
            f"--move-suspects keeps the paths below {display_path(image_dir)}, and {display_path(outside)} is "
            "elsewhere: give an --image-root that all pictures are in"
        )
    pairs = tuple((os.path.join(root, path), os.path.join(target, path)) for path in paths)
    taken = next((there for _, there in pairs if os.path.lexists(there)), None)
    if taken is not None:
        raise OutputError(f"{display_path(taken)} exists already: give another folder, and nothing is overwritten")
    return Moves(pairs, target)


def move(moves: Moves) -> str:
    """Move the files; the path of the list that undoes it, which is written first.

    Raises OutputError if that fails, which says how to undo what was moved.
    """
    listed = moves.list_path
    document = [{"from": before, "to": after} for before, after in moves.pairs]
    try:
        os.makedirs(moves.folder, exist_ok=True)
        # ASCII: names that are not UTF-8 become escapes, which Python reads back
        write_whole(listed, (json.dumps(document, indent=1) + "\n").encode())
    except OSError as error:
        raise OutputError(f"can't write {display_path(listed)}: {error.strerror}; nothing was moved") from error
    done = 0
    try:
        for before, after in moves.pairs:
            os.makedirs(os.path.dirname(after), exist_ok=True)
            os.rename(before, after)
            done += 1
    except OSError as error:
        reason = "it is on another disk" if error.errno == errno.EXDEV else error.strerror
        raise OutputError(
            f"moved {counted(done, 'picture')} of {len(moves.pairs):,}, then {display_path(before)} could not be moved "
            f"({reason}); to undo: retrain report --undo {pasteable(listed)}"
        ) from error
    return listed


def undo(listed: str | os.PathLike[str]) -> int:
    """Move the files of a list back to where they were; how many. Files that are not there any more are left out.

    Raises OutputError if the list can't be read, or a file can't be moved back.
    """
    try:
        document = parse_json(Path(listed).read_bytes())
        pairs = [(str(entry["from"]), str(entry["to"])) for entry in document]
    except OSError as error:
        raise OutputError(f"can't read {display_path(listed)}: {error.strerror}") from error
    except (FieldError, KeyError, TypeError) as error:
        raise OutputError(
            f"{display_path(listed)} is not a list that --move-suspects wrote ({error}): give that one"
        ) from error
    done = 0
    for before, after in pairs:
        if not os.path.lexists(after):
            continue
        if os.path.lexists(before):
            raise OutputError(
                f"{display_path(before)} exists again: {counted(done, 'picture', 'was/were')} moved back; move that "
                "file away and run the same command again"
            )
        try:
            os.makedirs(os.path.dirname(before), exist_ok=True)
            os.rename(after, before)
        except OSError as error:
            raise OutputError(
                f"can't move {display_path(after)} back: {error.strerror}; {counted(done, 'picture', 'was/were')} "
                "moved back, the others are where they were"
            ) from error
        done += 1
    return done
