"""Scores of a model by its LiteRT form, which starts in a fraction of a second."""

import hashlib
import os

import numpy as np
from numpy.typing import NDArray

from retrain.backbones import Extractor, LiteRTError, LiteRTNetwork, kept_conversion
from retrain.cache import fingerprint_of
from retrain.errors import ModelFolderError
from retrain.model.folder import ModelDescription
from retrain.model.head import ArrayIdentity
from retrain.model.litert_file import backbone_part, head_arrays

__all__ = ["LiteRTScorer"]


class LiteRTScorer:
    """A `Scorer` of a LiteRT model.

    Args:
        model: the file's bytes.
        description: of the model.
        where: the file, for messages.
    Raises ModelFolderError.
    """

    def __init__(self, model: bytes, description: ModelDescription, where: str) -> None:
        self._model, self._description, self._where = model, description, where
        try:
            self._network = LiteRTNetwork(model)
        except LiteRTError as error:
            raise ModelFolderError(f"{where} can't be used ({error}): train the model again") from error
        found = (self._network.height, self._network.width, self._network.length)
        expected = (description.height, description.width, len(description.labels))
        if found != expected:
            raise ModelFolderError(
                f"{where} maps {found[0]} x {found[1]} pixels to {found[2]} scores, expected {expected[0]} x "
                f"{expected[1]} and {expected[2]}: train the model again"
            )

    @property
    def head_arrays(self) -> set[ArrayIdentity]:
        """Raises ModelFolderError."""
        return head_arrays(self._model, self._where)

    def scores(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(n, height, width, 3) uint8 to (n, classes) float32. Raises ModelFolderError."""
        scores = self._network.run(pixels)
        if not np.isfinite(scores).all():
            raise ModelFolderError(f"{self._where} gives values that are not finite: train the model again")
        return scores

    def extractor(self, cache_dir: str | os.PathLike[str]) -> Extractor:
        """The extractor of the backbone inside the model. `Scorer.extractor` tells how it is named."""
        description = self._description
        part = backbone_part(self._model, self._where)
        digest = hashlib.sha256(part).hexdigest()
        name, claimed = description.backbone_name, description.claimed_backbone
        if digest == kept_conversion(cache_dir, name, fingerprint_of(claimed)):
            return Extractor(name, lambda: claimed, lambda: LiteRTNetwork(bytes(part)))
        found = description.backbone_by("litert", digest)
        return Extractor(f"{name}_litert", lambda: found, lambda: LiteRTNetwork(bytes(part)))
