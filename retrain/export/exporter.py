"""What every format of a trained model can do, and the formats that a model folder has."""

import os
from typing import Protocol

from retrain.export.frozen_graph import FrozenGraph
from retrain.export.saved_model import SavedModel
from retrain.export.source import TrainedNetwork
from retrain.model_files import GRAPH, SAVED_MODEL

__all__ = ["EXPORTERS", "Exporter"]


class Exporter(Protocol):
    """One format."""

    def write(self, network: TrainedNetwork, place: str | os.PathLike[str]) -> None:
        """Write the file or folder. Raises OutputError, OSError."""

    def verify(self, network: TrainedNetwork, place: str | os.PathLike[str]) -> None:
        """Read what was written and compare its scores with those of the network.

        Raises OutputError if they differ, or if it can't be read.
        """


EXPORTERS: dict[str, Exporter] = {GRAPH: FrozenGraph(), SAVED_MODEL: SavedModel()}  # by their names in a model folder
