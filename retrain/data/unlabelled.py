"""Pictures without labels: the files below one folder that are not labelled yet."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from retrain.data.folder_walk import FolderWalk
from retrain.data.labelled_pictures import LabelledPictures, Sample
from retrain.errors import ImageFolderError
from retrain.paths import display_path

__all__ = ["read_unlabelled"]

_CLASS = "unlabelled"  # all have it, since the later stages know pictures with classes only


def read_unlabelled(
    root: str | os.PathLike[str],
    labelled: LabelledPictures | None = None,
    exclude: Iterable[str | os.PathLike[str]] = (),
) -> LabelledPictures:
    """Find the files below a folder, at any depth, sorted by path. Litter and folders of this program are left out.

    Args:
        root: the folder.
        labelled: pictures that are left out if they lie in it, as may those of a manifest.
        exclude: folders to leave out, if they lie in it.
    Raises ImageFolderError if the folder is missing, is a file, lies in that of labelled pictures, can't be read, or
    has no other files.
    """
    where = display_path(root)
    if not os.path.isdir(root):
        what = "is a file" if os.path.exists(root) else "does not exist"
        raise ImageFolderError(f"the folder of unlabelled pictures {where} {what}: give a folder of pictures")
    real = os.path.realpath(root)
    if labelled is not None and labelled.manifest is None:
        top = os.path.realpath(labelled.root)
        if real == top or real.startswith(os.path.join(top, "")):
            raise ImageFolderError(
                f"the folder of unlabelled pictures {where} lies in {display_path(labelled.root)}, whose sub-folders "
                "are classes: move it out of there"
            )
    known = {*_places(labelled)} if labelled is not None else set()
    try:
        found = sorted(FolderWalk(root, exclude).everything())
    except OSError as error:
        place = display_path(error.filename or root)
        raise ImageFolderError(f"can't read the folder {place}: {error.strerror}; check its permissions") from error
    samples = tuple(
        Sample(path, 0, _CLASS, problem=problem) for path, problem in found if os.path.join(real, path) not in known
    )
    if not samples:
        what = f"all {len(found):,} files in {where} are labelled already" if found else f"no files in {where}"
        raise ImageFolderError(f"{what}: put unlabelled pictures there")
    return LabelledPictures(Path(root), (_CLASS,), samples, spelling=os.fspath(root))


def _places(labelled: LabelledPictures) -> Iterator[str]:
    """The real places of pictures, and of the manifest that lists them."""
    top = os.path.realpath(labelled.root)
    yield from (os.path.normpath(os.path.join(top, sample.path)) for sample in labelled.samples)
    if labelled.manifest is not None:
        yield os.path.realpath(labelled.manifest.path)
