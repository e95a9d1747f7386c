"""The activations at a cut inside a backbone, which fine-tuning trains the layers above on."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrain.backbones.backbone import Backbone
from retrain.backbones.conversion import Converter
from retrain.backbones.extractor import Extractor, ExtractorNetwork
from retrain.backbones.graph_cut import Cut, part_below
from retrain.backbones.network import FrozenGraph
from retrain.backbones.trunk import PIXELS_INPUT, Trunk
from retrain.errors import BackboneError

__all__ = ["activations_at"]


def activations_at(cut: Cut, backbone: Backbone, trunk: Trunk, converter: Converter) -> Extractor:
    """The extractor of the activations at a cut: its rows are flat, in float16.

    Args:
        backbone: in float32.
        trunk: its graph.
        converter: for the part below the cut.
    """

    def graph() -> FrozenGraph:
        return FrozenGraph(part_below(trunk, cut), PIXELS_INPUT, cut.tensor, trunk.height, trunk.width)

    details: dict[str, Any] = {"cut": cut.tensor, "stored": "float16"}
    original = backbone.variant("activations", details, lambda: graph().as_network())
    return backbone.variant(
        "activations", details, lambda: _LowerNetwork(converter.network(original, graph), cut.tensor)
    )


class _LowerNetwork:
    """The part of a backbone below a cut, in float16.

    Args:
        network: gives the same in float32.
        place: the cut, for messages.
    """

    def __init__(self, network: ExtractorNetwork, place: str) -> None:
        self.height, self.width, self.batch_size = network.height, network.width, network.batch_size
        self._network, self._place = network, place

    def bottlenecks(self, pixels: NDArray[np.uint8]) -> NDArray[np.float16]:
        """Run it: (n, height, width, 3) uint8, RGB, to (n, size) float16.

        Raises BackboneError for an activation that is not finite in float16, whose largest number is 65,504.
        """
        with np.errstate(over="ignore"):
            activations = self._network.bottlenecks(pixels).astype(np.float16)
        if not np.isfinite(activations).all():
            raise BackboneError(
                f"the backbone's activations at {self._place} are beyond what float16 holds: choose another layer "
                "for --fine-tune-from"
            )
        return activations.reshape(len(pixels), -1)
