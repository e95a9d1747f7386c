"""The weights that Keras Applications publishes: find them on this machine, or download them."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrain._tensorflow import replace_keras_downloads
from retrain.backbones.sources.download_folder import check_own, download_folder, is_own, locked, make_folder
from retrain.backbones.sources.listener import Limits, tell
from retrain.errors import BackboneError, BackboneUnavailableError
from retrain.files import digest_of_file, write_whole
from retrain.paths import display_path

if TYPE_CHECKING:
    from retrain.backbones.sources.downloads import Wanted

__all__ = ["find_weights", "own_downloads", "weights_file"]

_REMEDY = (
    "they are not on this machine; go online once, or run 'retrain backbones fetch {name} --to DIR' where there is a "
    "network and set RETRAIN_BACKBONES to a copy of DIR, or give --weights FILE or another --backbone"
)


@contextlib.contextmanager
def own_downloads(name: str, on_file: Callable[[Path], object] = lambda path: None) -> Iterator[None]:
    """Have Keras Applications take weights from our downloads, for a while.

    Args:
        name: the backbone's.
        on_file: told where they are.
    """

    def get_file(fname: str, origin: str, file_hash: str | None = None, **_: Any) -> str:
        path = weights_file(name, fname, origin, file_hash)
        on_file(path)
        return str(path)

    with replace_keras_downloads(get_file):
        yield


def find_weights(file: str) -> Path | None:
    """A weights file of Keras Applications on this machine, by its name; None if it is missing."""
    return next((path for path in _places(file) if path.is_file()), None)


def weights_file(name: str, file: str, url: str, digest: str | None, limits: Limits = Limits()) -> Path:
    """A weights file of Keras Applications; downloaded once.

    Args:
        name: of the backbone.
        file: its name.
        digest: MD5 or SHA-256 in hexadecimal digits, as Keras has it; None for the MobileNets, for which it has none.
    Raises BackboneUnavailableError if it can't be had, and BackboneError if it is not safe to use.
    """
    what = f"the weights of backbone {name}"
    try:
        for path in _places(file):
            if path.is_file() and _is_sound(path, digest):
                return path
        target = _target(file)
        with locked(target, what):
            if not (target.is_file() and _is_sound(target, digest)):
                from retrain.backbones.sources.downloads import Wanted

                _fetch(Wanted(url, what, _REMEDY.format(name=name)), target, digest, limits)
    except OSError as error:
        where = f": {display_path(error.filename)}" if error.filename else ""
        raise BackboneUnavailableError(
            f"{what} can't be read or kept ({error.strerror or error}{where}): set KERAS_HOME or XDG_CACHE_HOME to a "
            "folder of your own"
        ) from error
    return target


def _fetch(wanted: "Wanted", target: Path, digest: str | None, limits: Limits) -> None:
    """Download a weights file to its place; the caller holds its lock."""
    from retrain.backbones.sources.downloads import download

    part = target.with_name(target.name + ".part")
    download(wanted, part, limits)
    wrong = _what_is_wrong(part, digest)
    if wrong:
        part.unlink()
        raise BackboneUnavailableError(f"{wanted.what} can't be downloaded ({wrong}): {wanted.remedy}")
    if digest is None:
        write_whole(_note(target), digest_of_file(part).encode())
    os.replace(part, target)


def _what_is_wrong(part: Path, digest: str | None) -> str:
    """What is wrong with a downloaded weights file; empty if nothing is."""
    if digest is not None:
        return "" if _has_digest(part, digest) else "what came is damaged or another file: its checksum is wrong"
    import h5py

    try:
        h5py.File(part, "r").close()
    except OSError:
        return "what came is not a complete HDF5 file"
    return ""


def _is_sound(path: Path, digest: str | None) -> bool:
    """Whether a file is as it was downloaded. Raises BackboneError if nobody can know."""
    if digest is None:
        folder = os.environ.get("RETRAIN_BACKBONES")
        if folder and path.parent == Path(folder):
            return True  # the user's own choice, like all files there
        if not is_own(path):
            raise BackboneError(
                f"the weights file {display_path(path)} is another user's, or others may write to it, and Keras names "
                "no checksum for it: remove it, or set KERAS_HOME to a folder of your own"
            )
        check_own(path.parent)
        try:
            digest = _note(path).read_text().strip()
        except OSError:
            return True  # Keras has downloaded it
    if _has_digest(path, digest):
        return True
    tell().warn(f"{display_path(path)} does not have the checksum that it should have: it is not used")
    return False


def _has_digest(path: Path, digest: str) -> bool:
    return digest_of_file(path, "sha256" if len(digest) == 64 else "md5") == digest


def _note(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _places(file: str) -> Iterator[Path]:
    """Where a weights file may lie."""
    folder = os.environ.get("RETRAIN_BACKBONES")
    if folder:
        yield Path(folder, file)
    yield _keras_home() / "models" / file
    yield download_folder("keras", write=False) / file


def _keras_home() -> Path:
    """Keras's folder; not the one in /tmp that Keras uses if there is no home."""
    return Path(os.path.expanduser(os.environ.get("KERAS_HOME") or "~/.keras"))


def _target(file: str) -> Path:
    """Where a download goes: to the user's KERAS_HOME if it is safe, or else to our folder."""
    if os.environ.get("KERAS_HOME"):
        folder = _keras_home() / "models"
        with contextlib.suppress(OSError):
            make_folder(folder, 0o755)  # others may read it
            if is_own(folder) and os.access(folder, os.W_OK | os.X_OK):
                return folder / file
    return download_folder("keras") / file
