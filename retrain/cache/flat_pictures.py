"""Pictures of one flat colour, noted in the cache when they are decoded, since later runs don't decode them again."""

import logging
import os
from pathlib import Path

from retrain.data import DECODER_VERSION

__all__ = ["FlatPictures"]

logger = logging.getLogger(__name__)


class FlatPictures:
    """The keys of such pictures in all image folders, for all networks: a line of hexadecimal digits each.

    Each version of the decoder has its own file: what it decoded has been looked at. If the file is lost, so are
    warnings. Any number of threads and processes may add to it.
    """

    def __init__(self, cache_dir: str | os.PathLike[str]) -> None:
        self.path = Path(cache_dir) / "pictures" / f"one_colour-{DECODER_VERSION}.txt"
        self._keys = self._load()

    def __contains__(self, key: bytes | None) -> bool:
        return key in self._keys

    def note(self, key: bytes) -> None:
        """Note that a picture shows one flat colour; key: SHA-256 of its file."""
        if key in self._keys:
            return
        self._keys.add(key)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab", buffering=0) as file:
                file.write(key.hex().encode() + b"\n")
        except OSError as error:
            logger.info("picture of one flat colour not noted: %s", error)

    def _load(self) -> set[bytes | None]:
        try:
            lines = self.path.read_bytes().split(b"\n")
        except OSError:
            return set()
        digits = set(b"0123456789abcdef")
        return {bytes.fromhex(line.decode()) for line in lines if len(line) == 64 and digits.issuperset(line)}
