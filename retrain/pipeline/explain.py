"""Heat maps of single pictures, as files: `predict --explain`."""

import errno
import io
import os
import re
from pathlib import Path

import numpy as np
from PIL import Image

from retrain.errors import OutputError
from retrain.files import write_whole
from retrain.model import Classifier
from retrain.options import ImageOptions
from retrain.paths import display_path
from retrain.report import PictureFiles, heat_maps_of, overlay

__all__ = ["Explainer"]

_SIDE = 480  # pixels of the longer side of what is written, at most
_LONGEST = 100  # characters of a file's name


class Explainer:
    """Writes pictures with a heat map laid over them.

    Args:
        classifier: the model.
        folder: where they go. It is made if it is missing.
        images: how large a file and a picture may be.
    Raises ModelFolderError if there can be no heat maps of this model, OutputError if the folder can't be made.
    """

    def __init__(self, classifier: Classifier, folder: str | os.PathLike[str], images: ImageOptions) -> None:
        self._labels, self._folder = classifier.labels, Path(folder)
        self._files = PictureFiles("", images)
        self._taken: set[str] = set()
        self._maps = heat_maps_of(classifier)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._not_written(error) from error

    def write(self, path: str, label: str) -> str | None:
        """Write a picture with what spoke for a label; where to. None if the picture can't be read.

        Raises OutputError.
        """
        pixels = self._files.pixels(path, self._maps.form)
        size = self._files.size(path, _SIDE)
        if pixels is None or size is None:
            return None
        [mapped] = self._maps.of(pixels[np.newaxis], np.array([self._labels.index(label)]))
        shown = self._files.pixels(path, self._maps.form.whole(*size))
        if shown is None:
            return None
        picture = Image.fromarray(shown).convert("RGBA")
        heat = Image.open(io.BytesIO(overlay(mapped, self._maps.form, size))).resize(
            picture.size, Image.Resampling.BICUBIC
        )
        buffer = io.BytesIO()
        Image.alpha_composite(picture, heat).convert("RGB").save(buffer, "JPEG", quality=90)
        place = self._folder / self._name(path)
        try:
            write_whole(place, buffer.getvalue())
        except OSError as error:
            raise self._not_written(error) from error
        return os.fspath(place)

    def _name(self, path: str) -> str:
        """A name that no other picture has, made of the picture's own."""
        stem = re.sub(r"[^\w.-]+", "_", os.path.basename(path)).lstrip(".-")[-_LONGEST:] or "picture"
        name, number = f"{stem}.jpg", 1
        while name in self._taken:
            number += 1
            name = f"{stem}-{number}.jpg"
        self._taken.add(name)
        return name

    def _not_written(self, error: OSError) -> OutputError:
        remedy = "make room" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "check its permissions"
        return OutputError(
            f"can't write into {display_path(self._folder)}: {error.strerror}; {remedy} or give another --explain"
        )
