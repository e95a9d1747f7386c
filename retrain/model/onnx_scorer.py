"""Scores of a model whose backbone is an ONNX network: ONNX Runtime runs both as one."""

import hashlib
import os

import numpy as np
from numpy.typing import NDArray

from retrain.backbones import Extractor, OnnxError, OnnxNetwork, kept_onnx_graph
from retrain.cache import fingerprint_of
from retrain.errors import ModelFolderError
from retrain.model.folder import ModelDescription
from retrain.model.head import ArrayIdentity
from retrain.model.network_scorer import check_fits, extractor_of, finite_answers
from retrain.model.onnx_file import check_in_one_file, onnx_backbone_part, onnx_head_arrays

__all__ = ["OnnxScorer"]


class OnnxScorer:
    """A `Scorer` of an ONNX model.

    Args:
        model: the file's bytes.
        description: of the model.
        where: the file, for messages.
    Raises ModelFolderError; BackboneError if the packages of ONNX are missing.
    """

    def __init__(self, model: bytes, description: ModelDescription, where: str) -> None:
        self._model, self._description, self._where = model, description, where
        check_in_one_file(model, where)
        try:
            self._network = OnnxNetwork(model, description.outputs)
        except OnnxError as error:
            raise ModelFolderError(f"{where} can't be used ({error}): train the model again") from error
        check_fits(self._network, description, where)

    @property
    def head_arrays(self) -> set[ArrayIdentity]:
        """Raises ModelFolderError, BackboneError."""
        return onnx_head_arrays(self._model, self._where)

    def answers(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(n, height, width, 3) uint8 to (n, numbers) float32. Raises ModelFolderError."""
        try:
            answers = self._network.run(pixels)
        except OnnxError as error:
            raise ModelFolderError(f"{self._where} can't be used ({error}): train the model again") from error
        return finite_answers(answers, self._where)

    def extractor(self, cache_dir: str | os.PathLike[str]) -> Extractor:
        """The extractor of the backbone inside the model. `Scorer.extractor` tells how it is named."""
        description = self._description
        part = onnx_backbone_part(self._model, self._where)
        digest = hashlib.sha256(part).hexdigest()
        kept = kept_onnx_graph(cache_dir, description.backbone_name, fingerprint_of(description.claimed_backbone))
        return extractor_of(description, "onnx", digest, kept, lambda: OnnxNetwork(part))
