"""What scorers share that run a model's network and head as one, on a runtime other than TensorFlow."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from retrain.backbones import Extractor, LiteRTNetwork, OnnxNetwork
from retrain.errors import ModelFolderError
from retrain.model.folder import ModelDescription

__all__ = ["WholeNetwork", "check_fits", "extractor_of", "finite_answers"]


class WholeNetwork(Protocol):
    """A network with its head."""

    height: int  # pixels
    width: int
    length: int  # of what it gives for a picture


def check_fits(network: WholeNetwork, description: ModelDescription, where: str) -> None:
    """Raise ModelFolderError if a model's network takes or gives other sizes than run.json says."""
    found = (network.height, network.width, network.length)
    expected = (description.height, description.width, description.answer_length)
    if found != expected:
        raise ModelFolderError(
            f"{where} maps {found[0]} x {found[1]} pixels to {found[2]} scores, expected {expected[0]} x "
            f"{expected[1]} and {expected[2]}: train the model again"
        )


def finite_answers(answers: NDArray[np.float32], where: str) -> NDArray[np.float32]:
    """Return what a network gave. Raises ModelFolderError for NaN or infinity."""
    if not np.isfinite(answers).all():
        raise ModelFolderError(f"{where} gives values that are not finite: train the model again")
    return answers


def extractor_of(
    description: ModelDescription,
    kind: str,
    digest: str,
    kept: str | None,
    load: Callable[[], LiteRTNetwork | OnnxNetwork],
) -> Extractor:
    """The extractor of the backbone inside a model's file. `Scorer.extractor` tells how it is named.

    Args:
        kind: what the file is, in the name and description of a backbone that the cache does not know.
        digest: SHA-256 of the backbone's part of the file.
        kept: that of the form that the cache has of the backbone that run.json names; None if it has none.
        load: gives the backbone's network.
    """
    name, claimed = description.backbone_name, description.claimed_backbone
    if digest == kept:
        return Extractor(name, lambda: claimed, load)
    found = description.backbone_by(kind, digest)
    return Extractor(f"{name}_{kind}", lambda: found, load)
