from .export_folder import ExportTask, WrittenExport, place_of
from .formats import FORMATS, check_installed, missing_packages
from .frozen_graph import FrozenGraph
from .litert_model import LiteRTModel
from .sample_pictures import find_pictures
from .saved_model import SavedModel
from .source import ExportSource

__all__ = [
    "FORMATS",
    "ExportSource",
    "ExportTask",
    "FrozenGraph",
    "LiteRTModel",
    "SavedModel",
    "WrittenExport",
    "check_installed",
    "find_pictures",
    "missing_packages",
    "place_of",
]
