from .export_folder import ExportTask, WrittenExport, place_of
from .formats import FORMATS, check_installed, missing_packages
from .frozen_graph import FrozenGraph
from .litert_model import LiteRTModel
from .sample_pictures import find_pictures
from .saved_model import SavedModel
from .source import ExportSource
from .vector_file import VectorTable, check_vector_file, write_vectors

__all__ = [
    "FORMATS",
    "ExportSource",
    "ExportTask",
    "FrozenGraph",
    "LiteRTModel",
    "SavedModel",
    "VectorTable",
    "WrittenExport",
    "check_installed",
    "check_vector_file",
    "find_pictures",
    "missing_packages",
    "place_of",
    "write_vectors",
]
