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
from retrain.model.network_scorer import check_fits, extractor_of, finite_answers

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
        check_fits(self._network, description, where)

    @property
    def head_arrays(self) -> set[ArrayIdentity]:
        """Raises ModelFolderError."""
        return head_arrays(self._model, self._where)

    def answers(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(n, height, width, 3) uint8 to (n, numbers) float32. Raises ModelFolderError."""
        return finite_answers(self._network.run(pixels), self._where)

    def extractor(self, cache_dir: str | os.PathLike[str]) -> Extractor:
        """The extractor of the backbone inside the model. `Scorer.extractor` tells how it is named."""
        description = self._description
        part = backbone_part(self._model, self._where)
        digest = hashlib.sha256(part).hexdigest()
        kept = kept_conversion(cache_dir, description.backbone_name, fingerprint_of(description.claimed_backbone))
        return extractor_of(description, "litert", digest, kept, lambda: LiteRTNetwork(bytes(part)))
