"""Networks from a URL: TensorFlow Hub's and Kaggle's handles, and archives of SavedModels anywhere on the web."""

import hashlib
import json
import os
import shutil
import urllib.parse
from pathlib import Path

from retrain.backbones.sources.archives import ArchiveLimits, unpack
from retrain.backbones.sources.download_folder import check_own, digest_of_tree, download_folder, locked, make_folder
from retrain.backbones.sources.downloads import Wanted, download
from retrain.backbones.sources.listener import Limits, tell
from retrain.errors import BackboneError, BackboneUnavailableError
from retrain.files import write_whole
from retrain.paths import display_path
from retrain.text import listing

__all__ = ["resolve_handle"]

_MOST_NAMED = 5  # files of an archive, in a message
_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_REMEDY = "give a TensorFlow Hub or Kaggle handle, or the URL of a .tar.gz that holds a SavedModel"


def resolve_handle(handle: str, limits: Limits = Limits(), archive_limits: ArchiveLimits = ArchiveLimits()) -> Path:
    """The local folder of a TensorFlow Hub or Kaggle handle, or of an archive on the web; downloaded once.

    It is in TFHUB_CACHE_DIR if that is set, under the same name as TensorFlow Hub uses, or else in the user's folder of
    downloads. A note beside it has the digest of its files, which is checked each time.

    Raises BackboneUnavailableError if it can't be had, and BackboneError if it is not safe to use.
    """
    if urllib.parse.urlsplit(handle).scheme not in ("http", "https"):
        raise BackboneError(f"backbone {handle} can't be had: it begins with neither https:// nor http://; {_REMEDY}")
    # as TensorFlow Hub does
    name = hashlib.sha1(handle.encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()
    folder = _folder(write=False) / name
    try:
        if _is_sound(folder, handle):
            return folder
        folder = _folder(write=True) / name
        with locked(folder, handle):
            if not _is_sound(folder, handle):
                _fetch(handle, folder, limits, archive_limits)
    except OSError as error:
        raise BackboneUnavailableError(
            f"backbone {handle} can't be had: {error.strerror or error}: {display_path(error.filename or folder)}"
        ) from error
    return folder


def _folder(write: bool) -> Path:
    given = os.environ.get("TFHUB_CACHE_DIR")
    if not given:
        return download_folder("hub", write)
    folder = Path(os.path.expanduser(given))
    if write:
        make_folder(folder, 0o755)  # others may read it
    if folder.exists():
        check_own(folder)
    return folder


def _note(folder: Path) -> Path:
    return folder.with_name(folder.name + ".retrain.json")


def _is_sound(folder: Path, handle: str) -> bool:
    """Whether a network is here, as it was downloaded; TensorFlow Hub's own downloads have no note."""
    if not folder.is_dir() or not os.listdir(folder):
        return False
    digest = digest_of_tree(folder)
    try:
        noted = json.loads(_note(folder).read_text())["sha256"]
    except FileNotFoundError:
        return True
    except (ValueError, KeyError, TypeError):
        noted = None
    if noted != digest:
        tell().warn(f"{display_path(folder)} has changed since {handle} was downloaded to it: downloading it again")
    return bool(noted == digest)


def _fetch(handle: str, folder: Path, limits: Limits, archive_limits: ArchiveLimits) -> None:
    """Download and unpack to a folder's place; the caller holds its lock."""
    part, unpacked = folder.with_name(folder.name + ".part"), folder.with_name(folder.name + ".unpacking")
    shutil.rmtree(unpacked, ignore_errors=True)  # of a run that was killed
    download(Wanted(_url(handle), f"backbone {handle}", "go online once, or " + _REMEDY), part, limits)
    try:
        unpack(part, unpacked, archive_limits)
        if not any((unpacked / f"saved_model.{form}").is_file() for form in ("pb", "pbtxt")):
            found = listing(sorted(os.listdir(unpacked)), _MOST_NAMED) or "nothing"
            raise BackboneError(f"it has no saved_model.pb at its top; found there: {found}")
        note = {"handle": handle, "sha256": digest_of_tree(unpacked), "bytes": part.stat().st_size}
        write_whole(_note(folder), json.dumps(note, indent=1).encode())
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(unpacked, folder)
    except BackboneError as error:
        raise BackboneUnavailableError(f"backbone {handle} is refused: {error}; {_REMEDY}") from error
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)
        part.unlink(missing_ok=True)


def _url(handle: str) -> str:
    """The URL of a handle's archive; tfhub.dev and kaggle.com must be asked for it."""
    url = urllib.parse.urlsplit(handle)
    if url.path.endswith(_ARCHIVES):
        return handle
    query = [*urllib.parse.parse_qsl(url.query), ("tf-hub-format", "compressed")]
    return urllib.parse.urlunsplit(url._replace(query=urllib.parse.urlencode(query)))
