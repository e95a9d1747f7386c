from .frozen_graph import FrozenGraph
from .saved_model import SavedModel, reason_of
from .source import ExportSource

__all__ = [
    "ExportSource",
    "FrozenGraph",
    "SavedModel",
    "reason_of",
]
