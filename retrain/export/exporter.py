"""What every format of a trained model can do, and the formats that a model folder has."""

import os
from collections.abc import Mapping
from typing import Protocol

from retrain.export.frozen_graph import FrozenGraph
from retrain.export.litert_model import LiteRTModel
from retrain.export.saved_model import SavedModel
from retrain.export.source import TrainedNetwork
from retrain.model_files import CLASSIFIER, GRAPH, SAVED_MODEL

__all__ = ["EXPORTERS", "Exporter"]


class Exporter(Protocol):
    """One format."""

    def write(self, network: TrainedNetwork, place: str | os.PathLike[str]) -> Mapping[str, str]:
        """Write the file or folder.

        Returns the SHA-256 of what is known without reading it again: path below the place -> 64 hexadecimal digits.
        Raises OutputError, OSError.
        """

    def verify(self, network: TrainedNetwork, place: str | os.PathLike[str]) -> Mapping[str, str]:
        """Read what was written and compare it, or its scores, with the network.

        Returns the SHA-256 of the files that were read whole, as `write` does. Raises OutputError if they differ, or if
        it can't be read.
        """


# by their names in a model folder
EXPORTERS: dict[str, Exporter] = {GRAPH: FrozenGraph(), SAVED_MODEL: SavedModel(), CLASSIFIER: LiteRTModel()}
