"""The activations at a cut inside a backbone, which fine-tuning trains the layers above on."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrain.backbones.backbone import Backbone
from retrain.backbones.extractor import Extractor
from retrain.backbones.graph_cut import Cut, part_below
from retrain.backbones.network import FrozenGraph, suitable_batch_size
from retrain.backbones.trunk import PIXELS_INPUT, Trunk
from retrain.errors import BackboneError

__all__ = ["activations_at"]


def activations_at(cut: Cut, backbone: Backbone, trunk: Trunk) -> Extractor:
    """The extractor of the activations at a cut: its rows are flat, in float16.

    Args:
        backbone: in float32.
        trunk: its graph.
    """
    details: dict[str, Any] = {"cut": cut.tensor, "stored": "float16"}
    return backbone.variant("activations", details, lambda: _LowerNetwork(trunk, cut))


class _LowerNetwork:
    """The part of a backbone below a cut, as pass one runs it."""

    def __init__(self, trunk: Trunk, cut: Cut) -> None:
        self.height, self.width = trunk.height, trunk.width
        self.batch_size = suitable_batch_size(self.height, self.width)
        self._run = FrozenGraph(part_below(trunk, cut), PIXELS_INPUT, cut.tensor, self.height, self.width).runner()
        self._place = cut.tensor

    def bottlenecks(self, pixels: NDArray[np.uint8]) -> NDArray[np.float16]:
        """Run it: (n, height, width, 3) uint8, RGB, to (n, size) float16.

        Raises BackboneError for an activation that is not finite in float16, whose largest number is 65,504.
        """
        with np.errstate(over="ignore"):
            activations = self._run(pixels).astype(np.float16)
        if not np.isfinite(activations).all():
            raise BackboneError(
                f"the backbone's activations at {self._place} are beyond what float16 holds: choose another layer "
                "for --fine-tune-from"
            )
        return activations.reshape(len(pixels), -1)
