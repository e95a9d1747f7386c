from .frozen_graph import FrozenGraph
from .litert_model import LiteRTModel
from .saved_model import SavedModel
from .source import ExportSource

__all__ = [
    "ExportSource",
    "FrozenGraph",
    "LiteRTModel",
    "SavedModel",
]
