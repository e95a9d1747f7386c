"""Read what the user names: an image folder, .tar shards, or a manifest."""

import contextlib
import os
from collections.abc import Collection, Iterable

from retrain.data.image_folder import read_image_folder
from retrain.data.label_sets import with_several_labels
from retrain.data.labelled_pictures import LabelledPictures
from retrain.data.manifest import read_manifest
from retrain.data.remote_files import is_remote_file, is_url, url_of
from retrain.data.tar_shards import is_tar, read_tar_shards, shards_in
from retrain.errors import UsageError
from retrain.events import Emit, ignore
from retrain.options import Manifest, PictureSource
from retrain.paths import display_path

__all__ = ["read_source"]


def read_source(
    source: PictureSource,
    exclude: Iterable[str | os.PathLike[str]] = (),
    emit: Emit = ignore,
    known: Collection[str] = (),
    multi_label: bool = False,
) -> LabelledPictures:
    """Find pictures and their classes.

    Args:
        source: an image folder, here or by URL; a .tar archive, or a folder of them, here or by URL; or a
            manifest, which is a file.
        exclude: folders in an image folder that are not classes.
        emit: told what is taken otherwise than it may look, and what is left out.
        known: names of an image folder's sub-folders that are always classes.
        multi_label: whether a picture may have several labels.
    Raises ImageFolderError, ManifestError, or UsageError for an image_root without a manifest.
    """
    if isinstance(source, Manifest):
        if os.path.isdir(source.path):
            raise UsageError(
                f"--image-root is for the paths in a manifest, and {display_path(source.path)} is a folder: leave it "
                "out"
            )
        return read_manifest(source, emit, multi_label)
    is_archive = is_tar(source) and os.path.isfile(source)
    if not is_url(source) and os.path.exists(source) and not os.path.isdir(source) and not is_archive:
        return read_manifest(Manifest(source), emit, multi_label)
    found = _read_folder(source, exclude, emit, known)
    return with_several_labels(found) if multi_label else found


def _read_folder(
    source: str | os.PathLike[str], exclude: Iterable[str | os.PathLike[str]], emit: Emit, known: Collection[str]
) -> LabelledPictures:
    """The pictures of an image folder or of archives."""
    if is_url(source):
        return _read_url(source, exclude, emit, known)
    if is_tar(source) and os.path.isfile(source):
        return read_tar_shards(os.path.dirname(source) or ".", [os.path.basename(source)], emit, is_part=True)
    if os.path.isdir(source) and (shards := shards_in(source)):
        return read_tar_shards(source, shards, emit, is_part=False)
    return read_image_folder(source, exclude, emit, known)


def _read_url(
    source: str | os.PathLike[str], exclude: Iterable[str | os.PathLike[str]], emit: Emit, known: Collection[str]
) -> LabelledPictures:
    above, _, name = url_of(source).rstrip("/").rpartition("/")
    with contextlib.suppress(OSError):  # reading it as an image folder will tell what is wrong
        if is_tar(name) and is_remote_file(f"{above}/{name}"):
            return read_tar_shards(above, [name], emit, is_part=True)
        if not url_of(source).startswith(("http://", "https://")) and (shards := shards_in(source)):
            return read_tar_shards(source, shards, emit, is_part=False)
    return read_image_folder(source, exclude, emit, known)
