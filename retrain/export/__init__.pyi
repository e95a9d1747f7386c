from .frozen_graph import FrozenGraph
from .saved_model import SavedModel
from .source import ExportSource

__all__ = [
    "ExportSource",
    "FrozenGraph",
    "SavedModel",
]
