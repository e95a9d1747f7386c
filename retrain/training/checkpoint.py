"""The state of fine-tuning after an epoch, kept in the cache so that a stopped run can continue from there.

A file is the SHA-256 of its content, then the content in NumPy's .npz format.
"""

import contextlib
import hashlib
import io
import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrain.cache.artifacts import CHECKPOINTS
from retrain.files import write_whole
from retrain.paths import display_path

__all__ = ["CheckpointFile"]

_DAYS_KEPT = 7  # after that, the run that left it will hardly be repeated

logger = logging.getLogger(__name__)


class CheckpointFile:
    """The file of one fine-tuning.

    Args:
        folder: of the cached activations.
        key: hexadecimal digits. Equal if data, options and versions are equal, so that training would be the same.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self._path, self._key = folder / f"fine_tuning-{key[:16]}.npz", key
        self.extra: list[Any] = []  # more about the finished epochs, for JSON; saved and loaded with the rest

    def load(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]] | None:
        """The note and the arrays that were saved last; None if there are none, or the file is damaged."""
        try:
            data = self._path.read_bytes()
        except OSError:
            return None
        if hashlib.sha256(data[32:]).digest() != data[:32]:
            logger.info("%s is damaged: fine-tuning starts at the first epoch", display_path(self._path))
            return None
        with np.load(io.BytesIO(data[32:])) as content:
            arrays = {name: content[name] for name in content.files}
        note = json.loads(arrays.pop("note").tobytes())
        if note["key"] != self._key:
            return None
        self.extra = note["extra"]
        return note, arrays

    def save(self, note: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        """Replace what was saved before. It is no error if the cache can't be written."""
        text = json.dumps({**note, "key": self._key, "extra": self.extra})
        buffer = io.BytesIO()
        np.savez(buffer, note=np.frombuffer(text.encode(), np.uint8), **arrays)  # type: ignore[arg-type]
        content = buffer.getbuffer()
        try:
            write_whole(self._path, hashlib.sha256(content).digest(), content)
        except OSError as error:
            logger.info("can't keep %s: %s", display_path(self._path), error.strerror)

    def remove(self) -> None:
        """Remove the file, and those that other runs left long ago."""
        for path in self._path.parent.glob(CHECKPOINTS):
            with contextlib.suppress(OSError):  # not an error, because the model is written
                if path == self._path or time.time() - path.stat().st_mtime > _DAYS_KEPT * 86400:
                    path.unlink()
