"""A backbone up to a cut: the extractor whose bottlenecks are the activations there, for fine-tuning what is above."""

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrain.backbones.backbone import Backbone, fingerprint_of
from retrain.backbones.graph import PIXELS_INPUT, Trunk
from retrain.backbones.graph_cut import Cut, part_below
from retrain.backbones.network import graph_runner, suitable_batch_size
from retrain.errors import BackboneError

__all__ = ["TruncatedBackbone"]


class TruncatedBackbone:
    """An extractor of its own: its rows are activations in float16, flat.

    Args:
        backbone: in float32.
        trunk: its graph.
        cut: where it ends.
    """

    def __init__(self, backbone: Backbone, trunk: Trunk, cut: Cut) -> None:
        self.name = f"{backbone.name}_activations"
        self.description: dict[str, Any] = backbone.description | {"cut": cut.tensor, "stored": "float16"}
        self.fingerprint = fingerprint_of(self.description)
        self._trunk, self._cut = trunk, cut

    @cached_property
    def network(self) -> "TruncatedNetwork":
        """The part below the cut."""
        return TruncatedNetwork(self._trunk, self._cut)


class TruncatedNetwork:
    """The part of a trunk below a cut, as pass one runs it."""

    def __init__(self, trunk: Trunk, cut: Cut) -> None:
        self.height, self.width = trunk.height, trunk.width
        self.batch_size = suitable_batch_size(self.height, self.width)
        self._run = graph_runner(part_below(trunk, cut), PIXELS_INPUT, cut.tensor, self.height, self.width)
        self._place = cut.tensor

    def bottlenecks(self, pixels: NDArray[np.uint8]) -> NDArray[np.float16]:
        """Run it: (n, height, width, 3) uint8, RGB, to (n, size) float16.

        Raises BackboneError where an activation is not finite in float16, whose largest number is 65,504.
        """
        with np.errstate(over="ignore"):
            activations = self._run(pixels).astype(np.float16)
        if not np.isfinite(activations).all():
            raise BackboneError(
                f"the backbone's activations at {self._place} are beyond what float16 holds: choose another layer "
                "for --fine-tune-from"
            )
        return activations.reshape(len(pixels), -1)
