"""What is known of weights that Keras publishes: the digest of their arrays, which takes TensorFlow to find out.

Each is kept with the SHA-256 of the file that the arrays came from, and counts for that file alone.
"""

import contextlib
import json
from pathlib import Path

from retrain.backbones.sources.download_folder import check_own, download_folder, locked, make_folder
from retrain.backbones.sources.keras_weights import find_weights
from retrain.errors import BackboneError
from retrain.files import digest_of_file, write_whole

__all__ = ["known_digest", "note_digest"]

_FILE = "digests.json"


def known_digest(network: str) -> str | None:
    """The digest of a network's arrays, if the file they came from is on this machine, unchanged.

    Args:
        network: what tells it from others: its name, width and input size.
    """
    try:
        note = _notes()[network]
        file = find_weights(note["file"])
        if file is not None and digest_of_file(file) == note["file_sha256"]:
            return str(note["arrays_sha256"])
    except (OSError, BackboneError, ValueError, KeyError, TypeError):
        pass  # then the network is asked
    return None


def note_digest(network: str, file: Path, digest: str) -> None:
    """Remember the digest of a network's arrays, if that can be written.

    Args:
        file: where they came from.
    """
    with contextlib.suppress(OSError, BackboneError):
        folder = download_folder("keras", write=False)
        if not folder.is_absolute():  # there is no home
            return
        make_folder(folder)
        with locked(folder / _FILE, "weights"):
            note = {"file": file.name, "file_sha256": digest_of_file(file), "arrays_sha256": digest}
            write_whole(folder / _FILE, json.dumps(_notes() | {network: note}, indent=1).encode())


def _notes() -> dict[str, dict[str, str]]:
    """Raises BackboneError if others may write there."""
    path = download_folder("keras", write=False) / _FILE
    if not path.exists():
        return {}
    check_own(path)
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
